"""What `weights=` names, and the file it means: a tag of the table, a path, an address, or a model on Hugging Face.

`resolve` checks the name and what can be said of it; nothing is fetched before `Source.path()` is called.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urldefrag, urlsplit

from kzoo.errors import KzooError, say, unknown
from kzoo.files import read_small
from kzoo.records import ForeignTable, ImageInputs, WeightSpec
from kzoo.weights.cache import cached_path, check_checksum, digests_of, matches, shown
from kzoo.weights.download import Unreachable, check_network, fetch, hf_endpoint
from kzoo.weights.kinds import kind_of, weight_file
from kzoo.weights.origins import KERAS
from kzoo.weights.table import published_path, rows_of

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")  # what PyTorch writes by pickle
HF = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.+))?")
HF_FILE = "model.safetensors"


@dataclass(frozen=True)
class Source:
    """A weight file, wherever it lies.

    Attributes:
        label: What errors call it: `weights='imagenet'`.
        row: Of the table; None where the table does not have it.
        file: On this machine; or
        url: where it is fetched from, with
        checksum: what it must match, None where only its server can say.
        config: Where the `config.json` is, in which timm notes the preprocessing; of what the table lacks.
    """

    label: str
    row: WeightSpec | None = None
    file: Path | None = None
    url: str = ""
    checksum: str | None = None
    config: str = ""

    @property
    def inputs(self) -> ImageInputs | None:
        """Of the table, or of the `config.json` that `path` has fetched; None where neither tells."""
        if self.row:
            return self.row.inputs
        return _told(cached_path(self.config)) if self.config else None

    @property
    def classes(self) -> tuple[str, ...] | None:
        return self.row.classes if self.row else None

    def path(self, foreign: ForeignTable | None = None) -> Path:
        """The checked file; fetched where it is not in the cache. From Hugging Face comes what tells of it, too: how
        images are prepared; of a network whose names `foreign` has, its sizes and what its ids mean.

        Raises:
            KzooError: It cannot be had, or is not the one that was published; one line each.
        """
        if self.file is not None:
            return self.file
        if not self.url:
            return published_path(self.row)
        if own := self._of_keras():
            return own
        path = fetch(self.url, checksum=self.checksum, size=self.row.size if self.row else None, source=self.label)
        if self.config and foreign is None:
            self._ask()
        elif self.config:
            self._fetch_beside(foreign)
        return path

    def check_can_be_had(self) -> None:
        """Fetches nothing.

        Raises:
            KzooError: It is not on this machine, and there is no network.
        """
        if self.file is None and self.url and not cached_path(self.url).is_file() and not self._keras_path().is_file():
            check_network(self.url, self.label)

    def _ask(self) -> None:
        """For the `config.json`; without it the weights can be used all the same."""
        said = "its config.json does not tell it as timm does"
        try:
            fetch(self.config, checksum=None, size=None, source=self.label, weights=False)
        except KzooError as error:
            said = str(error).removeprefix(f"{self.label}: ")
        if self.inputs is None:
            say(f"{self.label}: how its images were prepared is not known: {said}")

    def _fetch_beside(self, foreign: ForeignTable) -> None:
        """The files that are read where they lie beside the weights; without them these can be used all the same."""
        for name in ("config.json",) * (foreign.config is not None) + foreign.vocabulary:
            url = f"{self.url.rpartition('/')[0]}/{name}"
            try:
                fetch(url, checksum=None, size=None, source=self.label, weights=False)
            except KzooError as error:
                of_what = "what its ids mean" if name in foreign.vocabulary else "whether the network is this one"
                say(f"{self.label}: {of_what} is not known: {str(error).removeprefix(f'{self.label}: ')}")
                if isinstance(error, Unreachable):  # nor can the next one be had
                    return

    def _of_keras(self) -> Path | None:
        """A file of keras.applications that Keras has fetched already, if it is the right one."""
        path = self._keras_path()
        if self.checksum is None or not self.url.startswith(KERAS):
            return None
        if cached_path(self.url).is_file() or not path.is_file():
            return None
        if matches(digests_of(path, self.checksum), self.checksum):
            return path
        say(f"{self.label}: {str(path)!r} is not the published file, and is left aside")
        return None

    def _keras_path(self) -> Path:
        home = os.environ.get("KERAS_HOME")
        folder = Path(home).expanduser() if home else Path.home() / ".keras"
        return folder / "models" / self.url.rpartition("/")[2]


def resolve(model: str, weights: str | os.PathLike[str]) -> Source:
    """What `weights` means for a model.

    Args:
        model: A name from `list_models`.
        weights: A tag (`"imagenet"`), a path, `"https://…"` (with `#sha256=…` to be checked), or
            `"hf://owner/name[@revision][/file]"`.

    Raises:
        KzooError: No such tag or file, or a name that is none of these; or only PyTorch reads it, and is not installed.

    >>> resolve("resnet50", "imagenet").url.rpartition("/")[2]
    'resnet50_weights_tf_dim_ordering_tf_kernels.h5'
    >>> resolve("resnet18", "hf://timm/resnet18.a1_in1k").url
    'https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors'
    """
    if not isinstance(weights, str | os.PathLike):
        raise KzooError(f"weights must be None, a tag, a path or an address; received {weights!r}")
    label, text = f"weights={str(weights)!r}", os.fspath(weights)
    rows = rows_of(model)
    if isinstance(weights, str) and text in rows:
        row = rows[text]
        source = Source(label, row) if row.file else replace(_remote(label, row.url, rows), label=label)
    elif isinstance(weights, str) and "://" in text:
        source = _remote(label, text, rows)
    elif not isinstance(weights, str) or Path(text).exists() or Path(text).suffix or {"/", os.sep} & set(text):
        file = weight_file(Path(text))
        kind_of(file, label)  # what is no weight file is said before anything is built
        return Source(label, file=file)
    else:
        others = "a path, an address or hf://owner/name"
        remedy = f"allowed: {', '.join(rows)}; or {others}" if rows else f"none are published yet; give {others}"
        raise unknown(f"weights of {model}", text, rows, remedy)
    if source.url:
        _check_torch(source, rows)
    return source


def _remote(label: str, given: str, rows: dict[str, WeightSpec]) -> Source:
    """Of an address, `https://` or `hf://`; known where the table has it."""
    bare, fragment = urldefrag(given)
    url, config = bare, ""
    if bare.startswith("hf://"):
        url, config, bare = _hf(label, bare)
    if urlsplit(url).scheme not in ("http", "https"):
        raise KzooError(f"{label} is no address that kzoo fetches from; it takes https://, http:// and hf://owner/name")
    cached_path(url)  # says what is no address of a file
    if url == bare:
        label = f"weights={shown(url)!r}"
    row = next((row for row in rows.values() if row.url == bare), None)
    checksum = row.checksum if row else None
    if fragment:
        name, _, digits = fragment.partition("=")
        checksum = f"{name.lower()}:{digits.lower()}"
        check_checksum(checksum, label)
    return Source(label, row, url=url, checksum=checksum, config="" if row else config)


def _hf(label: str, given: str) -> tuple[str, str, str]:
    """The addresses of a file on Hugging Face and of the configuration beside it, and the file's shortest name."""
    found = HF.fullmatch(given)
    if not found:
        raise KzooError(f"{label} is no model on Hugging Face; give hf://owner/name[@revision][/file.safetensors]")
    name, revision, file = found[1], found[2] or "main", found[3] or HF_FILE
    short = f"hf://{name}" if (revision, file) == ("main", HF_FILE) else given
    folder = f"{hf_endpoint()}/{name}/resolve/{quote(revision, safe='%')}"
    return f"{folder}/{quote(file)}", f"{folder}/config.json", short


def _told(path: Path) -> ImageInputs | None:
    """The preprocessing in a `config.json` of timm's."""
    try:
        told = json.loads(read_small(path))["pretrained_cfg"]
        channels, height, width = map(int, told["input_size"])
        mean, std = (tuple(map(float, told[key])) for key in ("mean", "std"))
        crop, interpolation = float(told["crop_pct"]), str(told["interpolation"])
        return ImageInputs((height, width), channels, mean=mean, std=std, crop=crop, interpolation=interpolation)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _check_torch(source: Source, rows: dict[str, WeightSpec]) -> None:
    """A file that could not be read is not fetched."""
    name = urlsplit(source.url).path.rpartition("/")[2]
    if not name.endswith(TORCH_SUFFIXES) or importlib.util.find_spec("torch") is not None:
        return
    others = [repr(tag) for tag, row in rows.items() if not row.url.endswith(TORCH_SUFFIXES)]
    instead = f"take {' or '.join(others)}" if others else "take a .safetensors or .h5 file"
    raise KzooError(
        f"{source.label}: {name} is PyTorch's own format, which only PyTorch reads; {instead}, or pip install torch"
    )

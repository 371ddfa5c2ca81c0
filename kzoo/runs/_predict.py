"""predict: the classes of some inputs, with probabilities."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data._images import Unreadable, is_hidden, no_size_warnings, open_image
from kzoo.errors import KzooError, whole_number
from kzoo.models._styles import input_shape_of
from kzoo.preprocess import IMAGE_SUFFIXES, layer_of
from kzoo.runs._evaluate import OTHERS, single_output
from kzoo.runs._load import Loaded, check_checkpoint, load
from kzoo.text import TextLayer
from kzoo.training.step import compiled


@dataclass(frozen=True)
class Prediction:
    """The best classes of one input, the likeliest first."""

    input: str
    labels: tuple[str, ...]
    class_ids: tuple[int, ...]
    scores: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.input}: " + ", ".join(f"{n} {s:.4f}" for n, s in zip(self.labels, self.scores, strict=True))


def predict(
    model: Any,
    inputs: Any,
    *,
    top: int = 5,
    checkpoint: str = "last",
    batch_size: int = 64,
) -> list[Prediction]:
    """Classify image files, texts or raw examples.

    Args:
        model: As for `evaluate`.
        inputs: Paths of image files or folders of them; texts, or the path of a .txt file with one a line; or an array
            of raw examples [n, ...], as `load_data` gives them (images in 0 to 255).
        top: How many classes to give, the likeliest first.
        checkpoint: Of a run: `"last"` or `"best"`.
        batch_size: Of the forward passes.

    Returns:
        One Prediction an input, in order. Scores are probabilities: logits and distances go through softmax.

    Raises:
        KzooError: A file given by its name that is no readable image, an empty text; nothing is predicted then. What
            cannot be read in a folder is left out, and named on stderr.
    """
    check_checkpoint(checkpoint)
    for name, value in (("top", top), ("batch_size", batch_size)):
        whole_number(name, value)
    loaded = load(model, checkpoint=checkpoint)
    if loaded.task in OTHERS:
        raise KzooError(f"{loaded.name} names no classes (its task is {loaded.task}); use kzoo generate")
    layer = layer_of(loaded.preprocess)
    own_texts = layer is None and _takes_strings(loaded.model)
    reads_texts = isinstance(layer, TextLayer) or own_texts
    paths = image_paths(inputs) if not reads_texts and _are_paths(inputs) else None
    if paths is not None and layer is None:
        raise KzooError(f"{loaded.name} reads no images; give an array of examples")
    if own_texts:
        names = texts_of(inputs)
        prepared = np.array(names, object).reshape(-1, *[1] * len(input_shape_of(loaded.model)))
    elif reads_texts:
        names = texts_of(inputs)
        counts = layer.counts(tf.constant(names)).numpy()
        for k in np.flatnonzero(counts > layer.spec.length)[:5]:
            cut = f"only its first {layer.spec.length} are read"
            print(f"text {k + 1} has {counts[k]} {layer.spec.unit}: {cut}", file=sys.stderr)
        prepared = layer(tf.constant(names)).numpy()
    elif paths is None:
        raw = _examples(loaded, inputs, layer is not None)
        names = [str(i) for i in range(len(raw))]
        prepared = layer(raw).numpy() if layer is not None else raw.astype("float32")
    if paths is not None:
        batches = _image_batches(paths, layer, batch_size)
    else:
        starts = range(0, len(prepared), batch_size)
        batches = ((names[i : i + batch_size], prepared[i : i + batch_size]) for i in starts)
    forward = compiled(lambda x: loaded.model(x, training=False))
    read, outputs = [], []
    for those, part in batches:
        read += those
        outputs.append(single_output(loaded, forward(tf.constant(part))).numpy())
    scores = loaded.probabilities(np.concatenate(outputs))
    labels = loaded.labels or tuple(map(str, range(scores.shape[1])))
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        Prediction(name, tuple(labels[k] for k in ids), tuple(int(k) for k in ids), tuple(float(row[k]) for k in ids))
        for name, row, ids in zip(read, scores, best, strict=True)
    ]


def _examples(loaded: Loaded, inputs: Any, images: bool) -> np.ndarray:
    """An array [n, ...] of what the model, or its preprocessing, takes."""
    if isinstance(inputs, dict):
        raise KzooError(f"{loaded.name} must have one input to be predicted on; received a dict")
    raw = np.asarray(inputs)
    expected = input_shape_of(loaded.model)
    if images and raw.ndim == 3 and raw.shape[-1] not in (1, 3, 4):
        raw = raw[..., None]  # grey images without their channel
    wanted = ("height", "width", "channels") if images else expected
    fits = raw.dtype.kind in "uifb" and raw.ndim > 0 and len(raw)
    if fits and images:
        fits = raw.ndim == 4 and raw.shape[-1] in (1, 3, 4)
    elif fits and expected is not None:
        fits = tf.TensorShape([None, *expected]).is_compatible_with(raw.shape)
    if not fits:
        shape = ", ".join("?" if n is None else str(n) for n in wanted or ())
        raise KzooError(
            f"{loaded.name} takes an array of examples [n, {shape}]; received {raw.dtype} {list(raw.shape)}"
        )
    return raw


def _takes_strings(model: Any) -> bool:
    """A model of the user's with its tokenising inside."""
    inputs = getattr(model, "inputs", None)
    return bool(inputs) and len(inputs) == 1 and inputs[0].dtype == "string"


def texts_of(inputs: Any) -> list[str]:
    """Texts as given, or the lines of a .txt file."""
    if isinstance(inputs, str | os.PathLike) and str(inputs).endswith(".txt"):
        return _lines(Path(inputs))
    if isinstance(inputs, list | tuple) and len(inputs) == 1 and str(inputs[0]).endswith(".txt"):
        return _lines(Path(inputs[0]))
    if not isinstance(inputs, str) and not hasattr(inputs, "__iter__"):
        raise KzooError(f"texts must be strings, or the path of a .txt file; received {str(inputs)[:60]!r}")
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise KzooError(f"texts must be strings; number {number} is {str(text)[:60]!r}")
        if len(text) < 256 and "\n" not in text and Path(text).suffix and Path(text).is_file():
            raise KzooError(f"text {number} is the file {text!r}; give one .txt file alone, or texts")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise KzooError(f"text {number} is not UTF-8 ({error.reason})") from error
        if not text.strip():
            raise KzooError(f"text {number} is empty; give texts with words")
    if not texts:
        raise KzooError("no texts; give at least one")
    return texts


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise KzooError(f"no file {str(path)!r}")
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    if not lines:
        raise KzooError(f"{str(path)!r} is empty; give a text a line")
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise KzooError(f"{path}, line {number} is not UTF-8 ({error.reason}); save the file as UTF-8") from error
        if not texts[-1].strip():
            raise KzooError(f"{path}, line {number} is empty; give a text a line")
    return texts


def _are_paths(inputs: Any) -> bool:
    if isinstance(inputs, str | os.PathLike):
        return True
    return isinstance(inputs, Sequence) and len(inputs) > 0 and all(isinstance(i, str | os.PathLike) for i in inputs)


def image_paths(inputs: Any) -> list[tuple[Path, bool]]:
    """The files, and the images in the folders, in order; each with whether it was given by its own name."""
    found: list[tuple[Path, bool]] = []
    for item in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        path = Path(item)
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if not is_hidden(p.name) and p.is_file())
            inside = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
            others = len(files) - len(inside)
            if others and inside:
                print(f"{path}: {others} file{'s' * (others > 1)} that are no images left out", file=sys.stderr)
            if not inside:
                raise KzooError(f"no images in the folder {str(path)!r}; looked for {', '.join(IMAGE_SUFFIXES)}")
            found += [(p, False) for p in inside]
        elif path.is_file():
            found.append((path, True))
        else:
            raise KzooError(f"no file {str(path)!r}")
    return found


def _image_batches(paths: list[tuple[Path, bool]], layer: Any, size: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """(names, prepared images), a batch at a time: a folder may hold more than fits in memory."""
    names, images, any_read = [], [], False
    for path, given in paths:
        try:
            with no_size_warnings():
                image = open_image(path)[0]
        except Unreadable as error:
            if given:
                kinds = ", ".join(s[1:] for s in IMAGE_SUFFIXES)
                raise KzooError(f"{str(path)!r} is no readable image ({kinds}): {error}") from error
            print(f"{path}: {error}; left out", file=sys.stderr)
            continue
        any_read = True
        names.append(str(path))
        images.append(layer(image[None]).numpy())
        if len(images) == size:
            yield names, np.concatenate(images)
            names, images = [], []
    if images:
        yield names, np.concatenate(images)
    if not any_read:
        raise KzooError(f"none of the {len(paths)} images can be read; the reasons are above")

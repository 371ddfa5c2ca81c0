"""What kind of weight file it is: told by its content, not its name. Nothing is unpickled; standard library only."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path

from kzoo.errors import KzooError

KINDS = {
    "kzoo": "kzoo's .safetensors",
    "torch": "a PyTorch state dict, .safetensors",
    "pickle": "a PyTorch state dict, .pth",
    "h5": "Keras, .h5 or .weights.h5",
}
ACCEPTED = "kzoo's .safetensors, Keras' .h5 and .weights.h5, and PyTorch state dicts as .safetensors or .pth"


FOLDER_FILE = "model.safetensors"  # of a folder as transformers writes it


def weight_file(path: Path) -> Path:
    """The file itself; of a folder the one that it is there for."""
    return path / FOLDER_FILE if (path / FOLDER_FILE).is_file() else path


def kind_of(path: Path, source: str) -> str:
    """One of KINDS.

    Args:
        source: What errors call the file: `weights='vgg16.h5'`.

    Raises:
        KzooError: It is absent, empty, cut, a web page or anything else; or needs PyTorch, which is not installed.
    """
    if path.is_dir():
        raise KzooError(f"{source} is a folder; give a weight file: {ACCEPTED}")
    if not path.is_file():
        remedy = "; download it first, and give its path" if "://" in source else ""
        raise KzooError(f"{source}: no weight file there{remedy}")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if head[8:9] == b"{" and head[6:8] == b"\0\0":  # the header's length, then the header
        return _kind_of_safetensors(path, source, size)
    if zipfile.is_zipfile(path):
        return _kind_of_zip(path, source)
    if head[:1] == b"\x80":
        return _pickle(source)
    if not size:
        raise KzooError(f"{source} is empty; fetch it again")
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise KzooError(f"{source} is a web page, not weights; fetch the file that the page shows or links to")
    if start.startswith(b"version https://git-lfs"):
        raise KzooError(f"{source} is a Git LFS pointer, not weights; run git lfs pull where it came from")
    if head.startswith(b"PK\x03\x04"):
        raise KzooError(f"{source} is cut: an archive without its end ({size:,} bytes); fetch it again")
    raise KzooError(f"{source} is no weight file; kzoo reads {ACCEPTED}")


def _kind_of_safetensors(path: Path, source: str, size: int) -> str:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise KzooError(f"{source} is not a whole .safetensors file: its header is cut; fetch it again")
        try:
            header = json.loads(file.read(length))
            names = [name for name in header if name != "__metadata__"]
            own = (header.get("__metadata__") or {}).get("format") == "kzoo"
        except (ValueError, AttributeError, RecursionError) as error:
            raise KzooError(
                f"{source} is not a whole .safetensors file: its header is damaged; fetch it again"
            ) from error
    return "kzoo" if own or all("/" in name for name in names) else "torch"


def _kind_of_zip(path: Path, source: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise KzooError(f"{source} is a damaged archive: {error}; fetch it again") from error
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return _pickle(source)
    if "config.json" in names:
        raise KzooError(f"{source} is a whole Keras model, not weights; give it to kzoo.load_model")
    raise KzooError(f"{source} is an archive without weights; kzoo reads {ACCEPTED}")


def _pickle(source: str) -> str:
    if importlib.util.find_spec("torch") is None:
        raise KzooError(
            f"{source} is PyTorch's own format, which only PyTorch reads: pip install torch, or save it as .safetensors"
        )
    return "pickle"

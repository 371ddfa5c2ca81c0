"""Data by name: what comes along, and the TensorFlow Datasets that are prepared on this machine. It needs no
TensorFlow: what cannot be had is said before that is there.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError, unknown

EMBEDDED = ("digits", "and", "or", "xor", "diabetes")  # `embedded.py` reads them
SPLITS_FILE = "splits.json"  # of a run: which example is in which part


def is_tfds(name: str) -> bool:
    import tensorflow_datasets as tfds

    return name.split("/")[0].split(":")[0] in tfds.list_builders(with_community_datasets=False)


def means_path(name: str, data_dir: Any = None) -> bool:
    """A path is written like one or is there; TensorFlow's `glue/sst2` and `mnist:3.0.1` are names all the same."""
    path = Path(name)
    if name.startswith(".") or path.is_absolute():
        return True
    written = os.sep in name or "/" in name or path.suffix
    if written and path.exists() and not data_dir:
        return True
    return bool(written or path.exists()) and not is_tfds(name)


def builder_of(name: str, data_dir: Any = None, download: bool = False) -> Any:
    """TensorFlow Datasets' builder. Nothing is fetched: a set without splits is still to be.

    Raises:
        KzooError: No set of that name, or it is not on this machine and cannot be fetched.
    """
    import tensorflow_datasets as tfds

    if not is_tfds(name):
        known = [*EMBEDDED, *tfds.list_builders(with_community_datasets=False)]
        raise unknown("data set", name, known, "Give a TensorFlow Datasets name, or the path of a folder or .npz file")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError) as error:
        raise KzooError(f"cannot open the TensorFlow data set {name!r}: {str(error).splitlines()[0]}") from error
    if builder.info.splits:
        return builder
    if not download:
        raise KzooError(
            f"the data set {name!r} is not on this machine; fetch it with --download (download=True), or"
            f" {by_hand(builder)}"
        )
    _check_network(builder, name)
    return builder


def by_hand(builder: Any) -> str:
    """What helps where a set cannot be fetched."""
    folder = Path(builder.data_dir)
    return f"place a prepared copy in {str(folder)!r}, or point --data-dir (TFDS_DATA_DIR) at its folder"


def _check_network(builder: Any, name: str) -> None:
    """TensorFlow Datasets retries for minutes where there is no network: ask for the host's address first."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return
    try:
        socket.getaddrinfo("storage.googleapis.com", 443)
    except OSError as error:
        raise KzooError(f"no network to fetch {name!r} ({error.strerror or error}); {by_hand(builder)}") from error

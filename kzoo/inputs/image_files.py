"""Image files: opened whole or named with the reason why not, and the one decoder: the same in data, predict and
export.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
MAX_PIXELS = 100_000_000  # a larger image would take gigabytes to decode
LARGE_PIXELS = 10_000_000  # such images are decoded one at a time: a few at once would take gigabytes, too
# What operating systems leave in folders. It is nobody's data, so nobody is told; nor of names that begin with a dot.
SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found")

_one_large_image = threading.Lock()


class Unreadable(ValueError):
    """Why a file is no image that can be used."""


def is_hidden(name: str) -> bool:
    """Files and folders of the system's: `.DS_Store`, `Thumbs.db`, `__MACOSX`, `._photo.jpg`."""
    return name.startswith(".") or name.lower() in SYSTEM


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """One encoded image (string scalar; PNG, JPEG, GIF, BMP or WebP) to uint8 [height, width, 3].

    Always three channels: with `channels=0` TensorFlow 2.21 corrupts the heap on an animated WebP.
    """
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])


@contextmanager
def no_size_warnings() -> Iterator[None]:
    """Pillow warns of images a little smaller than those refused here. Not thread-safe: for the main thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def open_image(path: Path) -> tuple[tf.Tensor, bool, bytes]:
    """(uint8 [height, width, 3], whether it is grey, the file's bytes).

    Raises:
        Unreadable: No such file, no image, cut short or damaged (never half an image), too many pixels.
    """
    try:
        if not path.is_file():
            raise Unreadable("no such file")
        if path.stat().st_size == 0:
            raise Unreadable("empty file")
        with Image.open(path) as header:
            pixels = header.width * header.height
            if pixels > MAX_PIXELS:
                raise Unreadable(f"{header.width}x{header.height} pixels are too many (at most {MAX_PIXELS:,})")
            grey = header.mode in ("1", "L", "LA", "I", "I;16", "F")
        contents = path.read_bytes()
        if pixels < LARGE_PIXELS:
            return decode_image(tf.constant(contents)), grey, contents
        with _one_large_image:
            return decode_image(tf.constant(contents)), grey, contents
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too many pixels (at most {MAX_PIXELS:,})") from error
    except PermissionError as error:
        raise Unreadable("no permission to read it") from error
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise Unreadable("corrupt image") from error

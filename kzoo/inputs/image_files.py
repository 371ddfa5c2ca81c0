"""Image files: opened whole or named with the reason why not, and the one decoder: the same in data, predict and
export.

What TensorFlow's decoder reads right is decoded by it everywhere. Other kinds (TIFF, AVIF, PPM, bitmaps with a palette)
are read by Pillow, where there is Python: not in an export.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from kzoo.inputs.bounded import MAX_PIXELS

GRAPH_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".gif", ".bmp", ".webp")  # what an export reads
IMAGE_SUFFIXES = (*GRAPH_SUFFIXES, ".tif", ".tiff", ".ppm", ".pgm", ".avif")
LARGE_PIXELS = 10_000_000  # such images are decoded one at a time: a few at once would take gigabytes, too
# What operating systems leave in folders. It is nobody's data, so nobody is told; nor of names that begin with a dot.
SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "lost+found")
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "F")  # Pillow's modes
FAINT = 4096  # 16-bit images with nothing above this are of fewer bits: nearly black when the upper eight are taken
PNG_HEAD = 1 << 16  # bytes of a PNG in which its transparent colours stand
JPEG_HEAD = 4096  # bytes of a JPEG in which its orientation stands, right behind the first marks

_one_large_image = threading.Lock()


PLAIN, IN_GRAPH, BY_PILLOW = 0, 1, 2


class Unreadable(ValueError):
    """Why a file is no image that can be used."""


class Seen(NamedTuple):
    """What an image file says of itself.

    Attributes:
        size: (height, width), upright.
        grey: Whether it is.
        way: How it is decoded: PLAIN, by `decode_plain`, which gives what `decode_image` does; IN_GRAPH, by that;
            BY_PILLOW, by neither.
        kind: Pillow's name of the format.
    """

    size: tuple[int, int]
    grey: bool
    way: int
    kind: str


class Opened(NamedTuple):
    """An image file.

    Attributes:
        pixels: uint8 [height, width, 3], upright, on white where it is transparent.
        seen: What it says of itself.
        contents: The file's bytes.
    """

    pixels: tf.Tensor
    seen: Seen
    contents: bytes


def is_hidden(name: str) -> bool:
    """Files and folders of the system's: `.DS_Store`, `Thumbs.db`, `__MACOSX`, `._photo.jpg`."""
    return name.startswith(".") or name.lower() in SYSTEM


# ----------------------------------------------------------------------------------------------------------------------
# In a graph
# ----------------------------------------------------------------------------------------------------------------------


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """One encoded image (string scalar; PNG, JPEG, GIF, BMP or WebP) to uint8 [height, width, 3]: turned upright as its
    EXIF data says, on white where it is transparent.

    Always with a known number of channels: with `channels=0` TensorFlow 2.21 corrupts the heap on an animated WebP.
    """
    contents = tf.convert_to_tensor(contents)
    pixels = tf.cond(
        _has_alpha(contents), lambda: by_rows(on_white, _decoded(contents, 4), 3), lambda: decode_plain(contents)
    )
    return _upright(pixels, _orientation(contents))


def decode_plain(contents: tf.Tensor) -> tf.Tensor:
    """As `decode_image`, of one that is upright and opaque."""
    return _decoded(contents, 3)


def _decoded(contents: tf.Tensor, channels: int) -> tf.Tensor:
    pixels = tf.io.decode_image(contents, channels=channels, expand_animations=False)
    return tf.ensure_shape(pixels, [None, None, channels])


def by_rows(change: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor, channels: int) -> tf.Tensor:
    """`change(images)`, which looks at each pixel by itself; of one large image of bytes row by row, for the wider
    numbers in between would take gigabytes.
    """
    shape = images.shape
    if (
        shape.rank != 3
        or images.dtype != tf.uint8
        or (shape.is_fully_defined() and shape.num_elements() < LARGE_PIXELS)
    ):
        return change(images)
    row = tf.TensorSpec([shape[1], channels], tf.uint8)
    large = tf.size(images, tf.int64) >= LARGE_PIXELS
    return tf.cond(large, lambda: tf.map_fn(change, images, fn_output_signature=row), lambda: change(images))


def on_white(images: tf.Tensor) -> tf.Tensor:
    """uint8 or float [..., 4] in 0 to 255, the last channel opacity, to [..., 3] of the same dtype."""
    if images.dtype == tf.uint8:
        wide = tf.cast(images, tf.int32)
        rgb, alpha = wide[..., :3], wide[..., 3:]
        return tf.cast((rgb * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)
    rgb, alpha = images[..., :3], images[..., 3:] / 255
    return rgb * alpha + 255 * (1 - alpha)


def _has_alpha(contents: tf.Tensor) -> tf.Tensor:
    """Of a PNG with opacity, or with a chunk of transparent colours; of a WebP that says so. Only of these: TensorFlow
    makes up the opacity of a palette without such a chunk.
    """
    byte = lambda place: tf.io.decode_raw(tf.strings.substr(contents, place, 1), tf.uint8)
    bit = lambda place, mask: tf.reduce_any(tf.bitwise.bitwise_and(byte(place), tf.constant(mask, tf.uint8)) > 0)
    starts = lambda pattern: tf.strings.regex_full_match(tf.strings.substr(contents, 0, 16), pattern)
    long_enough = tf.strings.length(contents) > 26
    kind = lambda number: tf.reduce_any(byte(25) == tf.constant(number, tf.uint8))
    chunk = tf.strings.regex_full_match(tf.strings.substr(contents, 0, PNG_HEAD), r"(?s)\C*\x00\x00[\x00\x01]\CtRNS\C*")
    opacity = tf.reduce_any([kind(4), kind(6), chunk])
    png = tf.logical_and(starts(r"(?s)\CPNG\r\n\x1a\n\C*"), opacity)
    extended = tf.logical_and(starts(r"(?s)RIFF\C{4}WEBPVP8X"), bit(20, 0x10))
    lossless = tf.logical_and(starts(r"(?s)RIFF\C{4}WEBPVP8L"), bit(24, 0x10))
    return tf.logical_and(long_enough, tf.reduce_any([png, extended, lossless]))


# EXIF data begin with the order of their bytes; tag 0x0112 is the orientation, one short number.
EXIF = r"(?:Exif\x00\x00|eXIf|EXIF\C{4})(?:Exif\x00\x00)?"
TAG = (
    r"(?:II\*\x00\C*\x12\x01\x03\x00\x01\x00\x00\x00([\x01-\x08])\x00"
    r"|MM\x00\*\C*\x01\x12\x00\x03\x00\x00\x00\x01\x00([\x01-\x08]))"
)


def _orientation(contents: tf.Tensor) -> tf.Tensor:
    """int32 scalar, 1 to 8: how the picture is turned; 1 where nothing says it."""
    first = tf.io.decode_raw(tf.strings.substr(contents, 0, 1), tf.uint8)
    jpeg = tf.reduce_all(first == tf.constant(0xFF, tf.uint8))
    within = tf.cond(jpeg, lambda: tf.strings.substr(contents, 0, JPEG_HEAD), lambda: contents)
    there = tf.strings.regex_full_match(within, rf"(?s)\C*{EXIF}{TAG}\C*")  # without groups to fill it is fast

    def said() -> tf.Tensor:
        found = tf.strings.regex_replace(within, rf"(?s)^\C*{EXIF}{TAG}\C*$", r"\1\2", replace_global=False)
        return tf.cast(tf.io.decode_raw(found, tf.uint8)[0], tf.int32)

    return tf.cond(there, said, lambda: tf.constant(1))


def _upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    transposed = lambda t: tf.transpose(t, [1, 0, 2])
    turns = [
        lambda: pixels,
        lambda: pixels[:, ::-1],
        lambda: pixels[::-1, ::-1],
        lambda: pixels[::-1],
        lambda: transposed(pixels),
        lambda: transposed(pixels)[:, ::-1],
        lambda: transposed(pixels)[::-1, ::-1],
        lambda: transposed(pixels)[::-1],
    ]
    turned = tf.cond(tf.equal(orientation, 1), lambda: pixels, lambda: tf.switch_case(orientation - 1, turns))
    return tf.ensure_shape(turned, [None, None, 3])


# ----------------------------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def no_size_warnings() -> Iterator[None]:
    """Pillow warns of images a little smaller than those refused here. Not thread-safe: for the main thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def look_at(path: Path) -> Seen:
    """By its first and last bytes, where these show that it is whole; one that may not be is decoded.

    Raises:
        Unreadable: As `open_image`.
    """
    with _reasons(path):
        seen, whole = _look(path)
    return seen if whole else open_image(path).seen


def open_image(path: Path) -> Opened:
    """
    Raises:
        Unreadable: No such file, no image, cut short or damaged (never half an image), too many pixels, several
            pictures in one, of 16 bits of which few are used.
    """
    with _reasons(path):
        seen, _ = _look(path)
        contents = path.read_bytes()
        if seen.kind == "PNG" and contents[24] == 16:
            _check_bits(tf.io.decode_png(contents, dtype=tf.uint16).numpy())
        by_pillow = seen.way == BY_PILLOW
        decode = (lambda: _by_pillow(path)) if by_pillow else (lambda: decode_image(tf.constant(contents)))
        if seen.size[0] * seen.size[1] < LARGE_PIXELS:
            return Opened(decode(), seen, contents)
        with _one_large_image:
            return Opened(decode(), seen, contents)


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """What is wrong with a file, in a few words."""
    try:
        yield
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too many pixels (at most {MAX_PIXELS:,})") from error
    except PermissionError as error:
        raise Unreadable("no permission to read it") from error
    except Image.UnidentifiedImageError as error:
        raise Unreadable("corrupt image" if path.suffix.lower() in IMAGE_SUFFIXES else "no image") from error
    except (OSError, ValueError, SyntaxError, tf.errors.OpError) as error:
        raise Unreadable("corrupt image") from error


ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}  # near the last byte of a whole file
EXIF_ORIENTATION = 0x0112


def _look(path: Path) -> tuple[Seen, bool]:
    """(what it says of itself, whether its last bytes show that it is whole)."""
    if not path.is_file():
        raise Unreadable("no such file")
    with path.open("rb") as file:
        length = file.seek(0, 2)
        if length == 0:
            raise Unreadable("empty file")
        file.seek(max(length - 16, 0))
        last = file.read()
        file.seek(0)
        with Image.open(file) as header:
            height, width = header.height, header.width
            if height * width > MAX_PIXELS:
                raise Unreadable(f"{width}x{height} pixels are too many (at most {MAX_PIXELS:,})")
            if header.format == "WEBP" and getattr(header, "is_animated", False):
                raise Unreadable("an animated WebP; save one picture of it")
            told = "exif" in header.info or header.format in ("TIFF", "AVIF")
            turned = header.getexif().get(EXIF_ORIENTATION, 1) if told else 1
            if turned in (5, 6, 7, 8):
                height, width = width, height
            in_graph = _in_graph(header)
            plain = header.format in ("JPEG", "MPO", "GIF", "BMP") and turned == 1
            way = BY_PILLOW if not in_graph else PLAIN if plain else IN_GRAPH
            seen = Seen((height, width), header.mode in GREY, way, header.format)
            kind, mode = header.format, header.mode
        file.seek(0)
        head = file.read(32)
    whole = ENDS[kind] in last if kind in ENDS else False
    if kind == "PNG":
        whole &= head[24] < 16 and mode != "I"
    elif kind == "BMP":
        whole = length >= 54 + height * ((3 * width + 3) // 4 * 4)
    elif kind == "WEBP":
        whole = int.from_bytes(head[4:8], "little") + 8 <= length
    return seen, whole and in_graph


def reading(ways: Sequence[int]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(path, its way) -> uint8 [height, width, 3], as a graph that holds those of the ways that there are."""

    def by_pillow(path: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda name: open_image(Path(os.fsdecode(name))).pixels.numpy(), [path], tf.uint8)

    def read(path: tf.Tensor, way: tf.Tensor) -> tf.Tensor:
        how = {
            PLAIN: lambda: decode_plain(tf.io.read_file(path)),
            IN_GRAPH: lambda: decode_image(tf.io.read_file(path)),
            BY_PILLOW: lambda: by_pillow(path),
        }
        there = sorted(set(ways))
        pixels = how[there[0]]() if len(there) == 1 else tf.switch_case(way, [how[k] for k in sorted(how)])
        return tf.ensure_shape(pixels, [None, None, 3])

    return read


def _in_graph(header: Image.Image) -> bool:
    """Whether TensorFlow's decoder reads it right: of bitmaps it takes numbers of a palette for greys."""
    if header.format == "BMP":
        return header.mode == "RGB" and header.info.get("compression", 0) == 0
    if header.format == "GIF" and getattr(header, "is_animated", False):  # of which it would unpack every picture
        return False
    return header.format in ("PNG", "JPEG", "MPO", "GIF", "WEBP")


def _by_pillow(path: Path) -> tf.Tensor:
    """uint8 [height, width, 3]."""
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I;16", "I;16B", "I", "F"):
            values = np.asarray(image).astype("float64")
            if image.mode in ("I", "F") or values.min() < 0:
                raise Unreadable("pixels of more than 16 bits, or of fractions; save it as 8 bits")
            _check_bits(values)
            return tf.repeat(tf.constant((values // 257).astype("uint8"))[..., None], 3, axis=-1)
        return by_rows(on_white, tf.constant(np.asarray(image.convert("RGBA"))), 3)


def _check_bits(values: np.ndarray) -> None:
    if 0 < values.max() < FAINT:
        raise Unreadable(
            f"16 bits a pixel, and none above {values.max():.0f}: almost black in 8 bits; save it as 8 bits"
        )

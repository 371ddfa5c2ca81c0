"""How many pixels an encoded image may have, seen in a graph by its first bytes: a file of 30 KB can decode to
gigabytes, and what serves an export has no other guard.
"""

from __future__ import annotations

import os

import tensorflow as tf

MAX_PIXELS = int(os.environ.get("KZOO_MAX_PIXELS") or 50_000_000)  # a larger image would take gigabytes to decode
GIF_GROWS = 4096 * 8 // 12  # bytes of pixels that a byte of a GIF makes at most: a code of 12 bits, 4096 of them


def bounded(contents: tf.Tensor) -> tf.Tensor:
    """The same of an image of at most MAX_PIXELS, by what its head says; "" of a larger one, which is no image then.
    Of a GIF its first picture alone is left; an animated WebP, of which TensorFlow decodes all, is "".
    """
    number = lambda place, size, big: _number(contents, place, size, big)
    begins = lambda mark: tf.equal(tf.strings.substr(contents, 0, len(mark)), mark)
    area = lambda shape: tf.reduce_prod(tf.cast(shape[:2], tf.int64))
    gif = tf.logical_or(begins(b"GIF87a"), begins(b"GIF89a"))
    kinds = (
        (begins(b"\x89PNG\r\n\x1a\n"), lambda: number(16, 4, True) * number(20, 4, True)),
        (begins(b"\xff\xd8\xff"), lambda: area(tf.image.extract_jpeg_shape(contents))),
        (gif, lambda: number(6, 2, False) * number(8, 2, False)),
        (begins(b"BM"), lambda: number(18, 4, False) * tf.minimum(number(22, 4, False), 2**32 - number(22, 4, False))),
        (begins(b"RIFF"), lambda: _pixels_of_webp(contents)),
    )
    pixels = tf.constant(0, tf.int64)
    long_enough = tf.strings.length(contents) >= 30
    for there, count in kinds:
        pixels = tf.cond(tf.logical_and(long_enough, there), count, lambda pixels=pixels: pixels)
    whole = tf.cond(gif, lambda: _first_picture(contents), lambda: contents)
    return tf.where(pixels <= MAX_PIXELS, whole, "")


def _number(contents: tf.Tensor, place: int, size: int, big: bool) -> tf.Tensor:
    """int64 scalar: that many bytes from a place on, the most significant first or last."""
    found = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, place, size), tf.uint8), tf.int64)
    powers = tf.constant([256**k for k in range(size)], tf.int64)
    return tf.reduce_sum(found * (powers[::-1] if big else powers))


def _pixels_of_webp(contents: tf.Tensor) -> tf.Tensor:
    """By the head of each of its kinds (RFC 9649, section 2); more than any may have where it is animated."""
    number = lambda place, size: _number(contents, place, size, False)
    kind = tf.strings.substr(contents, 12, 4)
    animated = tf.bitwise.bitwise_and(number(20, 1), tf.constant(2, tf.int64)) > 0
    extended = tf.where(animated, tf.int64.max, (number(24, 3) + 1) * (number(27, 3) + 1))
    bits = number(21, 4)
    side = lambda shift: tf.bitwise.bitwise_and(bits // 2**shift, tf.constant(0x3FFF, tf.int64)) + 1
    lossless = side(0) * side(14)
    lossy = tf.bitwise.bitwise_and(number(26, 2), tf.constant(0x3FFF, tf.int64)) * tf.bitwise.bitwise_and(
        number(28, 2), tf.constant(0x3FFF, tf.int64)
    )
    return tf.where(kind == b"VP8X", extended, tf.where(kind == b"VP8L", lossless, lossy))


def _first_picture(contents: tf.Tensor) -> tf.Tensor:
    """A GIF up to the end of its first picture; as it is where all of it cannot grow much."""
    size = tf.cast(tf.strings.length(contents), tf.int64)
    return tf.cond(size * GIF_GROWS <= MAX_PIXELS, lambda: contents, lambda: _cut_gif(contents))


def _cut_gif(contents: tf.Tensor) -> tf.Tensor:
    """Blocks follow each other, each of parts that begin with their length; the first with a picture (0x2c) is the
    last one wanted (GIF89a specification, appendix A). "" where its picture has more than MAX_PIXELS.
    """
    data = tf.cast(tf.io.decode_raw(contents, tf.uint8), tf.int64)
    size = tf.size(data, tf.int64)
    at = lambda place: data[tf.minimum(place, size - 1)]
    table = lambda packed: tf.where(
        packed >= 128, 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), tf.math.floormod(packed, 8)), 0
    )
    two = lambda place: at(place) + 256 * at(place + 1)

    def go_on(place: tf.Tensor, inside: tf.Tensor, picture: tf.Tensor, pixels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """`inside`: among the parts of a block, which end with one of length 0."""
        length, mark = at(place), at(place)
        is_picture = mark == 0x2C
        begun = tf.where(is_picture, place + 11 + table(at(place + 9)), place + 2)
        here = tf.where(is_picture, two(place + 5) * two(place + 7), pixels)
        ends = length == 0
        return (
            tf.where(inside, place + length + 1, begun),
            tf.where(inside, ~ends, True),
            tf.where(inside, picture, is_picture),
            tf.where(inside, pixels, here),
        )

    wanted = lambda place, inside, picture, pixels: (place < size) & (inside | ~picture)
    first = 13 + table(at(tf.constant(10, tf.int64)))
    place, _, _, pixels = tf.while_loop(wanted, go_on, (first, False, False, tf.constant(0, tf.int64)))
    return tf.where(pixels <= MAX_PIXELS, tf.strings.substr(contents, 0, tf.cast(place, tf.int32)) + ";", "")

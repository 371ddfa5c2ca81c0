"""Images to a network's input, by the values of an ImageInputs: `normalise(geometry(images))`.

Augmentation goes between the two, on pixel values in 0 to 255.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError, printable, say
from kzoo.inputs.augment import AUGMENTATIONS, LUMA
from kzoo.inputs.batches import untuned
from kzoo.inputs.bounded import bounded
from kzoo.inputs.image_files import (
    IMAGE_SUFFIXES,
    LARGE_PIXELS,
    Unreadable,
    by_rows,
    decode_image,
    is_hidden,
    look_at,
    no_size_warnings,
    on_white,
    reading,
)
from kzoo.inputs.later import AT_ONCE
from kzoo.inputs.left_out import leave_out
from kzoo.inputs.pixels import NUMBERS, grounds_of, numbers_of, range_of
from kzoo.inputs.reader import Reader, Served, are_paths
from kzoo.records import ImageInputs
from kzoo.report import Picture, Shown, pictures

SERVED = (
    "What is no PNG, JPEG, GIF, BMP or WebP that TensorFlow decodes is not valid. Read by kzoo and not here: TIFF,"
    " AVIF, PPM; bitmaps with a palette are taken for grey, of PNGs of 16 bits the upper eight."
)
SMALL = 96  # pixels a side up to which matrices resize faster than TensorFlow's operation
LOOK_AT, ALIKE = 64, 0.8  # so many examples, and of these so many, decide what the ground of images is
STRIP = 16  # a side that is so many times the other is cut to that before a centre crop


class Images(Reader):
    """uint8 or float images in 0 to 255, [..., height, width, 1, 3 or 4 channels], one image or a batch, to float32
    [..., *spec.output_shape]. Under every dtype policy in full precision.
    """

    unit, reads, as_given = "images", "images", False
    augmentations = tuple(AUGMENTATIONS)

    def __init__(self, spec: ImageInputs) -> None:
        super().__init__(spec)
        self.image_shape = (*spec.size, spec.channels)

    def check(self, name: str, data: Any) -> None:
        x = data.train.element_spec[0]
        if not isinstance(x, tf.TensorSpec) or x.shape.rank != 3:
            gives, remedy = x, ""
            if isinstance(x, tf.TensorSpec):
                gives = "texts" if x.dtype == tf.string else tuple(x.shape)
                remedy = "; grey images have a channel too: x[..., None]" if x.shape.rank == 2 else ""
            raise KzooError(f"{name} reads images, but {data.info.name} gives {gives}{remedy}")
        if self.spec.channels not in (1, 3, x.shape[-1]):
            raise KzooError(
                f"{name} reads {self.spec.channels} channels; kzoo prepares images with 1 or 3: give arrays instead"
            )

    def raw(self, data: Any) -> Any:
        return data.in_bytes(self.spec.numbers)

    def learning_from(self, data: Any) -> Images:
        return Images(replace(self.spec, numbers=data.info.numbers, ground=self._ground(data)))

    def _ground(self, data: Any) -> str:
        """What is around the ink in the first examples, where most are alike."""
        if self.spec.channels != 1:
            return ""
        some = data.train.take(LOOK_AT).ignore_errors().as_numpy_iterator()
        found = [int(grounds_of(np.asarray(x)[None])[0]) for x, *_ in some]
        alike = lambda kind: found.count(kind) > ALIKE * len(found)
        return "dark" if alike(-1) else "light" if alike(1) else ""

    def _odd(self, images: Any) -> int:
        """How many have a light ground where those learned from have a dark one, or the other way round."""
        other = {"dark": 1, "light": -1}.get(self.spec.ground)
        return int((grounds_of(np.asarray(images)) == other).sum()) if other else 0

    def _say(self, shapes: Iterable[tuple[int, int, int]], odd: int, count: int) -> None:
        """On stderr, what became of images of these shapes, and whether `odd` of them are unlike those learned from."""
        height, width, channels = (
            axis.pop() if len(axis) == 1 else None for axis in map(set, zip(*shapes, strict=True))
        )
        for change in self.spec.changes((height, width, channels or 3)):
            say(change)
        if odd:
            here = "light" if self.spec.ground == "dark" else "dark"
            say(
                f"{odd} of {count} images have a {here} ground, and it learned from a {self.spec.ground} one: likely"
                " the ink is inverted; give 255 - pixels"
            )

    def changes(self, element_spec: Any) -> list[str]:
        return self.spec.changes(tuple(element_spec[0].shape))

    def geometry(self, images: Any) -> tf.Tensor:
        """float32 [..., *size, channels], still in 0 to 255."""
        images = to_channels(tf.convert_to_tensor(images), self.spec.channels)
        if self.spec.crop is not None:
            images = self._middle(images)
        elif images.shape[-3:-1] != self.spec.size:
            images = self._resized(images, self.spec.size)
        return tf.ensure_shape(tf.cast(images, tf.float32), [*images.shape[:-3], *self.spec.size, self.spec.channels])

    def _resized(self, images: tf.Tensor, size: Any) -> tf.Tensor:
        # Bytes are given as they are: as floats a photograph of 90 million pixels would take a gigabyte.
        images = images if images.dtype == tf.uint8 else tf.cast(images, tf.float32)
        shape = images.shape[-3:-1]
        small = images.shape.rank == 4 and shape.is_fully_defined() and max(shape) <= SMALL
        if small and self.spec.interpolation == "bilinear" and not tf.is_tensor(size):
            return by_matrices(images, size)
        images = tf.cast(tf.image.resize(images, size, self.spec.interpolation, antialias=True), tf.float32)
        # Cubic kernels overshoot at edges; where images are kept as bytes, as in Pillow, that is cut off.
        return images if self.spec.interpolation == "bilinear" else tf.clip_by_value(images, 0.0, 255.0)

    def _middle(self, images: tf.Tensor) -> tf.Tensor:
        """The centre crop of torchvision's and timm's evaluation, to the pixel: sizes are cut to whole numbers, and
        half a pixel at the border is rounded to the even one.
        """
        images = _without_ends(images)
        shape = tf.shape(images)
        height, width = shape[-3], shape[-2]
        rows, columns = self.spec.cover
        wide = height * columns < width * rows  # of the two, the side that `cover` touches
        height, width = (
            tf.where(wide, rows, height * columns // width),
            tf.where(wide, width * rows // height, columns),
        )
        images = self._resized(images, tf.stack([height, width]))
        top, left = (
            tf.cast(tf.round(tf.cast(whole - part, tf.float32) / 2), tf.int32)
            for whole, part in zip((height, width), self.spec.size, strict=True)
        )
        return images[..., top : top + self.spec.size[0], left : left + self.spec.size[1], :]

    def normalise(self, images: tf.Tensor) -> tf.Tensor:
        if self.spec.pad:
            sides = [[self.spec.pad] * 2] * 2
            images = tf.pad(images, [*([[0, 0]] * (images.shape.rank - 3)), *sides, [0, 0]])
        if self.spec.order == "BGR":
            images = images[..., ::-1]
        spec = self.spec
        images = images if spec.scale == 1 else images * spec.scale
        images = images if not any(spec.mean) else images - spec.mean
        return images if set(spec.std) == {1.0} else images / spec.std

    def prepare(self, raw: Any) -> tf.Tensor:
        return self.normalise(self.geometry(raw))

    def pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Images as a network gives them, prepared as it reads them, back to uint8."""
        values = (tf.cast(images, tf.float32) * self.spec.std + self.spec.mean) / self.spec.scale
        return tf.cast(tf.round(tf.clip_by_value(values, 0.0, 255.0)), tf.uint8)

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        """Of paths of image files and folders, or of raw images, in one array or in several of different sizes."""
        given = list(given) if isinstance(given, Iterator) else given
        if are_paths(given):
            yield from self._of_files(image_paths(given), batch_size)
            return
        differ = isinstance(given, Sequence) and len(set(map(np.shape, given))) > 1
        raw = self._in_bytes(
            [as_images([one] if differ else one, name) for one in (given if differ else [given])], name
        )
        self._say({x.shape[1:] for x in raw}, sum(map(self._odd, raw)), sum(map(len, raw)))
        prepared = np.concatenate([self.prepare(x).numpy() for x in raw])
        for i in range(0, len(prepared), batch_size):
            part = prepared[i : i + batch_size]
            yield [str(k) for k in range(i, i + len(part))], part

    def _in_bytes(self, raw: list[np.ndarray], name: str) -> list[np.ndarray]:
        """Arrays of images in 0 to 255, by one decision for all, said on stderr."""
        numbers = numbers_of(map(range_of, raw), f"the images given to {name}", self.spec.numbers)
        if not numbers:
            return raw
        say(NUMBERS[numbers].said)
        return [np.asarray(NUMBERS[numbers].to_bytes(x)) for x in raw]

    def _of_files(self, paths: list[Path], size: int) -> Iterator[tuple[list[str], np.ndarray]]:
        """A batch at a time: a folder may hold more than fits in memory. What cannot be read is left out and named."""
        good, ways, wrong, large, shapes = [], [], [], False, set()
        with no_size_warnings():
            for path in paths:
                try:
                    seen = look_at(path)
                except Unreadable as error:
                    wrong.append((printable(str(path)), error))
                    continue
                good.append(path)
                ways.append(seen.way)
                shapes.add((*seen.size, 1 if seen.grey else 3))
                large |= seen.size[0] * seen.size[1] >= LARGE_PIXELS
        if len(paths) == 1 and wrong:
            kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
            raise KzooError(f"{wrong[0][0]!r} is no readable image ({kinds}): {wrong[0][1]}")
        for name, why in wrong:
            leave_out(name, why)
        read = reading(ways) if good else None
        sizes = {shape[:2] for shape in shapes}
        alike = len(sizes) == 1 and max(map(max, sizes)) <= SMALL  # as arrays are, a batch at once
        one = lambda place, path, way: (place, self.geometry(read(path, way)))
        if alike:
            one = lambda place, path, way: (place, tf.ensure_shape(read(path, way), [*next(iter(sizes)), 3]))
        rows = [np.arange(len(good)), np.array([os.fsencode(path) for path in good], object), np.array(ways, "int32")]
        answered, odd, batches = 0, 0, []
        if good:
            data = tf.data.Dataset.from_tensor_slices(tuple(rows))
            at_once = 1 if large else AT_ONCE
            batches = untuned(data.map(one, num_parallel_calls=at_once).ignore_errors().batch(size).prefetch(2))
        next_place = 0
        for read_now, images in batches:
            places = read_now.numpy().tolist()  # a tensor's numbers one by one take 0.2 ms each
            for place in sorted(set(range(next_place, places[-1] + 1)) - set(places)):
                leave_out(printable(str(good[place])), "corrupt image")
            next_place, answered = places[-1] + 1, answered + len(places)
            images = self.geometry(images) if alike else images
            odd += self._odd(images)
            yield [printable(str(good[place])) for place in places], self.normalise(images).numpy()
        for place in range(next_place, len(good)):
            leave_out(printable(str(good[place])), "corrupt image")
        if not answered:
            raise KzooError(f"none of the {len(paths)} images can be read; the reasons are above")
        self._say(shapes, odd, answered)

    def served(self) -> Served:
        """Decode and resize one by one, then the whole batch. In a graph only a data set goes on after an error, at a
        millisecond an image: so all are tried at once first, and each by itself only where that fails.
        """
        image, known = tf.TensorSpec(self.image_shape), tf.TensorSpec([], tf.bool)
        only = tf.data.Dataset.from_tensors
        one = lambda content: self.geometry(decode_image(bounded(content)))

        def one_or_none(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            read = only(content).map(lambda content: (one(content), True)).ignore_errors()
            return read.concatenate(only((tf.zeros(image.shape), False))).take(1).get_single_element()

        def prepare(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            all_of = lambda rows: (tf.map_fn(one, rows, fn_output_signature=image), tf.fill([tf.size(rows)], True))
            each_of = lambda rows: tf.map_fn(one_or_none, rows, fn_output_signature=(image, known))
            batch = only(contents)
            read = batch.map(all_of).ignore_errors().concatenate(batch.map(each_of)).take(1)
            images, valid = untuned(read).get_single_element()
            return self.normalise(images), valid

        takes = tf.TensorSpec([None], tf.string, name="bytes")
        return Served("serve_bytes", takes, prepare, notes=(SERVED,))

    def shown(self, x: Any, titles: Sequence[str], name: str, title: str) -> list[Shown]:
        images = np.asarray(x)[: pictures.SHOWN]
        size = f"{images.shape[1]}x{images.shape[2]}"
        draw = lambda path: pictures.image_grid(images, titles, path, f"{title}, {size}")
        return [Picture(f"{name}.png", draw)]

    def shown_raw(
        self, raw: Callable[[], Sequence[Any]], said: Sequence[tuple[str, str, float]], name: str, title: str
    ) -> list[Shown]:
        return [Picture(f"{name}.png", lambda path: pictures.judged(raw(), said, path, title))]

    def sketch(self, x: Any) -> Any:
        return pictures.small(np.asarray(x))


def as_images(given: Any, name: str) -> np.ndarray:
    """An array of raw images [n, height, width, channels]; grey ones may lack their channel.

    Raises:
        KzooError: It is none.
    """
    if isinstance(given, dict):
        raise KzooError(f"{name} must have one input to be predicted on; received a dict")
    raw = np.asarray(given)
    if raw.ndim and not len(raw):
        raise KzooError(f"no images given to {name}; give at least one")
    if raw.ndim == 3 and raw.shape[-1] not in (1, 3, 4):
        raw = raw[..., None]
    if raw.dtype.kind not in "uifb" or raw.ndim != 4 or not len(raw) or raw.shape[-1] not in (1, 3, 4):
        raise KzooError(
            f"{name} takes an array of examples [n, height, width, channels]; received {raw.dtype} {list(raw.shape)}"
        )
    return raw


def image_paths(inputs: Any) -> list[Path]:
    """The files, and the images in folders and what lies in them; of patterns (`photos/*.jpg`) those that fit; of a
    .txt file those that it names, a line each, and of `-` those that stdin names.

    Raises:
        KzooError: No such file, or no images in a folder.
    """
    found: list[Path] = []
    for item in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        path = Path(item)
        if str(item) == "-":
            found += _named_in(sys.stdin.read(), Path(), "stdin")
        elif path.is_dir():
            found += _in_folder(path)
        elif path.is_file() and path.suffix.lower() == ".txt":
            found += _named_in(path.read_text(encoding="utf-8-sig", errors="surrogateescape"), path.parent, str(path))
        elif path.is_file():
            found.append(path)
        elif glob.has_magic(str(item)):
            fits = sorted(Path(name) for name in glob.glob(str(item), recursive=True))
            found += [name for name in fits if name.is_file() and not is_hidden(name.name)]
            if not fits:
                raise KzooError(f"no file fits {str(item)!r}")
        else:
            raise KzooError(f"no file {str(path)!r}")
    return found


def _in_folder(folder: Path) -> list[Path]:
    files = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        files += [Path(here, name) for name in sorted(names) if not is_hidden(name)]
    inside = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not inside:
        raise KzooError(f"no images in the folder {str(folder)!r}; looked for {', '.join(IMAGE_SUFFIXES)}")
    if others := len(files) - len(inside):
        say(f"{folder}: {others} file{'s' * (others > 1)} that are no images left out")
    if deeper := sum(path.parent != folder for path in inside):
        say(f"{folder}: {deeper:,} of {len(inside):,} images lie in folders inside it")
    return inside


def _named_in(text: str, folder: Path, where: str) -> list[Path]:
    """Paths, a line each, from where the list lies or from here."""
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise KzooError(f"{where} names no files; give a path a line")
    return [folder / name if (folder / name).exists() else Path(name) for name in names]


def _without_ends(images: tf.Tensor) -> tf.Tensor:
    """The middle of a strip: what a centre crop would cut off is not enlarged first, which of 10,000x4 takes 2 GB."""
    shape = tf.shape(images)
    for axis, sides in ((-3, (shape[-3], shape[-2])), (-2, (shape[-2], shape[-3]))):
        kept = tf.minimum(sides[0], STRIP * sides[1])
        first = (sides[0] - kept) // 2
        images = images[..., first : first + kept, :, :] if axis == -3 else images[..., first : first + kept, :]
    return images


def by_matrices(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """[batch, height, width, channels] to float32 [batch, *size, channels], by antialiased bilinear resizing: two
    products, of small images three times as fast as TensorFlow's operation.
    """
    _, height, width, channels = images.shape
    down = tf.constant(_triangles(height, size[0]))
    across = tf.constant(np.kron(_triangles(width, size[1]).T, np.eye(channels, dtype="float32")))
    rows = tf.reshape(tf.cast(images, tf.float32), [-1, height, width * channels])
    rows = tf.reshape(tf.matmul(down, rows), [-1, width * channels])
    return tf.reshape(tf.matmul(rows, across), [-1, *size, channels])


def _triangles(before: int, after: int) -> np.ndarray:
    """float32 [after, before]: of each new pixel the shares of the old ones, by their distance from its centre."""
    one, half = np.float32(1), np.float32(0.5)  # the operation's own arithmetic, and so its weights
    scale = one / (np.float32(after) / np.float32(before))
    centre = (np.arange(after, dtype="float32")[:, None] + half) * scale
    near = one / max(scale, one)
    share = np.maximum(0, one - np.abs((np.arange(before, dtype="float32") + half - centre) * near))
    return share * (one / share.sum(axis=1, keepdims=True))


def to_channels(images: tf.Tensor, channels: int) -> tf.Tensor:
    """Grey to RGB by repeating, RGB to grey by luma (rounded where the image is uint8); transparent ones on white."""
    if images.shape[-1] == channels:
        return images
    if channels not in (1, 3):
        raise KzooError(f"the network reads {channels} channels; images of {images.shape[-1]} cannot be made into them")
    if images.shape[-1] == 4:
        images = by_rows(on_white, images, 3)
    if images.shape[-1] == channels:
        return images
    return tf.repeat(images, 3, axis=-1) if channels == 3 else by_rows(_to_grey, images, 1)


def _to_grey(images: tf.Tensor) -> tf.Tensor:
    grey = tf.reduce_sum(tf.cast(images, tf.float32) * LUMA, axis=-1, keepdims=True)
    return tf.cast(tf.round(grey), images.dtype) if images.dtype == tf.uint8 else grey


READER = Images

"""A preprocessing as what carries it out, and the one decoder of images: the same in data, predict and export."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.spec import (
    AnyPreprocess,
    NoisePreprocess,
    PairPreprocess,
    Preprocess,
    TextPreprocess,
    preprocess_config,
    preprocess_from_config,
)
from kzoo.text import PairLayer, TextLayer

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
# ITU-R BT.601 luma, as Pillow converts to "L"; the weights sum to one, so that a grey RGB image keeps its values.
LUMA = (0.299, 0.587, 0.114)


@keras.saving.register_keras_serializable("kzoo")
class PreprocessLayer(keras.layers.Layer):
    """Raw images to the network's input, by the values of a Preprocess.

    `call` takes uint8 or float images in 0 to 255, [..., height, width, 1, 3 or 4 channels], one image or a batch,
    and gives float32 [..., *spec.output_shape]. It is `normalise(geometry(images))`; augmentation goes between
    the two, on pixel values.
    """

    unit = "images"  # what is counted a second

    def __init__(self, spec: Preprocess | dict[str, Any], **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"  # under every policy: pixels are prepared in full precision
        super().__init__(trainable=False, **{k: v for k, v in kwargs.items() if k != "trainable"})
        self.spec = spec if isinstance(spec, Preprocess) else preprocess_from_config(spec)

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
        images = tf.cast(tf.image.resize(images, size, self.spec.interpolation, antialias=True), tf.float32)
        # Cubic kernels overshoot at edges; where images are kept as bytes, as in Pillow, that is cut off.
        return images if self.spec.interpolation == "bilinear" else tf.clip_by_value(images, 0.0, 255.0)

    def _middle(self, images: tf.Tensor) -> tf.Tensor:
        """The centre crop of torchvision's and timm's evaluation, to the pixel: sizes are cut to whole numbers, and
        half a pixel at the border is rounded to the even one.
        """
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
        return (images * self.spec.scale - self.spec.mean) / self.spec.std

    def call(self, images: Any) -> tf.Tensor:
        return self.normalise(self.geometry(images))

    def batch(self, images: tf.Tensor, rest: tuple[Any, ...], draw: Any) -> tuple[Any, ...]:
        """What a network trains on, of finished images and what came with them."""
        return (images, *rest)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "spec": preprocess_config(self.spec)}


class NoiseLayer:
    """For networks that make images of noise: real images prepared by `images`, and noise in the place of labels."""

    unit = "images"

    def __init__(self, spec: NoisePreprocess) -> None:
        self.spec, self.images = spec, PreprocessLayer(spec.image)
        self.geometry, self.normalise = self.images.geometry, self.images.normalise

    def batch(self, images: tf.Tensor, rest: tuple[Any, ...], draw: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(images, float32 [n, 2, noise]): a vector for each of the two players, the same on whichever replica."""
        return images, draw.uniform(tf.shape(images)[0], [2, self.spec.noise])


def layer_of(spec: AnyPreprocess | None) -> Any:
    """What carries `spec` out: PreprocessLayer, NoiseLayer, TextLayer or PairLayer; None for None."""
    kinds = {
        Preprocess: PreprocessLayer, NoisePreprocess: NoiseLayer, TextPreprocess: TextLayer, PairPreprocess: PairLayer,
    }  # fmt: skip
    return None if spec is None else kinds[type(spec)](spec)


def to_channels(images: tf.Tensor, channels: int) -> tf.Tensor:
    """Grey to RGB by repeating, RGB to grey by luma (rounded where the image is uint8); alpha is dropped."""
    if images.shape[-1] == channels:
        return images
    if channels not in (1, 3):
        raise KzooError(f"the network reads {channels} channels; images of {images.shape[-1]} cannot be made into them")
    if images.shape[-1] == 4:
        images = images[..., :3]
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return tf.repeat(images, 3, axis=-1)
    grey = tf.reduce_sum(tf.cast(images, tf.float32) * LUMA, axis=-1, keepdims=True)
    return tf.cast(tf.round(grey), images.dtype) if images.dtype == tf.uint8 else grey


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """One encoded image (string scalar; PNG, JPEG, GIF, BMP or WebP) to uint8 [height, width, 3].

    Always three channels: with `channels=0` TensorFlow 2.21 corrupts the heap on an animated WebP.
    """
    image = tf.io.decode_image(contents, channels=3, expand_animations=False)
    return tf.ensure_shape(image, [None, None, 3])

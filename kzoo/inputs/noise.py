"""For networks that make images of noise: the real images that they learn from, and the noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kzoo.errors import KzooError
from kzoo.inputs.augment import AUGMENTATIONS
from kzoo.inputs.image import Images
from kzoo.inputs.reader import Reader
from kzoo.records import NoiseInputs, Whole


class Noise(Reader):
    """Real images prepared by `images`; answers are made of noise, which is drawn or given."""

    unit, reads, as_given = "images", "images", False
    augmentations = tuple(AUGMENTATIONS)

    def __init__(self, spec: NoiseInputs) -> None:
        super().__init__(spec)
        self.images = Images(spec.image)
        self.geometry, self.normalise, self.prepare = self.images.geometry, self.images.normalise, self.images.prepare
        self.image_shape = self.images.image_shape

    def raw(self, data: Any) -> Any:
        return self.images.raw(data)

    def learning_from(self, data: Any) -> Noise:
        return Noise(replace(self.spec, image=self.images.learning_from(data).spec))

    def check(self, name: str, data: Any) -> None:
        self.images.check(name, data)

    def check_fed(self, name: str, data: Any) -> None:
        raise KzooError(
            f"{name} learns from images and noise that kzoo draws; give kzoo.Data((images,)), a name or a"
            " folder, not bare arrays"
        )

    def changes(self, element_spec: Any) -> list[str]:
        return self.images.changes(element_spec)

    def shown(self, *args: Any, **options: Any) -> Any:
        return self.images.shown(*args, **options)

    def noise(self, count: int, seed: int) -> np.ndarray:
        """float32 [count, noise], uniform in -1 to 1."""
        return np.random.default_rng(seed).uniform(-1, 1, (count, self.spec.noise)).astype("float32")

    def checked(self, given: Any, name: str, count: int, seed: int) -> np.ndarray:
        """The noise that images are made of: what is given, or so much of it by a seed."""
        if given is None:
            return self.noise(Whole().check("count", count), Whole(0).check("seed", seed))
        noise = np.asarray(given)
        if noise.dtype.kind not in "uif" or noise.ndim != 2 or noise.shape[1] != self.spec.noise or not len(noise):
            raise KzooError(
                f"{name} makes images out of noise [n, {self.spec.noise}], or of count and seed; received {noise.dtype}"
                f" {list(noise.shape)}"
            )
        return noise.astype("float32")


READER = Noise

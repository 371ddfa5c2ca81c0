"""What two players think of a split: the discriminator of its images and of made ones, the generator of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from kzoo.data._sequences import batches_of
from kzoo.errors import KzooError
from kzoo.models._players import Players
from kzoo.preprocess import layer_of
from kzoo.runs._load import Loaded
from kzoo.training.adversarial import Adversarial
from kzoo.training.losses import Share
from kzoo.training.step import compiled


@dataclass(frozen=True)
class PlayersEvaluation:
    """Means over a split.

    Attributes:
        real, fake: Probability of being real that the discriminator gives to the split's images and to made ones. A
            generator that cannot be told from the data has both at one half.
    """

    name: str
    data: str
    split: str
    examples: int
    generator_loss: float
    discriminator_loss: float
    real: float
    fake: float
    notes: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    def to_config(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __str__(self) -> str:
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} images",
            f"generator      loss {self.generator_loss:.4f}",
            f"discriminator  loss {self.discriminator_loss:.4f}",
            f"real           {self.real:.4f} (probability of being real that it gives to the split's images)",
            f"fake           {self.fake:.4f} (and to as many made ones)",
        ]
        return "\n".join([*lines, *(f"note           {note}" for note in self.notes)])


def evaluate_players(loaded: Loaded, data: Any, split: str, *, batch_size: int, **_: Any) -> PlayersEvaluation:
    if not isinstance(loaded.model, Players):
        raise KzooError(f"{loaded.name} is a generator without its discriminator; evaluate its run")
    layer, examples = layer_of(loaded.preprocess), data[split]
    if not isinstance(examples.element_spec[0], tf.TensorSpec) or examples.element_spec[0].shape.rank != 3:
        raise KzooError(f"{loaded.name} learns from images; {data.info.name} has none")
    batches, objective = batches_of(examples, batch_size, layer), Adversarial(loaded.model)
    test = compiled(lambda batch: objective.test(batch, Share.whole(batch)))
    objective.reset()
    for batch in batches.epoch(0):
        test(batch)
    count = int(objective.means["real"].count)
    if not count:
        raise KzooError("the split is empty")
    notes = (*data.info.notes, *loaded.preprocess.changes(tuple(examples.element_spec[0].shape)))
    return PlayersEvaluation(loaded.name, data.info.name, split, count, **objective.results(), notes=notes)

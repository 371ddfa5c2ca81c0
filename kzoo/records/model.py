"""What a model is: a row of its family's table, how it is trained by default, what a built one carries along."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kzoo.records.inputs import Inputs
from kzoo.records.weights import ForeignTable, KerasNames, TorchNames

STYLES = ("sequential", "functional", "subclass")
# Arguments of keras.applications' builders that a `define` may take.
COMMON = ("include_top", "pooling", "classes", "classifier_activation")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained when the caller does not say otherwise; `source` says where the choice comes from.

    `loss_weights` is for models with several outputs, by name: each is trained on the same labels by the same loss, and
    the first one is measured. Where each has labels of its own, `loss` and `metrics` are by name.
    """

    loss: str | Mapping[str, str]
    metrics: tuple[str, ...] | Mapping[str, tuple[str, ...]]
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    batch_size: int = 32
    epochs: int = 10
    label_smoothing: float = 0.0
    warmup: int | None = None
    loss_weights: Mapping[str, float] | None = None
    source: str = "the model's recipe"

    def describe(self) -> str:
        """In a line, as a card has it."""
        smoothed = f", labels smoothed by {self.label_smoothing:g}" if self.label_smoothing else ""
        warmed = f", {self.warmup:,} steps of warm-up" if self.warmup else ""
        loss = self.loss if isinstance(self.loss, str) else ", ".join(f"{k}: {v}" for k, v in self.loss.items())
        return (
            f"{loss}{smoothed}; {self.optimizer}, learning rate {self.learning_rate:g}, {self.schedule}{warmed};"
            f" batch {self.batch_size}; {self.epochs} epochs ({self.source})"
        )


@dataclass(frozen=True)
class ModelSpec:
    """One variant: a row of its family's table.

    Attributes:
        name: The public name (`lenet5`).
        family: The file it lives in (`lenet`).
        task: The name of its task (`image-classification`).
        definition: The Definition subclass; its `define(**config)` gives the stages.
        input_shape: Without the batch; of several inputs {name: shape}. Default of the builder's argument of that name.
        config: Arguments of `define` that make this variant.
        classes: Units of the output layer; 0 where there are no classes. Fixed when `fixed_classes`, as the input is
            when `fixed_input`.
        head: Name of the last layer; what it reads are the model's features.
        paper: Authors, year, title and link.
        inputs, targets: From a raw example to what the network reads, and to what it learns to give; None where they
            are taken as they are.
        minimum: Smallest height and width of an image that the network can read.
        torch_names, keras_names, foreign: How others name its weights; None where nobody has any.
        becomes: The row that `fine_tune` makes of this one, with what lies below the heads.
        other_heads: Layers of the rows that become this one, which it does not have.
        hidden: Left out of `list_models` unless asked for.
    """

    name: str
    family: str
    task: str
    definition: type
    input_shape: tuple[int | None, ...] | Mapping[str, tuple[int | None, ...]]
    recipe: Recipe
    paper: str
    summary: str
    classes: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    fixed_classes: bool = False
    fixed_input: bool = False
    classifier_activation: str | None = "softmax"
    input_name: str = "image"
    input_dtype: str = "float32"
    head: str = "output"
    inputs: Inputs | None = None
    targets: Inputs | None = None
    minimum: int = 1
    torch_names: TorchNames | None = None
    foreign: ForeignTable | None = None
    keras_names: KerasNames | None = None
    becomes: str = ""
    other_heads: tuple[str, ...] = ()
    hidden: bool = False

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What `define` takes."""
        return inspect.signature(self.definition.define).parameters

    @property
    def overrides(self) -> list[str]:
        """The names of `define`'s arguments beyond keras.applications' own."""
        known = (*COMMON, "image_shape")  # of a generator, its input_shape
        return [name for name in self.parameters if name not in known]


@dataclass(frozen=True)
class ModelInfo:
    """What a built model carries along: which variant, how it was built, how its examples are prepared, its labels."""

    spec: ModelSpec
    style: str
    arguments: Mapping[str, Any]
    inputs: Inputs | None = None
    targets: Inputs | None = None
    labels: tuple[str, ...] | None = None

    @property
    def model(self) -> str:
        return self.spec.name

    @property
    def task(self) -> str:
        return self.spec.task

    @property
    def config(self) -> dict[str, Any]:
        """What the model's `define` was called with."""
        accepted = self.spec.parameters
        return {**self.spec.config, **{k: v for k, v in self.arguments.items() if k in accepted}}

    @property
    def settings(self) -> dict[str, Any]:
        """`config` with the defaults of `define`, and the builder's own arguments."""
        defaults = {name: p.default for name, p in self.spec.parameters.items()}
        return {**defaults, **self.spec.config, **self.arguments}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs of a model that was built with auxiliary ones, the one that stays first; () of any
        other.

        Each learns from the same labels, with the recipe's weight.
        """
        if not self.arguments.get("aux") or not self.arguments.get("include_top", True):
            return ()
        return tuple(self.spec.recipe.loss_weights or ())

    def misfit(self, inputs: Inputs) -> tuple[str, Any, Any] | None:
        """(argument, what the model was built with, what the inputs need) of the first that a vocabulary does not fit:
        one that must be equal, or an entry more than there is room for; None where all do.
        """
        settings = self.settings
        for name, value in inputs.arguments.items():
            if name in settings and (settings[name] != value if name in inputs.equal else value > settings[name]):
                return name, settings[name], value
        return None

    @property
    def has_head(self) -> bool:
        return self.arguments.get("include_top", True)

    def to_config(self) -> dict[str, Any]:
        """Without inputs and targets, which runs and exports keep beside it."""
        labels = list(self.labels) if self.labels is not None else None
        own = {"style": self.style, "arguments": dict(self.arguments), "labels": labels}
        return {"model": self.model, "family": self.spec.family, "task": self.task, **own}

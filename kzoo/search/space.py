"""What of a recipe is tried: the space of hyperparameters, declared in one place, as a keras-tuner HyperModel.

The default of every hyperparameter is the recipe's value, so that the default of the space is the default recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from kzoo.data import Data
from kzoo.engine import Choices, compile_supervised, optimizer_of, set_trainable
from kzoo.errors import KzooError, unknown
from kzoo.finetuning import blank, default_batch_size, fill, fine_tune, groups_of, origin_of, stages_of
from kzoo.models import attach_info, model_info
from kzoo.records import VERBS, DataOptions, FineTuning, ModelSpec, Searched, takes
from kzoo.runs import Run, RunFolder
from kzoo.tasks import find_task
from kzoo.verbs import built, data_of, fit, holds_of
from kzoo.zoo import create_model, model_spec

DECADE = 10.0  # the learning rate goes from a tenth to ten times the recipe's
RATES_OF_DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
# Of the recipe's own kind: one range of learning rates does not fit both.
ADAPTIVE = ("adam", "adamw:weight_decay=0.01", "nadam")
MOMENTUM = ("sgd:momentum=0.9", "sgd:momentum=0.9,nesterov=true", "sgd:momentum=0.9,weight_decay=0.0005")
# What leaves a label true. A digit that is mirrored is none; of photographs the mirror image is as good.
GREY = ("none", "shift")
COLOUR = ("none", "flip", "crop-flip")
SEARCHED = ("learning_rate", "batch_size", "optimizer", "dropout", "augment")
SEARCHED_IN_TRANSFER = ("learning_rate", "batch_size", "depth", "dropout", "augment")


class ZooHyperModel(keras_tuner.HyperModel):
    """A model of kzoo, its data and the space of recipes. Made by `hypermodel`.

    Attributes:
        spec: Of the model.
        data: The data that trials learn from.
        info: How the model is built.
        fixed: Hyperparameters that are not searched, by name.
        weights: What is fine-tuned; None where models learn from the beginning.
        depth: Groups of layers below the head, that fine-tuning can thaw.
    """

    def __init__(
        self, spec: ModelSpec, data: Data, model: keras.Model, fixed: Mapping[str, Any], weights: str | None = None
    ) -> None:
        super().__init__(name=spec.name)
        self.spec, self.data, self.info, self.fixed = spec, data, model_info(model), dict(fixed)
        self.task, self.weights, self.arguments, self.depth = find_task(spec.task), weights, {}, 0
        self.rate, self.batch_size, self.epochs = spec.recipe.learning_rate, spec.recipe.batch_size, spec.recipe.epochs
        if weights is not None:
            groups = groups_of(model)
            self.depth = next((k for k, g in enumerate(groups) if spec.head in g.layers), len(groups) - 1)
            tuned = FineTuning()
            self.rate, self.batch_size, self.epochs = tuned.learning_rate, default_batch_size(model, data), tuned.epochs

    # --- the space ------------------------------------------------------------------------------------------------

    def values(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """Declare the space on `hp`; returns the values that it has there: {name: value}."""
        recipe, rate, batch = self.spec.recipe, self.rate, self.batch_size
        found = {}

        def searched(name: str, declare: Any) -> None:
            found[name] = hp.Fixed(name, self.fixed[name]) if name in self.fixed else declare()

        searched(
            "learning_rate",
            lambda: hp.Float("learning_rate", rate / DECADE, rate * DECADE, sampling="log", default=rate),
        )
        examples = self.data.info.counts.get("train", 0)
        sizes = [n for n in (batch // 2, batch, batch * 2) if n == batch or (n > 1 and (examples < 0 or n <= examples))]
        searched("batch_size", lambda: hp.Choice("batch_size", sizes, default=batch))
        if self.weights is not None:
            searched("depth", lambda: hp.Choice("depth", list(range(self.depth + 1)), default=self.depth))
        elif not recipe.warmup or "optimizer" in self.fixed:  # a warm-up belongs to the optimizer that it was found for
            searched("optimizer", lambda: hp.Choice("optimizer", self._optimizers(), default=recipe.optimizer))
        if "dropout" in self.spec.parameters:
            default = float(self.info.settings["dropout"])
            searched("dropout", lambda: hp.Choice("dropout", sorted({*RATES_OF_DROPOUT, default}), default=default))
        kinds = self._augmentations()
        if len(kinds) > 1:
            searched("augment", lambda: hp.Choice("augment", kinds, default="none"))
        return found

    def _optimizers(self) -> list[str]:
        own = self.spec.recipe.optimizer
        kind = own.partition(":")[0].lower()
        others = ADAPTIVE if kind in ("adam", "adamw", "nadam") else MOMENTUM if kind == "sgd" else ()
        return list(dict.fromkeys([own, *others]))

    def _augmentations(self) -> tuple[str, ...]:
        shape = getattr(self.data.train.element_spec[0], "shape", None)
        if not self.task.augments(self.info) or shape is None or shape.rank != 3:
            return ("none",)
        return GREY if shape[-1] == 1 else COLOUR

    # --- a model and how it is trained ----------------------------------------------------------------------------

    def make(self, values: Mapping[str, Any]) -> keras.Model:
        """The model with those values, not compiled; its weights come from Keras' seed."""
        own = {name: values[name] for name in ("dropout",) if name in values}
        model = create_model(self.info.model, self.info.style, **{**self.info.arguments, **own})
        made = model_info(model)
        if made.inputs is None:
            return model
        return attach_info(model, replace(made, inputs=made.inputs.adopted(self.info.inputs)))  # with its vocabulary

    def recipe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of `fit` for those values. Of the recipe's optimizer, schedule and warm-up are the recipe's."""
        options: dict[str, Any] = {
            "learning_rate": float(values["learning_rate"]), "batch_size": int(values["batch_size"])
        }  # fmt: skip
        if values.get("augment", "none") != "none":
            options["augment"] = values["augment"].split(",")
        if values.get("optimizer", self.spec.recipe.optimizer) != self.spec.recipe.optimizer:
            options |= {"optimizer": values["optimizer"], "schedule": self.spec.recipe.schedule}
        return options

    def train(self, values: Mapping[str, Any], *, seed: int, **options: Any) -> Run:
        """A run of kzoo's own engine with those values; of the default ones as `kzoo.fit` by the model's name.

        With weights as `kzoo.fine_tune`, whose `epochs` are those of each stage, on data without its test split: it
        says how good the model is on test, which no trial is to see.
        """
        if self.weights is not None:
            own = {k: values[k] for k in ("dropout",) if k in values} | self.arguments
            seen = Data(self.data.train, self.data.validation, info=self.data.info)
            return fine_tune(
                self.spec.name, seen, weights=self.weights, style=self.info.style, seed=seed, set=own or None,
                depth=int(values["depth"]), head_epochs=options["epochs"], **{**self.recipe(values), **options},
            )  # fmt: skip
        keras.utils.set_random_seed(seed)
        return fit(self.make(values), self.data, seed=seed, **{**self.recipe(values), **options})

    @property
    def verb(self) -> str:
        """By which a trial trains."""
        return "fit" if self.weights is None else "fine_tune"

    def go_on(self, path: Path, **options: Any) -> Run:
        """A run that was cut off, or that goes on for more epochs."""
        if self.weights is not None:
            seen = Data(self.data.train, self.data.validation, info=self.data.info)
            return fine_tune(data=seen, resume=path, verbose=options["verbose"])
        return fit(data=self.data, resume=path, **options)

    def scores(self, run: Run) -> dict[str, float]:
        """Of the weights that the run's model has: after the last epoch; after the best one where it is fine-tuned."""
        if self.weights is None:
            return {name: values[-1] for name, values in run.history.items()}
        return max(RunFolder(run.path).read_metrics(), key=self.task.score.rank)

    # --- what keras-tuner calls -----------------------------------------------------------------------------------

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        self.values(hp)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled model of `hp`, at a constant learning rate; to be fine-tuned, frozen below its depth."""
        values = self.values(hp)
        if self.weights is None:
            model = self.make(values)
        else:
            own = {k: values[k] for k in ("dropout",) if k in values} | self.arguments
            origin = origin_of(self.spec.name, self.weights)
            model = blank(origin, self.data, self.info.style, None, own)
            report = fill(origin, model, self.data)
            stages = stages_of(
                model, report.reinitialised, depth=int(values["depth"]), head_epochs=1, epochs=1,
                decay=FineTuning().decay, batch_norm="frozen",
            )  # fmt: skip
            set_trainable(model, stages[-1].frozen)
        recipe = self.recipe(values)
        compile_supervised(
            model,
            Choices(optimizer=recipe.get("optimizer"), learning_rate=recipe["learning_rate"], schedule="constant"),
        )
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Of a tuner of keras-tuner's own: `search(epochs=3)` trains by kzoo, on this data, a run in `runs/` each.

        `search(x, y, …)` trains by `Model.fit` on what it is given, at the batch size of `hp`; nothing is augmented.
        """
        values = self.values(hp)
        if args or "x" in kwargs:
            return model.fit(*args, **{"batch_size": int(values["batch_size"]), **kwargs})
        options = {k: v for k, v in self.recipe(values).items() if k in ("batch_size", "augment")}
        if self.spec.recipe.schedule == "cosine" or self.weights is not None:
            options |= {"learning_rate": float(values["learning_rate"]), "schedule": "cosine"}
        kwargs["verbose"] = kwargs.get("verbose") not in (0, False)
        run = fit(model, self.data, **{**options, **kwargs})
        return {name: values[-1] for name, values in run.history.items()}


@takes(*VERBS["hypermodel"])
def hypermodel(name: str, data: Any, **given: Any) -> ZooHyperModel:
    """A keras-tuner HyperModel of one of kzoo's models, around its recipe.

    Searched are the learning rate (log-uniform, from a tenth to ten times the recipe's), the batch size (half, once and
    twice the recipe's), the optimizer (of the recipe's kind, for one range of rates fits only one kind; not where the
    recipe has a warm-up), the dropout where the model has some, and of images the augmentation: none or `shift` of grey
    ones, none, `flip` or `crop-flip` of coloured ones. The default of each is the recipe's. What is given here is not
    searched.

    With `weights` models are fine-tuned, and the default is `kzoo.fine_tune`'s: how many groups of layers are thawed
    (`depth`) is searched in the optimizer's place.

    Args:
        name: A name from `list_models`, or `"resnet20@cifar10"`: with these weights.
        data: Data, or what `load_data` takes; with a validation split, by which trials are scored.

    Returns:
        ZooHyperModel, for `kzoo.tune` or for any tuner of keras-tuner.

    Raises:
        KzooError: An unknown name, or data without a validation split.

    >>> space = hypermodel("lenet5", "digits", batch_size=64)
    >>> import keras_tuner
    >>> space.values(keras_tuner.HyperParameters())
    {'learning_rate': 0.003, 'batch_size': 64, 'optimizer': 'adam', 'augment': 'none'}
    """
    options, reading = Searched.of(given), DataOptions.of(given)
    return space_of(name, data, options, reading)


def space_of(name: Any, data: Any, options: Searched, reading: DataOptions) -> ZooHyperModel:
    """See `hypermodel`."""
    if not isinstance(name, str):
        raise KzooError(f"a space is that of a name from kzoo list; received {type(name).__name__}")
    name, _, tag = name.partition("@")
    if tag and options.weights is not None:
        raise KzooError(f"{name}@{tag} names its weights already; leave weights={options.weights!r} out")
    weights, spec = tag or options.weights, model_spec(name)
    task = find_task(spec.task)
    if task.score is None:
        raise KzooError(f"the losses of {name}'s networks do not say which is better; it cannot be tuned")
    fixed = _fixed(name, options, weights, spec)
    data, fed = data_of(data, reading, holds_of(name))
    if fed or data.validation is None:
        raise KzooError(
            f"trials are scored on a validation split, and {data.info.name} has none; give kzoo.Data(train, validation)"
            " or what load_data takes"
        )
    if weights is not None:
        origin_of(name, weights)  # refuses what cannot be fine-tuned; nothing is fetched
        if not data.info.classes:
            raise KzooError(f"a head is made for the classes of the data, and {data.info.name} names none")
    default = built(name, options.style or "functional", {}, data, "")
    task.check(default, data)
    found = ZooHyperModel(spec, data, default, fixed, weights)
    info, found.arguments = found.info, dict(options.set or {})
    found.info = replace(info, arguments={**info.arguments, **found.arguments})
    depth = fixed.get("depth", 0)
    if depth > found.depth:
        raise KzooError(f"depth={depth}, but {name} has {found.depth} groups of layers below its head")
    if fixed.get("augment", "none") != "none" and not task.augments(info):
        raise KzooError(f"augment={fixed['augment']!r} needs images; {data.info.name} has none")
    if found.arguments or "dropout" in fixed:
        found.make(fixed)  # what does not hold shows now, not in every trial
    return found


def _fixed(name: str, options: Searched, weights: str | None, spec: ModelSpec) -> dict[str, Any]:
    """{hyperparameter that is not searched: its value, as keras-tuner holds it}."""
    searched = SEARCHED if weights is None else SEARCHED_IN_TRANSFER
    fixed = {key: getattr(options, key) for key in {*SEARCHED, *SEARCHED_IN_TRANSFER}}
    fixed = {key: value for key, value in fixed.items() if value is not None}
    allowed = [key for key in searched if key != "dropout" or "dropout" in spec.parameters]
    for key in fixed:
        if key not in allowed:
            raise unknown(f"hyperparameter of {name}", key, allowed)
    if "optimizer" in fixed:
        if "learning_rate=" in fixed["optimizer"]:
            raise KzooError(f"optimizer={fixed['optimizer']!r} sets the learning rate; give it as learning_rate=…")
        optimizer_of(fixed["optimizer"])
    if "augment" in fixed:
        fixed["augment"] = ",".join(n for n in fixed["augment"] if n != "none") or "none"
    return {key: fixed[key] for key in searched if key in fixed}

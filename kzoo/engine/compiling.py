"""Loss, optimizer and metrics of a network: from the arguments, else from its own `compile`, else from the recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kzoo.engine.optimizers import optimizer_of, optimizer_settings, skip_biases_and_norms
from kzoo.engine.schedules import Schedule, current_rate, follows_schedule, inner, set_schedule
from kzoo.engine.tokens import TokenAccuracy, TokenCrossentropy
from kzoo.errors import KzooError, unknown
from kzoo.keras_internals import COMPILED, compile_arguments, rate_of
from kzoo.models import model_info
from kzoo.records import ModelInfo, Recipe

KEPT = ("loss_weights", "weighted_metrics", "jit_compile")  # of a model that is compiled anew
METRICS = {"token_accuracy": TokenAccuracy}  # beside Keras' own


@dataclass(frozen=True)
class Choices:
    """What is given to train with; None where nothing is.

    Attributes:
        steps: Of the whole run, where that is known.
        rate_setter: The name of a callback that sets the learning rate: the recipe's schedule gives way to it, one that
            was asked for is refused.
        resumed: A schedule goes on where it was begun.
    """

    loss: Any = None
    optimizer: Any = None
    metrics: Any = None
    learning_rate: float | None = None
    schedule: str | None = None
    warmup: int | None = None
    steps: int | None = None
    rate_setter: str | None = None
    resumed: bool = False


@dataclass(frozen=True)
class Compiled:
    """What was decided: where each part came from, and the schedule and its warm-up if they were set."""

    sources: dict[str, str]
    schedule: str | None
    warmup: int | None


def recipe_of(model: keras.Model) -> Recipe | None:
    info = model_info(model)
    return info.spec.recipe if info is not None else None


def recipe_loss(info: ModelInfo) -> Any:
    """The recipe's loss, on logits where the model was built without its last activation; of several outputs one each,
    by name.
    """
    loss = info.spec.recipe.loss
    if isinstance(loss, Mapping):
        return {output: _loss_of(name, info) for output, name in loss.items()}
    return _loss_of(loss, info)


def _loss_of(loss: str, info: ModelInfo) -> str | keras.losses.Loss:
    if loss == "token_crossentropy":
        return TokenCrossentropy(info.spec.recipe.label_smoothing, padding_of(info))
    name = loss.removesuffix("_from_logits")
    logits = name != loss or ("classifier_activation" in info.arguments and name.endswith("crossentropy"))
    if logits and info.arguments.get("classifier_activation") not in (None, "linear"):
        logits = False
    classes = {
        "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
    }
    return classes[name](from_logits=True) if logits else name


def padding_of(info: ModelInfo) -> int:
    """The id of what is no token."""
    return getattr(info.inputs, "padding", 0)


def recipe_metrics(info: ModelInfo) -> Any:
    recipe = info.spec.recipe
    made = lambda names: [METRICS[name](padding_of(info)) if name in METRICS else name for name in names]
    if isinstance(recipe.metrics, Mapping):
        return {name: made(names) for name, names in recipe.metrics.items()}
    return made(recipe.metrics)


def compile_supervised(model: keras.Model, choices: Choices) -> Compiled:
    """Compile `model` where something was given or it was not compiled. An optimizer that is made here, from a name,
    lets biases and norms out of its weight decay.

    A compiled model with nothing given keeps its optimizer and its state, so that a second `fit` continues.
    """
    own, info, recipe = own_compile(model), model_info(model), recipe_of(model)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key in ("loss", "optimizer", "metrics"):
        if (given := getattr(choices, key)) is not None:
            values[key], sources[key] = given, "given"
        elif own and own.get(key) is not None:
            values[key], sources[key] = own[key], "the model's compile"
        elif recipe is not None:
            made = {"loss": lambda: recipe_loss(info), "metrics": lambda: recipe_metrics(info)}
            values[key], sources[key] = made.get(key, lambda: recipe.optimizer)(), recipe.source
        elif key == "metrics":
            values[key], sources[key] = [], "none given"
        elif key == "loss" and own:  # losses added in layers, or a compute_loss of its own
            values[key], sources[key] = None, "the model's compile has none"
        else:
            missing = [k for k in ("loss", "optimizer") if getattr(choices, k) is None]
            raise KzooError(
                f"no {' and no '.join(missing)}: {model.name!r} is not compiled and is none of kzoo's models; pass"
                f" {', '.join(f'{k}=…' for k in missing)}"
            )
    check_names("loss", values["loss"])
    check_names("metric", values["metrics"])
    outputs = info.outputs if info is not None else ()
    spread = outputs and not isinstance(values["loss"], Mapping)
    if spread:  # one loss: each output learns from it, the first one is measured
        values["loss"] = {name: values["loss"] for name in outputs}
        values["loss_weights"] = (own or {}).get("loss_weights") or dict(recipe.loss_weights)
        if not isinstance(values["metrics"], Mapping):
            metrics = values["metrics"] if isinstance(values["metrics"], list | tuple) else [values["metrics"]]
            values["metrics"] = {outputs[0]: list(metrics)}
    given = any(getattr(choices, key) is not None for key in ("loss", "optimizer", "metrics"))
    return _compile(model, choices, values, sources, own, anew=own is None or spread or given)


SHORT = {"loss": ("mse", "mae", "mape", "msle", "bce", "kld"),
         "metric": ("accuracy", "acc", "crossentropy", "ce", "mse", "mae", "mape", "msle", "bce", "kld")}  # fmt: skip


def check_names(what: str, given: Any) -> None:
    """Names of losses or metrics, in any structure.

    Raises:
        KzooError: Keras knows one by no such name.
    """
    module = {"loss": keras.losses, "metric": keras.metrics}[what]
    for name in keras.tree.flatten(given):
        if not isinstance(name, str) or name in SHORT[what]:
            continue
        try:
            module.get(name)
        except ValueError:
            known = [*SHORT[what], *(n for n in dir(module) if not n.startswith("_"))]
            raise unknown(what, name, known, f"See {module.__name__}") from None


def compile_optimizer(network: keras.Model, choices: Choices, recipe: Recipe) -> Compiled:
    """Compile a network whose losses and metrics are its objective's: it has an optimizer only, of its own."""
    own = own_compile(network)
    if choices.optimizer is not None:
        optimizer, source = choices.optimizer, "given"
        if isinstance(optimizer, keras.optimizers.Optimizer):  # several networks may be given the same one
            optimizer = type(optimizer).from_config(optimizer.get_config())
    elif own and own.get("optimizer") is not None:
        optimizer, source = own["optimizer"], "the model's compile"
    else:
        optimizer, source = recipe.optimizer, recipe.source
    values = {"loss": None, "optimizer": optimizer, "metrics": None}
    sources = {"loss": "the networks' own", "optimizer": source, "metrics": "the networks' own"}
    anew = own is None or choices.optimizer is not None
    return _compile(network, choices, values, sources, own, anew=anew, recipe=recipe)


def _compile(
    model: keras.Model,
    choices: Choices,
    values: dict[str, Any],
    sources: dict[str, str],
    own: Mapping[str, Any] | None,
    *,
    anew: bool,
    recipe: Recipe | None = None,
) -> Compiled:
    recipe = recipe or recipe_of(model)
    optimizer, schedule, warmup, rate = values["optimizer"], choices.schedule, choices.warmup, choices.learning_rate
    steps = choices.steps
    if isinstance(optimizer, dict):
        optimizer = _deserialized(optimizer)
    if not isinstance(optimizer, str | keras.optimizers.Optimizer):
        raise KzooError(f"optimizer must be a name or a Keras optimizer; received {optimizer!r}")
    if warmup and steps and warmup >= steps:
        raise KzooError(f"warmup={warmup} steps, but the run has {steps}; the learning rate would never be reached")
    if isinstance(choices.optimizer, str) and "learning_rate=" in choices.optimizer and rate is not None:
        raise KzooError(f"learning_rate={rate:g} and optimizer={choices.optimizer!r} both set the rate; give one")
    if isinstance(optimizer, str):
        optimizer = optimizer_of(optimizer)
        skip_biases_and_norms(optimizer, model)
        if sources["optimizer"] != "given":
            rate = recipe.learning_rate if rate is None else rate
            if schedule is None:
                schedule = "constant" if choices.rate_setter else recipe.schedule
                if warmup is None and recipe.warmup and not choices.rate_setter:  # of a short run, a quarter
                    warmup = min(recipe.warmup, max(steps // 4, 1)) if steps else recipe.warmup
    before = rate_of(inner(optimizer))
    if schedule is None and rate is None and isinstance(before, Schedule):  # kzoo's own, of an earlier fit: begins anew
        schedule, warmup = before.kind, before.warmup if warmup is None else warmup
        warmup = min(warmup, max(steps // 4, 1)) if warmup and steps else warmup
    if schedule == "inverse-sqrt" and not warmup:
        raise KzooError(
            "schedule='inverse-sqrt' falls from the end of a warm-up; give its steps with warmup (--warmup)"
        )
    if choices.rate_setter and (schedule in ("cosine", "inverse-sqrt") or warmup or follows_schedule(optimizer)):
        raise KzooError(
            f"{choices.rate_setter} sets the learning rate, and so does the optimizer's schedule; leave one of them out"
            " (optimizer='adam' makes a new optimizer without a schedule)"
        )
    if rate is not None or schedule is not None or warmup:
        rate = rate if rate is not None else initial_rate(optimizer)
        set_schedule(optimizer, schedule or "constant", rate, steps, warmup=warmup or 0, resumed=choices.resumed)
    if anew:
        values = {**values, "optimizer": optimizer}
        if isinstance(values["metrics"], tuple):
            values["metrics"] = list(values["metrics"])
        keep = {k: v for k, v in (own or {}).items() if k not in values and k in KEPT}
        try:
            model.compile(**values, **keep)
        except (ValueError, TypeError) as error:
            raise KzooError(f"cannot compile {model.name!r}: {str(error).splitlines()[0]}") from error
    return Compiled(sources, schedule, warmup)


def _deserialized(config: dict[str, Any]) -> keras.optimizers.Optimizer:
    try:
        return keras.optimizers.get(config)
    except (ValueError, TypeError, KeyError) as error:
        raise KzooError(f"optimizer={config!r}: {str(error).splitlines()[0]}") from error


def own_compile(model: keras.Model) -> dict[str, Any] | None:
    """What the model's own `compile` was given; None if it was not compiled."""
    if not getattr(model, "compiled", False):
        return None
    return {**compile_arguments(model), "optimizer": model.optimizer}


@contextlib.contextmanager
def compile_kept(model: keras.Model) -> Iterator[None]:
    """Whatever is compiled meanwhile, the model's own `compile` is afterwards what it was."""
    before = {name: vars(model)[name] for name in COMPILED if name in vars(model)}
    try:
        yield
    finally:
        for name in COMPILED:
            vars(model).pop(name, None)
        vars(model).update(before)


def initial_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The rate it has; of a schedule, its first."""
    rate = rate_of(inner(optimizer))
    if isinstance(rate, Schedule):
        return rate.rate
    return float(rate(0)) if follows_schedule(optimizer) else current_rate(optimizer)


def described(value: Any) -> str:
    """A short name for a loss, optimizer, metric or weight, or for a structure of them."""
    if value is None:
        return "none but what layers add"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {described(v)}" for k, v in value.items())
    if isinstance(value, Sequence):
        return ", ".join(described(v) for v in value)
    if isinstance(value, keras.optimizers.Optimizer):
        schedule = rate_of(inner(value))
        parts = [type(value).__name__, f"learning rate {initial_rate(value):g}"]
        if isinstance(schedule, Schedule):
            parts += [schedule.kind] + [f"{schedule.warmup} steps of warm-up"] * bool(schedule.warmup)
        elif follows_schedule(value):
            parts.append(type(schedule).__name__)
        return ", ".join([*parts, *optimizer_settings(inner(value))])
    if isinstance(value, keras.losses.Loss):
        config = value.get_config()
        smoothed = f", label smoothing {config['label_smoothing']:g}" if config.get("label_smoothing") else ""
        return type(value).__name__ + (" on logits" if config.get("from_logits") else "") + smoothed
    return getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__)

"""The plan: everything about a training run that is decided before it starts, and who decided it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.models._players import networks_of
from kzoo.models._registry import auxiliary_outputs, model_info, model_spec
from kzoo.spec import ModelInfo, Recipe
from kzoo.training.optimizers import optimizer_of, optimizer_settings, skip_biases_and_norms
from kzoo.training.schedules import Schedule, current_rate, follows_schedule, inner, set_schedule
from kzoo.training.tokens import TokenAccuracy, TokenCrossentropy


@dataclass(frozen=True)
class Plan:
    """Printed before training and kept in the run folder. `sources` says where loss, optimizer, … come from."""

    model: str
    style: str
    parameters: int
    trainable: int
    data: str
    input: str
    objective: str
    loss: str
    optimizer: str
    metrics: str
    strategy: str
    replicas: int
    devices: tuple[str, ...]
    xla: bool
    xla_reason: str
    precision: str
    batch_size: int | None
    epochs: int
    steps_per_epoch: int | None
    seed: int
    deterministic: bool
    kernels: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    frozen: str = ""
    rates: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_config(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Plan:
        """Of plan.json, which may hold more beside."""
        known = {key: value for key, value in config.items() if key in cls.__dataclass_fields__}
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in known.items()})

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) pairs, in reading order."""
        source = lambda key: f" ({self.sources[key]})" if key in self.sources else ""
        per_replica = f", {self.batch_size // self.replicas} a replica" if self.batch_size and self.replicas > 1 else ""
        steps = f", {self.steps_per_epoch:,} steps each" if self.steps_per_epoch else ""
        rows = [
            ("model", f"{self.model}, {self.style}, {self.parameters:,} parameters, {self.trainable:,} trainable"),
            *[("frozen", self.frozen)] * bool(self.frozen),
            ("data", self.data),
            ("input", self.input),
            ("augment", ", ".join(self.augment) or "none"),
            ("objective", self.objective),
            ("loss", self.loss + source("loss")),
            ("optimizer", self.optimizer + source("optimizer")),
            *[("rates", self.rates)] * bool(self.rates),
            ("metrics", (self.metrics or "none") + source("metrics")),
            (
                "strategy",
                f"{self.strategy}, {self.replicas} replica{'s' * (self.replicas > 1)} on {', '.join(self.devices)}",
            ),
            ("xla", f"{'on' if self.xla else 'off'} ({self.xla_reason})"),
            ("precision", self.precision),
            ("kernels", ", ".join(self.kernels) or "Keras' own"),
            (
                "batch",
                f"{self.batch_size}{per_replica}{source('batch_size')}" if self.batch_size else "as the data gives it",
            ),
            ("epochs", f"{self.epochs}{steps}{source('epochs')}"),
            ("seed", f"{self.seed}{', deterministic operations' if self.deterministic else ''}"),
        ]
        return rows + [("note", note) for note in self.notes]


def check_xla(wanted: Any) -> None:
    if wanted not in ("auto", "on", "off", True, False):
        raise KzooError(f"xla must be 'auto', 'on' or 'off'; received {wanted!r}")


def choose_xla(
    model: keras.Model, wanted: bool | str, replicas: int = 1, sync_batch_norm: bool = False
) -> tuple[bool, str]:
    """On for GPU and TPU; on CPU off for networks with convolutions or Keras' attention, and on for the others.

    Why is measured in docs/speed.md. Synchronised batch normalization, asked for here or by a layer, sums over replicas
    inside the network, which XLA cannot hold.
    """
    check_xla(wanted)
    unfit = [layer for layer in model._flatten_layers() if not layer.supports_jit]
    if replicas > 1 and (sync_batch_norm or any(getattr(y, "synchronized", False) for y in model._flatten_layers())):
        if wanted in (True, "on"):
            raise KzooError("XLA cannot hold synchronised batch normalization's sums over replicas; use xla='off'")
        return False, "synchronised batch norm needs it off"
    if wanted in (False, "off"):
        return False, "asked for"
    if unfit:
        name = f"{unfit[0].name!r} ({type(unfit[0]).__name__})"
        if wanted in (True, "on"):
            raise KzooError(f"XLA cannot compile the layer {name}; use xla='off'")
        return False, f"auto: XLA cannot compile the layer {name}"
    if wanted in (True, "on"):
        return True, "asked for"
    if (_own_compile(model) or {}).get("jit_compile") is True:  # False is also what Keras makes of "auto" on a CPU
        return True, "the model's compile(jit_compile=True)"
    if any(device.device_type in ("GPU", "TPU") for device in tf.config.list_logical_devices()):
        return True, "auto: on for GPU and TPU"
    kinds = {type(layer) for layer in model._flatten_layers()}
    if any("Conv" in kind.__name__ for kind in kinds):
        return False, "auto: convolutions are slower with it on CPU"
    if any(kind.__module__.startswith("keras.") and "Attention" in kind.__name__ for kind in kinds):
        return False, "auto: Keras' attention is slower with it on CPU"
    return True, "auto: faster on CPU for networks without convolutions and Keras' attention"


# ----------------------------------------------------------------------------------------------------------------------
# Loss, optimizer, metrics: from the arguments, else from the model's own compile, else from the recipe
# ----------------------------------------------------------------------------------------------------------------------


def recipe_of(info: ModelInfo | None) -> Recipe | None:
    return model_spec(info.model).recipe if info is not None else None


def recipe_loss(recipe: Recipe, info: ModelInfo) -> str | keras.losses.Loss:
    """The recipe's loss, on logits where the model was built without its last activation."""
    if recipe.loss == "token_crossentropy":
        return TokenCrossentropy(recipe.label_smoothing)
    name = recipe.loss.removesuffix("_from_logits")
    logits = name != recipe.loss or ("classifier_activation" in info.arguments and name.endswith("crossentropy"))
    if logits and info.arguments.get("classifier_activation") not in (None, "linear"):
        logits = False
    classes = {
        "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
    }
    return classes[name](from_logits=True) if logits else name


def compile_for(
    model: keras.Model,
    *,
    loss: Any,
    optimizer: Any,
    metrics: Any,
    learning_rate: float | None,
    schedule: str | None,
    steps: int | None,
    warmup: int | None = None,
    rate_setter: str | None = None,
    resumed: bool = False,
) -> tuple[dict[str, str], str | None, int | None]:
    """Compile `model` where something was given or it was not compiled.

    An optimizer that is made here, from a name, lets biases and norms out of its weight decay.

    `rate_setter` names a callback that sets the learning rate: the recipe's schedule gives way to it, one that was
    asked for is refused.

    Returns where each part came from, and the schedule's name and its warm-up if they were set.

    A compiled model with nothing given keeps its optimizer and its state, so that a second `fit` continues.
    """
    info = model_info(model)
    recipe = recipe_of(info)
    networks = networks_of(model)
    if networks != [model]:  # players have losses of their objective, and optimizers of their own
        if loss is not None or metrics is not None:
            raise KzooError(f"the players of {model.name!r} have losses and metrics of their own; leave yours out")
        if rate_setter:
            raise KzooError(
                f"{rate_setter} sets the rate of one optimizer, but each player of {model.name!r} has its own;"
                " use schedule=…"
            )
        options = {
            "learning_rate": learning_rate, "schedule": schedule, "steps": steps, "warmup": warmup,
            "rate_setter": rate_setter, "resumed": resumed, "recipe": recipe,
        }  # fmt: skip
        found = [_compile(player, info, optimizer=_another(optimizer), player=True, **options) for player in networks]
        return found[0]
    return _compile(
        model, info, recipe=recipe, loss=loss, optimizer=optimizer, metrics=metrics, learning_rate=learning_rate,
        schedule=schedule, steps=steps, warmup=warmup, rate_setter=rate_setter, resumed=resumed,
    )  # fmt: skip


def _another(optimizer: Any) -> Any:
    """For each player an optimizer with the same settings."""
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return type(optimizer).from_config(optimizer.get_config())
    return optimizer


def _compile(
    model: keras.Model,
    info: ModelInfo | None,
    *,
    recipe: Recipe | None,
    optimizer: Any,
    learning_rate: float | None,
    schedule: str | None,
    steps: int | None,
    warmup: int | None,
    rate_setter: str | None,
    resumed: bool,
    loss: Any = None,
    metrics: Any = None,
    player: bool = False,
) -> tuple[dict[str, str], str | None, int | None]:
    own = _own_compile(model)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key, given in (("loss", loss), ("optimizer", optimizer), ("metrics", metrics)):
        if given is not None:
            values[key], sources[key] = given, "given"
        elif player and key != "optimizer":
            values[key], sources[key] = None, "the players' own"
        elif own and own.get(key) is not None:
            values[key], sources[key] = own[key], "the model's compile"
        elif recipe is not None:
            values[key], sources[key] = getattr(recipe, key), recipe.source
            if key == "loss":
                values[key] = recipe_loss(recipe, info)
            elif key == "metrics":
                values[key] = [TokenAccuracy() if m == "token_accuracy" else m for m in values[key]]
        elif key == "metrics":
            values[key], sources[key] = [], "none given"
        elif key == "loss" and own:  # losses added in layers, or a compute_loss of its own
            values[key], sources[key] = None, "the model's compile has none"
        else:
            raise KzooError(f"no {key}: {model.name!r} is not compiled and is none of kzoo's models; pass {key}=…")
    outputs = auxiliary_outputs(model)
    spread = outputs and not isinstance(values["loss"], Mapping)
    if spread:  # one loss: each output learns from it, the first one is measured
        values["loss"] = {name: values["loss"] for name in outputs}
        values["loss_weights"] = (own or {}).get("loss_weights") or dict(recipe.loss_weights)
        if not isinstance(values["metrics"], Mapping):
            metrics = values["metrics"] if isinstance(values["metrics"], list | tuple) else [values["metrics"]]
            values["metrics"] = {outputs[0]: list(metrics)}
    if isinstance(values["optimizer"], dict):
        values["optimizer"] = _deserialized(values["optimizer"])
    if not isinstance(values["optimizer"], str | keras.optimizers.Optimizer):
        raise KzooError(f"optimizer must be a name or a Keras optimizer; received {values['optimizer']!r}")
    if warmup and steps and warmup >= steps:
        raise KzooError(f"warmup={warmup} steps, but the run has {steps}; the learning rate would never be reached")
    if isinstance(optimizer, str) and "learning_rate=" in optimizer and learning_rate is not None:
        raise KzooError(f"learning_rate={learning_rate:g} and optimizer={optimizer!r} both set the rate; give one")
    if isinstance(values["optimizer"], str):
        values["optimizer"] = optimizer_of(values["optimizer"])
        skip_biases_and_norms(values["optimizer"], model)
        if sources["optimizer"] != "given":
            learning_rate = recipe.learning_rate if learning_rate is None else learning_rate
            if schedule is None:
                schedule = "constant" if rate_setter else recipe.schedule
                if warmup is None and recipe.warmup and not rate_setter:  # of a short run, a quarter
                    warmup = min(recipe.warmup, max(steps // 4, 1)) if steps else recipe.warmup
    the_optimizer = values["optimizer"]
    if schedule is None and learning_rate is None and isinstance(inner(the_optimizer)._learning_rate, Schedule):
        before = inner(the_optimizer)._learning_rate  # kzoo's own, from an earlier fit: it begins anew
        schedule, warmup = before.kind, before.warmup if warmup is None else warmup
        warmup = min(warmup, max(steps // 4, 1)) if warmup and steps else warmup
    if schedule == "inverse-sqrt" and not warmup:
        raise KzooError(
            "schedule='inverse-sqrt' falls from the end of a warm-up; give its steps with warmup (--warmup)"
        )
    if rate_setter and (schedule in ("cosine", "inverse-sqrt") or warmup or follows_schedule(the_optimizer)):
        raise KzooError(
            f"{rate_setter} sets the learning rate, and so does the optimizer's schedule; leave one of them out"
            " (optimizer='adam' makes a new optimizer without a schedule)"
        )
    if learning_rate is not None or schedule is not None or warmup:
        rate = learning_rate if learning_rate is not None else _initial_rate(the_optimizer)
        set_schedule(the_optimizer, schedule or "constant", rate, steps, warmup=warmup or 0, resumed=resumed)
    changed = own is None or spread or any(v is not None for v in (loss, optimizer, metrics))
    if changed:
        if isinstance(values["metrics"], tuple):
            values["metrics"] = list(values["metrics"])
        keep = {k: v for k, v in (own or {}).items() if k not in values and k in KEPT}
        try:
            model.compile(**values, **keep)
        except (ValueError, TypeError) as error:
            raise KzooError(f"cannot compile {model.name!r}: {str(error).splitlines()[0]}") from error
    return sources, schedule, warmup


def _deserialized(config: dict[str, Any]) -> keras.optimizers.Optimizer:
    try:
        return keras.optimizers.get(config)
    except (ValueError, TypeError, KeyError) as error:
        raise KzooError(f"optimizer={config!r}: {str(error).splitlines()[0]}") from error


KEPT = ("loss_weights", "weighted_metrics", "jit_compile")  # of a model that is compiled anew


def _own_compile(model: keras.Model) -> dict[str, Any] | None:
    """What the model's own `compile` was given; None if it was not compiled."""
    if not getattr(model, "compiled", False):
        return None
    given = model._compile_config.config if model._compile_config is not None else {}
    return {**given, "optimizer": model.optimizer}


COMPILED = ("compiled", "optimizer", "loss", "stop_training", "steps_per_execution", "_compile_config",
            "_compile_loss", "_compile_metrics", "_loss_tracker", "_jit_compile", "_run_eagerly",
            "_compiled_trainable_state", "train_function", "test_function", "predict_function")  # fmt: skip


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


def _initial_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The rate it has; of a schedule, its first."""
    rate = inner(optimizer)._learning_rate
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
        schedule = inner(value)._learning_rate
        parts = [type(value).__name__, f"learning rate {_initial_rate(value):g}"]
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

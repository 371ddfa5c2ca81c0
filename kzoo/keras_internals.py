"""Keras' private names, all of them, each with what it is for.

They hold for the minor versions of Keras that pyproject.toml allows. `tests/test_internals.py` looks each of them
up, so that on another Keras the ones that broke are named.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras.src import backend
from keras.src.backend.common import global_state
from keras.src.backend.common.stateless_scope import StatelessScope  # `stateless_call` gives no added losses
from keras.src.losses import loss as loss_module
from keras.src.losses.loss import squeeze_or_expand_to_same_rank  # how Keras fits weights to values
from keras.src.models import Functional  # told apart from a subclass of the user's
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.utils.naming import to_snake_case  # of what has no name of its own
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

from kzoo.errors import KzooError

if keras.backend.backend() == "tensorflow":  # which training needs; models run on any
    import tensorflow as tf
    from keras.src.backend.tensorflow.optimizer import TFOptimizer  # what stands between an optimizer and its base

_DIVIDED = loss_module.scale_loss_for_distribution
rnn, result_type = backend.rnn, backend.result_type  # the loop of recurrent layers; promotion of dtypes

# ----------------------------------------------------------------------------------------------------------------------
# What a model is made of
# ----------------------------------------------------------------------------------------------------------------------


def layers_in(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layer and all layers inside it, each once. `model.layers` has one level only."""
    return layer._flatten_layers()


def adapted(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The products that `enable_lora` gave it; [] of any other layer."""
    if not getattr(layer, "lora_enabled", False):
        return []
    return [v for v in layer.weights if v.name.startswith("lora_")]


def set_learning(layer: keras.layers.Layer, value: bool) -> None:
    """`layer.trainable = value`; of a layer with a low-rank product the product alone: Keras would thaw its kernel."""
    layer.trainable = value
    if products := adapted(layer):
        for variable in layer.weights:
            variable.trainable = value and any(variable is product for product in products)


def children_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers right inside it, of a plain layer too, which has no `layers`."""
    return layer._flatten_layers(include_self=False, recursive=False)


def times_used(layer: keras.layers.Layer) -> int:
    """In how many places of a graph: with several, `layer.output` is not one tensor."""
    return len(layer._inbound_nodes)


def first_shapes(model: keras.Model) -> list[Any]:
    """Shapes of what a subclass model was called on first, which Keras keeps nowhere else."""
    kept = dict(getattr(model, "_build_shapes_dict", None) or {})
    kept.pop("kzoo", None)
    return list(kept.values())


def input_structure(model: keras.Function) -> Any:
    """The symbolic inputs of a graph, in the structure in which it takes them."""
    return model._inputs_struct


def node_of(x: Any) -> Any:
    """The call that made a symbolic tensor: `operation`, `arguments`, `input_tensors`, `output_tensors`; None of an
    input that no layer made, and of what is no symbolic tensor.
    """
    history = getattr(x, "_keras_history", None)
    made = history is not None and history.operation is not None
    return history.operation._inbound_nodes[history.node_index] if made else None


def attention_kernels(layer: keras.layers.MultiHeadAttention) -> dict[str, tuple[int, ...]]:
    """{query, key, value, output: shape of the projection's kernel}."""
    parts = {
        "query": layer._query_dense, "key": layer._key_dense, "value": layer._value_dense, "output": layer._output_dense
    }  # fmt: skip
    return {name: tuple(part.kernel.shape) for name, part in parts.items()}


def stock_attention(layer: keras.layers.MultiHeadAttention, *arguments: Any) -> Any:
    """Keras' own products of queries, keys and values."""
    return type(layer)._compute_attention(layer, *arguments)


@contextlib.contextmanager
def bounded_weights(most: int, path: Any) -> Iterator[None]:
    """Inside, layers that a file describes make no more bytes of weights than that: they are made before the file's
    own are read. Keras has no other place where a layer says what it is about to make.
    """
    made, plain = 0, keras.layers.Layer.add_weight

    def add_weight(self: Any, shape: Any = None, initializer: Any = None, dtype: Any = None, **more: Any) -> Any:
        nonlocal made
        whole = shape if isinstance(shape, tuple | list) else () if shape is None else (shape,)
        made += 4 * math.prod(int(n) for n in whole)
        if made > most:
            raise KzooError(
                f"{str(path)!r} describes layers of more than {made - 1:,} bytes of weights; at most {most:,} are made"
                " of a file of its size"
            )
        return plain(self, shape, initializer, dtype, **more)

    keras.layers.Layer.add_weight = add_weight
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = plain


def served_by(layer: keras.layers.TFSMLayer) -> Any:
    """The SavedModel that it loaded, with all its signatures."""
    return layer._reloaded_obj


def attention_settings(layer: keras.layers.MultiHeadAttention) -> tuple[float, bool, float]:
    """(dropout on the scores, whether flash attention is used, 1 / sqrt of the keys' width)."""
    return layer._dropout or 0, bool(layer._flash_attention), layer._inverse_sqrt_key_dim


# ----------------------------------------------------------------------------------------------------------------------
# What a model was compiled with
# ----------------------------------------------------------------------------------------------------------------------

# Attributes that `compile` sets, and what it makes of them.
COMPILED = ("compiled", "optimizer", "loss", "stop_training", "steps_per_execution", "_compile_config",
            "_compile_loss", "_compile_metrics", "_loss_tracker", "_jit_compile", "_run_eagerly",
            "_compiled_trainable_state", "train_function", "test_function", "predict_function")  # fmt: skip


def compile_arguments(model: keras.Model) -> dict[str, Any]:
    """What `compile` was given; {} where it was not called. `get_compile_config` serializes, which not everything can
    be.
    """
    config = getattr(model, "_compile_config", None)
    return dict(config.config) if config is not None else {}


def compiled_by(model: keras.Model) -> Any:
    """What the last `compile` has left: another object after each."""
    return model._compile_config


def loss_leaves(model: keras.Model) -> list[Any]:
    """Of a compiled loss that has seen a batch: one (path, loss, weight, name) an output."""
    return list(model._compile_loss._flat_losses or ()) if model._compile_loss is not None else []


def with_leaves(model: keras.Model, losses: list[Any]) -> CompileLoss:
    """A copy of the compiled loss, which has seen a batch, with other losses in the place of its own."""
    whole = object.__new__(CompileLoss)  # copy.copy would go through get_config, which it has none
    vars(whole).update(vars(model._compile_loss))
    leaves = model._compile_loss._flat_losses
    whole._flat_losses = [leaf._replace(loss=loss) for leaf, loss in zip(leaves, losses, strict=True)]
    whole._metrics = [None for _ in losses]  # Keras' trackers of each output's loss: the objective keeps them
    return whole


def loss_trackers(model: keras.Model) -> list[keras.metrics.Mean]:
    """Means of each output's loss; none for a single output."""
    return list(model._compile_loss.metrics) if model._compile_loss is not None else []


def whole_loss(model: keras.Model, **batch: Any) -> Any:
    """Keras' own loss of a batch: `compute_loss`, as `fit` calls it."""
    return model._compute_loss(**batch)


def build_by_shapes(model: keras.Model, x: Any) -> None:
    """As `fit` builds a model that is not: its `call` is traced on what has the shapes of x, and nothing is run."""
    symbolic = lambda part: keras.KerasTensor(part.shape, dtype=backend.standardize_dtype(part.dtype))
    backend.compute_output_spec(model, keras.tree.map_structure(symbolic, x))


def takes_training(model: keras.Model) -> bool:
    """Whether `call` has an argument of that name, by which Keras' `fit` tells it."""
    return model._call_has_training_arg


def wrapped_function(metric: keras.metrics.Metric) -> Any:
    """What a metric that was made of a function calls; None of any other."""
    return getattr(metric, "_fn", None)


def sparse_without_ignored(loss: Any) -> bool:
    """Whether a loss reads class numbers and counts them all."""
    fits = getattr(loss, "fn", None) is keras.losses.sparse_categorical_crossentropy
    return fits and loss._fn_kwargs.get("ignore_class") is None


def regularization_losses(model: keras.Model) -> list[Any]:
    """Of `model.losses`, those that depend on weights alone."""
    return model._get_regularization_losses()


def backup_epoch(model: keras.Model) -> int:
    """The epoch that Keras' BackupAndRestore has set."""
    return model._initial_epoch or 0


def divides(value: Any) -> Any:
    """What Keras' losses do to themselves under a strategy: divide by the replicas."""
    return _DIVIDED(value)


def set_division(function: Any) -> None:
    """Let Keras' losses do something else to themselves under a strategy."""
    loss_module.scale_loss_for_distribution = function


def mask_of(tensor: Any) -> Any:
    """The mask that a layer or a loss has left on a tensor."""
    return getattr(tensor, "_keras_mask", None)


def mark(values: Any, mask: Any) -> Any:
    """Tell Keras that only values under the mask count."""
    backend.set_keras_mask(values, mask)
    return values


# ----------------------------------------------------------------------------------------------------------------------
# Optimizers
# ----------------------------------------------------------------------------------------------------------------------

NEUTRAL = ("assign", "assign_add", "assign_sub", "_apply_weight_decay", "_backend_update_step",
           "_backend_reset_gradient_accumulators", "_backend_increment_gradient_accumulators",
           "_overwrite_model_variables_with_average_value", "_var_key", "stateless_apply")  # fmt: skip


class Neutral:
    """What Keras' backend-neutral optimizer does with assignments inside `cond`, by selection instead."""

    def _filter_empty_gradients(self, gradients: list[Any], variables: list[keras.Variable]) -> Any:
        """Without a warning for those that were frozen after the optimizer was built."""
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None or v.trainable]
        return BaseOptimizer._filter_empty_gradients(self, [g for g, _ in pairs], [v for _, v in pairs])

    def _backend_apply_gradients(self, gradients: list[Any], variables: list[keras.Variable]) -> None:
        steps = self.gradient_accumulation_steps
        if steps:
            touched = [*variables, *self.variables]
            before = [tf.convert_to_tensor(v.value) for v in touched]
            sums = [self._accumulated_gradients[self._get_variable_index(v)] for v in variables]
            totals = [g + tf.convert_to_tensor(s.value) for g, s in zip(gradients, sums, strict=True)]
            gradients = [g / steps for g in totals]
        gradients = self._clip_gradients(gradients)
        self._apply_weight_decay(variables)
        self._backend_update_step(gradients, variables, self.learning_rate)
        if steps:
            whole = tf.equal((self._iterations + 1) % steps, 0)
            for variable, old in zip(touched, before, strict=True):
                variable.assign(tf.where(whole, tf.convert_to_tensor(variable.value), old))
            for kept, total in zip(sums, totals, strict=True):
                kept.assign(tf.where(whole, tf.zeros_like(total), total))
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)
            if self.ema_overwrite_frequency:
                overwrite = tf.equal((self.iterations + 1) % self.ema_overwrite_frequency, 0)
                averages = zip(self._trainable_variables, self._model_variables_moving_average, strict=True)
                for variable, average in averages:
                    if average is not None:
                        variable.assign(tf.where(overwrite, average.value, variable.value))


def neutral_methods() -> dict[str, Any]:
    """Of the backend-neutral optimizer, those that TFOptimizer replaces, two of them as `Neutral` has them."""
    own = {name: method for name, method in vars(Neutral).items() if name.startswith(("_backend", "_filter"))}
    return {**{name: BaseOptimizer.__dict__[name] for name in NEUTRAL}, **own}


class PartlyScaled:
    """Comes before an optimizer's own class: the updates of some variables are scaled, frozen ones stay.

    With a factor f on its update a variable goes from old to old + f (new - old): for an optimizer whose update is
    proportional to the learning rate, weight decay included, the step at the rate times f. This happens inside Keras'
    step, after the update and before what reads the new weights: moving averages and constraints.
    """

    _factors: Mapping[int, float]
    _kept: Sequence[keras.Variable]

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:  # the first thing that moves a variable
        scaled = [(v, self._factors[id(v)]) for v in variables if id(v) in self._factors]
        vars(self)["_before"] = [(v, factor, tf.convert_to_tensor(v.value)) for v, factor in scaled]
        super()._apply_weight_decay(variables)

    def _backend_update_step(self, gradients: list[Any], variables: list[keras.Variable], rate: Any) -> None:
        super()._backend_update_step(gradients, variables, rate)
        for variable, factor, old in vars(self).pop("_before"):
            variable.assign(old + tf.cast(factor, old.dtype) * (tf.convert_to_tensor(variable.value) - old))

    def _backend_apply_gradients(self, gradients: list[Any], variables: list[keras.Variable]) -> None:
        kept = [(v, tf.convert_to_tensor(v.value)) for v in self._kept]
        super()._backend_apply_gradients(gradients, variables)
        for variable, old in kept:  # an average that is written into the weights (ema_overwrite_frequency)
            variable.assign(old)


def rate_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """Its learning rate as it is kept: a variable, or a schedule. `learning_rate` gives a schedule's value."""
    return optimizer._learning_rate


def batches_seen(optimizer: keras.optimizers.Optimizer) -> int:
    """`iterations` counts updates, of which several batches may make one."""
    return int(optimizer._iterations.numpy())


def built_on(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables that it was built for."""
    return optimizer._trainable_variables


def made_in(optimizer: keras.optimizers.Optimizer) -> tf.distribute.Strategy:
    """The strategy in whose scope its variables are made."""
    return getattr(optimizer, "_distribution_strategy", None) or tf.distribute.get_strategy()


def spare(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> None:
    """`exclude_from_weight_decay`, which Keras takes after the optimizer is built only."""
    optimizer._exclude_from_weight_decay = {optimizer._var_key(v) for v in variables}
    optimizer._exclude_from_weight_decay_cache = {}


def spared(optimizer: keras.optimizers.Optimizer) -> int:
    """How many variables its weight decay leaves alone."""
    return len(getattr(optimizer, "_exclude_from_weight_decay", ()))


def copy_spared(source: keras.optimizers.Optimizer, target: keras.optimizers.Optimizer) -> None:
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))


def move_keys(source: keras.optimizers.Optimizer, copy: keras.optimizers.Optimizer) -> None:
    """What Keras notes of variables by a key of the backend's, for a copy whose keys are others."""
    keys = {source._var_key(v): copy._var_key(v) for v in source._trainable_variables}
    vars(copy)["_trainable_variables_indices"] = {
        keys[key]: index for key, index in source._trainable_variables_indices.items()
    }
    if source.weight_decay is not None:  # asked of Keras' own, which sees the names of tf.Variables
        decays = {copy._var_key(v): source._use_weight_decay(v.value) for v in source._trainable_variables}
        vars(copy)["_exclude_from_weight_decay_cache"] = decays


def slots_of(optimizer: keras.optimizers.Optimizer) -> dict[str, list[Any]]:
    """{name of a slot: a variable, or None, for each that it was built for}: `_momentums` and the like."""
    count = len(optimizer._trainable_variables)
    found = {}
    for name, value in vars(optimizer).items():
        held = value if isinstance(value, list) else None
        if held is None or name in ("_trainable_variables", "_variables") or len(held) != count:
            continue
        if any(isinstance(v, keras.Variable) for v in held):
            found[name.strip("_")] = [v if isinstance(v, keras.Variable) else None for v in held]
    return found


# ----------------------------------------------------------------------------------------------------------------------
# Stateless calls and random numbers
# ----------------------------------------------------------------------------------------------------------------------


def keep_generator(generator: Any) -> None:
    """Keras keeps the generator of unseeded operations a thread; a replica is traced in a thread of its own."""
    global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, generator)


def global_seeds() -> dict[str, Any]:
    """What `set_random_seed` changes of Keras': the seed and the generator of operations without one."""
    return {name: global_state.get_global_attribute(name) for name in (GLOBAL_RANDOM_SEED, GLOBAL_SEED_GENERATOR)}


def set_global_seeds(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        global_state.set_global_attribute(name, value)


def is_seed(variable: keras.Variable) -> bool:
    """Whether it is the state of a random generator."""
    return variable.path.endswith("seed_generator_state") and tuple(variable.shape) == (2,)

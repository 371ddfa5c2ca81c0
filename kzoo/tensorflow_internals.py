"""TensorFlow's private names, each with what it is for. `tests/test_internals.py` looks each of them up."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework.config import is_op_determinism_enabled  # it can be set, and not be asked
from tensorflow.python.framework.ops import gradient_registry


def quiet(function: Any) -> Any:
    """A tf.function that is traced for each new shape on purpose, without TensorFlow's warning of it."""
    function._omit_frequent_tracing_warning = True
    return function


def ends_with_owner(function: Any) -> Any:
    """A tf.function whose graphs go when it does. A custom gradient, which the sum over replicas in every optimizer of
    Keras' is, stays registered as long as the process lives, and keeps the graph that it was traced in.
    """
    weakref.finalize(function, _forget_gradients, function._function_cache).atexit = False
    return function


def _forget_gradients(traced: Any) -> None:
    for concrete in traced.values():
        graph = concrete.graph.as_graph_def()
        for node in itertools.chain(graph.node, *(function.node_def for function in graph.library.function)):
            if node.op == "IdentityN":  # what carries a custom gradient
                gradient_registry._registry.pop(node.attr["_gradient_op_type"].s.decode(), None)


def variant_of(data: tf.data.Dataset) -> tf.Tensor:
    """What the operations on data sets take; `DatasetToGraphV2` has no public wrapper."""
    return data._variant_tensor


def kinds_of(data: tf.data.Dataset) -> dict[str, Any]:
    """`output_types` and `output_shapes` of its elements' tensors; of sparse ones they are not their specs'."""
    return data._flat_structure


def in_memory(data: tf.data.Dataset) -> bool:
    """Whether its examples are slices of tensors: a cache would keep them twice."""
    return type(data).__name__ == "_TensorSliceDataset"


def random_state() -> tuple[Any, Any]:
    """Of eager operations without a seed of their own: (the global seed, where its numbers are)."""
    place = context.context()
    numbers = getattr(place, "_rng", None)  # there is none before a seed is set
    return place._seed, None if numbers is None else numbers.getstate()


def set_random_state(state: tuple[Any, Any]) -> None:
    place = context.context()
    place._set_global_seed(state[0])
    if state[1] is not None:
        place._rng.setstate(state[1])


def workers_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """(processes that train in sync, number of this one)."""
    extended = strategy.extended
    return getattr(extended, "_num_workers", 1) or 1, getattr(extended, "_id_in_cluster", 0) or 0


def servers_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """(workers, parameter servers) of a ParameterServerStrategy."""
    return strategy.extended._num_workers, strategy.extended._num_ps


def replica_here() -> int:
    """Number of the replica whose code this is, as a Python number; in replica context."""
    return tf.distribute.get_replica_context()._replica_id_in_sync_group

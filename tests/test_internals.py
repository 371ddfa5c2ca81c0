"""Keras' and TensorFlow's private names that kzoo leans on: on another version, this says which of them broke.

`.ci/check_keras.sh` runs it on Keras' nightly build.
"""

import ast
import importlib
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.keras_internals import spare

PACKAGE = Path(kzoo.__file__).parent
OURS = {"_", "_factors", "_kept", "_before", "_replace", "_metrics", "_backend", "_filter", "_DIVIDED"}  # not Keras'


def compiled():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_regularizer="l2", name="d")])
    model.compile(keras.optimizers.AdamW(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((2, 3)), np.zeros(2), verbose=0)
    return model


def averaged():
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, gradient_accumulation_steps=2, weight_decay=0.1)
    optimizer.build([keras.Variable(1.0)])
    return optimizer


def subclass():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(tf.zeros((1, 2)))
    return model


def served(folder):
    module = tf.Module()
    module.f = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.f.get_concrete_function()})
    return keras.layers.TFSMLayer(str(folder), call_endpoint="serving_default")


def functional():
    x = keras.Input((2,))
    return keras.Model(x, keras.layers.Dense(1)(x))


def attention():
    layer = keras.layers.MultiHeadAttention(2, 4)
    layer(tf.zeros((1, 3, 8)), tf.zeros((1, 3, 8)))
    return layer


# {private name: makes something that must have it}
NAMES = {
    **dict.fromkeys(
        ["_compile_config", "_compile_loss", "_compile_metrics", "_compiled_trainable_state", "_loss_tracker",
         "_jit_compile", "_run_eagerly", "_compute_loss", "_get_regularization_losses", "_initial_epoch",
         "_flatten_layers"], compiled,
    ),
    "_flat_losses": lambda: compiled()._compile_loss,
    "_fn": lambda: keras.metrics.MeanSquaredError(),
    "_call_has_training_arg": subclass,
    "_fn_kwargs": lambda: keras.losses.SparseCategoricalCrossentropy(),
    "_build_shapes_dict": subclass,
    "_inputs_struct": functional,
    "_inbound_nodes": lambda: functional().layers[-1],
    "_keras_history": lambda: functional().outputs[0],
    "_keras_mask": lambda: keras.layers.Embedding(3, 2, mask_zero=True)(tf.constant([[1, 0]])),
    **dict.fromkeys(
        ["_dropout", "_flash_attention", "_inverse_sqrt_key_dim", "_compute_attention", "_query_dense", "_key_dense",
         "_value_dense", "_output_dense"], attention,
    ),
    **dict.fromkeys(
        ["_learning_rate", "_iterations", "_trainable_variables", "_variables", "_trainable_variables_indices",
         "_var_key",
         "_use_weight_decay", "_apply_weight_decay", "_backend_update_step",
         "_backend_apply_gradients", "_backend_reset_gradient_accumulators", "_filter_empty_gradients",
         "_backend_increment_gradient_accumulators", "_clip_gradients", "_accumulated_gradients",
         "_get_variable_index", "_model_variables_moving_average", "_update_model_variables_moving_average",
         "_overwrite_model_variables_with_average_value", "_distribution_strategy"], averaged,
    ),
}  # fmt: skip
# Set by exclude_from_weight_decay, and where it is asked.
ASKED_LATER = {
    "_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern", "_exclude_from_weight_decay_cache"
}  # fmt: skip


def internals(name):
    return ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))


def private_names(name):
    """Attributes, and texts that name one, of a file of internals."""
    found = set()
    for node in ast.walk(internals(name)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            found.add(node.value)
    return {n for n in found if n.startswith("_") and not n.startswith("__")} - OURS


@pytest.mark.parametrize("name", NAMES)
def test_keras_has(name, tmp_path):
    assert hasattr(NAMES[name](), name), f"Keras {keras.__version__} has no {name}: see kzoo/keras_internals.py"


def test_decay_is_spared_by_the_names_known():
    optimizer = averaged()
    spare(optimizer, optimizer._trainable_variables)
    assert not optimizer._use_weight_decay(optimizer._trainable_variables[0].value)
    assert optimizer._exclude_from_weight_decay_cache, keras.__version__


def test_a_served_layer_keeps_what_it_loaded(tmp_path):
    assert hasattr(served(tmp_path / "m"), "_reloaded_obj"), keras.__version__


def test_every_private_name_is_looked_up_here():
    assert private_names("keras_internals") - set(NAMES) - ASKED_LATER - {"_reloaded_obj"} == set()


@pytest.mark.parametrize("internal", ["keras_internals", "tensorflow_internals"])
def test_private_modules_have_their_names(internal):
    for node in ast.walk(internals(internal)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(("keras.src", "tensorflow.python")):
            for alias in node.names:
                inside = hasattr(importlib.import_module(node.module), alias.name)
                assert inside or importlib.import_module(f"{node.module}.{alias.name}"), f"{node.module}.{alias.name}"


def test_tensorflow_has():
    data = tf.data.Dataset.from_tensor_slices([1, 2])
    assert type(data).__name__ == "_TensorSliceDataset" and hasattr(data, "_variant_tensor")
    assert hasattr(tf.function(lambda: 1), "_omit_frequent_tracing_warning")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    numbers = []
    strategy.run(lambda: numbers.append(tf.distribute.get_replica_context()._replica_id_in_sync_group))
    assert sorted(numbers) == [0, 1]
    for module, names in (
        ("tensorflow.python.distribute.collective_all_reduce_strategy", ("_num_workers", "_id_in_cluster")),
        ("tensorflow.python.distribute.parameter_server_strategy_v2", ("_num_workers", "_num_ps")),
    ):  # what only a cluster has
        source = inspect.getsource(importlib.import_module(module))
        assert all(f"self.{name} =" in source for name in names), module

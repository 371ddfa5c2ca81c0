"""The traps of Block and the three faces (each was seen once)."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kzoo
from kzoo.models import Block, Chain, Definition, assemble, flat, input_shape_of, leaves, registering
from kzoo.records import STYLES
from kzoo.weights import weights_by_name
from kzoo.zoo import model_spec

register = registering("test_block")


def conv_bn(filters, kernel, stride, name):
    return [
        layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"),
        layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn"),
        layers.ReLU(name=f"{name}_relu"),
    ]


@register
class TinyResidual(Block):
    """A stand-in for what later families are made of: nested chains, a shortcut, batch norm."""

    def __init__(self, filters, stride=1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.stride = filters, stride
        self.residual = Chain(
            [Chain(conv_bn(filters, 3, stride, f"{self.name}_1"), name=f"{self.name}_first")]
            + conv_bn(filters, 3, 1, f"{self.name}_2"),
            name=f"{self.name}_residual",
        )
        self.shortcut = layers.Conv2D(filters, 1, stride, name=f"{self.name}_shortcut")
        self.add = layers.Add(name=f"{self.name}_add")

    def call(self, x):
        return self.add([self.shortcut(x), self.residual(x)])

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}


@register
class Tiny(Definition):
    @staticmethod
    def define(blocks=2, dropout=0.0):
        stages = [TinyResidual(4, 2 if i else 1, name=f"block{i}") for i in range(blocks)]
        stages += [Chain([layers.GlobalAveragePooling2D(name="pool")], name="top_chain")]
        return stages + [layers.Dropout(dropout, name="dropout"), layers.Dense(3, name="output")]


def tiny(style, seed=0, **config):
    keras.utils.set_random_seed(seed)
    return assemble(Tiny, config, style, name="tiny", inputs=keras.Input((8, 8, 2), name="image"))


@pytest.fixture
def images(rng):
    return rng.random((6, 8, 8, 2), dtype="float32")


def test_the_functional_graph_opens_blocks_and_sequential_flattens_chains():
    drawn = [layer.name for layer in tiny("functional").layers]
    assert "block0_1_conv" in drawn and "block1_2_bn" in drawn and "block0" not in drawn
    assert [layer.name for layer in tiny("sequential").layers] == ["block0", "block1", "pool", "dropout", "output"]


def test_names_and_outputs_are_the_same_in_each_style(images):
    models = {style: tiny(style) for style in STYLES}
    keys = {style: list(weights_by_name(model)) for style, model in models.items()}
    assert set(keys["functional"]) == set(keys["sequential"]) == set(keys["subclass"])
    assert "block1_2_bn/moving_variance" in keys["subclass"]
    for style in ("sequential", "subclass"):
        expected = models["functional"].predict_on_batch(images)
        np.testing.assert_allclose(models[style].predict_on_batch(images), expected, atol=1e-6)


@pytest.mark.parametrize("style", STYLES)
def test_batch_norm_trains_in_training_mode_under_fit(style, images):
    """A subclass whose `call` lacks `training` would run batch norm in inference mode, silently."""
    losses = {}
    for name in ("functional", style):
        model = tiny(name)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        before = weights_by_name(model)["block0_1_bn/moving_mean"].numpy().copy()
        losses[name] = model.fit(images, np.arange(6) % 3, batch_size=6, epochs=2, verbose=0).history["loss"]
        assert np.abs(weights_by_name(model)["block0_1_bn/moving_mean"].numpy() - before).max() > 1e-4
    np.testing.assert_allclose(losses[style], losses["functional"], rtol=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_dropout_is_on_in_training_only(style, images):
    model = tiny(style, dropout=0.5)
    assert np.abs(model(images, training=True) - model(images, training=True)).max() > 0
    np.testing.assert_array_equal(model(images, training=False), model(images))


@pytest.mark.parametrize("style", STYLES)
def test_keras_files_hold_blocks(style, images, tmp_path):
    """Files carry dtype and trainable of every Block, and Blocks build their children when loaded."""
    model = tiny(style)
    for variable in model.weights:
        variable.assign(np.random.default_rng(1).random(variable.shape) + 0.5)
    model.save(tmp_path / "tiny.keras")
    again = keras.models.load_model(tmp_path / "tiny.keras")
    assert len(again.weights) == len(model.weights)
    np.testing.assert_array_equal(again.predict_on_batch(images), model.predict_on_batch(images))


def test_a_block_built_by_shape_has_its_weights():
    block = TinyResidual(4, name="block")
    block.build((None, 8, 8, 2))
    assert len(block.weights) == 12
    assert block.get_build_config() == {"inputs": {"shape": [None, 8, 8, 2], "dtype": "float32"}}


def test_building_does_not_trace_twice_a_level():
    """`build` that traces `call` costs 2**depth; here each layer is called once however deep the chains are nested."""
    calls = []

    class Counting(layers.Layer):
        def call(self, x):
            calls.append(1)
            return x

    stage = Counting()
    for depth in range(6):
        stage = Chain([stage], name=f"depth{depth}")
    stage(tf.zeros((1, 2)))
    assert len(calls) <= 2


def test_flat_opens_chains_only():
    inner = layers.ReLU()
    assert list(flat([Chain([Chain([inner])]), inner])) == [inner, inner]


@pytest.mark.parametrize("style", STYLES)
def test_the_dtype_policy_of_a_file_is_kept(style, images, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny(style)
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "tiny.keras")
    again = keras.models.load_model(tmp_path / "tiny.keras")
    assert again.get_layer("output").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_feature_extractor_in_every_style(images):
    found = []
    for style in STYLES:
        trunk = kzoo.feature_extractor(tiny(style), "dropout")
        found.append(np.asarray(trunk(images)))
        assert found[-1].shape == (6, 4)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    with pytest.raises(kzoo.KzooError, match="unknown stage 'outputs'; did you mean 'output'"):
        kzoo.feature_extractor(tiny("subclass"), "outputs")


def test_no_stage_attribute_collides_with_keras():
    """`layers` and `_layers` belong to Keras: a Definition keeps its own under other names."""
    model = tiny("subclass")
    assert [stage.name for stage in model.stages] == ["block0", "block1", "top_chain", "dropout", "output"]
    assert {"block0", "output"} <= {layer.name for layer in model.layers}


def test_weights_are_held_by_layers_in_each_style():
    """A weight held by the model itself would be lost in the functional graph: all come from layers."""
    for style in STYLES:
        model = tiny(style)
        assert {id(v) for v in weights_by_name(model).values()} == {id(v) for v in model.weights}


def test_keras_weight_files_do_not_move_between_styles_and_kzoos_do(tmp_path):
    """`.weights.h5` is keyed by attribute and class: why there is a store of our own."""
    source, target = tiny("subclass", seed=1), tiny("functional", seed=2)
    source.save_weights(tmp_path / "keras.weights.h5")
    with warnings.catch_warnings(), pytest.raises(ValueError):
        warnings.simplefilter("ignore")
        target.load_weights(tmp_path / "keras.weights.h5")
    kzoo.load_weights(target, kzoo.save_weights(source, tmp_path / "kzoo.safetensors"))
    np.testing.assert_array_equal(
        weights_by_name(target)["block1_2_conv/kernel"].numpy(), weights_by_name(source)["block1_2_conv/kernel"].numpy()
    )


def test_an_implicit_mask_that_a_block_drops_is_said():
    """Keras' masks end at a Block, with a warning and never silently: models here mask padding explicitly."""
    chain = Chain([layers.LSTM(2, name="lstm")], name="chain")
    masked = layers.Embedding(5, 3, mask_zero=True)(np.array([[1, 2, 0]]))
    with pytest.warns(UserWarning, match="does not support masking"):
        chain(masked)


def test_same_padding_with_stride_two_is_not_pytorchs(rng):
    """Keras pads an even side at its end only: weights from PyTorch need explicit padding and a valid convolution."""
    image = rng.random((1, 8, 8, 1), dtype="float32")
    same = layers.Conv2D(1, 3, strides=2, padding="same", use_bias=False)
    valid = layers.Conv2D(1, 3, strides=2, padding="valid", use_bias=False)
    out = same(image)
    padded = {sides: np.pad(image, ((0, 0), sides, sides, (0, 0))) for sides in ((0, 1), (1, 1))}
    valid(padded[0, 1])
    valid.set_weights(same.get_weights())
    np.testing.assert_allclose(valid(padded[0, 1]), out, atol=1e-6)
    assert np.abs(valid(padded[1, 1])[:, :4, :4] - out).max() > 1e-3


@pytest.mark.parametrize("name", kzoo.list_models(hidden=True))
def test_no_model_uses_grouped_convolutions(name):
    """On CPU Keras wraps them in a compiled function: ONNX files break silently, each batch size recompiles."""
    spec = model_spec(name)
    layers = [y for stage in spec.definition.stages_of(spec.config, spec.input_shape) for y in leaves(stage)]
    assert layers and all(getattr(layer, "groups", 1) == 1 for layer in layers)


def test_a_sequential_on_a_dict_has_no_inputs():
    """It trains and saves; kzoo's own code asks what it was first called on."""

    class Join(layers.Layer):
        def call(self, x):
            return keras.ops.concatenate([x["a"], x["b"]], axis=-1)

    model = keras.Sequential([Join(), layers.Dense(2)])
    model({"a": np.zeros((1, 2), "float32"), "b": np.zeros((1, 3), "float32")})
    assert input_shape_of(model) is None
    signature = kzoo.export(model, "out").signatures["serving_default"]
    assert signature == "a float32[N, 2], b float32[N, 3] -> output float32[N, 2]"


def test_a_layer_without_kwargs_cannot_be_loaded(tmp_path):
    """Why every Block's `__init__` ends in `**kwargs`: files carry `dtype` and `trainable`."""

    @register
    class Forgetful(layers.Layer):
        def __init__(self, name=None):
            super().__init__(name=name)

        def call(self, x):
            return x

    keras.Sequential([keras.Input((2,)), Forgetful()]).save(tmp_path / "m.keras")
    with pytest.raises(TypeError):
        keras.models.load_model(tmp_path / "m.keras")

"""Weights by name: keys, files, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

import kzoo
from kzoo.weights import weights_by_name


def test_keys_are_layer_and_path_inside():
    assert list(weights_by_name(kzoo.lenet5()))[:3] == ["c1/kernel", "c1/bias", "c3/kernel"]


def test_layers_with_several_kernels_have_a_key_each():
    """Keys of `layer/variable` alone would put 31 variables on 14 keys."""
    tokens = keras.Input((7,))
    x = layers.Embedding(11, 8, name="embedding")(tokens)
    x = layers.Bidirectional(layers.GRU(4, return_sequences=True, name="gru"), name="encoder_gru")(x)
    x = layers.RNN([layers.LSTMCell(8), layers.LSTMCell(8)], return_sequences=True, name="rnn")(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    model = keras.Model(tokens, layers.Dense(2, name="output")(x))
    keys = weights_by_name(model)
    assert len(keys) == len(model.weights)
    assert "encoder_gru/forward_gru/gru_cell/kernel" in keys
    assert "encoder_gru/backward_gru/gru_cell/kernel" in keys


def test_seed_states_are_not_weights():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="a"), layers.Dropout(0.5, name="drop")])
    model(np.zeros((1, 3)), training=True)
    assert list(weights_by_name(model)) == ["a/kernel", "a/bias"]


def test_a_shared_layer_is_one():
    layer = layers.Dense(3, name="shared")
    x = keras.Input((3,))
    assert len(weights_by_name(keras.Model(x, layer(layer(x))))) == 2


def test_two_layers_of_one_name_are_an_error():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__(name="twins")
            self.one, self.two = layers.Dense(3, name="same"), layers.Dense(3, name="same")

        def call(self, x):
            return self.two(self.one(x))

    model = Twins()
    model(np.zeros((1, 3)))
    with pytest.raises(kzoo.KzooError, match="two weights are named 'same/kernel'"):
        weights_by_name(model)


def test_loading_is_total_and_leaves_the_model_alone(tmp_path):
    path = kzoo.save_weights(kzoo.lenet5(), tmp_path / "lenet.safetensors")
    model = kzoo.mlp()
    before = [v.numpy() for v in model.weights]
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.load_weights(model, path)
    assert "- hidden1/bias; - hidden1/kernel; + c1/bias" in str(error.value)
    assert "\n" not in str(error.value)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_shapes_that_differ_are_named(tmp_path):
    path = kzoo.save_weights(kzoo.lenet5(classes=3), tmp_path / "three.safetensors")
    with pytest.raises(
        kzoo.KzooError, match=r"output/bias is \(3,\) there and \(10,\) here; it has 3 classes; give classes=3"
    ):
        kzoo.load_weights(kzoo.lenet5(), path)


def test_a_path_as_weights(tmp_path):
    source = kzoo.lenet5()
    path = kzoo.save_weights(source, tmp_path / "w.safetensors")
    again = kzoo.lenet5(style="subclass", weights=str(path))
    np.testing.assert_array_equal(again.weights[0].numpy(), source.weights[0].numpy())


def test_own_files_without_top_and_with_other_classes(tmp_path, capsys):
    path = kzoo.save_weights(kzoo.resnet_tiny(), tmp_path / "w.safetensors")
    kzoo.resnet_tiny(style="sequential", include_top=False, weights=path)
    assert "skipped, in the file only: predictions (kzoo's .safetensors)" in capsys.readouterr().err
    model = kzoo.resnet_tiny(classes=3, weights=path)
    assert "not from the file: predictions" in capsys.readouterr().err
    report = kzoo.load_weights(kzoo.resnet_tiny(), path)
    assert report.loaded and not (report.skipped or report.reinitialised)
    with pytest.raises(kzoo.KzooError, match="it has 10 classes; give classes=10"):
        kzoo.load_weights(model, path)
    path = kzoo.save_weights(kzoo.resnet_tiny(include_top=False), tmp_path / "notop.safetensors")
    with pytest.raises(kzoo.KzooError, match=r"has no top \(predictions\)"):
        kzoo.resnet_tiny(weights=path)


def test_damaged_and_absent_files(tmp_path):
    path = kzoo.save_weights(kzoo.mlp_xor(), tmp_path / "w.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(kzoo.KzooError, match="not a whole .safetensors file"):
        kzoo.load_weights(kzoo.mlp_xor(), path)
    with pytest.raises(kzoo.KzooError, match="no weight file"):
        kzoo.load_weights(kzoo.mlp_xor(), tmp_path / "absent.safetensors")
    with pytest.raises(kzoo.KzooError, match="no weight file"):
        kzoo.mlp_xor(weights="absent.safetensors")
    with pytest.raises(kzoo.KzooError, match="kept in .safetensors files"):
        kzoo.save_weights(kzoo.mlp_xor(), tmp_path / "w.h5")
    with pytest.raises(kzoo.KzooError, match="no folder"):
        kzoo.save_weights(kzoo.mlp_xor(), tmp_path / "no" / "w.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"], "nothing half-written stays"


def test_damaged_numbers_are_refused(tmp_path):
    from kzoo.weights import write_tensors

    source = kzoo.create_model("resnet_tiny")
    for key, value, message in (
        ("conv1_conv/kernel", np.nan, "conv1_conv/kernel holds numbers that are not finite"),
        ("conv1_bn/moving_variance", -1.0, "conv1_bn/moving_variance holds variances below zero"),
    ):
        tensors = {k: v.numpy() for k, v in kzoo.weights_by_name(source).items()}
        tensors[key] = np.full_like(tensors[key], value)
        write_tensors(tmp_path / "w.safetensors", tensors, {"format": "kzoo"})
        with pytest.raises(kzoo.KzooError, match=message):
            kzoo.create_model("resnet_tiny", weights=tmp_path / "w.safetensors")


def test_weights_bring_the_preprocessing_they_were_saved_with(tmp_path):
    from dataclasses import replace

    model = kzoo.create_model("vgg_tiny")
    other = replace(model.kzoo_info.inputs, mean=(0.1, 0.2, 0.3))
    model.kzoo_info = replace(model.kzoo_info, inputs=other)
    path = kzoo.save_weights(model, tmp_path / "w.safetensors")
    assert kzoo.create_model("vgg_tiny", weights=path).kzoo_info.inputs == other
    larger = kzoo.create_model("vgg_tiny", include_top=False, input_shape=(48, 48, 3), weights=path)
    assert larger.kzoo_info.inputs == replace(other, size=(48, 48))

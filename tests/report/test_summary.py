"""Summaries: the textbook tables, receptive fields beside measured ones, every kind of layer, what is not known."""

import csv
import importlib.util
import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from PIL import Image

import kzoo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def textbook():
    """examples/textbook_tables.py as a module."""
    spec = importlib.util.spec_from_file_location("textbook_tables", ROOT / "examples" / "textbook_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vgg():
    return kzoo.summary("vgg16")


def by_name(table):
    return {row.name: row for row in table.rows}


class TestTextbookTables:
    def test_vgg16_weights_layer_by_layer(self, vgg):
        """The lecture's column, without biases, from its own products."""
        kernels = {
            "block1_conv1": 3 * 3 * 3 * 64, "block1_conv2": 3 * 3 * 64 * 64,
            "block2_conv1": 3 * 3 * 64 * 128, "block2_conv2": 3 * 3 * 128 * 128,
            "block3_conv1": 3 * 3 * 128 * 256, "block3_conv2": 3 * 3 * 256 * 256, "block3_conv3": 3 * 3 * 256 * 256,
            "block4_conv1": 3 * 3 * 256 * 512, "block4_conv2": 3 * 3 * 512 * 512, "block4_conv3": 3 * 3 * 512 * 512,
            "block5_conv1": 3 * 3 * 512 * 512, "block5_conv2": 3 * 3 * 512 * 512, "block5_conv3": 3 * 3 * 512 * 512,
            "fc1": 7 * 7 * 512 * 4096, "fc2": 4096 * 4096, "predictions": 4096 * 1000,
        }  # fmt: skip
        assert {row.name: row.parameters - row.biases for row in vgg.rows if row.parameters} == kernels
        assert kernels["fc1"] == 102_760_448 and by_name(vgg)["fc1"].parameters == 102_764_544
        assert vgg.parameters - vgg.biases == 138_344_128 and vgg.parameters == 138_357_544

    def test_vgg16_values(self, vgg):
        first = by_name(vgg)["block1_conv1"]
        assert first.values == 224 * 224 * 64 == 3_211_264 and first.memory == 4 * first.values
        assert vgg.inputs[0].values == 150_528
        assert vgg.values == 15_237_608
        assert round(vgg.memory / 1e6) == 61, "where the lecture prints 96"
        assert [row.name for row in vgg.rows if row.values == 0] == ["flatten", "fc1_dropout", "fc2_dropout"]

    def test_vgg16_multiplications_and_fields(self, vgg):
        assert by_name(vgg)["block1_conv2"].macs == 224 * 224 * 64 * 9 * 64
        assert vgg.macs == 15_470_264_320 and vgg.uncounted == ()
        assert by_name(vgg)["block5_pool"].receptive_field == (212, 212)
        assert by_name(vgg)["fc1"].receptive_field == "all"

    def test_three_small_kernels(self, textbook):
        three, one = textbook.stack((3, 3, 3), 64), textbook.stack((7,), 64)
        assert three.rows[-1].receptive_field == one.rows[-1].receptive_field == (7, 7)
        assert three.parameters == 27 * 64**2 and one.parameters == 49 * 64**2

    def test_inception(self, textbook):
        naive, narrow = textbook.inception(False), textbook.inception(True)
        assert naive.macs == 28 * 28 * 256 * (128 + 9 * 192 + 25 * 96) == 854_196_224
        assert narrow.macs == 28 * 28 * (256 * (128 + 3 * 64) + 64 * (9 * 192 + 25 * 96)) == 271_351_808
        assert naive.rows[-1].output_shape == (None, 28, 28, 672)
        assert narrow.rows[-1].output_shape == (None, 28, 28, 480)

    def test_alexnet_neurons(self, textbook):
        rows = by_name(kzoo.summary("alexnet"))
        neurons = [rows[name].values for name in textbook.ALEXNET]
        assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
        assert list(textbook.ALEXNET.values()) == [253_440, *neurons[1:]], "the caption"
        assert neurons[0] == 55 * 55 * 96 and textbook.ALEXNET["conv1"] == 55 * 48 * 96

    def test_googlenet_beside_alexnet(self):
        alexnet, googlenet = kzoo.summary("alexnet"), kzoo.summary("googlenet")
        assert round(alexnet.parameters / googlenet.parameters, 1) == 8.7
        assert googlenet.rows[-1].kind == "Dense"
        assert googlenet.parameters - googlenet.rows[-1].parameters == 5_973_552

    def test_the_page_is_what_the_script_prints(self, textbook, capsys):
        textbook.main()
        page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8").splitlines()
        missing = [line for line in capsys.readouterr().out.splitlines() if line not in page]
        assert not missing, "docs/tables.md is stale: python examples/textbook_tables.py"


def residual(x):
    short = layers.Conv2D(1, 1, strides=2)(x)
    return layers.add([short, layers.Conv2D(1, 3, padding="same")(layers.Conv2D(1, 3, strides=2, padding="same")(x))])


def branches(x):
    wide = layers.Conv2D(1, 5, padding="same")(x)
    narrow = layers.Conv2D(1, 3, padding="same")(layers.AveragePooling2D(3, 1, padding="same")(x))
    return layers.AveragePooling2D(2)(layers.Concatenate()([x, wide, narrow]))


NETS = {
    "stack": lambda x: layers.Conv2D(1, 3)(layers.Conv2D(1, 3, strides=2)(layers.Conv2D(1, 5)(x))),
    "dilated": lambda x: layers.Conv2D(1, 3, dilation_rate=3)(layers.Conv2D(1, 2, dilation_rate=2)(x)),
    "by axis": lambda x: layers.Conv2D(1, (1, 7))(layers.Conv2D(1, (3, 1), strides=(2, 1))(x)),
    "pooled": lambda x: layers.Conv2D(1, 3)(layers.AveragePooling2D(3, 2)(layers.DepthwiseConv2D(3)(x))),
    "separable": lambda x: layers.SeparableConv2D(2, 3, strides=2)(layers.ZeroPadding2D(1)(x)),
    "transposed": lambda x: layers.Conv2DTranspose(1, 5, strides=2)(layers.Conv2D(1, 3, strides=2)(x)),
    "upsampled": lambda x: layers.Conv2D(1, 3)(layers.UpSampling2D(2)(layers.AveragePooling2D(2)(x))),
    "residual": lambda x: residual(residual(x)),
    "branches": lambda x: branches(branches(x)),
    "sliced": lambda x: layers.Conv2D(1, 3)(ops.pad(x[:, ::2, 1::2], [[0, 0], [0, 0], [0, 0], [0, 1]])),
    "operations": lambda x: layers.Conv2D(1, 3)(ops.relu(x) * 2 + ops.square(ops.mean(x, axis=-1, keepdims=True))),
    "divided": lambda x: layers.Conv2D(1, 3)(layers.BatchNormalization()(x) / ops.power(1 + ops.square(x), 0.75)),
}  # fmt: skip


class TestReceptiveField:
    @pytest.mark.parametrize("net", NETS)
    def test_it_is_what_one_finds_by_changing_pixels(self, net):
        """The largest extent of pixels that change one output, over all outputs; kernels are positive: none cancels."""
        image = keras.Input((26, 29, 1))
        model = keras.Model(image, NETS[net](image))
        for v in model.trainable_variables:
            v.assign(np.abs(v.numpy()) + 0.1)
        x = np.random.default_rng(0).random((1, 26, 29, 1), "float32") + 0.5
        changed = np.repeat(x, 26 * 29, axis=0)
        changed.reshape(26 * 29, -1)[np.diag_indices(26 * 29)] += 1000  # the k-th image has its k-th pixel changed
        before, after = (model(images, training=False).numpy() for images in (x, changed))
        seen = (np.abs(after - before) > 1e-4 * np.abs(before)).any(axis=-1).reshape(26, 29, -1)
        extents = [np.ptp(np.argwhere(seen[..., k]), axis=0) + 1 for k in range(seen.shape[-1])]
        last = [row for row in kzoo.summary(model).rows if row.receptive_field][-1]
        assert last.receptive_field == tuple(np.max(extents, axis=0))

    def test_known_networks(self):
        """Of Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", table 2."""
        fields = {"alexnet": ("pool5", 195), "resnet50": ("conv5_block3_out", 483)}
        for name, (layer, size) in fields.items():
            assert by_name(kzoo.summary(name))[layer].receptive_field == (size, size)

    def test_the_whole_input_and_what_has_no_size(self):
        net = keras.Sequential(
            [keras.Input((12, 4)), layers.Conv1D(3, 3, name="conv"), layers.GRU(5, return_sequences=True, name="gru"),
             layers.Dense(2, name="after"), layers.GlobalAveragePooling1D(name="mean")]
        )  # fmt: skip
        assert [row.receptive_field for row in kzoo.summary(net).rows] == [(3,), None, None, None]
        image = keras.Input((8, 8, 2))
        x = layers.Conv2D(2, 3, padding="same", name="conv")(image)
        gate = layers.Dense(2, activation="sigmoid", name="gate")(layers.GlobalAveragePooling2D(name="mean")(x))
        x = layers.Multiply(name="scaled")([x, layers.Reshape((1, 1, 2), name="shape")(gate)])
        rows = by_name(kzoo.summary(keras.Model(image, x)))
        assert [rows[n].receptive_field for n in ("conv", "mean", "gate", "scaled")] == [(3, 3), "all", "all", "all"]

    def test_products_of_places_are_not_place_by_place(self):
        x = keras.Input((6, 6))
        for made in (ops.matmul(x, x), ops.einsum("bij,bjk->bik", x, x), ops.cumsum(x, axis=1), ops.flip(x, axis=1)):
            (row,) = kzoo.summary(keras.Model(x, layers.ReLU()(made))).rows
            assert row.receptive_field is None

    def test_dense_layers_on_sequences_keep_places(self):
        ids = keras.Input((9,), dtype="int32")
        x = layers.Conv1D(4, 5)(layers.Embedding(10, 4)(ids))
        rows = kzoo.summary(keras.Model(ids, layers.Dense(3)(layers.Dense(7)(x)))).rows
        assert [row.receptive_field for row in rows] == [(1,), (5,), (5,), (5,)]


# A layer, its input's shape, the multiply-accumulates by hand, the activations.
KINDS = {
    "Conv1D": (lambda: layers.Conv1D(4, 3, padding="causal"), (32, 8), 32 * 4 * 3 * 8, 32 * 4),
    "Conv2D, groups, channels, activation": (
        lambda: layers.Conv2D(6, 3, strides=2, groups=2, activation="hard_silu"), (9, 9, 4), 16 * 6 * 9 * 2, 16 * 6
    ),
    "Conv2D, channels first": (lambda: layers.Conv2D(6, 3, data_format="channels_first"), (4, 9, 7), 35 * 6 * 36, 210),
    "Conv3D": (lambda: layers.Conv3D(2, 2), (4, 4, 4, 3), 27 * 2 * 8 * 3, 27 * 2),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 5), 16 * 9 * 10, 16 * 10),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(7, 3), (6, 6, 5), 16 * (9 * 5 + 5 * 7), 16 * 7),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(3, 4, strides=2, padding="same"), (5, 5, 2), 25 * 16 * 6, 300),
    "Dense": (lambda: layers.Dense(3, activation="mish"), (5,), 15, 3),
    "Dense on a sequence": (lambda: layers.Dense(3), (7, 5), 7 * 15, 21),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (7, 5), 7 * 5 * 6, 42),
    "Embedding": (lambda: layers.Embedding(10, 4), (7,), 0, 28),
    "SimpleRNN": (lambda: layers.SimpleRNN(3), (7, 5), 7 * (5 * 3 + 3 * 3), 3),
    "LSTM": (lambda: layers.LSTM(3, return_sequences=True), (7, 5), 7 * 4 * (5 * 3 + 3 * 3), 21),
    "GRU in both directions": (lambda: layers.Bidirectional(layers.GRU(3)), (7, 5), 2 * 7 * 3 * (5 * 3 + 3 * 3), 6),
    "stacked cells": (
        lambda: layers.RNN([layers.SimpleRNNCell(3), layers.SimpleRNNCell(2)]), (7, 5), 7 * (15 + 9 + 6 + 4), 2
    ),
    "ConvLSTM2D": (
        lambda: layers.ConvLSTM2D(2, 3, padding="same"), (3, 6, 6, 1), 3 * 36 * 4 * 9 * (2 + 4), 72
    ),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Conv2D(2, 3)), (3, 6, 6, 1), 3 * 16 * 18, 96),
    "SpectralNormalization": (lambda: layers.SpectralNormalization(layers.Conv2D(2, 3)), (6, 6, 1), 16 * 18, 32),
    "MaxPooling2D": (lambda: layers.MaxPooling2D(), (6, 6, 2), 0, 18),
    "BatchNormalization": (lambda: layers.BatchNormalization(), (6, 6, 2), 0, 72),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), (6, 6, 2), 0, 72),
    "Activation": (lambda: layers.Activation("hard_silu"), (6, 6, 2), 0, 72),
    "Activation of nothing": (lambda: layers.Activation("linear"), (6, 6, 2), 0, 0),
    "Reshape": (lambda: layers.Reshape((4, 18)), (6, 6, 2), 0, 0),
    "GaussianNoise": (lambda: layers.GaussianNoise(0.1), (6, 6, 2), 0, 0),
    "RandomFlip": (lambda: layers.RandomFlip(), (6, 6, 2), 0, 72),
    "Resizing": (lambda: layers.Resizing(3, 3), (6, 6, 2), 0, 18),
}  # fmt: skip


class TestCosts:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_of_layer(self, kind):
        make, shape, macs, values = KINDS[kind]
        (row,) = kzoo.summary(keras.Sequential([keras.Input(shape), make()])).rows
        assert (row.macs, row.values) == (macs, values)

    def test_attention(self):
        """6 queries and 4 keys of width 8, 2 heads of 3 and 5: projections, then two products."""
        x, y = keras.Input((6, 8)), keras.Input((4, 8))
        projections = 6 * 8 * 2 * 3 + 4 * 8 * 2 * (3 + 5) + 6 * 2 * 5 * 8
        made = {
            layers.MultiHeadAttention(2, 3, 5): projections + 6 * 4 * 2 * (3 + 5),
            layers.GroupQueryAttention(3, 4, 2): 6 * 8 * 12 * 2 + 4 * 8 * 6 * 2 + 6 * 4 * 12 * 2,
        }
        for layer, macs in made.items():
            (row,) = kzoo.summary(keras.Model([x, y], layer(x, y))).rows
            assert (row.macs, row.receptive_field) == (macs, None)
        (row,) = kzoo.summary(keras.Model([x, y], layers.Attention()([x, y]))).rows
        assert row.macs == 2 * 6 * 4 * 8

    def test_layers_that_nobody_knows_are_opened(self):
        """LeNet-5 of 1998: a convolution by a table, trainable subsampling; and a model's own attention."""
        rows = by_name(kzoo.summary("lenet5_1998"))
        assert rows["c3"].macs == 10 * 10 * 16 * 25 * 6, "the table's 60 connections lie in a kernel of 96"
        assert (rows["s2"].macs, rows["s2"].receptive_field) == (0, (6, 6))
        attention = by_name(kzoo.summary("transformer_tiny", input_shape=(30,)))["encoder1_attention"]
        assert attention.macs == 2 * 30 * 30 * 8

    def test_shared_layers_count_each_time(self):
        a, b, shared = keras.Input((4,)), keras.Input((4,)), layers.Dense(3, name="shared")
        made = kzoo.summary(keras.Model([a, b], ops.matmul(shared(a)[:, None], shared(b)[..., None])))
        assert (by_name(made)["shared"].macs, by_name(made)["shared"].values) == (24, 6)
        assert (made.outside, made.macs) == (3, 27) and "3 of the MACs are of operations outside" in str(made)

    def test_resnet_and_its_published_number(self):
        """3.8 billion (He et al. 2015, table 1)."""
        assert kzoo.summary("resnet50").macs == 3_857_973_248

    @pytest.mark.parametrize("name", ["googlenet_tiny", "resnet_cifar_tiny", "seq2seq_luong_tiny", "dcgan_tiny"])
    def test_styles_agree_on_every_number(self, name):
        a, b, c = (kzoo.summary(name, style=style) for style in ("functional", "sequential", "subclass"))
        assert a.rows == b.rows == c.rows and a.macs == b.macs == c.macs


class Gated(layers.Layer):
    """Somebody's layer with layers inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(3, 3, padding="same")

    def build(self, shape):
        self.conv.build(shape)

    def call(self, x):
        return x * ops.sigmoid(self.conv(x))


class Own(keras.Model):
    """Somebody's model, with a model inside, `training` without a default, and a layer that is never called."""

    def __init__(self, reduce=ops.mean):
        super().__init__()
        self.reduce, self.gated = reduce, Gated(name="gated")
        self.inner = keras.Sequential([layers.Conv2D(4, 1, name="conv"), layers.ReLU(name="relu")])
        self.head, self.unused = layers.Dense(2, name="head"), layers.Dense(9, name="unused")

    def call(self, x, training):
        return self.head(self.reduce(self.inner(self.gated(x)), (1, 2)))

    def build(self, shape):
        """Built where they are called."""


class TestAnyModel:
    def test_a_subclass_of_ones_own(self):
        model = Own()
        empty = kzoo.summary(model)
        assert empty.parameters == 0 and len(empty.uncounted) == len(empty.rows), "it was never called"
        model(np.zeros((2, 8, 8, 3), "float32"), training=False)
        made = kzoo.summary(model)
        rows = by_name(made)
        assert rows["gated"].macs == 64 * 3 * 9 * 3 and rows["gated"].receptive_field == (3, 3)
        assert rows["conv"].macs == 64 * 3 * 4 and rows["head"].receptive_field == "all"
        assert made.uncounted == ("unused",) and str(made).endswith("not in the totals: unused")
        assert made.parameters == sum(row.parameters for row in made.rows) == model.count_params()

    def test_tensorflow_inside(self):
        """A `call` that is no Keras code is not seen through; its layers are listed, and named below."""
        model = Own(tf.reduce_mean)
        model(np.zeros((2, 8, 8, 3), "float32"), training=False)
        made = kzoo.summary(model)
        assert made.parameters == model.count_params() and len(made.uncounted) == len(made.rows)
        image = keras.Input((8, 8, 3))
        x = layers.Lambda(lambda x: tf.nn.relu(x), name="tf")(layers.Conv2D(2, 3)(image))
        made = kzoo.summary(keras.Model(image, layers.Dense(3, name="last")(layers.Flatten()(x))))
        assert made.uncounted == ("tf",) and by_name(made)["last"].macs == 6 * 6 * 2 * 3

    def test_sizes_that_are_not_known(self):
        net = keras.Sequential(
            [keras.Input((None, None, 3)), layers.Conv2D(4, 3, name="conv"), layers.GlobalMaxPooling2D(),
             layers.Dense(2, name="dense")], name="free"
        )  # fmt: skip
        conv, _, dense = kzoo.summary(net).rows
        assert (conv.macs, conv.values, conv.receptive_field) == (None, None, (3, 3))
        assert (dense.macs, dense.receptive_field) == (8, "all")
        assert "in the totals: conv" in str(kzoo.summary(net)) and "input_shape" in str(kzoo.summary(net))
        there = kzoo.summary(net, input_shape=(10, 12, 3))
        assert there.rows[0].macs == 8 * 10 * 4 * 27 and there.uncounted == ()
        with pytest.raises(kzoo.KzooError, match="has 3 numbers"):
            kzoo.summary(net, input_shape=(10, 12))
        with pytest.raises(kzoo.KzooError, match="does not run"):
            kzoo.summary(net, input_shape=(10, 12, 5))
        with pytest.raises(kzoo.KzooError, match="built already"):
            kzoo.summary(net, classes=3)

    def test_an_axis_of_batch_and_time(self):
        """Values are counted whatever became of the batch's axis; a constant beside them is none."""

        class Rows(layers.Layer):
            def call(self, x):
                return ops.square(ops.reshape(x, (-1, 3))), ops.ones((5, 5))

            def compute_output_spec(self, x):
                return keras.KerasTensor((None, 3)), keras.KerasTensor((5, 5))

        x = keras.Input((7, 3))
        (row, dense) = kzoo.summary(keras.Model(x, layers.Dense(2)(Rows()(x)[0]))).rows
        assert (row.values, row.macs) == (21, 0)

    def test_operations_that_a_rule_does_not_know(self):
        """Blank, never an error: an ellipsis in einsum, a solver, a call without arguments."""
        a = keras.Input((4, 4))
        x = ops.einsum("...ij,...jk->...ik", a, a)
        x = layers.Dense(4, name="dense")(ops.solve(x + ops.eye(4), x))
        made = kzoo.summary(keras.Model(a, x))
        assert len(made.unknown) == 2 and by_name(made)["dense"].macs == 64
        assert by_name(made)["dense"].receptive_field is None

    def test_models_inside_models(self):
        base = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, strides=2, name="inner")])
        image = keras.Input((17, 17, 1))
        x = base(layers.Conv2D(3, 3, name="outer")(image))
        rows = kzoo.summary(keras.Model(image, x)).rows
        assert [(row.name, row.output_shape, row.macs, row.receptive_field) for row in rows] == [
            ("outer", (None, 15, 15, 3), 225 * 27, (3, 3)), ("inner", (None, 7, 7, 4), 49 * 27 * 4, (5, 5))
        ]  # fmt: skip

    def test_a_model_is_left_as_it_was(self):
        model = keras.Sequential(
            [keras.Input((6,)), layers.Dense(4, activation="relu", activity_regularizer="l2"), layers.Dropout(0.5),
             layers.BatchNormalization(), layers.Dense(1)]
        )  # fmt: skip
        before = [v.numpy().copy() for v in model.variables]
        config = model.get_config()
        kzoo.summary(model)
        assert model.get_config() == config and model.losses == []
        for v, old in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(v.numpy(), old)
        model.compile("sgd", "mse")
        model.fit(np.ones((4, 6)), np.ones((4, 1)), verbose=0)


class TestOutputs:
    def test_csv(self, vgg, tmp_path):
        text = vgg.to_csv(tmp_path / "vgg.csv")
        assert (tmp_path / "vgg.csv").read_text() == text
        first, *rows, total = csv.DictReader(io.StringIO(text))
        assert (first["layer"], first["type"], first["activations"]) == ("input", "Input", "150528")
        assert [row["layer"] for row in rows] == [row.name for row in vgg.rows]
        assert sum(int(row["macs"]) for row in rows) == int(total["macs"]) == vgg.macs
        assert sum(int(row["activations"]) for row in (first, *rows)) == int(total["activations"]) == 15_237_608
        assert (rows[0]["output"], rows[0]["receptive_field"]) == ("224x224x64", "3x3")

    @pytest.mark.parametrize("name", ["lenet5", "lstm_classifier_tiny", "dcgan_tiny", "googlenet_tiny"])
    def test_plot(self, name, tmp_path):
        made = kzoo.summary(name)
        made.plot(tmp_path / "layers.png")
        image = np.asarray(Image.open(tmp_path / "layers.png").convert("RGB"))
        assert image.shape[1] > 1500 and image.shape[0] > 15 * len(made.rows)
        blue = (np.abs(image.astype(int) - (0x2F, 0x6D, 0xB3)) < 8).all(axis=-1)
        assert blue.sum() > 500, "no bars"

    def test_very_deep_networks_fit_a_picture(self, tmp_path, monkeypatch):
        monkeypatch.setattr("kzoo.report.bars.HIGHEST", 4.0)
        image = x = keras.Input((4, 4, 1))
        for k in range(60):
            x = layers.ReLU(name=f"relu{k}")(x)
        kzoo.summary(keras.Model(image, x)).plot(tmp_path / "deep.png")
        with Image.open(tmp_path / "deep.png") as picture:
            assert picture.height < 700

    def test_files_that_cannot_be_written(self, vgg, tmp_path):
        for path, reason in ((tmp_path, "is a folder"), (tmp_path / "a.txt", "must end in"), ("no/a.csv", "no folder")):
            with pytest.raises(kzoo.KzooError, match=reason):
                vgg.to_csv(path)

    def test_verb(self, here):
        status, out, _ = here("info", "lenet5", "--layers")
        assert status == 0 and "416,520" in out and "14x14" in out
        status, out, _ = here("info", "vgg_tiny", "--csv", "v.csv", "--plot", "v.png", "--input-shape", "16x16x3")
        assert status == 0 and Path("v.png").is_file() and Path("v.csv").read_text().count("\n") == 14
        found = json.loads(here("info", "lenet5", "--layers", "--json")[1])["layers"]
        assert found["total"]["macs"] == 416_520 and found["rows"][0]["receptive_field"] == [5, 5]
        for bad, reason in (
            (("--csv", "."), "folder"), (("--plot", "x.pdf"), ".png"), (("--input-shape", "3"), "--layers"),
            (("--layers", "--input-shape", "3,a"), "whole numbers"), (("--layers", "--input-shape", "32"), "3 numbers"),
            (("--layers", "--input-shape", "3,3"), "3 numbers"),
        ):  # fmt: skip
            status, out, err = here("info", "lenet5", *bad)
            assert status == 2 and out == "" and reason in err and err.count("\n") == 1

"""The convolutional families: what papers say of them, in numbers."""

import inspect
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from crosses import in_turn, one_style

import kzoo
from kzoo.models import model_info
from kzoo.models.convnet import LocalResponseNormalization
from kzoo.models.resnet import PaddedShortcut, survival_of
from kzoo.records import STYLES
from kzoo.weights import weights_by_name
from kzoo.zoo import index, model_spec, without_auxiliaries

FAMILIES = ("alexnet", "vgg", "googlenet", "inception", "resnet")
CONVNETS = [name for name in kzoo.list_models(hidden=True) if index()[name]["family"] in FAMILIES]
TINY = [name for name in CONVNETS if name.endswith("_tiny")]
# One real variant of each family, beside the tiny rows of tests/test_contract.py.
REAL = ("alexnet", "vgg11", "googlenet", "inception_v3", "resnet50")
EACH = in_turn(TINY, whole=("resnet_tiny",))


def trainable(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def side_of(name):
    return model_spec(name).input_shape[0]


# ----------------------------------------------------------------------------------------------------------------------
# Counts and shapes
# ----------------------------------------------------------------------------------------------------------------------

# Of papers and reference implementations, without moving averages.
TRAINABLE = {
    "alexnet": 60_965_224,
    "alexnet_one_tower": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "googlenet": 6_998_552,
    "googlenet_bn": 6_624_904,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50_v1_5": 25_557_032,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
}


def test_trainable_parameters():
    assert {name: index()[name]["trainable"] for name in TRAINABLE} == TRAINABLE
    assert round(index()["resnet1202"]["trainable"] / 1e6, 1) == 19.4


@pytest.mark.parametrize("style", ["sequential", *(pytest.param(s, marks=pytest.mark.slow) for s in STYLES[1:])])
def test_googlenet_with_auxiliaries(style):
    assert trainable(kzoo.googlenet_bn(aux=True, style=style)) == 13_004_888


def test_the_papers_shapes():
    found = {}
    for name in ("alexnet", "zfnet", "vgg16", "googlenet", "inception_v3", "resnet50"):
        narrow = {"dense": 8} if "dense" in index()[name]["overrides"] else {}  # dense layers have no maps
        for row in kzoo.summary(kzoo.create_model(name, **narrow)).rows:
            found[name, row.name] = row.output_shape[1:]
    assert found["alexnet", "conv1"] == (55, 55, 96)
    assert [found["alexnet", f"conv{i}_output"] for i in (2, 4, 5)] == [(27, 27, 256), (13, 13, 384), (13, 13, 256)]
    assert [found["zfnet", f"conv{i}"][0] for i in range(1, 6)] == [110, 26, 13, 13, 13]
    assert found["zfnet", "pool5"] == (6, 6, 256)
    assert found["vgg16", "block5_pool"] == (7, 7, 512)
    assert [found["googlenet", f"inception_{m}_output"][-1] for m in ("3a", "3b", "4a", "4e", "5b")] == [
        256, 480, 512, 832, 1024,
    ]  # fmt: skip
    assert [found["inception_v3", f"mixed{m}_output"] for m in (0, 3, 8, 10)] == [
        (35, 35, 256), (17, 17, 768), (8, 8, 1280), (8, 8, 2048),
    ]  # fmt: skip
    assert [found["resnet50", f"conv{i}_block1_out"] for i in (2, 3, 4, 5)] == [
        (56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048),
    ]  # fmt: skip


def test_the_naive_module_is_without_1x1_reductions():
    """Figure 2a: the depth of the output is that of the branches and of the input."""
    model = kzoo.create_model("googlenet_tiny", naive=True)
    names = {layer.name for layer in model.layers}
    assert not any("reduce" in name and "inception" in name or "proj" in name for name in names)
    depth = {row.name: row.output_shape[-1] for row in kzoo.summary(model).rows}
    assert depth["inception_3a_output"] == depth["pool2_3x3_s2"] + 4 + 8 + 2  # of 64, 128, 32, scaled by a 16th


@pytest.mark.parametrize("depth", [20, 56])
def test_the_plain_network_has_the_same_layers_and_no_shortcut(depth):
    plain, residual = (kzoo.create_model(f"resnet{depth}", residual=r) for r in (False, True))
    assert weights_by_name(plain).keys() == weights_by_name(residual).keys()  # option A has no parameters
    assert not any(isinstance(layer, keras.layers.Add) for layer in plain.layers)
    assert sum(isinstance(layer, keras.layers.Add) for layer in residual.layers) == (depth - 2) // 2


def test_projections_are_an_option():
    """Option B: 1x1 convolutions where the filters change, 16x32 and 32x64 weights and their norms."""
    assert trainable(kzoo.resnet20(shortcut="projection")) == 269_722 + 16 * 32 + 32 * 64 + 2 * (32 + 64)


def test_padded_shortcut():
    """Option A: every second position, zeros in the new channels."""
    block = keras.Sequential([keras.Input((8, 8, 4))])
    block.add(PaddedShortcut(7, 2, name="shortcut"))
    x = np.random.default_rng(0).random((2, 8, 8, 4), "float32")
    made = np.asarray(block(x))
    np.testing.assert_array_equal(made[..., :4], x[:, ::2, ::2])
    assert not made[..., 4:].any()


# ----------------------------------------------------------------------------------------------------------------------
# Layers
# ----------------------------------------------------------------------------------------------------------------------


def test_local_response_normalization_is_the_papers_sum():
    """Section 3.3, written as it stands there, position by position."""
    a = np.random.default_rng(0).normal(size=(2, 3, 3, 9)).astype("float32") * 30
    expected = np.empty_like(a)
    for i in range(9):
        window = a[..., max(0, i - 2) : min(8, i + 2) + 1]
        expected[..., i] = a[..., i] / (2 + 1e-4 * (window**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(LocalResponseNormalization(name="norm")(a), expected, rtol=1e-5)


def test_towers_read_their_own_half():
    """A change in the second half of the channels moves only the second half of conv2's filters."""
    model = kzoo.create_model("alexnet_tiny")
    towers = kzoo.feature_extractor(model, "conv2_output")
    before = keras.Model(model.get_layer("pool1").output, towers.output)
    x = np.random.default_rng(0).random((1, 7, 7, 6), "float32")
    moved = x.copy()
    moved[..., 3:] += 1
    difference = np.abs(np.asarray(before(moved)) - np.asarray(before(x))).max(axis=(0, 1, 2))
    assert not difference[:8].any() and difference[8:].any()


class TestStochasticDepth:
    def test_survival_falls_linearly(self):
        """p_l = 1 - l / L (1 - p_L): equation 4, with p_0 = 1 and p_L = 0.5."""
        assert [survival_of(block, 54, 0.5) for block in (0, 27, 54)] == [1, 0.75, 0.5]
        model = kzoo.resnet20(survival=0.5)
        rates = [layer.rate for layer in model.layers if layer.name.endswith("_survival")]
        np.testing.assert_allclose(rates, [0.5 * block / 9 for block in range(1, 10)])

    @pytest.mark.parametrize("style", one_style())
    def test_inference_is_scaled_and_training_drops_whole_blocks(self, style):
        """In training the last block gives its shortcut or shortcut + F; in inference shortcut + p F (equation 5)."""
        arguments = {"activation": "linear", "include_top": False, "style": style}
        drops = kzoo.create_model("resnet_cifar_tiny", survival=0.5, **arguments)
        keeps = kzoo.create_model("resnet_cifar_tiny", survival=1.0, **arguments)
        kzoo.copy_weights(drops, keeps)
        x = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
        blocks = ("conv2_block1", "conv3_block1", "conv3_block2")
        names = ["conv1_relu" if style == "functional" else "conv1_relu", *blocks]
        whole = kzoo.feature_extractor(keeps, names)
        part = kzoo.feature_extractor(drops, names)
        first = np.asarray(whole(x)["conv1_relu"])
        residual = np.asarray(whole(x)["conv2_block1"]) - first  # its shortcut is the identity
        scaled = np.asarray(part(x)["conv2_block1"]) - first
        np.testing.assert_allclose(scaled, residual * survival_of(1, 3, 0.5), atol=1e-5)
        np.testing.assert_array_equal(part(x)["conv3_block2"], part(x)["conv3_block2"])
        kept = 0
        for _ in range(60):
            made = {k: np.asarray(v) for k, v in part(x, training=True).items()}
            moved = np.abs(made["conv3_block2"] - made["conv3_block1"]).max(axis=(1, 2, 3))
            assert (moved == 0).all() or (moved > 0).all()  # one draw for all of a batch; dropped: exactly the shortcut
            kept += moved[0] > 0
        assert 15 <= kept <= 45  # 60 draws at one half: outside once in 10,000

    @pytest.mark.parametrize("name", ["resnet20", pytest.param("resnet1202", marks=pytest.mark.slow)])
    def test_a_step_is_taken(self, name):
        """Table 6, with the stochastic depth of Huang et al."""
        model = kzoo.create_model(name, survival=0.5)
        x, y = np.random.default_rng(0).random((2, 32, 32, 3), "float32"), np.array([3, 5])
        before = model.trainable_variables[0].numpy()
        optimizer = keras.optimizers.SGD(0.1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, model(x, training=True)))
        optimizer.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]), model.trainable_variables)
        assert np.isfinite(loss) and np.abs(model.trainable_variables[0].numpy() - before).max() > 0


# ----------------------------------------------------------------------------------------------------------------------
# Conventions
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "style"), EACH)
class TestConventions:
    def test_any_size_and_channels_without_the_top(self, name, style):
        open_size = kzoo.create_model(name, style=style, include_top=False, input_shape=(None, None, 2))
        pooled = kzoo.create_model(name, style=style, include_top=False, input_shape=(None, None, 2), pooling="avg")
        kzoo.copy_weights(open_size, pooled)
        for height, width in ((80, 80), (96, 83)):
            x = np.random.default_rng(0).random((2, height, width, 2), "float32")
            features = np.asarray(open_size(x))
            assert features.ndim == 4
            np.testing.assert_allclose(pooled(x), features.mean(axis=(1, 2)), atol=1e-5)

    def test_taps(self, name, style):
        """P_k is a 2^k-th of the image's size; the features are those of the whole network."""
        model = kzoo.create_model(name, style=style)
        taps = model_spec(name).definition.taps(model_spec(name).config)
        assert len(taps) >= 2
        x = np.random.default_rng(0).random((2, *model_spec(name).input_shape), "float32")
        found = kzoo.feature_extractor(model, list(taps))(x)
        assert list(found) == list(taps)
        for tap, feature in found.items():
            size = side_of(name) / 2 ** int(tap[1:])
            assert size - 4 < feature.shape[1] <= size + 1  # convolutions without padding lose a few
            assert feature.shape[1] == feature.shape[2]
            np.testing.assert_array_equal(kzoo.feature_extractor(model, tap)(x), feature)

    def test_overrides(self, name, style):
        model = kzoo.create_model(name, style=style, dropout=0.25, activation="elu", classes=3)
        layers = list(model._flatten_layers())
        assert any(getattr(y, "rate", None) == 0.25 for y in layers if isinstance(y, keras.layers.Dropout))
        kinds = {y.activation.__name__ for y in layers if hasattr(y, "activation")}
        assert "elu" in kinds and "relu" not in kinds
        assert not any(isinstance(y, keras.layers.ReLU) for y in layers)
        assert model(np.zeros((1, *model_spec(name).input_shape), "float32")).shape == (1, 3)


@pytest.mark.parametrize("name", [n for n in CONVNETS if model_spec(n).minimum > 1])
def test_the_smallest_input(name):
    least = model_spec(name).minimum
    small = {"dense": 8} if "dense" in index()[name]["overrides"] else {}
    kzoo.create_model(name, input_shape=(least, least, 3), classes=2, **small)
    with pytest.raises(kzoo.KzooError, match=f"input_shape=.* too small for {name}.* {least}x{least} pixels or more"):
        kzoo.create_model(name, input_shape=(least, least - 1, 3), classes=2, **small)


def test_open_sizes_under_dense_layers_are_refused():
    with pytest.raises(
        kzoo.KzooError, match=r"input_shape=\(None, None, 3\): the dense layers of vgg16 .* include_top"
    ):
        kzoo.vgg16(input_shape=(None, None, 3))
    assert kzoo.resnet18(input_shape=(None, None, 3)).output_shape == (None, 1000)


def test_unknown_taps_are_named():
    with pytest.raises(kzoo.KzooError, match="unknown stage 'P6'; did you mean 'P5'"):
        kzoo.feature_extractor(kzoo.create_model("inception_tiny", style="subclass"), "P6")
    with pytest.raises(kzoo.KzooError, match="has no classifier at its end"):
        kzoo.feature_extractor(kzoo.create_model("vgg_tiny", include_top=False))


@pytest.mark.parametrize("name", [*TINY, "googlenet_bn", "inception_v3"])
def test_every_convolution_is_tappable_by_a_meaningful_name(name):
    model = kzoo.create_model(name)
    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) >= 3
    assert not [n for n in convolutions if re.fullmatch(r"conv2d(_\d+)?", n)]
    tapped = kzoo.feature_extractor(model, convolutions)
    assert list(tapped.output) == convolutions


# ----------------------------------------------------------------------------------------------------------------------
# GoogLeNet's auxiliary classifiers
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", one_style())
class TestAuxiliaries:
    def test_they_vanish_at_inference(self, style):
        """The twin without them has the same predictions, and its own weights only."""
        model = kzoo.create_model("googlenet_bn_tiny", aux=True, style=style)
        assert model_info(model).outputs == ("predictions", "aux1", "aux2")
        x = np.random.default_rng(0).random((3, 48, 48, 3), "float32")
        made = model(x)
        assert list(made) == ["predictions", "aux1", "aux2"]
        twin = without_auxiliaries(model)
        np.testing.assert_array_equal(twin(x), made["predictions"])
        assert not any(key.startswith("aux") for key in weights_by_name(twin))
        assert without_auxiliaries(twin) is twin


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.slow
def test_auxiliaries_train_with_a_weight_of_three_tenths(style, tmp_path):
    """One step of the engine against the gradient of the loss written down."""
    build = lambda: kzoo.create_model("googlenet_tiny", aux=True, style=style, dropout=0.0)
    keras.utils.set_random_seed(0)
    model = build()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    x, y = np.random.default_rng(0).random((8, 72, 72, 3), "float32"), np.arange(8)
    with tf.GradientTape() as tape:
        made = model(x, training=True)
        losses = {k: tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, v)) for k, v in made.items()}
        loss = losses["predictions"] + 0.3 * losses["aux1"] + 0.3 * losses["aux2"]
    names = list(weights_by_name(model))
    values = [v.value for v in weights_by_name(model).values()]
    expected = {
        n: v.numpy() - 0.1 * g.numpy() for n, v, g in zip(names, values, tape.gradient(loss, values), strict=True)
    }
    run = kzoo.fit(
        model,
        (x, y),
        epochs=1,
        batch_size=8,
        optimizer=keras.optimizers.SGD(0.1),
        xla="off",
        run_dir=tmp_path / "run",
        verbose=False,
    )
    assert run.history["loss"][0] == pytest.approx(float(loss), rel=1e-5)
    for key, variable in weights_by_name(model).items():
        np.testing.assert_allclose(variable.numpy(), expected[key], atol=2e-6, err_msg=key)
    assert run.plan.loss.endswith("weights predictions: 1, aux1: 0.3, aux2: 0.3")


def run_of(model, folder, **options):
    return kzoo.fit(
        model, "digits", only=(0, 7), epochs=1, limit_train_batches=2, limit_validation_batches=1, batch_size=8,
        run_dir=folder / "run", verbose=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def auxiliary_run(tmp_path_factory):
    """Of a model with auxiliaries that was compiled the usual way."""
    model = kzoo.create_model("googlenet_bn_tiny", aux=True)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return run_of(model, tmp_path_factory.mktemp("auxiliary"), xla="off")


@pytest.mark.slow
def test_a_run_with_auxiliaries_is_read_predicts_and_is_exported(auxiliary_run, tmp_path):
    run = auxiliary_run
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8), "uint8")
    found = [kzoo.predict(k, image, top=10)[0] for k in (run.path, kzoo.export(run, tmp_path / "e").path)]
    for one in found:  # ten outputs, two classes: the others go by their numbers
        assert dict(zip(one.class_ids, one.labels, strict=True)) == dict(enumerate("0723456789"))
    np.testing.assert_allclose(found[1].scores, found[0].scores, atol=1e-6)
    assert model_info(kzoo.load_model(run.path)).outputs  # the model as it was trained


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_a_run_with_auxiliaries_evaluates_predicts_exports_and_resumes(style, tmp_path):
    run = run_of(kzoo.create_model("googlenet_bn_tiny", aux=True, style=style), tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8), "uint8")
    scores = [
        kzoo.predict(source, image)[0].scores for source in (run, run.path, kzoo.export(run, tmp_path / "e").path)
    ]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)
    np.testing.assert_allclose(scores[2], scores[0], atol=1e-6)
    assert kzoo.evaluate(run.path).accuracy == kzoo.evaluate(run).accuracy
    assert model_info(kzoo.load_model(run.path)).outputs
    again = kzoo.fit(resume=run.path, epochs=2, verbose=False)
    assert len(again.history["loss"]) == 2


# ----------------------------------------------------------------------------------------------------------------------
# Files
# ----------------------------------------------------------------------------------------------------------------------

PLAIN = """
import sys
sys.modules["kzoo"] = None
import keras, numpy as np
for path in sys.argv[1:]:
    model = keras.models.load_model(path + ".keras")
    x, expected = np.load(path + ".npz").values()
    np.testing.assert_allclose(model(x), expected, atol=1e-6, err_msg=path)
print("loaded", len(sys.argv) - 1)
"""


@pytest.mark.slow
def test_functional_files_load_with_plain_keras(tmp_path, seeded):
    """In a process that cannot import kzoo."""
    for name in TINY:
        model = seeded(name, "functional")
        x = np.random.default_rng(0).random((2, *model_spec(name).input_shape), "float32")
        model.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", x=x, y=model(x))
    command = [sys.executable, "-c", PLAIN, *(str(tmp_path / name) for name in TINY)]
    result = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert f"loaded {len(TINY)}" in result.stdout


SERVE = """
import json, sys
sys.modules["kzoo"] = None
import numpy as np, tensorflow as tf
x, expected = np.load(sys.argv[1]).values()
for path in sys.argv[2:]:
    made = tf.saved_model.load(path).signatures["serving_default"](image=x)["predictions"]
    print(np.abs(made.numpy() - expected).max())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_files_of_real_variants(name, seeded, tmp_path):
    """`.keras` round trip and export in a fresh process, in each style; of the tiny rows: tests/test_contract.py."""
    shape = (1, *model_spec(name).input_shape)
    x = np.random.default_rng(0).random(shape, "float32")
    exports = []
    for style in STYLES:
        model = seeded(name, style)
        expected = np.asarray(model(x))
        model.save(tmp_path / "model.keras")
        again = kzoo.load_model(tmp_path / "model.keras")
        assert type(again) is type(model)
        np.testing.assert_array_equal(again(x), expected)
        (tmp_path / "model.keras").unlink()
        exports.append(str(kzoo.export(model, tmp_path / style).path))
        del model, again
        keras.backend.clear_session()
    np.savez(tmp_path / "x.npz", x=x, y=expected)
    result = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path / "x.npz"), *exports],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    differences = [float(line) for line in result.stdout.split()]
    assert len(differences) == len(STYLES) and max(differences) < 1e-5
    for style in STYLES:
        shutil.rmtree(tmp_path / style)


# ----------------------------------------------------------------------------------------------------------------------
# As readers and newcomers found
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kzoo.resnet20(survival=2), "survival must be a number above 0 and up to 1; received 2"),
        (lambda: kzoo.resnet20(survival="a"), "survival must be a number .* received 'a'"),
        (lambda: kzoo.resnet20(dropout=1.5), "dropout must be a number from 0 to below 1; received 1.5"),
        (lambda: kzoo.resnet20(depths=()), "depths must be whole numbers such as .* received none"),
        (lambda: kzoo.resnet20(depths=(3, -1)), "each number of depths must be a whole number .* received -1"),
        (lambda: kzoo.resnet20(residual="no"), "residual must be True or False; received 'no'"),
        (lambda: kzoo.resnet20(residual=False, survival=0.5), "survival=0.5 drops residuals, .* residual=False"),
        (lambda: kzoo.resnet20(lineage="x"), "unknown lineage 'x'; allowed: keras, torchvision, paper"),
        (lambda: kzoo.resnet20(shortcut="foo"), "unknown shortcut 'foo'; allowed: projection, padding"),
        (lambda: kzoo.resnet20(activation="foo"), "activation must be a name of keras.activations.* received 'foo'"),
        (lambda: kzoo.resnet20(classifier_activation="foo"), "classifier_activation must be a name of"),
        (lambda: kzoo.resnet20(include_top="no"), "include_top must be True or False; received 'no'"),
        (lambda: kzoo.resnet20(input_tensor=3), "input_tensor must be a keras.Input; received int"),
        (lambda: kzoo.inception_v3(width=0), "width must be a number above 0 .* received 0"),
        (lambda: kzoo.inception_v3(width=float("inf")), "width must be a number above 0"),
        (lambda: kzoo.vgg11(depths=(1, 1)), "depths and filters are of the same blocks; received 2 and 5"),
        (lambda: kzoo.alexnet(convolutions=((8, 3, 1, 1, 1, ("nrm",)),)), "unknown stage after conv1 .* 'nrm'"),
        (lambda: kzoo.googlenet(aux=True, include_top=False), "aux=True adds classifiers .* include_top=True"),
        (lambda: kzoo.feature_extractor(kzoo.resnet20(), []), r"outputs must be a name or several.* \[\]"),
        (lambda: kzoo.feature_extractor(kzoo.resnet20(), 3), "outputs must be a name or several, .* received 3"),
        (lambda: kzoo.feature_extractor("resnet20", "P2"), "feature_extractor takes a Keras model"),
        (lambda: kzoo.feature_extractor(kzoo.resnet20(), "nosuch"), "unknown layer 'nosuch'; it has P0, P1, P2"),
        (
            lambda: kzoo.preprocess_input(np.zeros((1, 9, 9, 3)), kzoo.resnet20(input_shape=(32, 32, 4))),
            "the network reads 4 channels; images of 3 cannot",
        ),
    ],
)  # fmt: skip
def test_nonsense_is_one_line(call, message):
    with pytest.raises(kzoo.KzooError, match=message) as error:
        call()
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_large_squares_do_not_overflow_in_half_precision():
    a = np.full((1, 2, 2, 5), 150, "float32")
    norm = LocalResponseNormalization(name="norm")
    half = LocalResponseNormalization(name="half", dtype="mixed_float16")
    np.testing.assert_allclose(np.asarray(half(a), "float32"), norm(a), rtol=2e-3)


def test_features_of_a_head_alone_are_the_input():
    x = np.random.default_rng(0).random((3, 2), "float32")
    for style in STYLES:
        np.testing.assert_array_equal(kzoo.feature_extractor(kzoo.perceptron(style=style))(x), x)


@pytest.mark.parametrize("arguments", [{"include_top": False}, {"aux": True}])
def test_keras_files_of_other_ends_are_recognised(arguments, tmp_path):
    model = kzoo.create_model("googlenet_bn_tiny", **arguments)
    model.save(tmp_path / "m.keras")
    again = kzoo.load_model(tmp_path / "m.keras")
    assert kzoo.feature_extractor(again, "P3").output_shape == (None, 6, 6, 30)
    if "aux" in arguments:
        assert len(kzoo.predict(tmp_path / "m.keras", np.zeros((1, 8, 8, 3), "uint8"))) == 1


@pytest.mark.slow
def test_a_deep_file_is_loaded(tmp_path):
    """Keras walks its layers by recursion: here they are beyond Python's limit, which is lowered for it."""
    arguments, limit = {"depths": (18, 18, 18), "filters": 1, "include_top": False}, sys.getrecursionlimit()
    model = kzoo.resnet20(residual=False, **arguments)  # without shortcuts, that would shorten the way
    model.save(tmp_path / "deep.keras")
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        with pytest.raises(RecursionError):
            keras.models.load_model(tmp_path / "deep.keras")
        again = kzoo.load_model(tmp_path / "deep.keras")
        other = kzoo.resnet20(residual=False, **arguments)
    finally:
        sys.setrecursionlimit(limit)
    assert again.count_params() == other.count_params() == model.count_params()


@pytest.mark.slow
def test_a_file_of_a_thousand_layers_is_loaded(tmp_path):
    model = kzoo.resnet1202(filters=1, include_top=False)
    model.save(tmp_path / "deep.keras")
    assert kzoo.load_model(tmp_path / "deep.keras").count_params() == model.count_params()


@pytest.mark.slow
def test_an_auxiliary_model_compiled_the_usual_way(auxiliary_run):
    assert {"aux1_loss", "predictions_accuracy", "val_predictions_accuracy"} <= auxiliary_run.history.keys()
    assert np.isfinite(auxiliary_run.history["loss"]).all()


def test_labels_by_output(tmp_path):
    x, y = np.random.default_rng(0).random((8, 48, 48, 3), "float32"), np.arange(8)
    model = kzoo.create_model("googlenet_bn_tiny", aux=True)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    labels = {name: y for name in model_info(model).outputs}
    run = kzoo.fit(model, (x, labels), epochs=1, batch_size=8, xla="off", run_dir=tmp_path / "run", verbose=False)
    assert {"aux1_loss", "predictions_accuracy"} <= run.history.keys() and np.isfinite(run.history["loss"]).all()


@pytest.mark.slow
def test_an_auxiliary_model_is_timed():
    model = kzoo.create_model("googlenet_bn_tiny", aux=True)
    assert kzoo.bench(model, batch_size=4, seconds=0.1, rounds=1).training > 0

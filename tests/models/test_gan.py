"""DCGAN: the shapes and numbers of the paper, three styles, and what the holder of both players promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.models import input_shape_of, networks_of, style_of
from kzoo.models.gan import DCGAN, Discriminator, Generator, doublings_of
from kzoo.records import STYLES
from kzoo.tasks import task_of
from kzoo.weights import copy_weights, load_weights, save_weights, weights_by_name


def tiny(style="functional", seed=0):
    keras.utils.set_random_seed(seed)
    return kzoo.create_model("dcgan_tiny", style)


def noise(rows=5, length=8):
    return np.random.default_rng(0).uniform(-1, 1, (rows, length)).astype("float32")


def outputs(gan):
    images = gan(noise())
    return np.asarray(images), np.asarray(gan.discriminator(images))


def shuffled(gan):
    """With weights that tell layers apart: at first all images are almost grey."""
    rng = np.random.default_rng(1)
    for variable in gan.variables:
        variable.assign(variable + 0.1 * rng.random(variable.shape))
    return gan


# --- the networks ---------------------------------------------------------------------------------------------------


def test_maps_are_the_papers():
    """Figure 1: 100 -> 4x4x1024 -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64x3, and back."""
    gan = kzoo.create_model("dcgan", input_shape=(64, 64, 3), width=128)
    shapes = {layer.name: layer.output.shape[1:] for player in networks_of(gan) for layer in player.layers}
    assert shapes["generator_reshape"] == (4, 4, 1024)
    ups = [shapes[name] for name in ("generator_up1", "generator_up2", "generator_up3", "generator_image")]
    assert ups == [(8, 8, 512), (16, 16, 256), (32, 32, 128), (64, 64, 3)]
    downs = [shapes[f"discriminator_down{k}"] for k in (1, 2, 3, 4)]
    assert downs == [(32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 1024)]
    assert shapes["discriminator_output"] == (1,)

    kernels = 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    normed = 4 * (512 + 256 + 128)  # gamma, beta, moving mean and variance
    assert gan.generator.count_params() == 100 * 16 * 1024 + 4 * 1024 + kernels + normed + 3
    assert gan.discriminator.count_params() == kernels + 128 + 4 * (256 + 512 + 1024) + 16 * 1024 + 1


@pytest.mark.parametrize("style", STYLES)
def test_parameters_of_28_pixels(style):
    gan = kzoo.create_model("dcgan", style)
    project, up, image = 100 * 7 * 7 * 64 + 4 * 64, 25 * 64 * 32 + 4 * 32, 25 * 32 + 1
    assert gan.generator.count_params() == project + up + image
    assert gan.discriminator.count_params() == 25 * 32 + 32 + 25 * 32 * 64 + 4 * 64 + 7 * 7 * 64 + 1
    assert gan.count_params() == gan.generator.count_params() + gan.discriminator.count_params()


def test_weights_begin_as_the_papers():
    """Section 4: N(0, 0.02); here from 20,000 numbers and more a kernel."""
    gan = kzoo.create_model("dcgan")
    large = {key: v.numpy() for key, v in weights_by_name(gan).items() if np.prod(v.shape) > 20_000}
    assert set(large) == {"generator_project/kernel", "generator_up1/kernel", "discriminator_down2/kernel"}
    for values in large.values():
        assert abs(values.mean()) < 5e-4 and values.std() == pytest.approx(0.02, rel=0.03)
        assert np.abs(values).max() > 0.06, "not cut off"


def test_layers_are_the_papers():
    """Section 3: normalization everywhere but on the generator's output and the discriminator's input."""
    kinds = lambda player: [type(layer).__name__ for layer in player.layers if layer.weights]
    gan = tiny("sequential")
    assert kinds(gan.generator) == [
        "Dense", "BatchNormalization", "Conv2DTranspose", "BatchNormalization", "Conv2DTranspose"
    ]  # fmt: skip
    assert kinds(gan.discriminator) == ["Conv2D", "Conv2D", "BatchNormalization", "Dense"]
    assert gan.generator.layers[-1].activation is keras.activations.tanh
    slopes = [y.negative_slope for y in gan.discriminator.layers if isinstance(y, keras.layers.LeakyReLU)]
    assert slopes == pytest.approx([0.2, 0.2])
    images = outputs(shuffled(gan))[0]
    assert images.shape == (5, 16, 16, 1) and np.abs(images).max() <= 1


@pytest.mark.parametrize(
    "shape, times", [((28, 28, 1), 2), ((32, 32, 3), 3), ((64, 64, 3), 4), ((16, 28, 1), 2), ((96, 112, 3), 4)]
)
def test_sizes(shape, times):
    assert doublings_of(shape) == times


@pytest.mark.parametrize(
    "shape, near",
    [
        ((30, 30, 1), "30x30; near it are 28x28 and 32x32"),
        ((8, 8, 1), "8x8; near it are 16x16 and 20x20"),
        ((20, 48, 3), "20x48; near it are"),
        ((None, None, 1), "NonexNone; near it are"),
    ],
)
def test_impossible_sizes(shape, near):
    with pytest.raises(kzoo.KzooError, match=near) as error:
        kzoo.create_model("dcgan", "subclass", input_shape=shape)
    assert "\n" not in str(error.value)


# --- styles ---------------------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_players_in_every_style():
    first = None
    for style in STYLES:
        gan = tiny(style)
        assert type(gan) is DCGAN and gan.style == style
        assert [style_of(player) for player in networks_of(gan)] == [style, style]
        found = outputs(gan)
        first = first or found
        for a, b in zip(found, first, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    assert type(gan.generator) is Generator and type(gan.discriminator) is Discriminator


def test_mixed_styles():
    parts = {"discriminator": tiny("sequential").discriminator, "generator": tiny("subclass").generator}
    gan = DCGAN(parts, name="mine")
    assert gan.style == "mixed"
    np.testing.assert_allclose(outputs(gan)[1], outputs(tiny())[1], atol=1e-6)


@pytest.mark.parametrize("style", STYLES)
def test_gradients_reach_every_weight(style):
    gan = tiny(style)
    for player in networks_of(gan):
        with tf.GradientTape() as tape:
            logits = gan.discriminator(gan.generator(noise(), training=True), training=True)
            loss = tf.reduce_mean(tf.nn.softplus(-logits))
        for variable, gradient in zip(
            player.trainable_variables, tape.gradient(loss, [v.value for v in player.trainable_variables]), strict=True
        ):
            assert gradient is not None and np.abs(gradient.numpy()).max() > 0, variable.path


def test_training_reaches_the_generator():
    """The holder hands `training` on: batch statistics are used and noted."""
    gan = tiny("subclass")
    before = gan.generator.non_trainable_variables[0].numpy()
    trained, plain = np.asarray(gan(noise(), training=True)), np.asarray(gan(noise()))
    assert np.abs(trained - plain).max() > 1e-3
    assert np.abs(gan.generator.non_trainable_variables[0].numpy() - before).max() > 0


# --- the holder -----------------------------------------------------------------------------------------------------


def test_the_holder():
    gan = tiny()
    assert list(gan.networks) == ["discriminator", "generator"], "in the order of learning"
    assert gan.networks == {"discriminator": gan.discriminator, "generator": gan.generator}
    assert networks_of(gan) == [gan.discriminator, gan.generator] and networks_of(gan.generator) == [gan.generator]
    assert gan.answers == "generator" and gan.built and input_shape_of(gan) == (8,)
    assert task_of(gan).name == "image-generation"
    np.testing.assert_allclose(gan.predict(noise(), verbose=0), np.asarray(gan(noise())), atol=1e-6)
    names = [layer.name for player in networks_of(gan) for layer in player.layers if layer.weights]
    assert all(name.startswith(("generator_", "discriminator_")) for name in names) and len(set(names)) == len(names)


@pytest.mark.parametrize("style", STYLES)
def test_keras_file_round_trip(style, tmp_path):
    gan = shuffled(tiny(style))
    for player in networks_of(gan):
        player.compile(keras.optimizers.Adam(1e-3, beta_1=0.5))
        player.optimizer.apply([v.value for v in player.trainable_variables], player.trainable_variables)
    gan.save(tmp_path / "gan.keras")
    back = keras.models.load_model(tmp_path / "gan.keras")
    assert type(back) is DCGAN and back.style == style and back.name == "dcgan_tiny"
    assert [type(p) for p in networks_of(back)] == [type(p) for p in networks_of(gan)]
    for a, b in zip(outputs(back), outputs(gan), strict=True):
        np.testing.assert_array_equal(a, b)
    for mine, theirs in zip(networks_of(back), networks_of(gan), strict=True):
        assert mine.optimizer is not None and int(mine.optimizer.iterations) == 1
        for a, b in zip(mine.optimizer.variables, theirs.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_weights_move_by_name(tmp_path):
    source = shuffled(tiny("sequential"))
    keys = [list(weights_by_name(tiny(style))) for style in STYLES]
    assert keys[0] == keys[1] == keys[2] and len(keys[0]) == len(source.variables)
    save_weights(source, tmp_path / "gan.safetensors")
    for style in STYLES:
        copied, loaded = tiny(style, 1), tiny(style, 2)
        copy_weights(source, copied)
        load_weights(loaded, tmp_path / "gan.safetensors")
        for gan in (copied, loaded):
            for a, b in zip(outputs(gan), outputs(source), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-6)
    one = {key for key in keys[0] if key.startswith("generator_")}
    assert set(weights_by_name(source.generator)) == one, "a player's own keys are the same"

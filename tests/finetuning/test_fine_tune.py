"""Fine-tuning from end to end, on small networks and images."""

import contextlib
import io
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cluster
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kzoo
from kzoo.data import DataInfo
from kzoo.engine import named_layers, set_trainable
from kzoo.finetuning import blank, fill, origin_of, tuning
from kzoo.finetuning.features import features, split_at
from kzoo.inputs import reader_of
from kzoo.models import attach_info, model_info
from kzoo.records import STYLES
from kzoo.runs import RunFolder
from kzoo.weights import read_tensors

CLASSES = ("dark", "light", "striped")


def images(count, seed=0, side=32):
    """Three classes that differ in brightness and in texture."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = rng.integers(0, 90, (count, side, side, 3))
    x += np.array([0, 120, 60])[y][:, None, None, None]
    x[y == 2, ::2] = 10
    return x.astype("uint8"), y.astype("int64")


def textures():
    info = DataInfo(name="textures", holds="images", classes=CLASSES, shape=(32, 32, 3))
    return kzoo.Data(images(48), images(24, 1), images(24, 2), info=info)


@pytest.fixture(scope="module")
def data():
    return textures()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return pretrained(tmp_path_factory.mktemp("weights"))


def pretrained(folder):
    """A weight file of a network that has seen something: its batch statistics are not those of a fresh one, and its
    images were prepared in a way of their own.
    """
    keras.utils.set_random_seed(3)
    model = kzoo.resnet_cifar_tiny(classes=5)
    rng = np.random.default_rng(3)
    for key, variable in kzoo.weights_by_name(model).items():
        if "moving" in key:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape) * (1 if "variance" in key else 0.1))
    attach_info(model, replace(model_info(model), inputs=prepared(model)))
    return kzoo.save_weights(model, folder / "five.safetensors")


@pytest.fixture(scope="module")
def mlp_weights(tmp_path_factory):
    """A network of two layers, where what is asked does not depend on the network."""
    return kzoo.save_weights(kzoo.mlp(classes=5), tmp_path_factory.mktemp("mlp") / "five.safetensors")


def prepared(model):
    return replace(model_info(model).inputs, mean=(0.1, 0.2, 0.3), std=(0.5,), crop=0.8)


def tune(weights, data, **changes):
    # Without stochastic depth, which drops other blocks on other replicas, and before the head when that is cached.
    options = {
        "set": {"survival": 1.0}, "head_epochs": 5, "epochs": 2, "batch_size": 16, "learning_rate": 0.003,
        "verbose": False,
    }  # fmt: skip
    return kzoo.fine_tune("resnet_cifar_tiny", data, weights=weights, **{**options, **changes})


def kept(run):
    return json.loads((run.path / "stages.json").read_text(encoding="utf-8"))


def stage_of(run, number):
    return next((run.path / "stages").glob(f"{number}-*"))


# --- runs that several tests read -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(weights, data, tmp_path_factory):
    """All stages, the head on features that are computed once: (run, what it said)."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        run = tune(weights, data, run_dir=tmp_path_factory.mktemp("done") / "run", verbose=True)
    return run, said.getvalue()


@pytest.fixture(scope="module")
def head_alone(weights, data, tmp_path_factory):
    """The head's stage of `done`, in the whole network."""
    return tune(weights, data, depth=0, cache=False, run_dir=tmp_path_factory.mktemp("head") / "run")


@pytest.fixture(scope="module")
def stepped(weights, data, tmp_path_factory):
    """One step of SGD a stage, on the whole training split, batch normalization thawed: (run, what it said)."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        run = tune(
            weights, data, optimizer="sgd", schedule="constant", epochs=1, head_epochs=1, batch_size=48, cache=False,
            learning_rate=0.01, decay=0.4, batch_norm="adapt", verbose=True,
            run_dir=tmp_path_factory.mktemp("stepped") / "run",
        )  # fmt: skip
    return run, said.getvalue()


# --- a run ------------------------------------------------------------------------------------------------------------


def check_run(run, data, style, folder):
    """That it is a run like any other."""
    assert model_info(run.model).style == style and model_info(run.model).labels == CLASSES
    figures, rows = kept(run), run.history["val_accuracy"]
    assert len(figures["done"]) == 3 and len(rows) == sum(row["epochs"] for row in figures["done"])
    assert figures["after"]["accuracy"] > figures["before"]["accuracy"] and figures["after"]["split"] == "test"
    again = kzoo.evaluate(str(run.path), data)
    assert again.accuracy == figures["after"]["accuracy"] and again.baseline == pytest.approx(1 / 3)
    assert again.accuracy == kzoo.evaluate(str(run.path), data, checkpoint="best").accuracy
    best = kzoo.evaluate(run, data, split="validation").accuracy
    assert best == pytest.approx(max(rows))
    for name in ("card.md", "curves.png", "confusion-textures-test.png", "metrics.csv", "plan.json", "model.keras"):
        assert (run.path / name).is_file(), name
    kzoo.export(run, folder / "export")
    Image.fromarray(images(3)[0][2]).save(folder / "photo.png")
    whole, served = (kzoo.predict(m, str(folder / "photo.png"))[0] for m in (run, folder / "export"))
    assert whole.labels == served.labels
    np.testing.assert_allclose(whole.scores, served.scores, atol=1e-5)


def test_a_run_like_any_other(done, data, tmp_path):
    check_run(done[0], data, "functional", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("style", [style for style in STYLES if style != "functional"])
def test_a_run_like_any_other_in_each_style(style, weights, data, tmp_path):
    check_run(tune(weights, data, style=style), data, style, tmp_path)


def test_the_images_are_prepared_as_the_weights_were(done, tmp_path):
    """Training, evaluation, predict and export have the preprocessing of the weight file."""
    run = done[0]
    assert model_info(run.model).inputs == prepared(run.model)
    assert json.loads((run.path / "config.json").read_text())["inputs"]["mean"] == [0.1, 0.2, 0.3]
    x = images(3)[0]
    expected = run.model(kzoo.preprocess_input(x, run.model)).numpy()
    for i, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    kzoo.export(run, tmp_path / "export")
    for model in (run, str(run.path), tmp_path / "export"):
        found = kzoo.predict(model, [str(tmp_path / f"{i}.png") for i in range(3)], top=3)
        scores = [[p.scores[p.labels.index(c)] for c in CLASSES] for p in found]
        np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.slow
def test_a_model_of_the_same_classes_keeps_its_head(done, data):
    """And a head that has learned already is not trained away."""
    first = done[0]
    assert (origin_of(first, None).name, origin_of(str(first.path), None).name) == ("resnet_cifar_tiny",) * 2
    second = kzoo.fine_tune(
        str(first.path), data, epochs=1, head_epochs=1, learning_rate=1.0, depth=0, verbose=False
    )  # fmt: skip
    assert second.path != first.path
    assert kept(second)["before"]["accuracy"] == kept(first)["after"]["accuracy"]
    before = kzoo.evaluate(first, data, split="validation").accuracy
    assert kzoo.evaluate(second, data, split="validation").accuracy >= before
    assert kept(second)["done"][0]["stage"] == "as it came"


@pytest.mark.slow
def test_a_run_that_is_given_keeps_its_head_in_every_stage(done, data):
    first = done[0]
    second = kzoo.fine_tune(first, data, epochs=1, head_epochs=1, verbose=False)
    assert kept(second)["before"]["accuracy"] == kept(first)["after"]["accuracy"]


# --- what is frozen ---------------------------------------------------------------------------------------------------


def assert_untouched_below(run, start):
    """Bit for bit."""
    for key, variable in kzoo.weights_by_name(run.model).items():
        if not key.startswith("predictions/"):
            np.testing.assert_array_equal(variable.numpy(), start[key])


def test_the_head_alone_leaves_everything_below_bit_for_bit(head_alone, weights):
    assert_untouched_below(head_alone, read_tensors(weights))


def check_norms(run, start):
    last = kzoo.load_model(stage_of(run, 3))
    norms = [key for key in start if "_bn/" in key]
    kernels = [key for key in start if key.endswith("_conv/kernel")]
    for model in (run.model, last):
        after = kzoo.weights_by_name(model)
        assert norms and all(np.array_equal(after[key].numpy(), start[key]) for key in norms)
    after = kzoo.weights_by_name(last)
    assert not any(np.array_equal(after[key].numpy(), start[key]) for key in kernels), "all were thawed in the end"


def test_frozen_batch_norm_keeps_its_statistics_in_every_stage(done, weights):
    """Of the head's stage in the whole network too: see the test of the head alone."""
    check_norms(done[0], read_tensors(weights))


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False])
def test_frozen_batch_norm_with_and_without_kept_features(cache, weights, data):
    check_norms(tune(weights, data, cache=cache), read_tensors(weights))


@pytest.mark.slow
def test_batch_norm_can_adapt(stepped, weights):
    start, run = read_tensors(weights), stepped[0]
    means = [key for key in start if "moving_mean" in key]
    conv3 = kzoo.weights_by_name(kzoo.load_model(stage_of(run, 2)))
    assert {key for key in means if not np.array_equal(conv3[key].numpy(), start[key])} == {
        key for key in means if key.startswith("conv3")
    }
    every = kzoo.weights_by_name(kzoo.load_model(stage_of(run, 3)))
    assert not any(np.array_equal(every[key].numpy(), start[key]) for key in means)


# --- the head on features that are computed once ----------------------------------------------------------------------


def test_cached_features_give_the_numbers_of_the_whole_network(done, head_alone):
    """To float32's rounding: another order of sums."""
    run, said = done
    assert "computed once" in said
    for metric in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert len(head_alone.history[metric]) == 5
        np.testing.assert_allclose(run.history[metric][:5], head_alone.history[metric], rtol=1e-5)
    theirs, mine = (kzoo.weights_by_name(model) for model in (head_alone.model, kzoo.load_model(stage_of(run, 1))))
    assert list(mine) == ["predictions/kernel", "predictions/bias"]
    for key, variable in mine.items():
        np.testing.assert_allclose(variable, theirs[key], rtol=1e-4, atol=1e-6)


PARTS = ["resnet_tiny", "vgg_tiny", "alexnet_tiny", "googlenet_tiny", "inception_tiny", "lenet5"]
SHOWN = [
    ("resnet_tiny", "functional"), ("vgg_tiny", "sequential"), ("alexnet_tiny", "subclass"),
    ("googlenet_tiny", "subclass"), ("lenet5", "sequential"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "style"),
    [
        pytest.param(name, style, marks=() if (name, style) in SHOWN else pytest.mark.slow)
        for name in PARTS
        for style in STYLES
    ],
)
def test_the_two_parts_are_the_network(name, style):
    model = kzoo.create_model(name, style=style)
    head = kzoo.zoo.model_spec(name).head
    trunk, top = split_at(model, {head})
    x = np.random.default_rng(0).random((2, *model_info(model).arguments["input_shape"]), dtype="float32")
    np.testing.assert_allclose(top(trunk(x)), model(x), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_network_that_drops_blocks_has_its_features_kept_up_to_the_first(weights, data, capsys):
    """Stochastic depth begins in the second block: what comes before is cached, as maps of four channels."""
    run = tune(weights, data, set={"survival": 0.8}, depth=0, style="subclass", verbose=True)
    assert model_info(run.model).style == "subclass"
    assert "computed once" in capsys.readouterr().err
    assert_untouched_below(run, read_tensors(weights))
    assert run.history["loss"][-1] < run.history["loss"][0]


def weighed():
    x, y = images(48)
    info = DataInfo(name="weighed", holds="images", classes=CLASSES, shape=(32, 32, 3))
    weight = np.where(y == 0, 3.0, 0.5).astype("float32")
    return kzoo.Data((x, y, weight), images(24, 1), info=info), weight


def test_sample_weights_stay_with_the_features():
    data, weight = weighed()
    model = kzoo.resnet_cifar_tiny(classes=3)
    trunk, _ = split_at(model, {"predictions"})
    found = features(trunk, reader_of(model_info(model).inputs), data, 16)
    rows = list(found.train.as_numpy_iterator())
    np.testing.assert_array_equal([row[2] for row in rows], weight)
    np.testing.assert_array_equal([row[1] for row in rows], images(48)[1])


@pytest.mark.slow
def test_sample_weights_count_in_the_cached_stage_too(weights):
    cached, whole = (tune(weights, weighed()[0], depth=0, cache=cache) for cache in (True, False))
    np.testing.assert_allclose(cached.history["loss"], whole.history["loss"], rtol=1e-5)


def test_streams_of_unknown_length(mlp_weights, data, capsys):
    stream = lambda split: data[split].filter(lambda x, y: True)
    info = DataInfo(name="stream", holds="images", classes=CLASSES, shape=(32, 32, 3))
    run = kzoo.fine_tune(
        "mlp", kzoo.Data(stream("train"), stream("validation"), info=info), weights=mlp_weights, depth=0, head_epochs=2,
        batch_size=16, style="sequential",
    )  # fmt: skip
    assert model_info(run.model).style == "sequential"
    assert "how many images there are is not known" in capsys.readouterr().err
    assert "after" in kept(run)


# --- rates ------------------------------------------------------------------------------------------------------------


def test_the_rates_rise_over_a_tenth_of_each_stage(done):
    """Three steps an epoch: a tenth of each stage is one step, and from there it is half a cosine to zero."""
    run, said = done
    assert "optimizer  adam, cosine after a tenth of warm-up" in said
    rates = [row["learning_rate"] for row in RunFolder(run.path).read_metrics()]
    fall = lambda epochs: [(1 + np.cos(np.pi * (3 * e - 1) / (3 * epochs - 1))) / 2 for e in range(1, epochs + 1)]
    expected = [*(0.03 * r for r in fall(5)), *(0.003 * r for r in fall(2)), *(0.003 * r for r in fall(2))]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_the_rates_of_long_stages(weights, data, capsys):
    """Three steps an epoch and ten epochs: after the first epoch a rate is at its height, and from there it falls."""
    run = tune(weights, data, head_epochs=10, epochs=10, patience=10, verbose=True)
    assert "optimizer  adam, cosine after a tenth of warm-up" in capsys.readouterr().err
    rates = np.array([row["learning_rate"] for row in RunFolder(run.path).read_metrics()]).reshape(3, 10)
    np.testing.assert_allclose(rates[:, 0], [0.03, 0.003, 0.003], rtol=1e-6)
    assert np.all(np.diff(rates) < 0)


def check_rates(run, said, frozen):
    """One step on the whole training split: the update of each layer over its gradient is the printed rate."""
    said = re.search(r"stage 3 .*learning rates: (.*)", said)[1]
    printed = {name: float(rate) for name, rate in (pair.split(" ") for pair in said.split(", "))}
    assert printed == {"head": 0.01, "conv1": 0.0016, "conv2": 0.0016, "conv3": 0.004}
    done = kept(run)["done"]
    before = max((1, 2), key=lambda k: (done[k - 1]["val_accuracy"], -done[k - 1]["val_loss"]))
    model, after = (kzoo.load_model(stage_of(run, k)) for k in (before, 3))
    x, y = images(48)
    loss = keras.losses.SparseCategoricalCrossentropy()
    set_trainable(model, [name for name in named_layers(model) if name.endswith("_bn")] if frozen else [])
    x, theirs = kzoo.preprocess_input(x, model), kzoo.weights_by_name(model)
    was = {key: v.numpy() for key, v in theirs.items()}
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    mine = kzoo.weights_by_name(after)
    learning = {key: v for key, v in theirs.items() if v.trainable}
    assert any("_bn/gamma" in key for key in learning) != frozen
    gradients = dict(zip(learning, tape.gradient(value, [v.value for v in learning.values()]), strict=True))
    for key, gradient in gradients.items():
        rate = printed["head" if key.startswith("predictions") else key.split("_")[0]]
        np.testing.assert_allclose(was[key] - mine[key], rate * gradient, rtol=1e-3, atol=1e-7, err_msg=key)


@pytest.mark.slow
def test_the_printed_rates_are_the_ones_that_act(stepped):
    check_rates(*stepped, frozen=False)


@pytest.mark.slow
def test_the_printed_rates_act_with_frozen_batch_norm(weights, data, capsys):
    run = tune(
        weights, data, optimizer="sgd", schedule="constant", epochs=1, head_epochs=1, batch_size=48, cache=False,
        learning_rate=0.01, decay=0.4, verbose=True,
    )  # fmt: skip
    check_rates(run, capsys.readouterr().err, frozen=True)


# --- other data -------------------------------------------------------------------------------------------------------


def four_channels():
    x, y = images(24)
    x = np.concatenate([x, x[..., :1]], axis=-1)
    info = DataInfo(name="four", holds="images", classes=CLASSES, shape=(32, 32, 4))
    return kzoo.Data((x, y), (x, y), info=info)


def grey_images():
    x, y = images(24, side=40)
    info = DataInfo(name="grey", holds="images", classes=CLASSES, shape=(40, 40, 1))
    return kzoo.Data((x[..., :1], y), (x[..., :1], y), info=info)


@pytest.mark.parametrize(("made", "shape"), [(four_channels, (32, 32, 4)), (grey_images, (40, 40, 1))])
def test_weights_go_into_another_size_and_other_channels(made, shape, weights):
    """The first convolution's kernel is summed or spread where it differs; all else is the file's, the head is new."""
    data, start = made(), read_tensors(weights)
    origin = origin_of("resnet_cifar_tiny", weights)
    model = blank(origin, data, None, shape, {"survival": 1.0})
    report = fill(origin, model, data)
    assert list(report.reinitialised) == ["predictions"]
    inputs = model_info(model).inputs
    assert (*inputs.size, inputs.channels) == shape
    for key, variable in kzoo.weights_by_name(model).items():
        if variable.shape == start[key].shape:
            np.testing.assert_array_equal(variable.numpy(), start[key], err_msg=key)
        else:
            assert key.startswith("predictions/") or key == "conv1_conv/kernel"
    assert kzoo.evaluate(model, data, split="train").examples == 24


@pytest.mark.slow
def test_four_channels_where_the_data_has_them(weights):
    run = tune(weights, four_channels(), input_shape=(32, 32, 4), epochs=1, head_epochs=1)
    assert kzoo.evaluate(run, four_channels(), split="train").examples == 24


@pytest.mark.slow
def test_grey_images_and_another_size(weights):
    run = tune(weights, grey_images(), input_shape=(40, 40, 1), epochs=1, head_epochs=1)
    assert model_info(run.model).inputs.size == (40, 40) and model_info(run.model).inputs.channels == 1


def tuned_on_sentences(folder, epochs, **options):
    """(a run on sentences, one that goes on from it on sentences of other classes)"""
    rows = [(w, w) for w in ("good", "bad")] * 40
    (folder / "a.tsv").write_text("text\tlabel\n" + "".join(f"a {w} film indeed\t{label}\n" for w, label in rows))
    topics = [("good food", "food"), ("bad weather", "weather"), ("a film", "film")] * 20
    (folder / "b.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in topics))
    first = kzoo.fit("lstm_classifier_tiny", folder / "a.tsv", epochs=epochs, verbose=False, xla=options.get("xla"))
    run = kzoo.fine_tune(first, folder / "b.tsv", epochs=epochs, head_epochs=epochs, verbose=False, **options)
    return first, run


def check_sentences(first, run):
    assert model_info(run.model).labels == ("film", "food", "weather")
    assert model_info(run.model).inputs.vocabulary == model_info(first.model).inputs.vocabulary
    assert kzoo.predict(run, "good food")[0].labels


@pytest.mark.slow
def test_sentences_on_a_trained_run(tmp_path):
    check_sentences(*tuned_on_sentences(tmp_path, 1, depth=0, xla="off"))


@pytest.mark.slow
def test_sentences_in_every_stage(tmp_path):
    check_sentences(*tuned_on_sentences(tmp_path, 2))


# --- several devices --------------------------------------------------------------------------------------------------

EXACT = {"optimizer": "sgd", "learning_rate": 0.001, "schedule": "constant", "depth": 1}


@pytest.mark.slow
def test_two_replicas_give_the_numbers_of_one_without_batch_norm(mlp_weights, data):
    options = {**EXACT, "cache": False, "head_epochs": 1, "epochs": 1, "batch_size": 16, "set": {"dropout": 0.0}}
    one, two = (
        kzoo.fine_tune("mlp", data, weights=mlp_weights, xla="off", verbose=False, **options, **where)
        for where in ({}, {"strategy": "mirrored", "devices": 2})
    )
    np.testing.assert_allclose(one.history["loss"], two.history["loss"], rtol=1e-4)
    start, theirs = read_tensors(mlp_weights), kzoo.weights_by_name(one.model)
    for key, variable in kzoo.weights_by_name(two.model).items():
        np.testing.assert_allclose(variable, theirs[key], rtol=1e-4, atol=1e-6, err_msg=key)
        assert not np.array_equal(variable.numpy(), start.get(key)), "in the end all layers learn"


@pytest.mark.slow
def test_two_replicas_give_the_numbers_of_one(weights, data):
    """The layers below learn from stage to stage; batch norm is frozen, so that the halves of a batch add up."""
    options = {**EXACT, "cache": False}
    one = tune(weights, data, **options)
    two = tune(weights, data, strategy="mirrored", devices=2, **options)
    np.testing.assert_allclose(one.history["loss"], two.history["loss"], rtol=1e-4)
    start = read_tensors(weights)
    for key, variable in kzoo.weights_by_name(two.model).items():
        if key.startswith("conv1") or "_bn/" in key:
            np.testing.assert_array_equal(variable.numpy(), start[key])


def in_processes(strategy="multiworker", run_dir="run"):
    """What test_two_processes asks of each process."""
    folder = Path(tempfile.mkdtemp())
    path, data = pretrained(folder), textures()
    run = tune(path, data, run_dir=run_dir, strategy=strategy, **EXACT)
    start = read_tensors(path)
    moved = [key for key, v in kzoo.weights_by_name(run.model).items() if not np.array_equal(v.numpy(), start.get(key))]
    again = kzoo.fine_tune(data=data, resume=run.path, strategy=strategy, verbose=False)
    return {"loss": run.history["loss"], "again": again.history["loss"], "moved": moved, "path": str(run.path)}


@pytest.mark.slow
def test_two_processes(tmp_path):
    first, second = cluster.run("test_fine_tune.in_processes", {"worker": 2}, tmp_path)
    assert first["loss"] == second["loss"] == first["again"] and first["moved"] == second["moved"]
    assert first["path"] == "run" and second["path"] != "run"
    one = in_processes("default", "one")
    np.testing.assert_allclose(first["loss"], one["loss"], rtol=1e-4)
    assert not [key for key in first["moved"] if key.startswith(("conv1", "conv2")) or "_bn/" in key]
    assert (tmp_path / "run" / "model.keras").is_file() and (tmp_path / "run" / "card.md").is_file()


# --- interrupted ------------------------------------------------------------------------------------------------------


class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@contextlib.contextmanager
def interrupted(monkeypatch, call, inside):
    """The `call`-th training of a stage ends in Ctrl-C: before it begins, or `inside`, after its first epoch."""
    calls = []

    def fit(*given, real=tuning.fit, **options):
        calls.append(1)
        if len(calls) == call and not inside:
            raise KeyboardInterrupt
        return real(*given, **options, callbacks=[Stop()] if len(calls) == call else [])

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "fit", fit)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", pytest.param("vgg_tiny", marks=pytest.mark.slow)])
def test_cut_between_stages_and_in_one(name, data, tmp_path, monkeypatch, capsys):
    """With dropout: the masks of a stage do not depend on what was drawn before it."""
    path = kzoo.save_weights(kzoo.create_model(name, classes=5), tmp_path / "five.safetensors")
    options = {"xla": "off", "weights": path, "head_epochs": 2, "epochs": 2, "depth": 1, "batch_size": 16, "seed": 7}
    whole = kzoo.fine_tune(name, data, run_dir=tmp_path / "whole", verbose=False, **options)
    cut = tmp_path / "cut"
    with interrupted(monkeypatch, 2, inside=False):
        kzoo.fine_tune(name, data, run_dir=cut, **options)
    assert f"resume: kzoo fine-tune --resume {cut}" in capsys.readouterr().err
    for mistake, says in (
        (lambda: kzoo.evaluate(str(cut)), "is a fine-tuning that is not finished: go on with kzoo fine-tune --resume"),
        (lambda: kzoo.fine_tune(resume=cut), "on data that you gave as an object; give data=… to fine_tune it again"),
        (
            lambda: kzoo.fine_tune(data=data, resume=cut, depth=0),
            r"depth of .*cut cannot be changed when it is resumed \(only head_epochs, epochs, patience can\)",
        ),
    ):
        with pytest.raises(kzoo.KzooError, match=says):
            mistake()
    with interrupted(monkeypatch, 1, inside=True):
        kzoo.fine_tune(data=data, resume=cut, verbose=False)
    run = kzoo.fine_tune(data=data, resume=cut, verbose=False)
    assert run.path == cut
    for metric, values in whole.history.items():
        np.testing.assert_allclose(run.history[metric], values, rtol=1e-5, err_msg=metric)
    theirs = kzoo.weights_by_name(whole.model)
    for key, variable in kzoo.weights_by_name(run.model).items():
        np.testing.assert_allclose(variable, theirs[key], rtol=1e-5, atol=1e-6)
    for change in ({"patience": 3}, {"depth": 0}):
        says = rf"{next(iter(change))} of .*cut cannot be changed when it is resumed \(it is finished\)"
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.fine_tune(data=data, resume=cut, **change)


@pytest.mark.slow
def test_an_interrupted_one_goes_on(weights, data, monkeypatch, tmp_path, capsys):
    whole = tune(weights, data, run_dir=tmp_path / "whole", seed=7)
    with interrupted(monkeypatch, 2, inside=True):
        tune(weights, data, run_dir=tmp_path / "cut", seed=7, verbose=True)
    assert "kzoo fine-tune --resume" in capsys.readouterr().err
    run = kzoo.fine_tune(data=data, resume=tmp_path / "cut", verbose=False)
    assert run.path == tmp_path / "cut"
    for metric, values in whole.history.items():
        np.testing.assert_allclose(run.history[metric], values, rtol=1e-5, err_msg=metric)
    theirs = kzoo.weights_by_name(whole.model)
    for key, variable in kzoo.weights_by_name(run.model).items():
        np.testing.assert_allclose(variable, theirs[key], rtol=1e-5, atol=1e-6)
    again = kzoo.fine_tune(data=data, resume=tmp_path / "cut", verbose=False)
    np.testing.assert_array_equal(again.history["val_loss"], run.history["val_loss"])


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet20"}, r"starts from weights.*give weights=…: resnet20 has 'cifar10'; or give a path"),
        ({"model": "resnet20@imagenet"}, r"unknown weights of resnet20 'imagenet'; allowed: cifar10; or a path"),
        ({"model": "resnet5@cifar10"}, "unknown model 'resnet5'; did you mean .*'resnet50'"),
        ({"model": "resnet5"}, "unknown model 'resnet5'"),
        ({"model": "resnet20@cifar10", "weights": "cifar10"}, "names its weights already"),
        ({"model": "dcgan", "weights": "x.safetensors"}, "no weight file|is for image-generation"),
        ({"depth": -1}, "depth must be a whole number of at least 0; received -1"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1; received 0"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"decay": 2.0}, "decay must be a number above 0 and up to 1; received 2"),
        ({"batch_norm": "thaw"}, "unknown batch_norm 'thaw'; allowed: frozen, adapt"),
        ({"augment": "flop"}, "unknown augment 'flop'; did you mean 'flip'"),
        ({"augment": "flip", "cache": True}, "cache=True computes the features once"),
        ({"class_weight": "equal"}, "class_weight must be 'balanced'"),
        ({"data": None}, "fine_tune needs data"),
        ({"data": "digit"}, "unknown data set 'digit'"),
        ({"freeze": "conv9"}, "unknown layer in freeze 'conv9'"),
        ({"droput": 0.5}, "unknown argument of fine_tune 'droput'"),
        ({"set": {"droput": 0.5}}, "unknown argument of resnet20 'droput'"),
        ({"input_shape": (40, 40)}, "input_shape of resnet20 has 3 numbers"),
        ({"resume": "nowhere"}, "'nowhere' is no fine-tuning; give a path"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"precision": "half"}, "precision 'half'"),
        ({"xla": "maybe"}, "unknown xla 'maybe'; allowed: auto, on, off"),
        ({"style": "flat"}, "unknown style 'flat'"),
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm'"),
        ({"optimizer": keras.optimizers.SGD(0.01)}, "optimizer must be a name, since each stage needs a new one"),
        ({"optimizer": "adam:learning_rate=0.1"}, "has a rate of its own; give it as learning_rate=…"),
        ({"class_weight": {3: 1.0}}, "class_weight must name classes from 0 to 2; received"),
        ({"model": "resnet20", "weights": True}, "weights must be a tag, a path or an address; received True"),
        ({"input_shape": 32}, r"input_shape must be whole numbers such as \(96, 96, 3\); received 32"),
        ({"depth": 9}, "depth=9, but 'resnet20' has 3 groups of layers below its head"),
        ({"freeze": ["conv", "predictions"]}, "freeze"),
        ({"test": 0.2}, "test goes with the name or path of data"),
        ({"model": "nosuch", "weights": "imagenet"}, "unknown model 'nosuch'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, message, data, tmp_path):
    options = {"model": "resnet20@cifar10", "data": data, **arguments}
    with pytest.raises(kzoo.KzooError, match=message) as error:
        kzoo.fine_tune(**options)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("runs"))


def test_own_models_are_told_what_to_do(data):
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)], name="mine")
    with pytest.raises(kzoo.KzooError, match=r"models of kzoo's builders.*give kzoo.fit freeze=… and rates=…"):
        kzoo.fine_tune(model, data)
    assert tf.executing_eagerly()


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_published_weights_by_the_verb(here):
    """LeNet-5 of MNIST on three of the digits, of 8 examples each; at a rate that is found, classes weighed."""
    options = ["--only", "1", "--only", "4", "--only", "7", "--per-class", 8, "--class-weight", "balanced"]
    options += ["--depth", 0, "--head-epochs", 20, "--learning-rate", "find", "--run-dir", "tuned"]
    status, out, err = here("fine-tune", "lenet5@mnist", "--data", "digits", *options)
    assert status == 0, err
    assert "next          kzoo predict tuned" in out and "baseline" in out
    assert "stage 1    head:" in err and "always" in err and "classes weighed" in err
    found = json.loads(Path("tuned/stages.json").read_text(encoding="utf-8"))
    assert found["learning_rate"] > 0
    assert found["after"]["accuracy"] > 0.9


@pytest.mark.slow
def test_published_weights_on_other_images():
    """LeNet-5 of MNIST on three of the digits, of 8 examples each."""
    data = kzoo.load_data("digits", only=["1", "4", "7"], per_class=8)
    run = kzoo.fine_tune("lenet5@mnist", data, depth=0, head_epochs=20, learning_rate=0.01, verbose=False)
    assert kept(run)["after"]["accuracy"] > 0.9


@pytest.mark.slow
def test_balanced_weights_and_found_rates(weights, data, capsys):
    run = tune(weights, data, class_weight="balanced", learning_rate="find", depth=0, head_epochs=1, verbose=True)
    assert kept(run)["learning_rate"] > 0
    said = capsys.readouterr().err
    assert "stage 1    head:" in said and "always" in said


@pytest.mark.slow
def test_the_verb(tmp_path):
    for name, x in zip(("ä", "b"), (20, 200), strict=True):
        (tmp_path / "phötos" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (40, 30), (x, i, x)).save(tmp_path / "phötos" / name / f"{i}.png")
    command = [sys.executable, "-m", "kzoo.cli", "fine-tune", "resnet20@cifar10", "--data", "phötos", "--depth", "0"]
    command += ["--head-epochs", "8", "--learning-rate", "0.01", "--test", "0.25", "--class-weight", "balanced"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "next          kzoo predict runs/0001-resnet20-ph" in found.stdout and "baseline" in found.stdout
    wrong = subprocess.run([*command, "--depth", "x"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1


def test_mistakes_of_the_verb(here):
    for options, reason in (
        (["--data", "digits", "--learning-rate", "fast"], "must be a number above 0 or 'find'; received 'fast'"),
        (["--test", "0.2"], "fine_tune needs data"),
        (["--data", "digits", "--depth", "x"], "depth must be a whole number of at least 0; received 'x'"),
        (["--data", "digits", "--only", "x", "--only", "1"], "unknown class of digits 'x'"),
    ):
        status, out, err = here("fine-tune", "resnet20@cifar10", *options)
        assert status == 2 and out == "" and reason in err and err.count("\n") == 1

"""Low-rank products: they learn in place of kernels, are saved by name, and are in the kernels in the end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.engine import freeze, named_layers, set_trainable
from kzoo.finetuning import low_rank
from kzoo.keras_internals import adapted
from kzoo.records import STYLES
from kzoo.runs import RunFolder
from kzoo.weights import read_tensors

WORDS = ["red", "green", "blue", "cyan", "grey", "pink"]


def data(count=60):
    rng = np.random.default_rng(0)
    x = np.array([" ".join(rng.choice(WORDS, 6)) for _ in range(count)], object)
    y = np.array([int(text.split().count("red") > 0) for text in x])
    return kzoo.Data(
        (x, y), validation=(x[:20], y[:20]), info=kzoo.data.DataInfo("red", "texts", classes=("no", "yes"))
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of a classifier on the same words, so that the vocabulary is known."""
    options = {"epochs": 2, "verbose": False, "run_dir": tmp_path_factory.mktemp("s") / "r"}
    sizes = {"vocabulary": 12, "dropout": 0.0}  # what dropout draws differs between replicas
    return kzoo.fit("gru_classifier_tiny", data(), set=sizes, **options).path


def tuned(source, run_dir, **options):
    return kzoo.fine_tune(source, data(), lora=2, head_epochs=1, epochs=2, run_dir=run_dir, verbose=False, **options)


@pytest.mark.parametrize("style", STYLES)
def test_only_products_and_head_learn(style):
    keras.utils.set_random_seed(0)
    model = kzoo.bert_test(style=style, dropout=0.0)
    ids = np.array([[2, 10, 11, 3]])
    before = np.asarray(model(ids))
    names = low_rank.enable(model, 2, ("output",))
    np.testing.assert_array_equal(model(ids), before)  # they begin as zeros
    assert "layer1_attention_query" in names and "embedding" in names and "output" not in names
    stage = low_rank.stage_of(model, names, ("output",), 3)
    set_trainable(model, stage.frozen)
    moving = {v.path.split("/")[-1] for v in model.trainable_variables}
    assert moving == {"lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b", "kernel", "bias"}
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == stage.parameters
    freeze(model, ("layer1",))
    set_trainable(model, ())  # nothing thaws a kernel beside its product
    kernel = named_layers(model)["layer1_attention_query"].kernel
    assert all(v is not kernel for v in model.trainable_variables)
    for layer in named_layers(model).values():
        for product in adapted(layer):
            product.assign(keras.random.normal(product.shape, seed=1))
    alone = low_rank.merged(model)
    assert not any(adapted(layer) for layer in named_layers(alone).values())
    np.testing.assert_allclose(alone(ids), model(ids), atol=1e-6)
    assert np.abs(np.asarray(alone(ids)) - before).max() > 1e-4


@pytest.mark.slow
def test_a_tuned_run_has_them_in_its_kernels(source, tmp_path):
    run = tuned(source, tmp_path / "r")
    kept = read_tensors(RunFolder(run.path) / low_rank.ADAPTERS)
    assert {key.split("/")[-1] for key in kept} >= {"lora_embeddings_a", "lora_embeddings_b"}
    assert not any(adapted(layer) for layer in named_layers(run.model).values())
    assert [row["stage"] for row in run.stages if row["epochs"]] == ["head", "low rank"]
    texts = ["red green", "blue blue"]
    expected = [p.scores for p in kzoo.predict(run, texts)]
    again = [p.scores for p in kzoo.predict(run.path, texts)]
    np.testing.assert_allclose(again, expected, atol=1e-6)
    path = kzoo.export(run, tmp_path / "e").path
    served = tf.saved_model.load(str(path)).signatures["serve_text"](text=tf.constant(texts))
    np.testing.assert_allclose(served["scores"], expected, atol=1e-5)


@pytest.mark.slow
def test_replicas_have_the_losses_of_one_device(source, tmp_path):
    one = tuned(source, tmp_path / "1", batch_size=10)
    two = tuned(source, tmp_path / "2", batch_size=10, strategy="mirrored", devices=2)
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=1e-4)


def test_what_does_not_go_together_is_one_line(source):
    with pytest.raises(kzoo.KzooError, match="lora=2 freezes all below the head but its products; leave depth out"):
        kzoo.fine_tune(source, data(), lora=2, depth=1, verbose=False)
    with pytest.raises(kzoo.KzooError, match="lora=500: no layer of .* has a kernel with more than 500 rows"):
        kzoo.fine_tune(source, data(), lora=500, verbose=False)
    with pytest.raises(kzoo.KzooError, match="lora must be a whole number of at least 1; received 0"):
        kzoo.fine_tune(source, data(), lora=0, verbose=False)

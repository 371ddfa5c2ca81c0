"""Programs of many kinds, each trained by Keras on one device and by kzoo in three ways: the numbers are the same."""

import functools

import keras
import numpy as np
import program
import pytest
import tensorflow as tf

import kzoo

PROGRAMS = program.programs()
SHOWN = {  # these are compiled by XLA and used too; the others with --slow
    "added_losses", "convnet", "dropout", "physics", "tabular_strings", "text_pooling",
}  # fmt: skip
REPLICAS = SHOWN | {  # trained on one device or on replicas
    "accumulation", "averaged_weights", "buckets", "detector", "distillation", "imbalance", "metric_learning",
    "multi_task", "overlap", "own_classes", "own_loss", "ratios", "reduced_by_sum", "sequence_tagging", "siamese",
    "sparse_inputs", "spectral", "summed_loss", "tags", "triplets", "two_tower", "variational_autoencoder",
}  # fmt: skip


def cross(ways, slow):
    """Each program with each way; the slow ways of those that are not shown are slow tests.

    What is not compiled is shown on one device or on replicas, in turn.
    """
    pairs = [(name, way) for name in PROGRAMS for way in ways]
    in_turn = sorted(REPLICAS)
    shown = lambda way: {"one": in_turn[::2], "mirrored": in_turn[1::2]}.get(way, SHOWN)
    mark = lambda name, way: pytest.mark.slow if way in slow and name not in shown(way) else ()
    return [pytest.param(name, way, marks=mark(name, way), id=f"{name}-{way}") for name, way in pairs]


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what Keras says of a program is Keras' matter


@functools.cache
def expected(name):
    return program.run(PROGRAMS[name])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(name, way) -> Trained, or the error of a refusal; trained once."""

    @functools.cache
    def train(name, way):
        try:
            return program.run(PROGRAMS[name], way, tmp_path_factory.mktemp(f"{name}-{way}"))
        except kzoo.KzooError as error:
            return error

    return train


def check_refusal(error, line):
    assert line is not None, f"refused: {error}"
    assert line in str(error)


@pytest.mark.parametrize(("name", "way"), cross(program.WAYS, slow=program.WAYS))
def test_the_numbers_are_those_of_keras_on_one_device(name, way, trained):
    line, found = PROGRAMS[name].held.get(way), trained(name, way)
    if isinstance(found, kzoo.KzooError):
        return check_refusal(found, line)
    assert all(np.isfinite(values).all() for values in found.history.values())
    if line is not None:
        pytest.skip(f"trained, but not compared: {line}")
    histories, weights = program.difference(PROGRAMS[name], found, expected(name))
    assert histories <= program.TOLERANCE, (dict(found.history), dict(expected(name).history))
    assert weights <= program.TOLERANCE


def evaluated(run, batch):
    """The accuracy is that of the model's own answers; losses and metrics of numbers are Keras' own."""
    batch = batch if isinstance(batch, tuple) else (batch,)
    found = kzoo.evaluate(run, batch)
    if not hasattr(found, "accuracy"):
        expected = run.model.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
        assert found.measures.keys() == expected.keys()
        for name, value in found.measures.items():
            assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name
        return
    x, y, *_ = batch
    scores = run.model.predict(x, verbose=0)
    y = y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
    assert found.examples == len(y)
    assert found.accuracy == pytest.approx((answers(scores, run.model) == y).mean())


def predicted(run, batch):
    x = batch[0] if isinstance(batch, tuple) else batch
    found = kzoo.predict(run, x)
    if hasattr(found[0], "outputs"):
        tensors = tf.nest.map_structure(tf.constant, x)
        expected = tf.nest.map_structure(np.asarray, run.model(tensors, training=False))
        expected = expected if isinstance(expected, dict) else dict(enumerate(keras.tree.flatten(expected)))
        for key, value in expected.items():
            mine = np.stack([one.outputs[key if isinstance(key, str) else list(one.outputs)[key]] for one in found])
            np.testing.assert_allclose(mine, value, rtol=1e-5, atol=1e-5)
        return
    best = [one.class_ids[0] for one in found]
    assert best == answers(run.model.predict(x, verbose=0), run.model).tolist()


def answers(scores, model):
    """Class numbers of the raw outputs."""
    if scores.shape[1] > 1:
        return scores.argmax(axis=1)
    logits = getattr(model.loss, "get_config", dict)().get("from_logits")
    return (scores[:, 0] > (0.0 if logits else 0.5)).astype(int)


def exported(run, batch):
    """Compared with the model by kzoo itself."""
    found = kzoo.export(run, "exports")
    assert (found.path / "saved_model.pb").is_file()


VERBS = {"evaluate": evaluated, "predict": predicted, "export": exported}


@pytest.mark.parametrize(("name", "verb"), cross(VERBS, slow=VERBS))
def test_what_is_done_with_a_run(name, verb, trained):
    line, found = PROGRAMS[name].held.get(verb), trained(name, "one")
    if isinstance(found, kzoo.KzooError):
        pytest.skip(f"not trained: {found}")
    batch = program.first_batch(PROGRAMS[name])
    if PROGRAMS[name].drawn and verb != "export":
        assert getattr(kzoo, verb)(found.run, batch if verb == "evaluate" else batch[0])
        return
    if line is None:
        VERBS[verb](found.run, batch)
        return
    with pytest.raises(kzoo.KzooError) as error:
        VERBS[verb](found.run, batch)
    assert line in str(error.value)


def test_a_difference_is_found():
    found = program.Trained({"loss": [1.0, 2.0]}, [np.ones(2)])
    other = program.Trained({"loss": [1.0, 2.1]}, [np.ones(2) + 1e-3])
    assert program.difference(PROGRAMS["own_loss"], found, other) == pytest.approx((0.1 / 2.1, 1e-3 / 1.001))
    assert program.difference(PROGRAMS["own_loss"], found, found) == (0, 0)

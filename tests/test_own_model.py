"""Models that do not name one class an example: evaluated by their own losses and metrics, served by their names."""

import keras
import numpy as np
import pytest
import serving
import tensorflow as tf
from keras import layers, ops

import kzoo

RNG = np.random.default_rng(0)
A, B = RNG.random((40, 4), dtype="float32"), RNG.random((40, 2), dtype="float32")
U, V = RNG.random((40, 1), dtype="float32"), RNG.integers(0, 3, 40)


def several(how):
    """Two inputs, two outputs: by names or in a list."""
    keras.utils.set_random_seed(0)
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    h = layers.Concatenate()([a, b])
    outputs = {"u": layers.Dense(1, name="u")(h), "v": layers.Dense(3, "softmax", name="v")(h)}
    if how == "names":
        model, loss = keras.Model({"a": a, "b": b}, outputs), {"u": "mse", "v": "sparse_categorical_crossentropy"}
        model.compile("adam", loss, metrics={"u": "mae", "v": "accuracy"})
    else:
        model = keras.Model([a, b], list(outputs.values()))
        model.compile("adam", ["mse", "sparse_categorical_crossentropy"], metrics=["mae", "accuracy"])
    return model


DATA = {"names": ({"a": A, "b": B}, {"u": U, "v": V}), "list": ((A, B), (U, V))}


@pytest.fixture(scope="module", params=DATA)
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several") / "run"
    data = DATA[request.param]
    return kzoo.fit(several(request.param), data, epochs=1, batch_size=8, run_dir=folder, verbose=False), data


def keras_says(model, x, y):
    """Means over examples: in one batch Keras' losses of each output are that too."""
    as_list = lambda part: list(part) if isinstance(part, tuple) else part
    return model.evaluate(as_list(x), as_list(y), batch_size=len(A), verbose=0, return_dict=True)


def test_several_inputs_and_outputs_are_evaluated_as_keras_does(trained):
    run, (x, y) = trained
    found, expected = kzoo.evaluate(run.path, (x, y), batch_size=16), keras_says(run.model, x, y)
    assert found.measures == pytest.approx(expected, rel=1e-5) and found.examples == 40
    assert all(f"{name:16} {value:.4f}" in str(found) for name, value in expected.items())
    assert found.to_config()["measures"]["loss"] == found.score[1]


def test_and_answer_by_the_names_of_their_outputs(trained):
    run, (x, _) = trained
    expected = run.model.predict(list(x) if isinstance(x, tuple) else x, verbose=0)
    expected = list(expected.values()) if isinstance(expected, dict) else expected
    for model in (run, run.path):
        for k, one in enumerate(kzoo.predict(model, x, batch_size=16)):
            assert list(one.outputs) == ["u", "v"] and one.input == str(k)
            for mine, theirs in zip(one.outputs.values(), expected, strict=True):
                np.testing.assert_allclose(mine, theirs[k], rtol=1e-5)
    assert str(kzoo.predict(run, x)[0]).startswith("0: u [") and "v [" in str(kzoo.predict(run, x)[0])


def test_and_are_served_by_the_names_of_their_inputs(trained, tmp_path):
    run, (x, _) = trained
    export = kzoo.export(run, tmp_path / "out")
    assert (
        export.signatures["serving_default"] == "a float32[N, 4], b float32[N, 2] -> u float32[N, 1], v float32[N, 3]"
    )
    found = serving.served(export.path, "serving_default", a=A[:3].tolist(), b=B[:3].tolist())
    for k, one in enumerate(kzoo.predict(run, {"a": A[:3], "b": B[:3]})):
        for name, value in one.outputs.items():
            np.testing.assert_allclose(found[name][k], value, rtol=1e-5)
    again = kzoo.predict(tmp_path / "out", {"a": A[:3], "b": B[:3]})
    np.testing.assert_allclose(again[2].outputs["v"], found["v"][2], rtol=1e-5)
    with pytest.raises(kzoo.KzooError, match="is not compiled, and so has no loss or metric"):
        kzoo.evaluate(tmp_path / "out", (x, x))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (A, r"takes a \[n, 4\], b \[n, 2\]; received a$"),
        ({"a": A}, r"takes a \[n, 4\], b \[n, 2\]; received a$"),
        ({"a": A, "c": B}, "received a, c$"),
        ({"a": A, "b": A}, r"received b float32 \[40, 4\]$"),
        ({"a": A, "b": B[:3]}, r"an equal number of examples; received \[3, 40\]$"),
        ({"a": A[:0], "b": B[:0]}, r"an equal number of examples; received \[0\]$"),
        ({"a": A, "b": B.astype(str)}, r"received b <U32 \[40, 2\]$"),
        ({}, "received nothing$"),
        ("photo.png", r"received a$"),
    ],
)
def test_inputs_that_do_not_fit(given, says, trained):
    with pytest.raises(kzoo.KzooError, match=says):
        kzoo.predict(trained[0], given)


def single(shape, units, loss, metrics=(), last=layers.Dense, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), last(units, **options)])
    model.compile("sgd", loss, metrics=list(metrics))
    return model


def distance(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


KINDS = {
    "regression": (lambda: single((4,), 1, "mse", ["mae"]), (A, U)),
    "several labels": (lambda: single((4,), 2, "binary_crossentropy", ["binary_accuracy"], activation="sigmoid"),
                       (A, (B > 0.5).astype("float32"))),
    "a class a step": (lambda: single((5, 3), 4, "sparse_categorical_crossentropy", ["accuracy"], activation="softmax"),
                       (RNG.random((30, 5, 3), dtype="float32"), RNG.integers(0, 4, (30, 5)))),
    "a class a pixel": (lambda: single((6, 6, 1), 3, "sparse_categorical_crossentropy", ["accuracy"], layers.Conv2D,
                                       kernel_size=3, padding="same", activation="softmax"),
                        (RNG.random((20, 6, 6, 1), dtype="float32"), RNG.integers(0, 3, (20, 6, 6)))),
    "a loss of its own": (lambda: single((4,), 2, distance), (A, B)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_names_no_class_is_judged_by_its_own_loss(kind, tmp_path):
    build, (x, y) = KINDS[kind]
    run = kzoo.fit(build(), (x, y), epochs=1, verbose=False)
    assert kzoo.evaluate(run, (x, y)).measures == pytest.approx(keras_says(run.model, x, y), rel=1e-5, abs=1e-6)
    answers = np.stack([next(iter(one.outputs.values())) for one in kzoo.predict(run, x)])
    np.testing.assert_allclose(answers, run.model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    assert kzoo.export(run, tmp_path / "out").difference < 1e-5
    batched = kzoo.evaluate(run, tf.data.Dataset.from_tensor_slices((x, y)).batch(7))
    assert batched.examples == len(x)


def test_a_compiled_model_that_was_never_trained_is_evaluated():
    build, (x, y) = KINDS["regression"]
    model = build()
    assert kzoo.evaluate(model, (x, y)).measures == pytest.approx(keras_says(model, x, y), rel=1e-5)


def test_numbers_are_no_classes():
    """A rating of 3.5 is not of class 3."""
    model = single((4,), 3, "sparse_categorical_crossentropy", activation="softmax")
    run = kzoo.fit(model, (A, V), epochs=1, verbose=False)
    assert 0 <= kzoo.evaluate(run, (A, V.astype("float32"))).accuracy <= 1
    with pytest.raises(kzoo.KzooError, match="the labels of your data are numbers such as 0.5, no classes"):
        kzoo.evaluate(run, (A, V + 0.5))


def test_whole_numbers_go_in_as_such(tmp_path):
    keras.utils.set_random_seed(0)
    stack = [keras.Input((4,), dtype="int32"), layers.Embedding(9, 3), layers.Flatten(), layers.Dense(1)]
    model = keras.Sequential(stack)
    model.compile("sgd", "mse")
    ids = RNG.integers(0, 9, (30, 4))
    run = kzoo.fit(model, (ids, RNG.random((30, 1))), epochs=1, verbose=False)
    np.testing.assert_allclose(
        [one.outputs["output"] for one in kzoo.predict(run, ids)], model.predict(ids, verbose=0), rtol=1e-5
    )
    assert "int32[N, 4]" in kzoo.export(run, tmp_path / "out").signatures["serving_default"]


def test_its_epochs_are_ranked_by_its_loss():
    run = kzoo.fit(KINDS["regression"][0](), (A, U), validation=(A, U), epochs=3, patience=2, verbose=False)
    assert len(run.history["val_loss"]) == 3
    listed = kzoo.list_runs(run.path)[0]
    assert (listed.metric, listed.score) == ("val_loss", min(run.history["val_loss"]))


# ----------------------------------------------------------------------------------------------------------------------
# Subclasses, which do not say what they take
# ----------------------------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class Words(keras.Model):
    """A word, numbers and a whole number: by their names, or by their places."""

    def __init__(self, by_place=False, **kwargs):
        super().__init__(**kwargs)
        self.by_place, self.word = by_place, layers.StringLookup(vocabulary=["a", "b"])
        self.kind, self.last = layers.Embedding(4, 3), layers.Dense(1)

    def call(self, x, training=None):
        word, numbers, whole = x if self.by_place else (x["word"], x["numbers"], x["whole"])
        return self.last(ops.concatenate([self.kind(self.word(word)), numbers, ops.cast(whole, "float32")], -1))

    def get_config(self):
        return {**super().get_config(), "by_place": self.by_place}


GIVEN = {"word": np.array(["a", "b", "c", "b"] * 10), "numbers": A, "whole": V[:, None]}


@pytest.mark.parametrize("by_place", [False, True], ids=["by names", "by places"])
def test_a_subclass_of_several_inputs(by_place, tmp_path):
    x = tuple(GIVEN.values()) if by_place else GIVEN
    names = ["input_0", "input_1", "input_2"] if by_place else list(GIVEN)
    model = Words(by_place)
    model.compile("adam", "mse")
    run = kzoo.fit(model, (x, U), epochs=1, verbose=False, run_dir=tmp_path / "run")
    expected = model(keras.tree.map_structure(tf.constant, x)).numpy()
    for source in (run, run.path):
        found = [one.outputs["output"] for one in kzoo.predict(source, x)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    kzoo.export(run.path, tmp_path / "out")
    named = dict(zip(names, GIVEN.values(), strict=True))
    served = kzoo.predict(tmp_path / "out", named)
    np.testing.assert_allclose([one.outputs["output"] for one in served], expected, rtol=1e-5)
    assert kzoo.evaluate(run.path, (x, U)).measures["loss"] == pytest.approx(np.mean((expected - U) ** 2), rel=1e-5)


def test_an_evaluation_is_compiled_once(trained):
    run, (x, y) = trained
    first = kzoo.evaluate(run.model, (x, y)).measures
    kept = vars(run.model)["kzoo_kept"]["own-model"]
    step = kept["made"][1]
    assert kzoo.evaluate(run.model, (x, y)).measures == first
    assert kept["made"][1] is step and step.experimental_get_tracing_count() <= 2  # whole batches, and the last one


def test_another_compile_is_heard_of():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    for loss in ("mse", "mae"):
        model.compile("sgd", loss)
        found = kzoo.evaluate(model, (A, U)).measures["loss"]
        assert found == pytest.approx(model.evaluate(A, U, verbose=0), rel=1e-5)


class Both(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.other = layers.Dense(3), layers.Dense(2)

    def call(self, x, training=None):
        return self.one(x), self.other(x)


def test_a_model_that_is_not_built_is_by_what_it_answers():
    model = Both()
    found = kzoo.predict(model, A[:2])
    assert [value.shape for value in found[1].outputs.values()] == [(3,), (2,)]

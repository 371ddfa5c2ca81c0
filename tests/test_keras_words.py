"""What a Keras user brings to `fit`: Keras' own words, validation data, data in every form that Keras takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import kzoo

RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 4), dtype="float32"), RNG.integers(0, 3, 40)


def network(loss="sparse_categorical_crossentropy", units=3):
    keras.utils.set_random_seed(0)
    last = layers.Dense(units, {"sparse_categorical_crossentropy": "softmax", "mse": None}.get(loss, "sigmoid"))
    model = keras.Sequential([keras.Input((4,)), last])
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def batches(*parts):
    return tf.data.Dataset.from_tensor_slices(parts).batch(16)


def fit(*args, **options):
    return kzoo.fit(*args, **{"epochs": 2, "verbose": False, "xla": "off", **options}).history


def by_keras(*args, **options):
    return network().fit(*args, **{"epochs": 2, "shuffle": False, "verbose": 0, **options}).history


def same(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values == pytest.approx(other[name], rel=1e-5), name


# --- validation -----------------------------------------------------------------------------------------------------

HELD = (X[::-1][:10].copy(), Y[::-1][:10].copy())


@pytest.mark.parametrize(
    "held", [HELD, batches(*HELD), tf.data.Dataset.from_tensor_slices(HELD), kzoo.Data(HELD)],
    ids=["arrays", "batches", "examples", "Data"],
)  # fmt: skip
def test_validation_of_ones_own_is_fed_as_the_training_data_is(held):
    expected = by_keras(batches(X, Y), validation_data=HELD)
    same(fit(network(), batches(X, Y), validation=held), expected)
    assert fit(network(), (X, Y), validation=held).keys() == expected.keys()


def test_given_as_it_is_validation_is_not_rescaled():
    """Numbers in 0 to 1 stay so beside a training split that does."""
    x = RNG.integers(0, 256, (60, 4)) / 255.0
    data = kzoo.Data((x[:40], Y), (x[40:], Y[:20]))
    model = kzoo.fit(network(), data, epochs=2, verbose=False).model
    found = model.evaluate(x[40:], Y[:20], verbose=0)
    assert fit(model, data, epochs=1, learning_rate=1e-9)["val_loss"][0] == pytest.approx(found, rel=1e-5)


def test_raw_data_has_raw_validation():
    held = kzoo.load_data("digits").test.take(50)
    found = fit("mlp_16_16", "digits", epochs=1, validation=held, batch_size=256)
    again = fit("mlp_16_16", kzoo.Data(kzoo.load_data("digits").train, held), epochs=1, batch_size=256)
    assert found["val_loss"] == again["val_loss"]


@pytest.mark.parametrize(
    ("data", "held", "says"),
    [
        ((X, Y), "all", r"validation must be \(x, y.*received str"),
        ((X, Y), 1.5, "validation must be a number"),
        ((X, Y), {}, "validation must be .* a tf.data.Dataset as data takes it.*; received dict"),
        ((X, Y), (X[:, :3], Y), r"cannot validate 'sequential[_0-9]*': Input 0 .* expected axis -1 .* value 4"),
        ((X, Y), (X, Y[:5]), "the arrays of the train split have different lengths"),
        (kzoo.Data((X, Y)), batches(X, Y), "validation is batched, and data is not"),
        ((X, Y), batches(X, Y).repeat(), "the validation data never ends; say how much"),
        ((X, Y), batches(X, Y).take(0), "the validation split gives no batch"),
    ],
    ids=["text", "share", "dict", "shape", "length", "batched", "endless", "empty"],
)
def test_validation_that_cannot_be(data, held, says, tmp_path):
    with pytest.raises(kzoo.KzooError, match=says) as error:
        fit(network(), data, validation=held)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


# --- Keras' own words -----------------------------------------------------------------------------------------------


def test_words_that_mean_the_same_are_taken():
    expected = fit(network(), (X, Y), validation=HELD)
    same(fit(network(), x=X, y=Y, validation_data=HELD, shuffle=True), expected)
    weights = RNG.random(40)
    same(fit(network(), (X, Y), sample_weight=weights), fit(network(), (X, Y, weights)))
    same(fit(network(), (X, Y), validation_split=0.25), fit(network(), (X[:30], Y[:30]), validation=(X[30:], Y[30:])))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"steps_per_epoch": 2}, "steps_per_epoch is Keras' word; here: limit_train_batches"),
        ({"validation_steps": 2}, "validation_steps is Keras' word; here: limit_validation_batches"),
        ({"shuffle": False}, "shuffle is Keras' word; here: .* batches of yours come in their order"),
        ({"initial_epoch": 2}, "initial_epoch is Keras' word; here: resume=a run"),
        ({"validation_split": 1.0}, "validation_split must be a number above 0 and below 1; received 1.0"),
        ({"validation_split": 0.999}, "validation_split=0.999 of 40 examples leaves a part empty"),
        ({"epoch": 2}, "unknown argument of fit 'epoch'; did you mean 'epochs'"),
    ],
)
def test_other_words_are_answered_with_ours(given, says, tmp_path):
    with pytest.raises(kzoo.KzooError, match=says):
        fit(network(), (X, Y), **given)
    assert not list(tmp_path.iterdir())


def test_labels_by_place():
    with pytest.raises(kzoo.KzooError, match="fit takes model and data by place; received 3; .* data=\\(x, y"):
        kzoo.fit(network(), X, Y)


def test_verbose_as_keras_counts(capsys):
    fit(network(), (X, Y), verbose=0)
    assert capsys.readouterr().err == ""
    fit(network(), (X, Y), verbose=2)
    assert "epoch" in capsys.readouterr().err


# --- forms of data --------------------------------------------------------------------------------------------------


class Added(layers.Layer):
    def call(self, x):
        self.add_loss(ops.mean(ops.square(x)))
        return x


@pytest.mark.parametrize(
    "data", [X, (X,), tf.data.Dataset.from_tensor_slices(X).batch(40), batches(X)],
    ids=["array", "tuple", "bare batches", "batches"],
)  # fmt: skip
def test_data_without_labels(data):
    def build():
        keras.utils.set_random_seed(0)
        x = keras.Input((4,))
        model = keras.Model(x, Added()(layers.Dense(2)(x)))
        model.compile("sgd")
        return model

    expected = build().fit(X, batch_size=40, epochs=1, verbose=0).history["loss"]
    found = fit(build(), data, epochs=1, batch_size=40)["loss"]
    assert found == pytest.approx(expected, rel=1e-5) or data is not X and found[0] < expected[0]


def test_forgotten_labels_are_missed(tmp_path):
    for data, held in ((X, None), (batches(X), None), ((X, Y), X)):
        with pytest.raises(kzoo.KzooError, match="was compiled with a loss, and the data has no labels; give"):
            fit(network(), data, validation=held)
    with pytest.raises(kzoo.KzooError, match=r"data is a dict of x, y; give \(x, y\[, weight\]\)"):
        fit(network(), {"x": X, "y": Y})
    assert not list(tmp_path.iterdir())


class InTurn(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.ended = 0

    def __len__(self):
        return 3

    def __getitem__(self, k):
        return X[16 * k : 16 * k + 16], Y[16 * k : 16 * k + 16]

    def on_epoch_end(self):
        self.ended += 1


def test_a_pydataset():
    data = InTurn()
    same(fit(network(), data), by_keras(InTurn()))
    assert data.ended == 3  # as Keras: before the first epoch, and after each


class Rising(InTurn):
    """Other numbers each epoch."""

    def __getitem__(self, k):
        x, y = super().__getitem__(k)
        return x + self.ended, y


@pytest.mark.parametrize("strategy", ["one", "mirrored"])
def test_a_pydataset_hears_of_the_end_of_each_epoch(strategy):
    where = kzoo.strategy("mirrored", devices=2) if strategy == "mirrored" else "one"
    same(fit(network(), Rising(), epochs=3, strategy=where), by_keras(Rising(), epochs=3))


def test_a_generator_is_read_once():
    def forever():
        k = 0
        while True:
            yield X[k % 32 : k % 32 + 8], Y[k % 32 : k % 32 + 8]
            k += 8

    expected = by_keras(forever(), steps_per_epoch=3)
    same(fit(network(), forever(), limit_train_batches=3), expected)
    for limit in (None, 2):
        with pytest.raises(kzoo.KzooError, match="the data gave no batch in epoch [23]; a generator can be read once"):
            fit(network(), ((X[:8], Y[:8]) for _ in range(3)), epochs=3, limit_train_batches=limit)
    with pytest.raises(kzoo.KzooError, match="the data gives no batch"):
        fit(network(), (batch for batch in ()))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_endless_examples_are_refused(split, tmp_path):
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).repeat()
    data = kzoo.Data(**{"train": (X, Y), split: endless})
    with pytest.raises(kzoo.KzooError, match=f"the {split} split of your data never ends"):
        fit(network(), data)
    assert not list(tmp_path.iterdir())


class Frame:
    """What is asked of pandas' tables and columns."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


def test_objects_of_pandas():
    same(fit(network(), (Frame(X), Frame(Y))), fit(network(), (X, Y[:, None])))


def test_labels_true_and_false():
    yes = X[:, 0] > 0.5
    same(fit(network("binary_crossentropy", 1), (X, yes)), fit(network("binary_crossentropy", 1), (X, yes * 1.0)))


def test_class_weight_of_some_classes():
    """The others have 1, as Keras documents."""
    given = fit(network(), batches(X, Y), class_weight={1: 2.0})
    same(given, by_keras(batches(X, Y), class_weight={0: 1.0, 1: 2.0, 2: 1.0}))
    same(given, fit(network(), batches(X, Y), class_weight={0: 1.0, 1: 2.0, 2: 1.0}))
    with pytest.raises(kzoo.KzooError, match="class_weight must name classes from 0 to 2; received class 7"):
        fit(network(), batches(X, Y), class_weight={7: 2.0})


@pytest.mark.parametrize(
    "labels", [np.array(["b", "a", "c"])[Y], [["b", "a", "c"][k] for k in Y]], ids=["array", "list"]
)
def test_labels_that_are_names(labels):
    run = kzoo.fit(network(), kzoo.Data((X, labels), (X[:5], labels[:5])), epochs=2, verbose=False)
    same(run.history, fit(network(), kzoo.Data((X, np.array([1, 0, 2])[Y]), (X[:5], np.array([1, 0, 2])[Y[:5]]))))
    assert kzoo.predict(run, X)[0].labels[0] in ("a", "b", "c")
    with pytest.raises(kzoo.KzooError, match="unknown class in the validation split: 'd'; allowed: a, b, c"):
        kzoo.Data((X, labels), (X[:1], np.array(["d"])))
    column = kzoo.Data((X, np.asarray(labels)[:, None]))
    assert column.info.classes == ("a", "b", "c") and column.train.element_spec[1].shape == ()


@pytest.mark.parametrize(
    "x", [[[1.0, 2.0], [1.0, 2.0, 3.0]], tf.ragged.constant([[1.0, 2.0], [1.0, 2.0, 3.0]])], ids=["lists", "ragged"]
)
def test_rows_of_different_lengths_are_refused(x):
    with pytest.raises(kzoo.KzooError, match="the train split has rows of different lengths; make them equal"):
        fit(network(), (x, [0, 1]))


def test_after_backup_and_restore_the_next_fit_trains():
    model, found = network(), []
    for _ in range(2):
        found += fit(model, batches(X, Y), callbacks=[keras.callbacks.BackupAndRestore("backup")])["loss"]
    assert found == pytest.approx(by_keras(batches(X, Y), epochs=4)["loss"], rel=1e-5)


def test_a_summary_changes_nothing():
    model = network()
    kzoo.summary(model)
    assert kzoo.feature_extractor(model, model.layers[0].name)(X[:2]).shape == (2, 3)
    same(fit(model, batches(X, Y)), by_keras(batches(X, Y)))


def test_a_notebook_shows_what_print_shows():
    class Printer:
        def text(self, text):
            self.said = text

    run = kzoo.fit(network(), (X, Y), epochs=1, verbose=False)
    for shown in (run, kzoo.evaluate(run, (X, Y)), kzoo.predict(run, X)[0], kzoo.summary(run.model)):
        shown._repr_pretty_(printer := Printer(), False)
        assert printer.said == str(shown)


def raising(error):
    for k in range(5):
        if k == 3:
            raise error
        yield X[:8], Y[:8]


def changing():
    for k in range(5):
        yield X[:8, : 3 if k == 3 else 4], Y[:8]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: raising(ValueError("the file is gone")), "the file is gone"),
        (changing, "expected axis -1|Dimension|incompat"),
    ],
    ids=["raises", "changes its shape"],
)
def test_batches_that_fail_in_the_middle(make, says):
    """In a line; the run is as after its last checkpoint."""
    specs = (tf.TensorSpec((None, None)), tf.TensorSpec((None,), tf.int64))
    data = tf.data.Dataset.from_generator(make, output_signature=specs)
    with pytest.raises(kzoo.KzooError, match=f"^a batch failed: [^\n]*({says})[^\n]*; the model is as after its last"):
        fit(network(), data)


# ----------------------------------------------------------------------------------------------------------------------
# Mistakes, in a line, before anything is written
# ----------------------------------------------------------------------------------------------------------------------


def regression(loss="mse", **options):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", loss, **options)
    return model


def two_outputs(loss):
    x = keras.Input((4,))
    model = keras.Model(x, {"p": layers.Dense(2, name="p")(x), "q": layers.Dense(1, name="q")(x)})
    model.compile("sgd", loss)
    return model


def raising_loss(y_true, y_pred):
    raise RuntimeError("of mine\nand more")


def key_error_loss(y_true, y_pred):
    return {}["weight"]


R, P = RNG.random((40, 1), dtype="float32"), RNG.random((40, 2), dtype="float32")


@pytest.mark.parametrize(
    ("make", "data", "options", "says"),
    [
        (regression, (X, R), {"class_weight": {1: 2.0}}, "class_weight goes with classes, and the labels are numbers"),
        (lambda: regression("msee"), (X, R), {}, "unknown loss 'msee'; did you mean 'mse'"),
        (regression, (X, R), {"loss": "hubber"}, "unknown loss 'hubber'; did you mean 'huber'"),
        (lambda: regression(metrics=["acuracy"]), (X, R), {}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (regression, (X, R), {"metrics": [["mea"]]}, "unknown metric 'mea'; did you mean 'mse' or 'mae'"),
        (lambda: regression(raising_loss), (X, R), {}, "cannot train 'sequential.*': RuntimeError: of mine$"),
        (lambda: regression(key_error_loss), (X, R), {}, "cannot train 'sequential.*': KeyError: 'weight'$"),
        (lambda: regression(lambda a, b: np.zeros(3)), (X, R), {}, "the loss of 'sequential.*' has no gradient"),
        (lambda: regression(lambda a, b: tf.round(b)), (X, R), {}, "the loss of 'sequential.*' has no gradient"),
        (regression, tf.data.Dataset.from_tensor_slices((X, R)), {}, r"gives single examples \[4\], .*\.batch\(32\)"),
        (regression, [(X[:8], R[:8])], {}, "a keras.utils.PyDataset, a generator; received list"),
        (lambda: two_outputs({"p": "mse", "q": "mse"}), (X, {"P": P, "q": R}), {},
         r"its outputs and the labels have other names \(outputs: p, q; labels: P, q; losses: p, q\)$"),
        (lambda: two_outputs({"p": "mse", "q": "mse"}), (X, P), {}, r"\(outputs: p, q; labels: one; losses: p, q\)$"),
        (lambda: two_outputs({"pp": "mse"}), (X, {"p": P, "q": R}), {}, r"labels: p, q; losses: pp\)$"),
    ],
)  # fmt: skip
def test_mistakes_in_a_line(make, data, options, says, tmp_path):
    with pytest.raises(kzoo.KzooError, match=f"^[^\n]*{says}") as error:
        fit(make(), data, run_dir=tmp_path / "run", **options)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_loss_for_one_of_two_outputs():
    for y in ({"p": P, "q": R}, {"p": P}):
        keras.utils.set_random_seed(1)
        mine, data = two_outputs({"p": "mse"}), tf.data.Dataset.from_tensor_slices((X, y)).batch(8)
        keras.utils.set_random_seed(1)
        theirs = two_outputs({"p": "mse"}).fit(data, epochs=2, shuffle=False, verbose=0).history
        assert fit(mine, data, epochs=2) == {"loss": pytest.approx(theirs["loss"], rel=1e-5)}


def test_batches_of_ones_own_are_counted_as_batches(capsys):
    run = kzoo.fit(network(), batches(X, Y), validation=batches(X, Y), epochs=1)
    said = capsys.readouterr().err
    assert run.plan.data == "your dataset: 3 train in batches, 3 validation in batches"
    assert " batches/s  " in said and "examples/s" not in said


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_optimizer(tmp_path):
    """What Adam has noted is of no use to SGD, and the other way round."""
    for first, then in (("adam", "sgd"), ("sgd", "adam")):
        run = kzoo.fit(network(), (X, Y), optimizer=first, epochs=2, verbose=False, run_dir=tmp_path / first)
        with pytest.raises(
            kzoo.KzooError, match="was written with another optimizer, .*'optimizer/.* (lacks|has no pl)"
        ):
            kzoo.fit(resume=run.path, data=(X, Y), optimizer=then, epochs=3, verbose=False)
        more = kzoo.fit(resume=run.path, data=(X, Y), epochs=3, verbose=False)
        assert len(more.history["loss"]) == 3


def test_predict_reads_the_inputs_of_a_dataset():
    run = kzoo.fit(network(), (X, Y), epochs=1, verbose=False)
    expected = [p.scores for p in kzoo.predict(run, X)]
    single = tf.data.Dataset.from_tensor_slices((X, Y))
    for given in (batches(X, Y), batches(X), single, InTurn()):
        found = [p.scores for p in kzoo.predict(run, given)]
        np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-5)
    for given, says in ((single.repeat(), "never ends; give as much"), (single.take(0), "the dataset is empty")):
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.predict(run, given)


def ends(count=3):
    return ((X[8 * k : 8 * k + 8], Y[8 * k : 8 * k + 8]) for k in range(count))


def test_a_generator_is_evaluated_and_validates_whole():
    """It can be read once: its batches are kept."""
    run = kzoo.fit(network(), (X, Y), epochs=1, verbose=False)
    expected = run.model.evaluate(X[:24], Y[:24], verbose=0, return_dict=True)
    assert kzoo.evaluate(run.model, ends()).examples == 24
    assert kzoo.evaluate(run.model, InTurn()).examples == kzoo.evaluate(run.model, batches(X, Y)).examples == 40
    still = kzoo.fit(network(), (X, Y), optimizer="sgd:learning_rate=1e-12", validation=ends(), epochs=3, verbose=False)
    assert still.history["val_loss"] == [pytest.approx(still.history["val_loss"][0], rel=1e-6)] * 3
    assert still.history["val_loss"][0] > 0.5 and expected["loss"] > 0


def test_an_epoch_of_a_generator_is_said():
    notes = kzoo.fit(network(), ends(), epochs=1, verbose=False).plan.notes
    assert "an epoch of a generator lasts until it ends; limit_train_batches says how long else" in notes


def test_labels_true_and_false_of_classes():
    yes = Y > 0
    for made in ((X, yes), batches(X, yes)):
        assert fit(network(), made) == fit(
            network(),
            (X, yes.astype(int)) if made is not None and isinstance(made, tuple) else batches(X, yes.astype(int)),
        )
    binary = lambda: network("binary_crossentropy", 1)
    assert fit(binary(), (X, yes), class_weight={1: 2.0}) == fit(binary(), (X, yes.astype(int)), class_weight={1: 2.0})


def test_names_in_an_array_of_objects():
    names = np.array(["ant", "bee", "cow"])
    assert fit(network(), (X, names.astype(object)[Y])) == fit(network(), (X, names[Y])) == fit(network(), (X, Y))
    with pytest.raises(kzoo.KzooError, match="the labels are texts, and losses read numbers; number them"):
        fit(network(), batches(X, names[Y]))


def raising_at_once():
    raise ValueError("no such camera")
    yield


class Broken(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, k):
        raise KeyError("mine")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (raising_at_once, "no such camera"),
        (Broken, "KeyError: 'mine'"),
        (lambda: tf.data.Dataset.range(9).map(lambda k: tf.py_function(raising_at_once, [k], tf.float32)), "failed: "),
    ],
)
def test_data_that_fails_at_once(data, says, tmp_path):
    for given in ({"data": data()}, {"data": (X, Y), "validation": data()}):
        with pytest.raises(kzoo.KzooError, match=f"^[^\n]*{says}") as error:
            kzoo.fit(network(), **given, run_dir=tmp_path / "run", epochs=1)
        assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_numbers_of_several_outputs_are_no_classes():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(kzoo.KzooError, match="are numbers such as .*, no classes"):
        kzoo.evaluate(model, (X, P))


class OwnAnswer(keras.Sequential):
    def predict_step(self, data):
        return 0.0


class OwnTest(keras.Sequential):
    def test_step(self, data):
        return {"loss": 0.0}


def test_own_answers_and_evaluations_are_refused_by_name():
    for kind, call, says in (
        (OwnAnswer, lambda model: kzoo.predict(model, X), "has a predict_step of its own, .* or use its own predict"),
        (OwnTest, lambda model: kzoo.evaluate(model, (X, Y)), "has a test_step of its own, .* or use its own evaluate"),
    ):
        model = kind([keras.Input((4,)), layers.Dense(3, "softmax")])
        with pytest.raises(kzoo.KzooError, match=says):
            call(model)


def test_an_export_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(kzoo.KzooError, match="cannot be written: Not a directory"):
        kzoo.export(network(), tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (
            np.where(Y > 0, 1, -1),
            "binary_crossentropy reads labels in 0 to 1; those of the first batch reach from -1 to 1",
        ),
        (1 + (Y > 0), "binary_crossentropy reads labels in 0 to 1; those of the first batch reach from 1 to 2"),
        ((Y > 0) * 0.9 + 0.05, ""),
    ],
)
def test_labels_that_a_loss_reads_otherwise(labels, says):
    notes = kzoo.fit(network("binary_crossentropy", 1), (X, labels), epochs=1, verbose=False).plan.notes
    assert says in notes if says else not any("reads labels" in note for note in notes)


def test_labels_between_classes():
    halves = (X, Y * 0.5)
    notes = kzoo.fit(network(), halves, epochs=1, batch_size=40, verbose=False).plan.notes
    assert "sparse_categorical_crossentropy reads numbers of classes; the first batch has a label of 0.5" in notes

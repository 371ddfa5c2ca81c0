"""What other people's programs do, beside Keras' own `fit` on one device: equal numbers, or a refusal by name."""

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import kzoo
from kzoo.engine import adds_only

RNG = np.random.default_rng(0)
X, Z = RNG.random((40, 4), dtype="float32"), RNG.random((40, 2), dtype="float32")
Y = RNG.integers(0, 3, 40)
IDS = RNG.integers(0, 40, (60, 5))


WAYS = {
    "one": lambda: {"strategy": "one", "xla": "off"},
    "xla": lambda: {"strategy": "default", "xla": "on"},
    "mirrored": lambda: {"strategy": nets.strategy("mirrored"), "xla": "off"},
}


def batches(*parts, size=16):
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


def fit(model, data, way="one", **options):
    return kzoo.fit(model, data, **{**WAYS[way](), "epochs": 2, "verbose": False, **options})


def built(build, seed=1):
    keras.utils.set_random_seed(seed)
    return build()


def by_keras(build, data, **options):
    """(history, weights) of Keras' own fit."""
    model = built(build)
    history = model.fit(data, **{"epochs": 2, "shuffle": False, "verbose": 0, **options}).history
    return history, model.get_weights()


def assert_keras(build, data, ways=WAYS, expected=None, **options):
    history, weights = expected or by_keras(build, data)
    for way in ways:
        run = fit(built(build), data, way, **options)
        assert run.history.keys() == history.keys()
        for name, values in run.history.items():
            np.testing.assert_allclose(values, history[name], rtol=1e-5, atol=1e-6, err_msg=f"{way} {name}")
        for mine, theirs in zip(run.model.get_weights(), weights, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5, err_msg=way)


def compiled(model, *args, **kwargs):
    model.compile(*args, **kwargs)
    return model


def dense(units=2, loss="mse", optimizer="sgd", kind=keras.Sequential, **kwargs):
    if kind is keras.Sequential:
        return compiled(kind([keras.Input((4,)), layers.Dense(units)]), optimizer, loss, **kwargs)
    x = keras.Input((4,))
    return compiled(kind(x, layers.Dense(units)(x)), optimizer, loss, **kwargs)


# --- embeddings -----------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    kind.__name__: kind
    for kind in (keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.Nadam, keras.optimizers.Adamax,
                 keras.optimizers.RMSprop, keras.optimizers.Adagrad, keras.optimizers.Adadelta, keras.optimizers.Ftrl,
                 keras.optimizers.Adafactor, keras.optimizers.Lamb, keras.optimizers.Lion, keras.optimizers.SGD)
}  # fmt: skip


def looked_up(optimizer, rows=40):
    stack = [
        keras.Input((5,), dtype="int32"),
        layers.Embedding(rows, 8, name="rows"),
        layers.Flatten(),
        layers.Dense(1),
    ]
    return compiled(keras.Sequential(stack), optimizer, "mse")


def multiplied(optimizer, rows=40):
    """The same network, with a product for the table: rows of a matrix, whose gradient nobody takes apart."""

    class Rows(layers.Layer):
        def build(self, _):
            self.table = self.add_weight(shape=(rows, 8), initializer="uniform", name="table")

        def call(self, ids):
            return ops.one_hot(ids, rows) @ self.table

        def compute_output_spec(self, ids):
            return keras.KerasTensor((*ids.shape, 8))

    stack = [keras.Input((5,), dtype="int32"), Rows(name="rows"), layers.Flatten(), layers.Dense(1)]
    return compiled(keras.Sequential(stack), optimizer, "mse")


def ratings():
    return batches(IDS, np.random.default_rng(1).random(len(IDS)).astype("float32"))


SHOWN = ("Adam", "SGD", "Adafactor")  # the others with --slow


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in SHOWN)) for n in OPTIMIZERS])
def test_an_embeddings_row_learns_from_the_sum_of_its_gradients(name):
    """As the same table does in a product, by Keras' own fit: on one device, by XLA, on replicas."""
    make = lambda: OPTIMIZERS[name](0.02)
    table = np.random.default_rng(2).normal(size=(40, 8)).astype("float32")

    def set_up(build):
        model = built(lambda: build(make()))
        model.set_weights([table, np.full((40, 1), 0.1, "float32"), np.zeros(1, "float32")])
        return model

    product = set_up(multiplied)
    expected = product.fit(ratings(), epochs=2, shuffle=False, verbose=0).history["loss"]
    for way in WAYS if name == "Adam" else ("one", "mirrored"):
        run = fit(set_up(looked_up), ratings(), way)
        np.testing.assert_allclose(run.history["loss"], expected, rtol=2e-5)
        said = any("learns from the sum of its gradients" in note for note in run.plan.notes)
        assert said == (name != "SGD")


def test_keras_squares_each_slice_alone():
    """Which is why its numbers are others: of a row read twice in one batch."""
    twice = tf.data.Dataset.from_tensors((np.zeros((1, 2), "int32"), np.ones((1, 1), "float32")))

    def build(table):
        return compiled(keras.Sequential([keras.Input((2,), dtype="int32"), table, layers.Flatten(),
                        layers.Dense(1, kernel_initializer="ones", trainable=False)]),
                        keras.optimizers.RMSprop(0.1, rho=0.0, epsilon=0.0), "mse")  # fmt: skip

    model = build(layers.Embedding(1, 1, embeddings_initializer="zeros"))
    model.fit(twice, shuffle=False, verbose=0)
    assert model.weights[0].numpy().item() == pytest.approx(0.1 * 2**0.5)  # 4 / sqrt(2² + 2²), not 4 / sqrt(4²)
    run = fit(build(layers.Embedding(1, 1, embeddings_initializer="zeros")), twice, epochs=1)
    assert run.model.weights[0].numpy().item() == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["Adam", *(pytest.param(n, marks=pytest.mark.slow) for n in ("Adagrad", "SGD"))])
def test_keras_number_is_to_be_had_on_one_device(name):
    build = lambda: looked_up(OPTIMIZERS[name](0.02))
    assert_keras(build, ratings(), ("one", "xla"), repeated_rows="keras")
    with pytest.raises(kzoo.KzooError, match="repeated_rows='keras' goes with one device"):
        fit(built(build), ratings(), "mirrored", repeated_rows="keras")


def test_a_table_of_a_million_weights_has_the_same_numbers(monkeypatch):
    """Whose update is compiled by XLA where the step is not, in a training that is long enough."""
    ids = batches(RNG.integers(0, 30, (32, 5)), RNG.random(32).astype("float32"))
    build = lambda: looked_up(keras.optimizers.Adam(0.01), rows=140_000)
    plain = fit(built(build), ids, "one", kernels=False)
    short = fit(built(build), ids, "one")
    monkeypatch.setattr("kzoo.engine.kernels.REPAYS", 1)
    run = fit(built(build), ids, "one")
    assert "update by xla" in run.plan.kernels and "update by xla" not in short.plan.kernels
    for other in (short, run):
        assert other.history["loss"] == pytest.approx(plain.history["loss"], rel=1e-5)


def test_slices_are_left_to_who_adds_them():
    sgd = keras.optimizers.SGD
    assert adds_only(sgd(0.1)) and adds_only(sgd(0.1, weight_decay=0.1))
    for other in (sgd(0.1, momentum=0.9), sgd(0.1, clipnorm=1), sgd(0.1, gradient_accumulation_steps=2),
                  keras.optimizers.Adam()):  # fmt: skip
        assert not adds_only(other)


# --- losses ---------------------------------------------------------------------------------------------------------


class End(layers.Layer):
    """Adds a loss: one number, by a loss object of Keras', or one for each example."""

    def __init__(self, vector):
        super().__init__()
        self.vector, self.loss = vector, keras.losses.BinaryCrossentropy(from_logits=True)

    def call(self, both):
        logits, labels = both
        self.add_loss(ops.square(labels - logits)[:, 0] if self.vector else self.loss(labels, logits))
        return logits


def with_added_loss(vector, kind=keras.Model):
    a, b = keras.Input((4,)), keras.Input((1,))
    rate = 0.01 if vector else 0.1
    return compiled(kind([a, b], End(vector)([layers.Dense(1, kernel_regularizer="l2")(a), b])),
                    keras.optimizers.SGD(rate))  # fmt: skip


LABELS = RNG.integers(0, 2, (40, 1)).astype("float32")


@pytest.mark.parametrize("vector", [False, True], ids=["a number", "one an example"])
def test_losses_added_in_layers(vector):
    data = tf.data.Dataset.from_tensor_slices(((X, LABELS),)).batch(16)
    assert_keras(lambda: with_added_loss(vector), data)


def summed(y_true, y_pred):
    return ops.sum((y_true - y_pred) ** 2)


def test_a_loss_that_is_a_sum_over_the_batch():
    assert_keras(lambda: dense(loss=summed, optimizer=keras.optimizers.SGD(0.001)), batches(X, Z))


class Own(layers.Layer):
    """Adds a loss that is a sum over the examples, or a norm of them all, and keeps track of it."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.tracked = norm, keras.metrics.Mean(name="tracked")

    def call(self, x):
        value = ops.sum(ops.square(x))
        value = ops.sqrt(value) if self.norm else value
        self.add_loss(value)
        self.tracked.update_state(value)
        return x


def with_own(norm):
    stack = [keras.Input((4,)), layers.Dense(3), Own(norm), layers.Dense(2, kernel_regularizer="l2")]
    return compiled(keras.Sequential(stack), keras.optimizers.SGD(0.001), "mse")


def test_a_sum_over_examples_is_added_and_a_tracker_of_it_is_said():
    history, _ = by_keras(lambda: with_own(False), batches(X, Z))
    run = fit(built(lambda: with_own(False)), batches(X, Z), "mirrored")
    assert run.history["loss"] == pytest.approx(history["loss"], rel=1e-5)
    assert any("the metric 'tracked' is one number a batch" in note for note in run.plan.notes)


@pytest.mark.parametrize("first", ["a norm", "one row", "zeros"])
def test_what_the_first_batch_does_not_tell_is_said(first):
    x = np.concatenate([np.zeros_like(X[:16]), X]) if first == "zeros" else X
    data = batches(x, np.zeros((len(x), 2), "float32"), size=1 if first == "one row" else 16)
    notes = fit(built(lambda: with_own(first == "a norm")), data, "mirrored", epochs=1).plan.notes
    said = (
        "is 0 on the first batch" if first == "zeros" else "neither a sum nor a mean over examples, as far as the first"
    )
    assert any(said in note for note in notes)


class OwnLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        whole = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return 2.0 * whole + 0.1 * ops.mean(ops.abs(y_pred))


class OnlyOwnLoss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean((y - y_pred) ** 2)


@pytest.mark.parametrize("kind", [OwnLoss, OnlyOwnLoss])
def test_a_compute_loss_beside_compile(kind):
    assert_keras(lambda: dense(kind=kind), batches(X, Z))


class CalledLoss(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return ops.mean(ops.abs(y_true - y_pred)) * 3

    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def test_a_loss_with_a_call_of_its_own():
    assert_keras(lambda: dense(loss=CalledLoss()), batches(X, Z))


# --- training or not ------------------------------------------------------------------------------------------------


class Deaf(keras.Model):
    """Its `call` is not told whether it trains."""

    def __init__(self):
        super().__init__()
        self.drop, self.dense = layers.Dropout(0.5), layers.Dense(2)

    def call(self, x):
        return self.dense(self.drop(x))


def test_a_call_without_training_works_as_in_inference():
    def build():
        model = Deaf()
        model(X[:1])
        return compiled(model, "sgd", "mse")

    assert_keras(build, batches(X, Z))
    notes = fit(built(build), batches(X, Z), epochs=1).plan.notes
    assert any("call of Deaf takes no training: as in Keras, 'dropout" in note for note in notes)


# --- data without epochs --------------------------------------------------------------------------------------------


def counted():
    """Batches that are told apart by their numbers: 0, 1, 2, …"""
    for k in range(10_000):
        yield np.full((8, 4), k, "float32"), np.zeros((8, 2), "float32")


def endless():
    specs = (tf.TensorSpec((None, 4)), tf.TensorSpec((None, 2)))
    return tf.data.Dataset.from_generator(counted, output_signature=specs)


class Seen(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


@pytest.mark.parametrize("way", ["one", "mirrored"])
def test_data_without_end_goes_on_where_the_last_epoch_ended(way):
    build = lambda: dense(optimizer=keras.optimizers.SGD(1e-5))
    expected = by_keras(build, endless(), steps_per_epoch=2, epochs=3)
    assert_keras(build, endless(), [way], expected, epochs=3, limit_train_batches=2)


def test_a_resumed_run_goes_on_there_too():
    build = lambda: dense(optimizer=keras.optimizers.SGD(1e-5))
    whole = fit(built(build), endless(), epochs=4, limit_train_batches=2)
    first = fit(built(build), endless(), epochs=2, limit_train_batches=2)
    again = kzoo.fit(resume=first.path, data=endless(), epochs=4, verbose=False)
    assert again.history["loss"] == whole.history["loss"]


def test_what_ends_after_all_begins_anew():
    """Five batches, two an epoch: the third epoch has one."""
    data = endless().take(5).filter(lambda x, y: True)  # whose length nobody knows
    build = lambda: dense(optimizer=keras.optimizers.SGD(0.0))
    losses = fit(built(build), data, epochs=5, limit_train_batches=2).history["loss"]
    each = [float(built(build).evaluate(*batch, verbose=0)) for batch in endless().take(5)]
    expected = [np.mean(each[0:2]), np.mean(each[2:4]), each[4], np.mean(each[0:2]), np.mean(each[2:4])]
    assert losses == pytest.approx(expected, rel=1e-5)
    first = fit(built(build), data, epochs=3, limit_train_batches=2)
    assert kzoo.fit(resume=first.path, data=data, epochs=5, verbose=False).history["loss"] == losses


# --- callbacks ------------------------------------------------------------------------------------------------------


class Sets(keras.callbacks.Callback):
    """Weights to zero after the last batch of an epoch, and the rate before each."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.1 / (batch + 1)

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            self.model.layers[-1].kernel.assign(self.model.layers[-1].kernel * 0.0)


def test_what_a_callback_sets_between_batches_holds():
    build = lambda: dense(optimizer=keras.optimizers.SGD(0.5))
    expected = by_keras(build, batches(X, Z), callbacks=[Sets()])
    for way in WAYS:
        assert_keras(build, batches(X, Z), [way], expected, callbacks=[Sets()])
    assert np.abs(expected[1][0]).sum() == 0


# --- what replicas cannot share -------------------------------------------------------------------------------------


class Kept(keras.metrics.Metric):
    """A sum, or a maximum."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.kept = kind, self.add_variable((), "zeros", name="kept")

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.kind == "sum":
            self.kept.assign_add(ops.sum(ops.abs(y_pred)))
        else:
            self.kept.assign(ops.maximum(self.kept, ops.max(ops.abs(y_pred))))

    def result(self):
        return {"kept": self.kept, "twice": 2 * self.kept} if self.kind == "sum" else self.kept


def test_a_metric_that_adds_up_and_gives_several_numbers():
    assert_keras(lambda: dense(metrics=[Kept("sum", name="mine")]), batches(X, Z))


def test_a_metric_that_does_not_add_up():
    build = lambda: dense(metrics=[Kept("max", name="mine")])
    assert_keras(build, batches(X, Z), ["one", "xla"])
    with pytest.raises(kzoo.KzooError, match="the state of the metric 'mine' is no sum over examples"):
        fit(built(build), batches(X, Z), "mirrored")


def largest(y_true, y_pred):
    return ops.max(ops.abs(y_pred))


def test_a_metric_of_one_number_a_batch_is_said():
    build = lambda: dense(metrics=[largest])
    assert_keras(build, batches(X, Z), ["one"])
    run = fit(built(build), batches(X, Z), "mirrored")
    assert any("the metric 'largest' is one number a batch" in note for note in run.plan.notes)


class Counts(layers.Layer):
    """Adds up what it has seen, or keeps its mean."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean

    def build(self, _):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, x):
        self.count.assign_add(ops.mean(x) if self.mean else ops.sum(x))
        return x


class CountsRows(layers.Layer):
    def build(self, _):
        self.rows = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="rows")

    def call(self, x):
        self.rows.assign_add(ops.shape(x)[0])
        return x


def test_a_layer_that_counts_rows():
    build = lambda: compiled(keras.Sequential([keras.Input((4,)), CountsRows(), layers.Dense(2)]), "sgd", "mse")
    assert_keras(build, batches(X, Z), ["one", "xla"])
    with pytest.raises(kzoo.KzooError, match="rows' adds up over a batch"):
        fit(built(build), batches(X, Z), "mirrored")


@pytest.mark.parametrize("mean", [True, False])
def test_a_layer_that_adds_up_over_a_batch(mean):
    def build():
        return compiled(keras.Sequential([keras.Input((4,)), Counts(mean), layers.Dense(2)]), "sgd", "mse")

    assert_keras(build, batches(X, Z), WAYS if mean else ["one", "xla"])
    if not mean:
        with pytest.raises(kzoo.KzooError, match="count' adds up over a batch; replicas would average it"):
            fit(built(build), batches(X, Z), "mirrored")


class Joined(layers.Layer):
    def call(self, both):
        return both[0] + ops.mean(both[1], axis=0, keepdims=True)

    def compute_output_shape(self, shapes):
        return shapes[0]


def test_inputs_of_different_first_axes():
    x = {"a": X[:8], "b": RNG.random((30, 4), dtype="float32")}
    data = tf.data.Dataset.from_tensors((x, Z[:8]))

    def build():
        inputs = {name: keras.Input((4,), name=name) for name in "ab"}
        return compiled(keras.Model(inputs, layers.Dense(2)(Joined()([inputs["a"], inputs["b"]]))), "sgd", "mse")

    assert_keras(build, data, ["one", "xla"])
    with pytest.raises(kzoo.KzooError, match="the parts of a batch have 8, 30, 8 rows; replicas share out"):
        fit(built(build), data, "mirrored")


def test_a_network_of_one_size_of_batches():
    def build():
        x = keras.Input((4,), batch_size=8)
        halves = layers.Lambda(lambda t: ops.reshape(ops.reshape(t, (2, 4, 4)), (8, 4)), output_shape=(4,))(x)
        return compiled(keras.Model(x, layers.Dense(2)(halves)), "sgd", "mse")

    assert_keras(build, batches(X, Z, size=8), ["one"])
    with pytest.raises(kzoo.KzooError, match="cannot take a part of a batch, as replicas give it: [^\\n]*$"):
        fit(built(build), batches(X, Z, size=8), "mirrored")


# --- a training of one's own, in part -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["train_step", "test_step", "compute_metrics", "fit", "make_train_function", "make_test_function"]
)
def test_methods_that_the_loop_would_leave_out_are_refused_by_name(name, tmp_path):
    kind = type("Own", (keras.Model,), {name: lambda self, *args, **kwargs: None})
    if name == "fit":
        kind.compile = keras.Model.compile
    with pytest.raises(kzoo.KzooError, match=f"Own has a {name} of its own, which kzoo's loop would not run"):
        fit(dense(kind=kind), batches(X, Z))
    assert not list(tmp_path.iterdir())


def test_an_optimizer_with_a_step_of_its_own_is_refused():
    class Own(keras.optimizers.SGD):
        def apply_gradients(self, grads_and_vars):
            return super().apply_gradients(grads_and_vars)

    with pytest.raises(kzoo.KzooError, match="Own has an apply_gradients of its own"):
        fit(dense(optimizer=Own(0.1)), batches(X, Z))


# --- strategies and models as people have them ----------------------------------------------------------------------


def test_inside_the_scope_of_a_strategy():
    build = lambda: dense(optimizer=keras.optimizers.Adam(0.01))
    history, _ = by_keras(build, batches(X, Z))
    with nets.strategy("mirrored").scope():
        run = kzoo.fit(built(build), batches(X, Z), epochs=2, xla="off", verbose=False)
    assert run.plan.replicas == 2
    assert run.history["loss"] == pytest.approx(history["loss"], rel=1e-5)


@pytest.mark.parametrize("data", [batches(X, Z), (X, Z)], ids=["batches", "arrays"])
def test_a_model_that_is_not_built_yet(data):
    built_by_kzoo = fit(compiled(keras.Sequential([layers.Dense(2)]), "sgd", "mse"), data, seed=3)
    keras.utils.set_random_seed(3)
    assert built_by_kzoo.model.count_params() == 10
    with pytest.raises(kzoo.KzooError, match="cannot build 'sequential[_0-9]*' on the data: [^\n]*$"):
        fit(compiled(keras.Sequential([layers.Conv2D(2, 3)]), "sgd", "mse"), data)


@pytest.mark.parametrize("layer", [layers.GaussianNoise(0.1), layers.SpatialDropout1D(0.2), layers.Dropout(0.2)])
def test_what_draws_otherwise_with_xla_is_said(layer):
    model = compiled(keras.Sequential([keras.Input((4, 1)), layer, layers.Flatten(), layers.Dense(2)]), "sgd", "mse")
    notes = fit(model, batches(X[:, :, None], Z), "xla", epochs=1).plan.notes
    said = any(note == f"{type(layer).__name__}: other random numbers than without XLA" for note in notes)
    assert said == (type(layer) is not layers.Dropout)


# ----------------------------------------------------------------------------------------------------------------------
# Examples that see each other, and layers that keep what they saw
# ----------------------------------------------------------------------------------------------------------------------


class Flipped(layers.Layer):
    def call(self, x):
        return x[::-1]

    def compute_output_shape(self, shape):
        return shape


class Centred(layers.Layer):
    """In training only, and behind a random layer."""

    def call(self, x, training=None):
        return x - ops.mean(x, axis=0, keepdims=True) if training else x


def ended(*kinds):
    """A network that ends in a layer that learns."""
    return lambda: compiled(
        keras.Sequential([keras.Input((4,)), *(kind() for kind in kinds), layers.Dense(2)]), "sgd", "mse"
    )


@pytest.mark.parametrize(
    "kinds",
    [
        (Flipped,),
        (lambda: layers.Dropout(0.3, seed=1), Centred),
        (lambda: layers.Softmax(axis=0),),
        (lambda: layers.UnitNormalization(axis=0),),
        (layers.BatchNormalization, Flipped),
    ],
    ids=["flipped", "centred in training", "softmax over the batch", "norm over the batch", "beside batch norm"],
)
def test_examples_that_see_each_other_are_said(kinds):
    notes = fit(built(ended(*kinds)), batches(X, Z), "mirrored", epochs=1).plan.notes
    assert any("an example's output or loss depends on the others of its batch" in note for note in notes)


@pytest.mark.parametrize("loss", ["circle", "cosine over the batch"])
def test_losses_that_compare_examples_are_said(loss):
    made = {"circle": keras.losses.Circle(), "cosine over the batch": keras.losses.CosineSimilarity(axis=0)}[loss]
    build = lambda: dense(3, made, kind=keras.Sequential)
    notes = fit(built(build), batches(X, Y if loss == "circle" else np.eye(3)[Y]), "mirrored", epochs=1).plan.notes
    assert any("an example's output or loss depends on the others of its batch" in note for note in notes)


@pytest.mark.parametrize("kind", [layers.Dropout, layers.GaussianNoise], ids=["dropout", "noise"])
def test_random_layers_do_not_look_like_it(kind):
    notes = fit(built(ended(lambda: kind(0.5))), batches(X, Z), "mirrored", epochs=1).plan.notes
    assert not any("depends on the others" in note for note in notes)


@pytest.mark.slow
def test_batch_normalization_of_each_replica_is_said():
    said = "batch normalization uses the statistics of each replica's part of a batch"
    notes = lambda synchronized, **options: fit(
        built(ended(lambda: layers.BatchNormalization(synchronized=synchronized))), batches(X, Z), "mirrored",
        epochs=1, **options
    ).plan.notes  # fmt: skip
    assert any(note.startswith(said) for note in notes(False))
    assert not any(note.startswith(said) for note in [*notes(True), *notes(False, sync_batch_norm=True)])


class Keeps(layers.Layer):
    """What it has seen, by a function of (what it had, x)."""

    def __init__(self, keep, dtype="float32"):
        super().__init__()
        self.keep, self.kind = keep, dtype

    def build(self, _):
        self.kept = self.add_weight(shape=(4,), initializer="zeros", trainable=False, name="kept", dtype=self.kind)

    def call(self, x):
        self.kept.assign(ops.cast(self.keep(self.kept.value, x), self.kind))
        return x


KEEPS = {
    "the largest": lambda kept, x: ops.maximum(kept, ops.max(x, axis=0)),
    "the last": lambda kept, x: x[-1],
    "a variance": lambda kept, x: 0.9 * kept + 0.1 * ops.var(x, axis=0),
}


@pytest.mark.parametrize("kind", KEEPS)
def test_what_a_layer_keeps_that_is_no_mean_is_said(kind):
    run = fit(built(ended(lambda: Keeps(KEEPS[kind]))), batches(X, Z), "mirrored", epochs=1)
    assert any("kept' is no mean over a batch's examples: replicas average their own" in n for n in run.plan.notes)


def test_of_whole_numbers_the_first_replicas_is_kept():
    whole = lambda: Keeps(lambda kept, x: ops.max(10 * x, axis=0), "int32")
    run = fit(built(ended(whole)), batches(X, Z), "mirrored", epochs=1)
    assert any("replicas keep the first one's" in note for note in run.plan.notes)


def test_a_mean_that_a_layer_keeps_is_one_devices():
    mean = ended(lambda: Keeps(lambda kept, x: 0.9 * kept + 0.1 * ops.mean(x, axis=0)))
    assert_keras(mean, batches(X, Z))


# ----------------------------------------------------------------------------------------------------------------------
# Batches without a row; float64
# ----------------------------------------------------------------------------------------------------------------------


def test_a_batch_without_a_row():
    """Keras takes it for a batch of loss 0 whose examples do not count."""

    def gaps():
        for count in (8, 0, 6):
            yield X[:count], Z[:count]

    specs = (tf.TensorSpec((None, 4)), tf.TensorSpec((None, 2)))
    data = tf.data.Dataset.from_generator(gaps, output_signature=specs)
    build = lambda: dense(optimizer=keras.optimizers.Adam(0.01))
    model = built(build)
    losses = [model.train_on_batch(X[:count], Z[:count], return_dict=True)["loss"] for count in (8, 6)]
    for way in WAYS:
        run = fit(built(build), data, way, epochs=1)
        assert run.history["loss"] == [pytest.approx((8 * losses[0] + 6 * losses[1]) / 14, rel=0.02)], way


@pytest.fixture
def in_float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


def test_thirds_of_a_batch_in_float64(in_float64):
    """Parts in float32 do not add up to one, which a regulariser's share showed at the ninth digit."""
    data = tf.data.Dataset.from_tensor_slices((X[:5].astype("float64"), Z[:5].astype("float64"))).batch(5)

    def build():
        both = [layers.Dense(6, kernel_regularizer="l2"), layers.Dense(2)]
        return compiled(keras.Sequential([keras.Input((4,)), *both]), "sgd", "mse")

    history, weights = by_keras(build, data)
    run = fit(built(build), data, "mirrored")
    np.testing.assert_allclose(run.history["loss"], history["loss"], rtol=1e-13)
    for mine, theirs in zip(run.model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-13)


def test_an_operation_of_a_gradient_that_xla_cannot_compile(monkeypatch):
    monkeypatch.setattr("kzoo.engine.xla.PAYS", 0)  # steps; this training is too short for "auto"

    class Odd(layers.Layer):
        def call(self, x):
            through = lambda u: tf.ensure_shape(tf.py_function(lambda a: a, [u], u.dtype), u.shape)
            return tf.custom_gradient(lambda x: (2 * x, through))(x)

    build = lambda: compiled(
        keras.Sequential([keras.Input((4,)), layers.Dense(3), Odd(), layers.Dense(2)]), "sgd", "mse"
    )
    run = fit(built(build), batches(X, Z), strategy="default", xla="auto")
    assert run.plan.xla_reason == "auto: XLA cannot compile EagerPyFunc"
    np.testing.assert_allclose(run.history["loss"], by_keras(build, batches(X, Z))[0]["loss"], rtol=1e-5)
    with pytest.raises(kzoo.KzooError, match="^XLA cannot compile EagerPyFunc in 'sequential"):
        fit(built(build), batches(X, Z), "xla")


# ----------------------------------------------------------------------------------------------------------------------
# What is told, and what is left as it was
# ----------------------------------------------------------------------------------------------------------------------


def test_a_loss_that_reduces_nothing_is_told_as_a_mean():
    """Keras trains on the sum and tells the mean."""

    def build(q=None):
        x, loss = keras.Input((4,)), keras.losses.MeanSquaredError(reduction=None)
        names = ["p", "q"] if q else ["p"]
        losses = {"p": loss, "q": q} if q else {"p": loss}
        made = {name: layers.Dense(2, name=name)(x) for name in names}
        return compiled(keras.Model(x, made), "sgd", losses, loss_weights=dict.fromkeys(names, 0.5))

    data = batches(X[:32], {"p": Z[:32]})  # whole batches: Keras' history is a mean of means
    assert_keras(build, data)
    with pytest.raises(kzoo.KzooError, match="a loss with reduction=None beside others: Keras adds"):
        fit(built(lambda: build("mae")), batches(X, {"p": Z, "q": Z}))


class TellsMore(keras.Model):
    def get_metrics_result(self):
        found = super().get_metrics_result()
        return {**found, "twice": 2 * found["loss"]}


def test_a_models_own_results():
    build = lambda: dense(kind=TellsMore)
    assert_keras(build, batches(X[:32], Z[:32]))


class Normalised(keras.Model):
    """Not built, with batch statistics whatever `training` says, and a count of calls."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = layers.BatchNormalization(), layers.Dense(2)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x, training=True):
        self.calls.assign_add(1.0)
        return self.last(self.norm(x, training=True))


def test_building_runs_nothing():
    build = lambda: compiled(Normalised(), "sgd", "mse")
    assert_keras(build, batches(X, Z), ["one", "xla"])
    model = built(build)
    fit(model, batches(X, Z), epochs=1)
    calls = float(model.calls.numpy())
    kzoo.evaluate(model, (X, Z), batch_size=64)
    assert float(model.calls.numpy()) == calls + 1, "one batch"


def test_the_callers_random_numbers_are_theirs():
    import random

    def draws(train):
        keras.utils.set_random_seed(7)
        found = []
        for _ in range(3):
            model = dense()
            found += [model.get_weights()[0].ravel()[0], np.random.rand(), random.random()]
            found += [float(tf.random.uniform([])), float(keras.random.uniform([]))]
            train(model)
        return found

    assert draws(lambda model: fit(model, (X, Z), epochs=1, xla="off")) == draws(lambda model: None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer InputLayer", "ignore:Gradients do not exist")
def test_a_quantised_model_on_replicas():
    def build():
        model = dense(3, "mse")
        model.fit(X, np.eye(3, dtype="float32")[Y], verbose=0)
        model.quantize("int8")
        return model

    data = batches(X, np.eye(3, dtype="float32")[Y])
    one, two = (fit(built(build), data, way) for way in ("one", "mirrored"))
    np.testing.assert_allclose(one.history["loss"], two.history["loss"], rtol=1e-4)


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_a_recurrent_layer_that_drops_nothing_draws_nothing(kind):
    model = compiled(keras.Sequential([keras.Input((5, 4)), kind(3), layers.Dense(2)]), "sgd", "mse")
    assert not any(
        "random numbers" in note for note in fit(model, batches(RNG.random((16, 5, 4)), Z[:16]), "xla").plan.notes
    )


class Nothing(keras.Model):
    """One of its outputs is none."""

    def __init__(self):
        super().__init__()
        self.last = layers.Dense(2)

    def call(self, x, training=None):
        return {"p": self.last(x), "q": None}


def test_an_output_that_is_none():
    assert_keras(lambda: compiled(Nothing(), "sgd", {"p": "mse"}), batches(X, {"p": Z}))

"""What an objective of several phases, actions between batches and a resume stand on: phases of three networks with
their own pace and draws against a plain loop, actions at their step, epochs that begin in the middle, state by name.
"""

import functools
import time

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.engine import (
    Objective,
    Phase,
    Place,
    Trainer,
    TrainingProgress,
    build_optimizer,
    every,
    make_engine,
    state_of,
)  # fmt: skip
from kzoo.inputs import Batches, Reader, reader_of
from kzoo.models import Networks
from kzoo.records import ImageInputs, PairInputs, TextInputs
from kzoo.runs.checkpoints import put

ROWS, BATCH, STEPS, EPOCHS = 47, 23, 3, 4  # 47 = 2 * 23 + 1: an odd number of batches, the last leaves a replica empty
NOISE, PACES = (3,), {"encoder": 1, "decoder": 2, "critic": 3}


# --- three networks -------------------------------------------------------------------------------------------------


class Trio(Networks):
    """An encoder, a decoder of what it gives with noise in it, and a critic of what it gives."""

    answers = "encoder"


def trio(norm=False):
    keras.utils.set_random_seed(3)
    dense = lambda name, *arguments: keras.layers.Dense(*arguments, name=name)
    middle = [dense("wide", 5, "tanh"), *[keras.layers.BatchNormalization(name="norm")] * norm]
    parts = {
        "encoder": keras.Sequential([keras.Input((4,)), dense("code", 3, "tanh")], name="encoder"),
        "decoder": keras.Sequential([keras.Input((3,)), *middle, dense("made", 4)], name="decoder"),
        "critic": keras.Sequential([keras.Input((3,)), dense("judged", 1)], name="critic"),
    }
    optimizers = keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam(0.02), keras.optimizers.SGD(0.2)
    for network, optimizer in zip(parts.values(), optimizers, strict=True):
        network.compile(optimizer)
        build_optimizer(optimizer, network.trainable_variables)
    return Trio(parts, name="trio")


def squares(model, name, x, y, draws, training):
    """[rows]: what a network learns from, one number an example."""
    code = model.encoder(x, training=training and name == "encoder")
    if name == "critic":
        return tf.square(model.critic(code, training=training)[:, 0] - y)
    made = model.decoder(code + draws[name], training=training and name == "decoder")
    return tf.reduce_sum(tf.square(made - x), axis=1)


class InTurn(Objective):
    """The critic needs no draws, and the decoder and the critic wait for their batch."""

    def __init__(self, model):
        self.model = model
        self.phases = [
            Phase(
                name, network, network.optimizer, self.learning(name), every=PACES[name],
                draws=None if name == "critic" else NOISE,
            )
            for name, network in model.networks.items()
        ]  # fmt: skip
        self.means = {name: keras.metrics.Mean(name=f"{name}_loss") for name in model.networks}
        self.metrics = list(self.means.values())

    def learning(self, name):
        return lambda batch, share, denominators: self.judged(name, batch, share, True)

    def judged(self, name, batch, share, training):
        values = squares(self.model, name, *batch.examples, batch.draws, training)
        self.means[name].update_state(values)
        return share.mean(values)

    def test(self, batch, share, denominators=None):
        for name in self.means:
            self.judged(name, batch, share, False)


def three_columns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.sin(x.sum(axis=1))))


def batches(**options):
    draws = InTurn(trio()).draws
    return Batches(three_columns(), BATCH, Reader(), draws=draws, shuffle=True, seed=5, **options)


def weights(model):
    return [w.tolist() for w in model.get_weights()]


@functools.cache
def by_hand(norm=False, decoder=PACES["decoder"]):
    """(results, weights after each step) of GradientTape, on one device; draws are those of the batches."""
    model, found, moved, taken = trio(norm), [], [], 0
    paces = {**PACES, "decoder": decoder}
    for epoch in range(EPOCHS):
        sums, counts = dict.fromkeys(PACES, 0.0), dict.fromkeys(PACES, 0)
        for (x, y), draws in batches().epoch(epoch):
            taken += 1
            for name, network in model.networks.items():
                if taken % paces[name]:
                    continue
                with tf.GradientTape() as tape:
                    values = squares(model, name, x, y, draws, True)
                    loss = tf.reduce_mean(values)
                own = network.trainable_variables
                network.optimizer.apply(tape.gradient(loss, [v.value for v in own]), own)
                sums[name] += float(tf.reduce_sum(values))
                counts[name] += len(values)
            found.append({f"{name}_loss": sums[name] / max(counts[name], 1) for name in PACES})
            moved.append(weights(model))
    return found, moved


def engine_of(where, *, norm=False, xla=False):
    objective = InTurn(trio(norm))
    objective.prepare(next(iter(batches().epoch(0))))
    return make_engine(objective, nets.strategy(where), xla=xla, sync_batch_norm=norm)


def by_the_engine(where, *, test=False, **options):
    """(results after each step, of the last epoch after its last one: its steps are one call; weights)"""
    engine, found = engine_of(where, **options), []
    for epoch in range(EPOCHS):
        engine.objective.reset()
        engine.begin(batches(), epoch)
        for steps in [1] * STEPS if epoch < EPOCHS - 1 else [STEPS]:
            assert engine.train(steps) == (steps, False)
            found.append(engine.results())
        if test:
            engine.evaluate(batches())
    return found, weights(engine.objective.model)


def assert_same(found, wanted):
    assert len(found[0]) == len(wanted[0]) - STEPS + 1
    for mine, theirs in zip(found[0], [*wanted[0][:-STEPS], wanted[0][-1]], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
    assert_close(found[1], wanted[1][-1])


def assert_close(found, wanted):
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


SHOWN = [("one", False), ("mirrored", True)]
CROSS = [
    pytest.param(
        where, xla, marks=() if (where, xla) in SHOWN else pytest.mark.slow, id=f"{where}-{'xla' if xla else 'plain'}"
    )
    for where in ("default", "one", "mirrored")
    for xla in (False, True)
]


def slow(where):
    return pytest.param(where, marks=pytest.mark.slow)


@pytest.mark.parametrize(("where", "xla"), CROSS)
def test_phases_with_paces_and_draws_are_the_plain_loop(where, xla):
    assert_same(by_the_engine(where, xla=xla), by_hand())


@pytest.mark.parametrize("where", ["default", slow("mirrored")])
def test_statistics_rest_while_their_network_does(where):
    """Batch normalization in the network that learns every second time, synchronised over the replicas; tests between
    the epochs change neither the statistics nor the pace.
    """
    assert_same(by_the_engine(where, norm=True, test=True), by_hand(norm=True))


def test_the_plain_loop_tells_paces_and_draws_apart():
    """Else the tests above would hold whatever the engine did."""
    losses = [by_hand(decoder=pace)[0][-1]["encoder_loss"] for pace in (1, 2)]
    assert abs(losses[0] - losses[1]) > 0.01 * losses[1]
    for examples, draws in batches().epoch(0):
        assert draws.keys() == {"encoder", "decoder"} and len(draws["encoder"]) == len(examples[0])
        assert np.abs(draws["encoder"] - draws["decoder"]).min() > 0


def trained(engine, first=None, actions=(), data=None, epochs=EPOCHS):
    """A Trainer that has run, silently."""
    trainer = Trainer(
        engine, data or batches(), None, epochs=epochs, callbacks=[], actions=list(actions),
        progress=TrainingProgress(epochs, verbose=False),
    )  # fmt: skip
    trainer.run(first)
    return trainer


@pytest.mark.parametrize("where", [slow("default"), "mirrored"])
def test_a_training_that_goes_on_keeps_the_pace(where):
    """Stopped within its second epoch, after five batches: the decoder learns from the next one, and an action by
    steps comes where it would have come.
    """
    stopped = trained(engine_of(where), actions=[every(lambda place: "enough", steps=5)])
    assert stopped.stopped == "stopped in epoch 2 after 2 batches: enough"
    assert len(stopped.history["encoder_loss"]) == 1  # of whole epochs
    before, other, found = state_of(stopped.model), engine_of(where), []
    state = state_of(other.objective.model)
    assert list(state) == list(before)
    for key, variable in state.items():
        variable.assign(before[key].numpy())
    act = lambda place: found.append((place, weights(other.objective.model)))
    again = trained(other, Place(1, 2, 5, {}), [every(act, steps=4)])
    assert_close(weights(again.model), by_hand()[1][-1])
    assert [(place.epoch, place.step, place.total) for place, _ in found] == [(2, 2, 8), (4, 0, 12)]
    for place, mine in found:  # it sees the weights of its step
        assert_close(mine, by_hand()[1][place.total - 1])


# --- actions --------------------------------------------------------------------------------------------------------


PACE = (
    ({"epochs": 1}, [(1, 0, 3), (2, 0, 6), (3, 0, 9), (4, 0, 12)]),
    ({"epochs": 3}, [(3, 0, 9)]),
    ({"steps": 2}, [(0, 2, 2), (1, 1, 4), (2, 0, 6), (2, 2, 8), (3, 1, 10), (4, 0, 12)]),
    ({"steps": 5}, [(1, 2, 5), (3, 1, 10)]),
    ({"steps": 100}, []),
    ({"seconds": 1e6}, []),
    ({"epochs": 2, "steps": 4}, [(1, 1, 4), (2, 0, 6), (2, 2, 8), (4, 0, 12)]),
    ({"epochs": 2, "seconds": 1e6}, [(2, 0, 6), (4, 0, 12)]),
)  # (how often, the (epoch, step, total) of each time)


def noting(found, **pace):
    return every(lambda place: found.append((place.epoch, place.step, place.total)), **pace)


def test_actions_come_at_their_epoch_and_step():
    """Of several each at its own, whatever the others do."""
    found = [[] for _ in PACE]
    trained(engine_of("default"), actions=[noting(mine, **pace) for mine, (pace, _) in zip(found, PACE, strict=True)])
    for mine, (pace, expected) in zip(found, PACE, strict=True):
        assert mine == expected, pace


def test_a_step_is_met_exactly_in_epochs_of_many_batches():
    """There a call of the device takes hundreds of steps."""
    found, rows = [], np.zeros((1000, 5), "float32")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((rows, rows[:, :1])).batch(1)
    nets.taught(model, data, "default", epochs=1, actions=[every(lambda p: found.append(p.step), steps=333)])
    assert found == [333, 666, 999]


def test_an_action_by_seconds_waits_for_its_time():
    action = every(lambda place: None, seconds=10)
    action.begin(0, 100.0)
    due = []
    for seconds in (9.9, 10, 19.9, 20.1, 30, 30.2):  # the third time it is due ten seconds after 20.1
        due.append(action.due(Place(0, 1, 1, {}), 100 + seconds))
    assert due == [False, True, False, True, False, True]
    action.begin(7, 200.0)  # a training begins: the clock does so too
    assert not action.due(Place(0, 1, 8, {}), 209.0) and action.steps_left(8) is None


def test_an_action_by_seconds_comes_between_batches():
    found = []

    def act(place):
        found.append((place.step, time.perf_counter()))
        return "enough" if len(found) == 3 else None

    rows = np.zeros((200_000, 5), "float32")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((rows, rows[:, :1])).batch(1)
    trainer = nets.taught(model, data, "default", epochs=1, actions=[every(act, seconds=0.2)])
    steps, times = zip(*found, strict=True)
    assert trainer.stopped == f"stopped in epoch 1 after {steps[2]} batches: enough"
    assert 0 < steps[0] < steps[1] < steps[2] < 200_000
    assert times[1] - times[0] >= 0.2 and times[2] - times[1] >= 0.2


def test_reasons_end_the_training():
    acts = [
        every(lambda place: None, epochs=1), every(lambda place: "one", epochs=2), every(lambda place: "other", steps=6)
    ]  # fmt: skip
    after = trained(engine_of("default"), actions=acts)
    assert after.stopped == "stopped after epoch 2: one; other" and len(after.history["encoder_loss"]) == 2


# --- epochs that begin in the middle --------------------------------------------------------------------------------

WORDS = [f"w{k}" for k in range(30)]


def sentences(count=90):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 30))) for _ in range(count)]


def of_texts(**options):
    data = tf.data.Dataset.from_tensor_slices((sentences(), np.arange(90) % 3))
    reader = reader_of(TextInputs(size=100, length=32))
    reader = reader_of(reader.learn(kzoo.Data(data)))
    return reader.batches(data, 8, **options)


def of_pairs(**options):
    data = tf.data.Dataset.from_tensor_slices((sentences(), sentences()[::-1]))
    side = TextInputs(size=100, length=32, framed=True)
    reader = reader_of(reader_of(PairInputs(side, side)).learn(kzoo.Data(data)))
    return reader.batches(data, 8, **options)


def of_images(**options):
    rng = np.random.default_rng(0)
    data = tf.data.Dataset.from_tensor_slices((rng.integers(0, 256, (37, 9, 9, 1), "uint8"), np.arange(37) % 3))
    reader = reader_of(ImageInputs(size=(8, 8), channels=1))
    return reader.batches(data, 8, augment=("flip", "shift"), draws={"one": (2,), "two": (2,)}, **options)


def of_rows(**options):
    return Batches(three_columns(), 5, Reader(), **options)


def of_a_generator(**options):
    """Of unknown length, made anew each time."""
    data = tf.data.Dataset.from_generator(
        lambda: ((np.full(3, k, "float32"), k) for k in range(40)),
        output_signature=(tf.TensorSpec([3]), tf.TensorSpec([], tf.int64)),
    )
    return Batches(data, 6, Reader(), **options)


def ready(shuffle=False, **options):
    """Batches of the user's, passed on as they are."""
    return Batches(three_columns().batch(6), None, Reader(), ready=True, **options)


SOURCES = (of_rows, of_images, of_a_generator, ready, of_texts, of_pairs)


def listed(data):
    return [[np.asarray(t) for t in tf.nest.flatten(batch)] for batch in data]


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def ordered():
    """Every source shuffled, two of them cut too; the rest of the cross is slow."""
    for source in SOURCES:
        for shuffle, limit in ((True, None), (True, 4), (False, None), (False, 4)):
            shown = (shuffle, limit) == (True, None) or (source in (of_rows, of_texts) and not shuffle and limit)
            yield pytest.param(source, shuffle, limit, marks=() if shown else pytest.mark.slow)


@pytest.mark.parametrize(("source", "shuffle", "limit"), list(ordered()))
def test_an_epoch_that_begins_in_the_middle_goes_on_as_it_would_have(source, shuffle, limit):
    through = source(shuffle=shuffle, limit=limit)
    other = source(shuffle=shuffle, limit=limit) if limit is None else through  # made anew, as in another process
    for epoch in (0, 3) if limit is None else (3,):
        whole = listed(through.epoch(epoch))
        assert len(whole) > 3
        for start in (1, len(whole) - 1, len(whole)):
            assert_equal(listed(other.epoch(epoch, start=start)), whole[start:])
        assert [other.counted(k, 0) for k in range(len(whole))] == [through.counted(k, 0) for k in range(len(whole))]


@pytest.mark.parametrize("source", SOURCES)
def test_a_replicas_part_of_it_too(source):
    part = lambda rows: (rows // 2, rows - rows // 2)  # the second half
    data = source(shuffle=True)
    whole = listed(data.epoch(2, part))
    assert_equal(listed(data.epoch(2, part, start=2)), whole[2:])
    for mine, theirs in zip(whole, listed(data.epoch(2)), strict=True):
        assert mine[0] == len(theirs[0])  # rows of the global batch
        for a, b in zip(mine[1:], theirs, strict=True):
            np.testing.assert_array_equal(a, b[len(b) // 2 :])


# --- state by name --------------------------------------------------------------------------------------------------


def small(optimizer, order=(0, 1)):
    """Two branches, a normalization and random layers; the branches are made, and Keras lists them, in that order."""
    keras.utils.set_random_seed(0)
    x, layers = keras.Input((6, 3)), keras.layers
    branches = [layers.GRU(3, name="gru"), layers.Conv1D(2, 6, name="conv")]
    made = {k: branches[k](x) for k in order}
    flat = [made[0] if k == 0 else layers.Flatten(name="flat")(made[1]) for k in order]
    y = layers.Dropout(0.5, name="drop")(layers.BatchNormalization(name="norm")(layers.Add(name="sum")([
        layers.Dense(4, name=f"to_four_{k}")(branch) for k, branch in zip(order, flat, strict=True)
    ])))  # fmt: skip
    model = keras.Model(x, layers.Dense(1, name="out")(y), name="small")
    model.compile(optimizer, "mse", metrics=["mae"])
    build_optimizer(model.optimizer, model.trainable_variables)
    return model


WEIGHTS = {
    "gru/gru_cell/kernel", "gru/gru_cell/recurrent_kernel", "gru/gru_cell/bias", "conv/kernel", "conv/bias",
    "to_four_0/kernel", "to_four_0/bias", "to_four_1/kernel", "to_four_1/bias", "norm/gamma", "norm/beta",
    "out/kernel", "out/bias",
}  # fmt: skip
RESTING = {"norm/moving_mean", "norm/moving_variance", "gru/seed", "drop/seed"}


@pytest.mark.parametrize(
    ("optimizer", "slots", "once"),
    [
        (lambda: keras.optimizers.SGD(0.1), (), ()),
        (lambda: keras.optimizers.SGD(0.1, momentum=0.9), ("momentums",), ()),
        (lambda: keras.optimizers.Adam(0.1, amsgrad=True), ("momentums", "velocities", "velocity_hats"), ()),
        (
            lambda: keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, gradient_accumulation_steps=2),
            ("momentums", "model_variables_moving_average", "accumulated_gradients"), (),
        ),
        (lambda: keras.optimizers.Nadam(0.1), ("momentums", "velocities"), ("u_product",)),
    ],
    ids=["sgd", "momentum", "amsgrad", "average", "nadam"],
)  # fmt: skip
def test_slots_have_the_names_of_their_weights(optimizer, slots, once):
    """And nothing else is state: no metric."""
    state = state_of(small(optimizer()))
    expected = WEIGHTS | RESTING | {f"optimizer/{slot}/{key}" for slot in slots for key in WEIGHTS}
    expected |= {f"optimizer/{name}" for name in ("iteration", "learning_rate", *once)}
    assert state.keys() == expected and len({id(v) for v in state.values()}) == len(state)
    for key in WEIGHTS:
        assert all(state[f"optimizer/{slot}/{key}"].shape == state[key].shape for slot in slots)
    again = small(optimizer())  # whatever the process has made before
    assert state_of(again).keys() == expected and state_of(again, optimizer=False).keys() == WEIGHTS | RESTING


def test_a_rate_of_a_schedule_is_no_state():
    state = state_of(small(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.9))))
    assert state.keys() == WEIGHTS | RESTING | {"optimizer/iteration"}


def sequences():
    rng = np.random.default_rng(0)
    return tf.data.Dataset.from_tensor_slices((rng.random((40, 6, 3), "float32"), rng.random((40, 1), "float32")))


def test_nothing_goes_by_its_place_in_a_list():
    """The layers of two models are made in other orders: the state of one, in any order, makes the other go on."""
    optimizer = lambda: keras.optimizers.Adam(0.1, amsgrad=True)
    one, other = small(optimizer()), small(optimizer(), order=(1, 0))
    assert [w.shape for w in one.weights] != [w.shape for w in other.weights]
    first, second = state_of(one), state_of(other)
    assert list(first) != list(second) and first.keys() == second.keys()
    rng = np.random.default_rng(0)
    values = {key: first[key].numpy() for key in sorted(first)}
    for key, value in values.items():  # of everything its own
        if value.dtype == "float32" and key != "optimizer/learning_rate":
            values[key] = value + rng.uniform(0.01, 0.1, value.shape).astype("float32")
    put(first, values, "the state")
    put(second, values, "the state")
    for key, variable in second.items():
        np.testing.assert_array_equal(variable.numpy(), values[key], err_msg=key)
    losses = [nets.learned(model, sequences().batch(10), "default", each_step=True)[0] for model in (one, other)]
    for mine, theirs in zip(*losses, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(("name", "last"), [("lenet5", "output"), ("vgg_tiny", "predictions")])
def test_styles_have_one_state(name, last):
    states = []
    for style in ("functional", "sequential", "subclass"):
        model = kzoo.create_model(name, style=style)
        model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
        build_optimizer(model.optimizer, model.trainable_variables)
        states.append({key: tuple(variable.shape) for key, variable in state_of(model).items()})
    assert states[0] == states[1] == states[2]
    assert f"optimizer/momentums/{last}/kernel" in states[0]


def test_slots_of_a_model_that_is_frozen_in_part_keep_their_names():
    model = small(keras.optimizers.SGD(0.1, momentum=0.9))
    model.get_layer("gru").trainable = False
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    build_optimizer(model.optimizer, model.trainable_variables)
    state = state_of(model)
    slots = {key.removeprefix("optimizer/momentums/") for key in state if key.startswith("optimizer/momentums/")}
    assert slots == {key for key in WEIGHTS if not key.startswith("gru/")}
    assert state.keys() > WEIGHTS | RESTING


def test_slots_of_several_networks_stand_under_their_networks():
    state = state_of(trio())
    slots = {"encoder": ("momentums",), "decoder": ("momentums", "velocities"), "critic": ()}
    expected = {key for key in state if not key.startswith("optimizer/")}
    assert len(expected) == 8
    for name, network in trio().networks.items():
        own = {f"{layer.name}/{v.name}" for layer in network.layers for v in layer.trainable_variables}
        expected |= {f"optimizer/{name}/{rest}" for rest in ("iteration", "learning_rate")}
        expected |= {f"optimizer/{name}/{slot}/{key}" for slot in slots[name] for key in own}
    assert state.keys() == expected


def test_names_that_a_model_has_twice_are_numbered():
    dense = keras.layers.Dense
    inner = keras.Sequential([keras.Input((3,)), dense(4, name="a")], name="inner")
    model = keras.Sequential([keras.Input((3,)), dense(3, name="a"), inner, dense(5, name="b")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    build_optimizer(model.optimizer, model.trainable_variables)
    state = state_of(model)
    names = ["a/kernel", "a/bias", "a/kernel#2", "a/bias#2", "b/kernel", "b/bias"]
    assert list(state)[:6] == names and [tuple(state[key].shape) for key in names[::2]] == [(3, 3), (3, 4), (4, 5)]
    assert {f"optimizer/momentums/{key}" for key in names} < state.keys()
    assert state["optimizer/momentums/a/kernel#2"].shape == (3, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values.pop("optimizer/momentums/out/bias"), "1 of its .*, optimizer/momentums/out/bias first"),
        (lambda values: values.update({"out/bias": np.zeros(2)}), "1 of its arrays do not fit, out/bias first"),
    ],
)  # fmt: skip
def test_state_of_another_model_is_refused_whole(change, said):
    model = small(keras.optimizers.SGD(0.1, momentum=0.9))
    state = state_of(model)
    values = {key: variable.numpy() + 1 for key, variable in state.items()}
    change(values)
    before = {key: variable.numpy() for key, variable in state.items()}
    with pytest.raises(kzoo.KzooError, match=f"^the state is of another model: {said}") as error:
        put(state, values, "the state")
    assert "\n" not in str(error.value)
    for key, variable in state.items():
        np.testing.assert_array_equal(variable.numpy(), before[key])

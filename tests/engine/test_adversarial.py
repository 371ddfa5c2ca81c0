"""Two networks under every strategy, against a plain loop on one device that knows nothing of kzoo's engines.

What `played` gives is asked of several processes too, in test_processes.py.
"""

import functools

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.engine import Share, build_optimizer, make_engine
from kzoo.inputs import Batches, Drawn, Reader
from kzoo.models import Networks
from kzoo.tasks.image_generation import Adversarial

ROWS, BATCH, EPOCHS, NOISE = 70, 23, 5, 8  # 20 steps; 70 = 3 * 23 + 1: the last batch leaves a second replica empty
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.005, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(1e-3, 0.5),
}


def players(optimizer="sgd", style="functional"):
    keras.utils.set_random_seed(1)
    gan = kzoo.create_model("dcgan_tiny", style)
    for network in gan.networks.values():
        network.compile(OPTIMIZERS[optimizer]())
        build_optimizer(network.optimizer, network.trainable_variables)
    return gan


def stripes():
    """Images of stripes of their own width and place, so that there is something to learn."""
    rng = np.random.default_rng(0)
    phase, pace = rng.uniform(0, 6, (ROWS, 1, 1, 1)), rng.uniform(0.3, 1, (ROWS, 1, 1, 1))
    images = np.sin(phase + pace * np.arange(16.0).reshape(1, 16, 1, 1)) * np.ones((1, 1, 16, 1))
    return images.astype("float32")


def batches():
    """With noise for each network, drawn anew in each epoch."""
    draws = {"discriminator": (NOISE,), "generator": (NOISE,)}
    return Batches(tf.data.Dataset.from_tensor_slices((stripes(),)), BATCH, Reader(), draws=draws)


def drawn(epoch):
    """[(images, {network: noise})] of the batches of an epoch."""
    return [(batch.examples[0].numpy(), batch.draws) for batch in batches().epoch(epoch)]


def played(strategy, *, xla=False, sync=False, optimizer="sgd", style="functional"):
    """(results after each step, weights): results are means over the epoch's examples so far."""
    gan, data = players(optimizer, style), batches()
    objective, found = Adversarial(gan, NOISE), []
    objective.prepare(next(iter(data.epoch(0))))
    engine = make_engine(objective, strategy, xla=xla, sync_batch_norm=sync)
    for epoch in range(EPOCHS):
        objective.reset()
        engine.begin(data, epoch)
        for _ in range(data.steps):
            engine.train(1)
            found.append(engine.results())
    found.append({f"test_{name}": value for name, value in engine.evaluate(data).items()})
    return found, [w.tolist() for w in gan.get_weights()]


def in_processes(how):
    """Of each worker: "own" statistics of its rows, with XLA, or "synchronised"."""
    return played(kzoo.strategy("multiworker"), xla=how == "own, xla", sync=how == "synchronised")


@functools.cache
def expected(replicas=1, optimizer="sgd"):
    """The same by a plain loop on one device: each replica's rows have their own batch statistics.

    The losses are Keras' binary cross-entropies, divided by the rows of the whole batch; gradients are added, moving
    averages are averaged by the replicas' rows.
    """
    gan = players(optimizer)
    entropy = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    probability = lambda logits: float(tf.reduce_sum(tf.sigmoid(logits)))

    def judged(player, x, z, training):
        """(loss, sums of metrics); sums over the rows."""
        if player is gan.generator:
            made = gan.generator(z["generator"], training=training)
            logits = gan.discriminator(made, training=training)
            loss = entropy(tf.ones_like(logits), logits)
            return loss, {"generator_loss": float(loss)}
        real = gan.discriminator(x, training=training)
        fake = gan.discriminator(gan.generator(z["discriminator"], training=training), training=training)
        loss = entropy(tf.ones_like(real), real) + entropy(tf.zeros_like(fake), fake)
        return loss, {"discriminator_loss": float(loss), "real": probability(real), "fake": probability(fake)}

    def learn(player, x, z):
        before, after = [v.numpy() for v in gan.non_trainable_variables], 0.0
        gradients, metrics = [0.0] * len(player.trainable_variables), {}
        for rows in np.array_split(np.arange(len(x)), replicas):  # the first ones have the odd examples
            if not len(rows):
                continue
            for variable, value in zip(gan.non_trainable_variables, before, strict=True):
                variable.assign(value)
            with tf.GradientTape() as tape:
                loss, sums = judged(player, x[rows], {name: noise.numpy()[rows] for name, noise in z.items()}, True)
                loss = loss / len(x)
            own = tape.gradient(loss, [v.value for v in player.trainable_variables])
            gradients = [a + b for a, b in zip(gradients, own, strict=True)]
            metrics = {name: metrics.get(name, 0.0) + value for name, value in sums.items()}
            after += len(rows) / len(x) * np.array([v.numpy() for v in gan.non_trainable_variables], object)
        for variable, value in zip(gan.non_trainable_variables, after, strict=True):
            variable.assign(value)
        player.optimizer.apply(gradients, player.trainable_variables)
        return metrics

    found = []
    for epoch in range(EPOCHS):
        totals, seen = {}, 0
        for x, z in drawn(epoch):
            seen += len(x)
            for player in (gan.discriminator, gan.generator):
                for name, value in learn(player, x, z).items():
                    totals[name] = totals.get(name, 0.0) + value
            found.append({name: value / seen for name, value in totals.items()})
    tested = {}
    for x, z in drawn(0):
        for player in (gan.discriminator, gan.generator):
            for name, value in judged(player, x, z, False)[1].items():
                tested[name] = tested.get(name, 0.0) + value
    found.append({f"test_{name}": value / ROWS for name, value in tested.items()})
    return found, gan.get_weights()


def assert_same(found, wanted, rel=1e-5, weights=1e-5):
    assert len(found[0]) == 21 and len(found[0][0]) == 4
    for mine, theirs in zip(found[0], wanted[0], strict=True):
        assert mine == pytest.approx(theirs, rel=rel)
    for mine, theirs in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=weights)


# --- the same numbers -----------------------------------------------------------------------------------------------


def cases(*shown):
    """Optimizers and XLA, of which all but those shown are slow; Adam on replicas is in test_phases.py too."""
    return [
        pytest.param(name, xla, marks=() if (name, xla) in shown else pytest.mark.slow, id=name + "-xla" * xla)
        for name, xla in (("sgd", False), ("sgd", True), ("adam", False))
    ]


@pytest.mark.parametrize(("optimizer", "xla"), cases(("sgd", False)))
def test_one_device_is_the_plain_loop(optimizer, xla):
    assert_same(played(nets.strategy("default"), xla=xla, optimizer=optimizer), expected(1, optimizer))


@pytest.mark.parametrize(("optimizer", "xla"), cases(("adam", False)))
@pytest.mark.slow
def test_two_replicas_each_normalize_their_own_rows(optimizer, xla):
    assert_same(played(nets.strategy("mirrored"), xla=xla, optimizer=optimizer), expected(2, optimizer))


def test_synchronised_replicas_are_one_device():
    assert_same(played(nets.strategy("mirrored"), sync=True), expected(1))


@pytest.mark.slow
def test_one_and_two_replicas_differ_enough_to_be_told_apart():
    """Else the tests above would hold whatever the replicas normalized."""
    last = [expected(replicas)[0][-2]["generator_loss"] for replicas in (1, 2)]
    assert abs(last[0] - last[1]) > 0.01 * last[0]


@pytest.mark.parametrize("style", ["sequential", "subclass"])
def test_every_style_learns_alike(style):
    assert_same(played(nets.strategy("default"), style=style), expected(1))


# --- the objective --------------------------------------------------------------------------------------------------


def test_networks_learn_in_turn_from_their_own_losses():
    gan = players()
    objective = Adversarial(gan, NOISE)
    assert [phase.name for phase in objective.phases] == ["discriminator", "generator"]
    assert objective.networks == [gan.discriminator, gan.generator] and objective.model is gan
    assert all(phase.optimizer is phase.model.optimizer and phase.every == 1 for phase in objective.phases)
    assert objective.draws == {"discriminator": (NOISE,), "generator": (NOISE,)}
    half = Adversarial(gan, NOISE, "mixed_float16")
    for phase in half.phases:
        assert isinstance(phase.optimizer, keras.optimizers.LossScaleOptimizer)
        assert phase.optimizer.inner_optimizer is phase.model.optimizer


def one_batch():
    return next(iter(batches().epoch(0)))


def test_a_test_and_a_first_look_change_nothing():
    gan = players()
    objective, batch = Adversarial(gan, NOISE), one_batch()
    before = gan.get_weights()
    objective.prepare(batch)
    assert set(objective.results().values()) == {0.0}
    objective.test(batch, Share.whole(batch))
    assert 0 < objective.results()["real"] < 1
    for a, b in zip(gan.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_generators_gradient_does_not_vanish_where_the_discriminator_is_sure():
    """Saturating log(1 - D(G(z))) has a slope of D(G(z)), -log D(G(z)) one of almost -1."""
    gan = players()
    objective, batch = Adversarial(gan, NOISE), one_batch()
    bias = gan.discriminator.layers[-1].bias
    bias.assign([-20.0])
    with tf.GradientTape() as tape:
        loss = objective.phases[1].loss(batch, Share.whole(batch), None)
    assert float(loss) == pytest.approx(20, abs=0.5)
    assert float(tape.gradient(loss, bias.value)[0]) == pytest.approx(-1, abs=1e-3)


class Pair(Networks):
    answers = "generator"


def weighed(layer=None):
    """Dense networks of which the discriminator has a regulariser, and `layer`."""
    generator = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)], name="generator")
    judge = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
    discriminator = keras.Sequential([keras.Input((4,)), *([layer] if layer else []), judge], name="discriminator")
    for network in (generator, discriminator):
        network.compile("sgd")
    return Adversarial(Pair({"discriminator": discriminator, "generator": generator}), 3), judge


def ones(rows=6):
    return Drawn((tf.ones([rows, 4]),), {"discriminator": tf.ones([rows, 3]), "generator": tf.ones([rows, 3])})


def test_regularisers_count_once():
    objective, judge = weighed()
    learn = objective.phases[0].loss
    whole = float(learn(ones(), Share.whole(ones()), None))
    without = objective.results()["discriminator_loss"]
    assert whole - without == pytest.approx(0.5 * float(tf.reduce_sum(judge.kernel.value**2)), rel=1e-4)
    shares = [Share(tf.constant(n), tf.constant(6.0)) for n in (4.0, 2.0)]
    added = sum(float(learn(ones(int(share.examples)), share, None)) for share in shares)
    assert added == pytest.approx(whole, rel=1e-5)
    assert objective.notes(1) == []


def test_added_losses_are_said_to_be_left_out():
    objective, _ = weighed(keras.layers.ActivityRegularization(l2=0.1))
    objective.prepare(ones())
    assert objective.notes(1) == ["losses added in layers of the discriminator are left out"]

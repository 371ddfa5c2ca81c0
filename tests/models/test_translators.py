"""Translators: steps equal teacher forcing, decoding finds the best, padding and the future change nothing."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from crosses import in_turn

import kzoo
from kzoo.engine.schedules import Schedule
from kzoo.engine.tokens import TokenAccuracy, TokenCrossentropy
from kzoo.models import decode
from kzoo.models.attention import sinusoids
from kzoo.models.decode import penalty
from kzoo.records import END, START, STYLES
from kzoo.runs import load
from kzoo.tasks.saying import speaker

BEAMED = ("seq2seq_luong_tiny", "transformer_tiny")  # others where it is slow
TRANSLATORS = [name for name in kzoo.list_models("*_tiny", task="translation", hidden=True)]
SOURCE = np.array([[2, 5, 6, 7, 3, 0], [2, 9, 3, 0, 0, 0]], "int32")
TARGET = np.array([[2, 8, 9, 4], [2, 5, 0, 0]], "int32")


def made(name, style="functional", seed=0, scale=1.0, **arguments):
    keras.utils.set_random_seed(seed)
    model = kzoo.create_model(name, style=style, **arguments)
    for variable in model.trainable_variables:  # far enough from each other that a choice is no tie
        variable.assign(variable * scale)
    return model


def translator_of(model):
    """The model in the style that decodes."""
    return speaker(load(model))


@pytest.mark.parametrize(("name", "style"), in_turn(TRANSLATORS))
def test_steps_are_teacher_forcing(name, style):
    model = made(name, style)
    expected = np.asarray(model({"source": SOURCE, "target": TARGET}))
    translator = translator_of(model)
    first, state = translator.begin(SOURCE, 10)
    assert first.numpy().tolist() == [START] * len(SOURCE)
    for place in range(TARGET.shape[1]):
        logits, state, attention = translator.step(TARGET[:, place], state)
        np.testing.assert_allclose(logits, expected[:, place], atol=1e-5)
        assert (attention is not None) == translator.attends
        if translator.attends:
            np.testing.assert_allclose(np.sum(attention, axis=1), 1, atol=1e-5)
            assert (np.asarray(attention)[SOURCE == 0] < 1e-6).all()


VARIANTS = list(itertools.product(("gru", "lstm"), ("dot", "general", "concat"), (True, False)))
FEW = (("gru", "dot", True), ("lstm", "general", True), ("gru", "concat", False), ("lstm", "concat", True))


@pytest.mark.parametrize(
    ("cell", "score", "bidirectional"),
    [pytest.param(*variant, marks=() if variant in FEW else pytest.mark.slow) for variant in VARIANTS],
)
def test_variants_of_luong(cell, score, bidirectional):
    model = made("seq2seq_luong_tiny", cell=cell, score=score, bidirectional=bidirectional)
    expected = np.asarray(model({"source": SOURCE, "target": TARGET}))
    translator = translator_of(model)
    _, state = translator.begin(SOURCE, 10)
    for place in range(2):
        logits, state, _ = translator.step(TARGET[:, place], state)
        np.testing.assert_allclose(logits, expected[:, place], atol=1e-5)


def test_transformer_without_a_joint_vocabulary():
    model = made("transformer_tiny", joint=False, source_vocabulary=50, target_vocabulary=30)
    names = set(kzoo.weights_by_name(model))
    assert {"source_embedding/embeddings", "target_embedding/embeddings"} <= names
    assert model.predict_on_batch({"source": SOURCE, "target": TARGET}).shape == (2, 4, 30)
    with pytest.raises(kzoo.KzooError, match="joint=True has one vocabulary"):
        kzoo.create_model("transformer_tiny", source_vocabulary=50)


def greedy(model, source, length):
    """Token by token through the whole model: what `decode` with one beam must give."""
    said = [START]
    for _ in range(length):
        target = np.array([said], "int32")
        logits = np.asarray(model({"source": source[None], "target": target}), "float64")[0, -1]
        logits[:END] = -np.inf
        said.append(int(logits.argmax()))
        if said[-1] == END:
            break
    ids = [i for i in said[1:] if i != END]
    return ids + [0] * (length - len(ids))


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in BEAMED else pytest.mark.slow) for n in TRANSLATORS])
def test_one_beam_is_greedy(name, xla):
    model = made(name, scale=2.5, seed=3)
    translator = translator_of(model)
    run = tf.function(lambda s: decode(translator, s, length=8), jit_compile=xla, autograph=False)
    found = run(tf.constant(SOURCE))["ids"].numpy().tolist()
    assert found == [greedy(model, source, 8) for source in SOURCE]


@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        pytest.param(name, alpha, marks=() if alpha == 0.6 or alpha == 2 * k else pytest.mark.slow)
        for k, name in enumerate(TRANSLATORS)
        for alpha in (0.0, 0.6, 2.0)
    ],
)
def test_enough_beams_find_the_best_of_all(name, alpha):
    """All translations of at most two tokens, scored one by one through the whole model."""
    model = made(name, scale=2.5, seed=3)
    vocabulary = model.output_shape[-1]
    source = SOURCE[:1]
    pairs = [(a, b) for a, b in itertools.product(range(END, vocabulary), repeat=2) if a != END] + [(END, 0)]
    target = np.array([[START, a] for a, _ in pairs], "int32")
    logits = np.array(model({"source": np.repeat(source, len(pairs), 0), "target": target}))
    logits[..., :END] = -np.inf
    log_p = np.asarray(tf.nn.log_softmax(logits))
    scores = []
    for row, (a, b) in zip(log_p, pairs, strict=True):
        total, count = (row[0, a], 1) if a == END else (row[0, a] + row[1, b], 2)
        scores.append(total / float(penalty(count, alpha)))
    best = pairs[int(np.argmax(scores))]
    found = decode(translator_of(model), tf.constant(source), length=2, beams=vocabulary, length_penalty=alpha)
    assert found["ids"].numpy()[0].tolist() == [0 if i == END else i for i in best]
    assert float(found["scores"][0]) == pytest.approx(max(scores), abs=1e-4)


def test_the_loop_ends_with_the_last_sentence():
    """A translator that ends at once: one step, whatever the length."""
    steps = []

    class Ends:
        attends = True

        def begin(self, source, length, lengths):
            return tf.fill([tf.shape(source)[0]], START), {"n": tf.zeros([tf.shape(source)[0], 1])}

        def step(self, ids, state):
            steps.append(1)
            rows = tf.shape(ids)[0]
            return tf.tile(10 * tf.one_hot([END], 9), [rows, 1]), state, tf.ones([rows, 6]) / 6

    found = decode(Ends(), tf.constant(SOURCE), length=50, beams=1)
    assert not found["ids"].numpy().any() and len(steps) == 1


# --- what must not matter -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "style"), in_turn(TRANSLATORS))
def test_nothing_flows_back_from_the_future(name, style):
    """The gradient of what is said at t by every token after t is zero, exactly."""
    model = made(name, style)
    table = next(
        v
        for k, v in kzoo.weights_by_name(model).items()
        if k in ("embedding/embeddings", "decoder_embedding/embeddings")
    )
    target = np.array([[2, 11, 12, 13, 14]], "int32")  # each token once, none of them in the source
    for t in range(4):
        with tf.GradientTape() as tape:
            logits = model({"source": SOURCE[:1], "target": target}, training=True)
            said = tf.reduce_sum(logits[0, t, 15:])  # where the table is tied, not through the tokens' own logits
        gradient = tf.convert_to_tensor(tape.gradient(said, table.value)).numpy()
        assert np.abs(gradient[target[0, t]]).max() > 0
        assert (gradient[target[0, t + 1 :]] == 0).all()


CLASSIFIERS = kzoo.list_models("*_tiny", task="text-classification", hidden=True)
SEQUENCES = [*TRANSLATORS, *CLASSIFIERS]
# Each network in one of these; --slow has the whole cross, with XLA.
ONCE = (("sequential", False, False), ("functional", True, False), ("subclass", False, False))


@pytest.mark.parametrize(
    ("name", "style", "training", "xla"),
    [
        pytest.param(name, *ways, marks=() if ways == ONCE[k % 3] else pytest.mark.slow)
        for k, name in enumerate(SEQUENCES)
        for ways in itertools.product(STYLES, (False, True), (False, True))
    ],
)
def test_padding_changes_nothing(name, style, training, xla):
    model = made(name, style, dropout=0.0)
    run = tf.function(lambda x: model(x, training=training), jit_compile=xla, autograph=False)
    pad = lambda ids, more: np.pad(ids, [(0, 0), (0, more)])
    if name in CLASSIFIERS:
        short, long = run(tf.constant(SOURCE)), run(tf.constant(pad(SOURCE, 5)))
        alone = run(tf.constant(SOURCE[1:, :3]))
        np.testing.assert_allclose(short, long, atol=1e-5)
        np.testing.assert_allclose(alone[0], long[1], atol=1e-5)
        return
    inputs = lambda s, t: {"source": tf.constant(s), "target": tf.constant(t)}
    short, long = run(inputs(SOURCE, TARGET)), run(inputs(pad(SOURCE, 5), pad(TARGET, 3)))
    np.testing.assert_allclose(short, long[:, :4], atol=1e-5)
    alone = run(inputs(SOURCE[1:, :3], TARGET[1:, :2]))
    np.testing.assert_allclose(alone[0], long[1, :2], atol=1e-5)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_row_of_padding_alone_is_finite(name):
    model, nothing = made(name), np.zeros((1, 4), "int32")
    x = nothing if name in CLASSIFIERS else {"source": nothing, "target": nothing}
    with tf.GradientTape() as tape:
        y = model(x, training=True)
        loss = tf.reduce_sum(tf.square(y))
    found = [y, *[g for g in tape.gradient(loss, [v.value for v in model.trainable_variables]) if g is not None]]
    assert all(np.isfinite(np.asarray(tf.convert_to_tensor(t))).all() for t in found)


# --- the paper's numbers --------------------------------------------------------------------------------------------


def test_sinusoids_are_section_3_5():
    table = sinusoids(50, 16)
    for place, i in itertools.product((0, 3, 49), range(8)):
        angle = place / 10_000 ** (2 * i / 16)
        assert table[place, 2 * i] == pytest.approx(np.sin(angle), abs=1e-5)
        assert table[place, 2 * i + 1] == pytest.approx(np.cos(angle), abs=1e-5)


def test_schedule_is_equation_3():
    d_model, warmup = 512, 4000
    schedule = Schedule("inverse-sqrt", (d_model * warmup) ** -0.5, 100_000, warmup=warmup)
    for step in (1, 100, 3999, 4000, 4001, 50_000):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert float(schedule(step - 1)) == pytest.approx(paper, rel=1e-5)


def test_smoothed_loss_is_keras_on_one_hot_targets(rng):
    logits, ids = rng.normal(size=(3, 5, 7)).astype("float32"), rng.integers(0, 7, (3, 5))
    per_token = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction=None)
    expected = per_token(np.eye(7, dtype="float32")[ids], logits).numpy()[ids != 0].mean()
    assert float(TokenCrossentropy(0.1)(ids, logits)) == pytest.approx(expected, rel=1e-5)
    metric = TokenAccuracy()
    metric.update_state(ids, logits)
    assert float(metric.result()) == pytest.approx((logits.argmax(-1) == ids)[ids != 0].mean())


def test_keras_fit_has_the_same_loss(rng):
    """The mask travels with the loss: Keras' own fit divides by real tokens too."""
    x = {"source": np.tile(SOURCE, (4, 1)), "target": np.tile(TARGET, (4, 1))}
    y = np.tile(np.array([[8, 9, 4, 3], [5, 3, 0, 0]]), (4, 1))
    losses = []
    for train in (
        lambda m: m.fit(x, y, batch_size=8, verbose=0).history["loss"][0],
        lambda m: kzoo.fit(m, (x, y), batch_size=8, epochs=1, xla="off", verbose=False).history["loss"][0],
    ):
        model = made("seq2seq_luong_tiny", dropout=0.0)
        model.compile("sgd", TokenCrossentropy(0.1))
        losses.append(train(model))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)

"""The language model on characters: its network, its windows, what it writes, its export."""

import math

import numpy as np
import pytest
import tensorflow as tf
from serving import served

import kzoo
from kzoo.inputs import reader_of
from kzoo.models import decode, model_info
from kzoo.models.decode import penalty
from kzoo.records import STYLES, from_config
from kzoo.records.characters import CharacterInputs
from kzoo.tasks import find_task

TEXT = "\n\n".join(f"Passage {k}: the cat sat on the mat; {'no' if k % 3 else 'yes'}!" for k in range(60))
SMALL = {"epochs": 1, "limit_train_batches": 6, "batch_size": 8, "xla": "off", "verbose": False}


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def run(prose, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt")
    return kzoo.fit("gpt_tiny", prose, style="subclass", run_dir=folder / "run", seed=1, **SMALL)


def ids(shape, seed=0, low=2, high=70):
    return tf.constant(np.random.default_rng(seed).integers(low, high, shape), tf.int32)


def large(model):
    """With weights that tell tokens and places apart."""
    for variable in model.trainable_variables:
        if "norm" not in variable.path:
            variable.assign(3 * variable)
    return model


NETWORKS = {
    "gpt": lambda: large(kzoo.gpt_tiny(style="subclass")),
    "gpt-2018": lambda: large(kzoo.gpt_tiny(style="subclass", norm="post", positions="sinusoidal")),
    "gpt-rotary": lambda: large(kzoo.gpt_tiny(style="subclass", positions="rotary")),
    **{
        cell: lambda cell=cell: large(kzoo.lstm_language_model_tiny(style="subclass", cell=cell, stack=2))
        for cell in ("rnn", "lstm", "gru")
    },
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return NETWORKS[request.param]()


@pytest.mark.slow
def test_gpt_2_has_its_published_count():
    """The smallest of transformers' four, "gpt2"."""
    sizes = {"vocabulary": 50_257, "stack": 12, "d_model": 768, "heads": 12, "d_ff": 3072, "length": 1024}
    assert kzoo.gpt_small(style="subclass", **sizes).count_params() == 124_439_808


def test_a_place_sees_what_came_before_alone(network):
    model, x = network, ids((2, 12))
    changed = tf.concat([x[:, :7], ids((2, 5), seed=1)], axis=1)
    np.testing.assert_allclose(model(x)[:, :7], model(changed)[:, :7], atol=1e-6)
    assert np.abs(model(x)[:, 7:] - model(changed)[:, 7:]).max() > 1e-3


@pytest.mark.parametrize("read", [1, 5])
def test_step_by_step_it_says_what_it_says_at_once(network, read):
    """The first tokens are read at once, before the last of them."""
    model, x = network, ids((3, 9))
    (first, state), logits = model.begin(x[:, :read], 10 - read), []
    np.testing.assert_array_equal(first, x[:, read - 1])
    for k in range(read - 1, 9):
        found, state, _ = model.step(x[:, k], state)
        logits.append(found)
    np.testing.assert_allclose(np.stack(logits, axis=1), model(x)[:, read - 1 :], atol=1e-5)


def test_prompts_of_unequal_length_are_read_as_alone(network):
    both = tf.constant([[5, 6, 7, 8, 9], [5, 6, 0, 0, 0]])
    last, state = network.begin(both, 3)
    assert last.numpy().tolist() == [9, 6]
    logits, _, _ = network.step(last, state)
    np.testing.assert_allclose(logits[0], network(both[:1])[0, 4], atol=1e-5)
    np.testing.assert_allclose(logits[1], network(both[1:, :2])[0, 1], atol=1e-5)


@pytest.fixture(scope="module", params=["gpt", "gru"])
def writer(request):
    return NETWORKS[request.param]()


class TestGoingOn:
    def said(self, writer, prompt, drawn, **options):
        options = {"temperature": 1.0, **options}
        drawn = tf.constant(drawn, tf.float32)
        return decode(writer, prompt, length=drawn.shape[1], drawn=drawn, reserved=2, end=None, **options)[
            "ids"
        ].numpy()

    def test_the_likeliest_is_that_of_a_loop_over_the_whole_network(self, writer):
        prompt = ids((2, 5))
        sequence = prompt.numpy()
        for _ in range(6):
            logits = writer(tf.constant(sequence)).numpy()[:, -1]
            logits[:, :2] = -np.inf
            sequence = np.concatenate([sequence, logits.argmax(-1)[:, None].astype("int32")], axis=1)
        drawn = np.zeros((2, 6))
        np.testing.assert_array_equal(self.said(writer, prompt, drawn, temperature=0), sequence[:, 5:])
        np.testing.assert_array_equal(self.said(writer, prompt, drawn + 0.9, top_k=1), sequence[:, 5:])

    def test_prompts_of_unequal_length_go_on_as_alone(self, writer, rng):
        long, short = ids((1, 7)), ids((1, 3), seed=1)
        both = tf.concat([long, tf.pad(short, [[0, 0], [0, 4]])], axis=0)
        drawn = rng.random((2, 5))
        together = self.said(writer, both, drawn)
        np.testing.assert_array_equal(together[:1], self.said(writer, long, drawn[:1]))
        np.testing.assert_array_equal(together[1:], self.said(writer, short, drawn[1:]))

    def test_of_the_likeliest_alone_is_drawn(self, writer, rng):
        prompt = tf.repeat(ids((1, 4)), 2000, axis=0)
        logits = writer(prompt[:1]).numpy()[0, -1].astype("float64")
        logits[:2] = -np.inf
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        order = np.argsort(-shares)
        kept = order[: np.searchsorted(np.cumsum(shares[order]), 0.6) + 1]  # the fewest that have 0.6 together
        said = self.said(writer, prompt, rng.random((2000, 1)), top_p=0.6)[:, 0]
        assert set(said) == set(kept) and 1 < len(kept) < 68
        np.testing.assert_array_equal(
            self.said(writer, prompt[:3], rng.random((3, 5)), top_p=1e-6),
            self.said(writer, prompt[:3], rng.random((3, 5)), temperature=0),
        )

    @pytest.mark.parametrize("alpha", [0.0, 1.0])
    def test_beams_find_the_likeliest_of_all_that_may_come(self, writer, alpha):
        """All ways to go on by two tokens, or by one and the end, each read by the whole network."""
        prompts, known, end = (ids((1, 5)), ids((1, 3), seed=1)), 12, 11
        both = tf.concat([prompts[0], tf.pad(prompts[1], [[0, 0], [0, 2]])], axis=0)
        found = decode(
            writer, both, length=2, beams=known, reserved=2, known=known, end=end, padding=-1, length_penalty=alpha
        )
        for row, prompt in enumerate(prompts):
            log_p = lambda text: tf.nn.log_softmax(writer(text)[0, -1, 2:known]).numpy()
            first, best = log_p(prompt), (-np.inf, ())
            for a in range(2, known):
                if a == end:
                    best = max(best, (first[a - 2] / float(penalty(1, alpha)), (-1, -1)))
                    continue
                second = log_p(tf.concat([prompt, [[a]]], axis=1))
                for b in range(2, known):
                    score = (first[a - 2] + second[b - 2]) / float(penalty(2, alpha))
                    best = max(best, (score, (a, -1 if b == end else b)))
            assert tuple(found["ids"].numpy()[row]) == best[1]
            assert float(found["scores"][row]) == pytest.approx(best[0], abs=1e-4)

    def test_a_penalty_keeps_it_from_repeating(self, writer):
        prompt, length = ids((2, 5)), 12
        said = self.said(writer, prompt, np.zeros((2, length)), temperature=0, repetition_penalty=1e6)
        for row, before in zip(said, prompt.numpy(), strict=True):
            assert len({*row} & {*before}) == 0 and len({*row}) == length
        logits = writer(prompt).numpy()[:, -1]
        for row, (first, before) in enumerate(zip(said[:, 0], prompt.numpy(), strict=True)):
            here = logits[row].copy()
            here[:2], here[before] = -np.inf, np.where(here[before] > 0, here[before] / 1e6, here[before] * 1e6)
            assert first == here.argmax()

    def test_what_is_drawn_has_the_probabilities_of_the_network(self, writer, rng):
        prompt = tf.repeat(ids((1, 4)), 4000, axis=0)
        said = self.said(writer, prompt, rng.random((4000, 1)), temperature=0.5)[:, 0]
        logits = writer(prompt[:1]).numpy()[0, -1] / 0.5
        logits[:2] = -np.inf
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        found = np.bincount(said, minlength=70) / 4000
        assert found[:2].sum() == 0 and np.abs(found - expected).max() < 4 * math.sqrt(0.25 / 4000)

    def test_only_known_tokens_are_said_and_scores_are_their_log_probabilities(self, writer, rng):
        prompt, drawn = ids((3, 4), high=20), tf.constant(rng.random((3, 6)), tf.float32)
        made = decode(writer, prompt, length=6, drawn=drawn, temperature=1.0, reserved=2, known=20, end=None)
        said = made["ids"].numpy()
        assert said.min() >= 2 and said.max() < 20
        logits = writer(tf.concat([prompt, said], axis=1)).numpy()[:, 3:-1, :20]
        logits[..., :2] = -np.inf
        log_p = np.take_along_axis(tf.nn.log_softmax(logits).numpy(), said[..., None], -1)[..., 0]
        np.testing.assert_allclose(made["log_p"], log_p, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(made["scores"], log_p.sum(axis=1) / float(penalty(6, 0.6)), rtol=1e-4)


def test_windows_go_through_the_whole_text_and_learn_what_comes_next(prose):
    data = kzoo.load_data(prose, validation=0)
    reader = reader_of(from_config({"kind": "characters", "length": 32}))
    reader = reader_of(reader.learn(data))
    assert reader.spec.vocabulary == ("", "[UNK]", *sorted(set(TEXT)))
    batches = reader.batches(data.train, 7)
    pairs = [(x.numpy(), y.numpy()) for x, y in batches.epoch(0)]
    read, learned = (np.concatenate([p[k] for p in pairs]).ravel() for k in (0, 1))
    assert batches.steps == len(pairs) == math.ceil(math.ceil((len(TEXT) - 1) / 32) / 7)
    assert reader.text(tf.constant(read[None, : len(TEXT)])).numpy()[0].decode() == TEXT
    assert reader.text(tf.constant(learned[None])).numpy()[0].decode() == TEXT[1:]
    assert reader.text(reader.prepare(tf.constant(["the ∞ mat"]))).numpy()[0].decode() == "the \ufffd mat"


def test_its_perplexity_is_that_of_its_loss(run):
    found = kzoo.evaluate(run, split="validation")
    assert found.perplexity == pytest.approx(math.exp(run.history["val_loss"][-1]), rel=1e-5)
    assert found.accuracy == pytest.approx(run.history["val_accuracy"][-1], abs=1e-6)
    assert 1 < found.baseline < len(set(TEXT)) and found.score == ("perplexity", found.perplexity)
    assert "begun with" in (run.path / "predictions.txt").read_text() and (run.path / "batch.txt").is_file()


@pytest.mark.parametrize("style", STYLES)
def test_it_writes_the_same_in_every_style(style, run):
    twin = kzoo.create_model("gpt_tiny", style=style, **{k: v for k, v in model_info(run.model).arguments.items()
                                                        if k == "vocabulary"})  # fmt: skip
    kzoo.copy_weights(run.model, twin)
    twin.kzoo_info = run.model.kzoo_info
    (expected,), (found,) = (kzoo.generate(m, "the cat", length=40, seed=3) for m in (run.path, twin))
    assert found.text == expected.text and len(found.text) == 40 and str(found).startswith("the cat")
    assert found.score == pytest.approx(expected.score, rel=1e-4)


@pytest.mark.parametrize("stop", [None, "at", "zzz"])
def test_pieces_are_told_as_they_are_written(run, stop):
    """Half of what the network reads at once each; what may be the beginning of the stop text waits."""
    pieces = []
    (written,) = kzoo.generate(run, "the cat", length=50, seed=2, stop=stop, stream=pieces.append)
    assert "".join(pieces) == written.text and (stop or len(pieces) == 4)
    with pytest.raises(kzoo.KzooError, match="given the pieces of one text"):
        kzoo.generate(run, ["a", "b"], stream=pieces.append)


def test_a_second_call_compiles_nothing(run, monkeypatch):
    from kzoo.runs import predictor

    kzoo.generate(run, "the cat", length=20)
    made = []
    monkeypatch.setattr(predictor, "compiled", lambda function: made.append(function))
    kept = [f for key, f in vars(run.model)["kzoo_kept"].items() if key[0] == "function" and "write" in key[1]]
    before = [f.experimental_get_tracing_count() for f in kept]
    kzoo.generate(run, "another cat, and more", length=30, seed=4)
    assert not made and before and [f.experimental_get_tracing_count() for f in kept] == before


def test_characters_of_a_prompt_that_the_vocabulary_lacks_are_told(run, capsys):
    kzoo.generate(run, "the cat", length=20)
    assert "unknown" not in capsys.readouterr().err
    kzoo.generate(run, ["the cat", "the 猫"], length=20)
    assert "text 2: 1 of 5 characters are unknown to the vocabulary\n" in capsys.readouterr().err


def test_a_prompt_that_is_longer_than_what_is_read_is_told(run, capsys):
    (cut,) = kzoo.generate(run, "the cat " * 20, length=20)
    half = model_info(run.model).inputs.length // 2
    assert f"text 1 has 160 characters: only its last {half} are read\n" in capsys.readouterr().err
    (whole,) = kzoo.generate(run, ("the cat " * 20)[-half:], length=20)
    assert cut.text == whole.text and "are read" not in capsys.readouterr().err


def test_what_is_asked_is_what_is_written(run):
    texts = ["the cat", "P"]
    first = kzoo.generate(run, texts, length=50)
    assert [w.text for w in first] == [w.text for w in kzoo.generate(run, texts, length=50)]
    assert [w.text for w in first] != [w.text for w in kzoo.generate(run, texts, length=50, seed=1)]
    assert len(kzoo.generate(run, "the cat", length=5)[0].text) == 5
    (whole,) = kzoo.generate(run, "the cat", length=50)
    stop = whole.text[20:22]
    (cut,) = kzoo.generate(run, "the cat", length=50, stop=stop)
    assert cut.text == whole.text[: whole.text.index(stop)] and whole.score < cut.score < 0
    (short,) = kzoo.generate(run, "the cat", length=5)  # the score is of what was written alone
    assert short.text == whole.text[:5] and whole.score < short.score < 0
    bold = kzoo.generate(run, "the cat", length=30, temperature=0)
    assert bold[0].text == kzoo.generate(run, "the cat", length=30, top_k=1, seed=9)[0].text
    for options, said in (
        ({"length": 0}, "length must be a whole number of at least 1; received 0"),
        ({"temperature": -1}, "temperature must be a number of at least 0; received -1"),
        ({"beams": 2, "temperature": 0.5}, "beams=2 search for .* temperature=0.5 draws one; give one"),
        ({"beams": 2, "top_k": 5}, "nothing is drawn; give a temperature above 0"),
        ({"copy_unknown": True}, "copy_unknown goes with translation"),
    ):
        with pytest.raises(kzoo.KzooError, match=said):
            kzoo.generate(run, "a", **options)
    with pytest.raises(kzoo.KzooError, match="is empty"):
        kzoo.generate(run, "")
    with pytest.raises(kzoo.KzooError, match="reads prose, but digits gives"):
        kzoo.fit("gpt_tiny", "digits", **SMALL)


@pytest.mark.slow
def test_a_recurrent_one_from_fit_to_export(prose, tmp_path):
    run = kzoo.fit("gru_language_model", prose, set={"units": 8}, run_dir=tmp_path / "run", **SMALL)
    assert kzoo.evaluate(run, split="validation").perplexity == pytest.approx(math.exp(run.history["val_loss"][-1]))
    (written,) = kzoo.generate(run, "the cat", length=100, seed=1)
    assert len(written.text) == 100 and set(written.text) <= set(TEXT)
    export = kzoo.export(run, tmp_path / "export")
    assert export.difference < 1e-5
    assert len(served(export.path, "serve_text", text=["the cat"], seed=5)["text"][0]) == 64


def test_the_export_writes_what_the_network_would(run, tmp_path):
    export, texts = kzoo.export(run, tmp_path / "export"), ["the cat", "Passage 1"]
    assert export.difference < 1e-5
    found = served(export.path, "serve_text", text=texts, seed=5)["text"]
    reader = reader_of(model_info(run.model).inputs)
    drawn = tf.random.stateless_uniform([2, 16], [5, 0])
    prompts = reader.prepare(tf.constant(texts))
    known = len(reader.spec.vocabulary)
    made = decode(run.model, prompts, length=16, drawn=drawn, temperature=1.0, reserved=2, known=known, end=None)["ids"]
    assert found == [t.decode() for t in reader.text(made).numpy()]
    some = served(export.path, "serve_text", text=["the cat", ""], seed=5)
    assert some["valid"] == [True, False] and some["text"][1] == ""
    assert served(export.path, "serve_text", text=[], seed=5) == {"text": [], "scores": [], "valid": []}


OPTIONS = {**SMALL, "optimizer": "sgd:momentum=0.9", "learning_rate": 0.1, "set": {"dropout": 0.0}}


@pytest.fixture(scope="module")
def one(prose, tmp_path_factory):
    """Two epochs on one device."""
    return kzoo.fit("gpt_tiny", prose, **{**OPTIONS, "epochs": 2}, run_dir=tmp_path_factory.mktemp("one") / "run")


def test_the_likeliest_is_searched_for_in_run_and_export(run, tmp_path):
    (one,) = kzoo.generate(run, "the cat", length=1, beams=3)
    assert one.text == kzoo.generate(run, "the cat", length=1, temperature=0)[0].text
    (greedy,) = kzoo.generate(run, "the cat", length=16, temperature=0)
    (found,) = kzoo.generate(run, "the cat", length=16, beams=3)
    assert found.score >= greedy.score and len(found.text) == 16
    export = kzoo.export(run, tmp_path / "export", beams=3)
    assert served(export.path, "serve_text", text=["the cat"])["text"] == [found.text]


@pytest.mark.slow
def test_on_two_replicas(one, prose):
    two = kzoo.fit("gpt_tiny", prose, strategy="mirrored", devices=["CPU:0", "CPU:1"], **{**OPTIONS, "epochs": 2})
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=2e-5)


@pytest.mark.slow
def test_resumed(one, prose):
    half = kzoo.fit("gpt_tiny", prose, **OPTIONS)
    assert kzoo.fit(resume=half.path, epochs=2, verbose=False).history["loss"] == pytest.approx(one.history["loss"])


def test_prose_has_no_labels(prose):
    with pytest.raises(kzoo.KzooError, match="lstm_classifier_tiny learns labels of texts, and prose is prose without"):
        kzoo.fit("lstm_classifier_tiny", prose, epochs=1, verbose=False)


@pytest.mark.slow
def test_tuned(prose):
    search = kzoo.tune("gpt_tiny", prose, trials=2, epochs=1, limit_train_batches=2, xla="off", verbose=False)
    assert search.best_trial.status == "completed" and search.objective == "val_loss"


def test_a_character_that_is_none_is_unknown():
    """NUL, which NumPy takes for the end of a string."""
    texts = np.array(["ab\0c" * 40], object)
    reader = reader_of(CharacterInputs(length=8))
    learned = reader.learn(kzoo.Data((texts, np.zeros(1, np.int64))))
    assert learned.vocabulary[2:] == ("a", "b", "c")
    assert reader_of(learned).ids(tf.constant(["a\0b"])).to_list() == [[2, 1, 3]]


def test_the_command_line(here, prose):
    assert here("fit", "gpt_tiny", "--data", prose, "--epochs", 1, "--limit-train-batches", 2, "--xla", "off")[0] == 0
    status, out, _ = here("generate", "last", "the cat", "--length", 12, "--temperature", 0.5)
    assert status == 0 and out.startswith("the cat") and len(out.rstrip("\n")) >= len("the cat")
    assert here("evaluate", "last", "--split", "validation")[0] == 0
    assert find_task("text-generation").verb == "generate"

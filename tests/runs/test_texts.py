"""Texts, translations and generated images by the same verbs: fit, evaluate, predict or generate, export."""

import functools
import io
import json
import re
import shutil
import time
from dataclasses import replace

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from serving import served

import kzoo
from kzoo.inputs import reader_of
from kzoo.models import attach_info, decode, model_info
from kzoo.records import Fit
from kzoo.runs import Predictor, RunFolder
from kzoo.tasks.saying import speaker
from kzoo.verbs import feed_of

GOOD, BAD = ("good", "great", "fine", "lovely"), ("bad", "poor", "awful", "dull")
ENGLISH = ("one", "two", "three", "four", "five", "six")
CHINESE = "一二三四五六"


def fit(*args, **arguments):
    """Without XLA, which compiles a step anew for each length."""
    return kzoo.fit(*args, **{"verbose": False, "xla": "off", **arguments})


def write_reviews(path, rows=240, seed=0):
    rng = np.random.default_rng(seed)
    lines = ["text\tlabel"]
    for k in range(rows):
        words = list(rng.choice((GOOD, BAD)[k % 2], 2)) + list(
            rng.choice(["a", "film", "the", "it"], rng.integers(1, 9))
        )
        lines.append(f"{' '.join(rng.permutation(words))}\t{('pos', 'neg')[k % 2]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_pairs(path, rows=400, seed=0):
    """English number words, and the same in Chinese, written without spaces."""
    rng = np.random.default_rng(seed)
    numbers = [rng.integers(0, 6, rng.integers(2, 6)) for _ in range(rows)]
    lines = ["source\ttarget"]
    lines += [f"{' '.join(ENGLISH[k] for k in row)}\t{''.join(CHINESE[k] for k in row)}" for row in numbers]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def unfinished(folder, last):
    """Copies the run folder as it stands before its last epoch: what a kill would leave."""

    def copy(epoch, logs):
        if epoch != last:
            return
        while RunFolder(folder / "run").checkpoints.newest != f"{last:04d}-000000":  # it is written meanwhile
            time.sleep(0.01)
        time.sleep(0.2)
        shutil.copytree(folder / "run", folder / "part")

    return keras.callbacks.LambdaCallback(on_epoch_begin=copy)


def fed(model, data, **options):
    """How `fit` would read the data and make the model, without the training: a Feed."""
    return feed_of(model, data, Fit.of(options), nets.strategy("default"))


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews")
    data = write_reviews(folder / "reviews.tsv")
    run = fit("lstm_classifier_tiny", data, epochs=8, batch_size=16, learning_rate=0.02, run_dir=folder / "run",
              callbacks=[unfinished(folder, 7)])  # fmt: skip
    return run, data


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    """A translator into Chinese: characters. Its vocabularies are smaller than the default, and of two scripts."""
    folder = tmp_path_factory.mktemp("chinese")
    data = write_pairs(folder / "numbers.tsv")
    run = fit("seq2seq_luong_tiny", data, style="subclass", set={"width": 24, "units": 32, "dropout": 0.0}, epochs=6,
              batch_size=16, learning_rate=0.01, run_dir=folder / "run")  # fmt: skip
    return run, data


@pytest.fixture(scope="module")
def exported(chinese, tmp_path_factory):
    """export(beams, length_penalty): the translator's export, written once."""
    folder = tmp_path_factory.mktemp("exported")

    @functools.cache
    def export(beams, length_penalty):
        return kzoo.export(chinese[0], folder / f"{beams}-{length_penalty}", beams=beams, length_penalty=length_penalty)

    return export


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return fit("dcgan_tiny", "digits", epochs=2, batch_size=64, run_dir=folder / "run",
               callbacks=[unfinished(folder, 1)])  # fmt: skip


def made(*args, **options):
    """The images in one array."""
    return np.stack([one.pixels for one in kzoo.generate(*args, **options)])


class TestClassifier:
    def test_learns_and_says_so(self, reviews):
        run, data = reviews
        assert run.history["val_accuracy"][-1] > 0.95
        found = kzoo.evaluate(run, data, split="validation")
        assert found.accuracy > 0.95 and found.labels == ("neg", "pos")
        assert kzoo.evaluate(run.path, split="validation").accuracy == found.accuracy
        title, _, *lines = (run.path / "predictions.txt").read_text().splitlines()
        assert "most doubtful" in title and any("neg" in line for line in lines)
        sure = [float(re.match(r"\w+ (\d\.\d\d)", line)[1]) for line in lines]
        assert sure == sorted(sure)
        assert "film" in (run.path / "batch.txt").read_text()
        assert "words in lower case, at most 20, a vocabulary of" in run.plan.input

    def test_the_vocabulary_travels(self, reviews):
        run, _ = reviews
        config = json.loads((run.path / "config.json").read_text())
        assert config["inputs"]["kind"] == "text" and "good" in config["inputs"]["vocabulary"]
        again = kzoo.predict(str(run.path), ["it a GOOD film", "awful , the"])
        assert [p.labels[0] for p in again] == ["pos", "neg"]
        assert [p.labels for p in kzoo.predict(run, ["it a GOOD film", "awful , the"])] == [p.labels for p in again]

    def test_a_text_of_unknown_words_alone_is_told(self, reviews, capsys):
        kzoo.predict(reviews[0], ["a GOOD film", "좋은 영화", "qqq film"])
        told = "text 2: none of its 2 words is in the vocabulary; the answer is a guess\n"
        assert capsys.readouterr().err == told

    def test_lines_of_stdin(self, reviews, monkeypatch):
        lines = io.TextIOWrapper(io.BytesIO(b"it a GOOD film\r\nawful , the\n"))
        monkeypatch.setattr("sys.stdin", lines)
        assert [p.labels[0] for p in kzoo.predict(reviews[0], "-")] == ["pos", "neg"]
        with pytest.raises(kzoo.KzooError, match="text 2 is '-', which stands for stdin; give it alone"):
            kzoo.predict(reviews[0], ["a film", "-"])

    def test_served_without_kzoo(self, reviews, tmp_path):
        run, _ = reviews
        texts = ["a good film", "AWFUL", "never seen before", ""]
        export = kzoo.export(run, tmp_path / "export")
        found = served(export.path, "serve_text", text=texts)
        for k, prediction in enumerate(kzoo.predict(run, texts[:3])):
            assert found["labels"][k] == list(prediction.labels)
            np.testing.assert_allclose(found["scores"][k], prediction.scores, atol=1e-5)
        assert found["valid"] == [True, True, True, False] and found["class_ids"][3] == [-1, -1]
        assert served(export.path, "serve_text", text=[]) == {name: [] for name in found}
        (tmp_path / "bytes.txt").write_bytes(b"good \xff\xfe film")
        assert served(export.path, "serve_text", text=[{"file": str(tmp_path / "bytes.txt")}])["valid"] == [False]
        assert [p.labels for p in kzoo.predict(tmp_path / "export", texts[:3])] == [
            p.labels for p in kzoo.predict(run, texts[:3])
        ]
        assert kzoo.evaluate(tmp_path / "export", split="validation").accuracy > 0.95

    def test_left_and_resumed_is_uninterrupted(self, reviews):
        run, _ = reviews
        part = run.path.parent / "part"
        assert len(RunFolder(part).read_metrics()) == 7
        resumed = fit(resume=part)
        assert len(resumed.history["loss"]) == 8
        np.testing.assert_allclose(resumed.history["loss"], run.history["loss"], rtol=1e-5)

    @pytest.mark.slow
    def test_resumed_is_uninterrupted(self, reviews, tmp_path):
        _, data = reviews
        options = {"batch_size": 16, "schedule": "constant"}
        whole = fit("lstm_classifier_tiny", data, epochs=3, run_dir=tmp_path / "whole", **options)
        fit("lstm_classifier_tiny", data, epochs=2, run_dir=tmp_path / "part", **options)
        resumed = fit(resume=tmp_path / "part", epochs=3)
        np.testing.assert_allclose(resumed.history["loss"], whole.history["loss"], rtol=1e-5)

    def test_other_data_goes_by_the_models_vocabulary(self, reviews, tmp_path):
        run, _ = reviews
        other = tmp_path / "other.tsv"
        other.write_text("text\tlabel\n" + "quite unheard of\tpos\nnothing known here\tneg\n" * 20, encoding="utf-8")
        found = kzoo.evaluate(run, other, split="train")
        assert any("unknown to the vocabulary" in note for note in found.notes)
        assert fed(run.model, other, batch_size=8).reading.specs[0] == model_info(run.model).inputs

    def test_a_model_of_your_own_size(self, reviews):
        _, data = reviews
        found = fed(kzoo.lstm_classifier_tiny(vocabulary=12), data, batch_size=16)
        assert len(found.reading.specs[0].vocabulary) == 12

    @pytest.mark.parametrize(
        "inputs, message",
        [
            ([""], "text 1: it is empty"),
            (["", "  "], "text 1: it is empty"),
            ([3], "texts must be strings"),
            ("nowhere.txt", "no file 'nowhere.txt'"),
        ],
    )
    def test_mistakes(self, reviews, inputs, message):
        with pytest.raises(kzoo.KzooError, match=message):
            kzoo.predict(reviews[0], inputs)

    def test_lines_of_a_file(self, reviews, tmp_path):
        lines = tmp_path / "lines.txt"
        lines.write_bytes(b"a good film\r\nawful\n")
        assert [p.labels[0] for p in kzoo.predict(reviews[0], str(lines))] == ["pos", "neg"]
        lines.write_bytes(b"good\n\nawful\nb\xffd\n")
        found = kzoo.predict(reviews[0], str(lines))
        assert [p.input for p in found] == ["good", "awful"]
        assert [line.split(", ")[1] for line in found.left_out] == [
            "line 2: it is empty; left out", "line 4: it is not UTF-8 (invalid start byte); left out"
        ]  # fmt: skip
        lines.write_bytes(b" \n")
        with pytest.raises(kzoo.KzooError, match="line 1: it is empty; give a text with words"):
            kzoo.predict(reviews[0], str(lines))

    def test_wrong_data(self, reviews):
        with pytest.raises(kzoo.KzooError, match="reads texts, but digits gives"):
            fit("lstm_classifier_tiny", "digits", epochs=1)
        with pytest.raises(kzoo.KzooError, match="run reads texts, but digits gives uint8"):
            kzoo.evaluate(reviews[0], "digits")
        with pytest.raises(kzoo.KzooError, match="does not generate"):
            kzoo.generate(reviews[0], ["good"])


class TestTranslator:
    def test_learns_characters(self, chinese):
        run, data = chinese
        assert run.history["val_accuracy"][-1] > 0.9
        assert "target: characters" in run.plan.input and "source: words" in run.plan.input
        found = kzoo.evaluate(run, data, split="validation")
        assert found.bleu > 70 > found.copy_bleu and "tok:char" in found.signature
        assert json.loads((run.path / "evaluation-numbers-validation.json").read_text())["bleu"] == found.bleu

    @pytest.mark.parametrize(("beams", "penalty"), [(1, 0.6), (4, 1.0), pytest.param(4, 0.0, marks=pytest.mark.slow)])
    def test_generate_and_the_exported_loop_say_the_same(self, chinese, exported, beams, penalty):
        texts = ["one two three", "SIX six", "two five four one one", "never seen"]
        export = exported(beams, penalty)
        expected = kzoo.generate(chinese[0], texts, beams=beams, length_penalty=penalty)
        found = served(export.path, "serve_text", text=texts)
        assert found["text"] == [t.text for t in expected]
        np.testing.assert_allclose(found["scores"], [t.score for t in expected], atol=1e-4)
        assert [t.text for t in kzoo.generate(export.path.parent, texts)] == found["text"]
        assert expected[0].text == "一二三"

    def test_translations_are_drawn_by_a_seed_in_run_and_export(self, chinese, tmp_path):
        texts = ["one two three", "SIX six", "two five four one one", "never seen"] * 8
        said = lambda **more: [t.text for t in kzoo.generate(chinese[0], texts, temperature=3.0, top_k=9, **more)]
        assert said() == said(batch_size=3) and len(set(said())) > 6
        assert said(seed=1) != said() == said(repetition_penalty=1.0)
        export = kzoo.export(chinese[0], tmp_path / "export", temperature=3.0, top_k=9)
        assert served(export.path, "serve_text", text=texts, seed=1)["text"] == said(seed=1)
        assert [t.text for t in kzoo.generate(export.path.parent, texts, seed=1)] == said(seed=1)
        with pytest.raises(
            kzoo.KzooError, match="is an export, with its own temperature inside; leave it out, or give"
        ):
            kzoo.generate(export.path.parent, texts, temperature=1.0)
        again = lambda found: sum(len(row.tokens) - len({*row.tokens}) for row in found)
        free, held = (kzoo.generate(chinese[0], texts, temperature=1.0, repetition_penalty=p) for p in (1.0, 9.0))
        assert again(held) < again(free)
        with pytest.raises(kzoo.KzooError, match="beams=4 search for .* temperature=1 draws one; give one of the two"):
            kzoo.generate(chinese[0], "one", beams=4, temperature=1.0)

    def test_each_served_text_answers_for_itself(self, exported):
        path, long = exported(4, 1.0).path, " ".join(["one"] * 21)
        alone = served(path, "serve_text", text=["one"])
        found = served(path, "serve_text", text=["", "one", long, "  "])
        assert found["valid"] == [False, True, False, False]
        assert found["text"] == ["", *alone["text"], "", ""]
        np.testing.assert_allclose(found["scores"], [0, *alone["scores"], 0, 0], atol=1e-5)
        assert served(path, "serve_text", text=[]) == {"text": [], "scores": [], "valid": []}

    def test_attention_is_where_it_looked(self, chinese):
        (found,) = kzoo.generate(chinese[0], ["one two three four"])
        assert found.attention.shape == (len(found.tokens), len(found.source_tokens))
        assert found.source_tokens[0] == "[start]" and found.source_tokens[-1] == "[end]"
        np.testing.assert_allclose(found.attention.sum(axis=1), 1, atol=1e-4)

    @pytest.mark.parametrize("style", ["functional", "sequential"])
    def test_other_styles_decode_alike(self, chinese, style):
        run, _ = chinese
        info = model_info(run.model)
        twin = kzoo.create_model(info.model, style, **info.arguments)
        kzoo.copy_weights(run.model, twin)
        source = tf.constant([[2, 5, 6, 3], [2, 4, 3, 0]])
        mine, theirs = (decode(speaker(Predictor.of(m)), source, length=6, beams=3)["ids"] for m in (run.model, twin))
        np.testing.assert_array_equal(mine, theirs)

    @pytest.mark.slow
    def test_a_transformer_takes_the_same_road(self, chinese, tmp_path):
        _, data = chinese
        run = fit("transformer_tiny", data, epochs=2, batch_size=16, optimizer="adam", learning_rate=0.01)
        export = kzoo.export(run, tmp_path / "export", beams=3)
        texts = ["one two", "six"]
        expected = [t.text for t in kzoo.generate(run, texts, beams=3)]
        assert served(export.path, "serve_text", text=texts)["text"] == expected

    def test_mistakes(self, chinese, exported):
        run, _ = chinese
        long = " ".join(["one"] * 21)
        for model in (run, exported(1, 0.6).path.parent):
            some = kzoo.generate(model, ["one", long, "two"])
            assert [t.input for t in some] == ["one", "two"]
            assert "it has 21 words; " in some.left_out[0] and " reads at most 20; left out" in some.left_out[0]
            with pytest.raises(kzoo.KzooError, match="it has 21 words; .* reads at most 20"):
                kzoo.generate(model, [long])
        for arguments, message in (
            ({"inputs": None}, "give it texts"),
            ({"inputs": [""]}, "text 1: it is empty"),
            ({"inputs": ["one"], "beams": 0}, "beams must be a whole number"),
            ({"inputs": ["one"], "batch_size": 0}, "batch_size must be"),
        ):
            with pytest.raises(kzoo.KzooError, match=message):
                kzoo.generate(run, **arguments)
        with pytest.raises(kzoo.KzooError, match="use kzoo generate"):
            kzoo.predict(run, ["one"])
        with pytest.raises(kzoo.KzooError, match="reads pairs of texts"):
            fit("seq2seq_luong_tiny", "digits", epochs=1)

    def test_a_text_of_unknown_words_alone_is_told(self, chinese, exported, capsys):
        for model in (chinese[0], exported(1, 0.6).path.parent):
            capsys.readouterr()
            long = " ".join(["uno"] * 21)  # left out: the others keep their numbers, and nothing else is said of it
            assert len(kzoo.generate(model, [long, "eins zwei"])) == 1
            told = "text 2: none of its 2 words is in the vocabulary; the answer is a guess\n"
            said = capsys.readouterr().err
            assert told in said and "text 1" not in said

    def test_weights_of_another_vocabulary(self, chinese, tmp_path):
        run, data = chinese
        path, info = kzoo.save_weights(run.model, tmp_path / "weights.safetensors"), model_info(run.model)
        with pytest.raises(kzoo.KzooError, match="does not fit"):
            kzoo.load_weights(kzoo.seq2seq_luong_tiny(), path)
        other = tmp_path / "other.tsv"
        other.write_text(data.read_text(encoding="utf-8").replace("one", "uno"), encoding="utf-8")
        learned = reader_of(info.spec.inputs).learn(kzoo.load_data(other))
        model = kzoo.create_model(info.model, **info.arguments)
        attach_info(model, replace(model_info(model), inputs=learned))
        with pytest.raises(kzoo.KzooError, match="weights for another vocabulary"):
            kzoo.load_weights(model, path)
        kzoo.load_weights(run.model, path)


class TestGenerator:
    def test_samples_and_losses_of_every_epoch(self, digits):
        assert {"generator_loss", "discriminator_loss", "val_generator_loss"} <= digits.history.keys()
        names = sorted(p.name for p in (digits.path / "samples").iterdir())
        assert names == ["epoch-001.png", "epoch-002.png"]
        assert (digits.path / "samples.png").read_bytes() == (digits.path / "samples" / names[-1]).read_bytes()
        assert RunFolder(digits.path).checkpoints.best is None
        assert (digits.path / "curves.png").is_file() and (digits.path / "card.md").is_file()

    def test_the_same_noise_gives_the_same_images(self, digits, tmp_path):
        found = made(digits, count=5, seed=3)
        assert found.shape == (5, 16, 16, 1) and found.dtype == np.uint8
        np.testing.assert_array_equal(found, made(digits.path, count=5, seed=3, batch_size=2))
        assert (found != made(digits, count=5, seed=4)).any()
        noise = np.random.default_rng(3).uniform(-1, 1, (5, 8)).astype("float32")
        export = kzoo.export(digits, tmp_path / "export")
        out = served(export.path, "generate", noise=noise.tolist())
        assert np.abs(np.array(out["images"]) - found.astype(int)).max() <= 1
        np.testing.assert_array_equal(made(tmp_path / "export", count=5, seed=3), out["images"])

    def test_evaluation(self, digits):
        found = kzoo.evaluate(digits)
        assert found.examples == 359 and 0 < found.fake < 1 and 0 < found.real < 1
        assert "discriminator" in str(found)

    def test_left_and_resumed_is_uninterrupted(self, digits):
        part = digits.path.parent / "part"
        assert len(RunFolder(part).read_metrics()) == 1
        resumed = fit(resume=part)
        for name in ("generator_loss", "discriminator_loss"):
            np.testing.assert_allclose(resumed.history[name], digits.history[name], rtol=1e-4)

    @pytest.mark.slow
    def test_resumed_is_uninterrupted(self, tmp_path):
        options = {"batch_size": 64, "limit_train_batches": 4}
        whole = fit("dcgan_tiny", "digits", epochs=3, run_dir=tmp_path / "whole", **options)
        fit("dcgan_tiny", "digits", epochs=2, run_dir=tmp_path / "part", **options)
        resumed = fit(resume=tmp_path / "part", epochs=3)
        for name in ("generator_loss", "discriminator_loss"):
            np.testing.assert_allclose(resumed.history[name], whole.history[name], rtol=1e-4)

    def test_mistakes(self, digits):
        with pytest.raises(kzoo.KzooError, match="does not give 30x30"):
            kzoo.dcgan(input_shape=(30, 30, 1))
        with pytest.raises(kzoo.KzooError, match=r"out of noise \[n, 8\]"):
            kzoo.generate(digits, np.zeros((2, 9)))
        with pytest.raises(kzoo.KzooError, match="losses and metrics of their own"):
            fit("dcgan_tiny", "digits", loss="mse", epochs=1)
        with pytest.raises(kzoo.KzooError, match="has no best checkpoint"):
            kzoo.generate(digits.path, checkpoint="best")


class TestAsAReaderFound:
    """Each of these was wrong once."""

    def test_two_scripts_have_two_vocabularies(self, chinese):
        _, data = chinese
        found = fed("transformer_tiny", data, batch_size=32)
        inputs, _ = found.reading.specs
        assert not inputs.joint and inputs.target.unit == "characters"
        assert {"source_embedding/embeddings", "target_embedding/embeddings"} <= set(kzoo.weights_by_name(found.model))
        with pytest.raises(
            kzoo.KzooError, match="was built with joint=True, but numbers needs joint=False; build it so"
        ):
            fit(kzoo.transformer_tiny(), data, epochs=1)

    @pytest.mark.slow
    def test_a_second_fit_will_warm_up_again(self, chinese):
        model, starts = kzoo.transformer_tiny(joint=False), []
        for _ in range(2):
            nets.made(model, chinese[1], "default", epochs=1, batch_size=32, limit_train_batches=8)
            schedule = model.optimizer._learning_rate
            starts.append((schedule.warmup, schedule.start, float(schedule(schedule.start)) / schedule.rate))
            model.optimizer.iterations.assign(8)
        assert starts == [(2, 0, pytest.approx(0.5)), (2, 8, pytest.approx(0.5))]
        with pytest.raises(kzoo.KzooError, match="give its steps with warmup"):
            fit("lenet5", "digits", schedule="inverse-sqrt", epochs=1)

    @pytest.mark.slow
    def test_a_second_fit_warms_up_again(self, chinese):
        _, data = chinese
        model = kzoo.transformer_tiny(joint=False)
        starts = []
        for _ in range(2):
            run = fit(model, data, epochs=1, batch_size=32, limit_train_batches=8)
            schedule = run.model.optimizer._learning_rate
            starts.append((schedule.warmup, float(schedule(schedule.start)) / schedule.rate))
        assert starts[0] == starts[1] == (2, pytest.approx(0.5))

    def test_positions_bound_the_length(self):
        """The marks take two of them."""
        assert model_info(kzoo.transformer_tiny(length=7)).inputs.source.length == 5
        assert model_info(kzoo.transformer_tiny(length=60)).inputs.source.length == 58
        assert model_info(kzoo.transformer_tiny()).inputs.source.length == 20
        assert model_info(kzoo.bert_test(length=50)).inputs.length == 48

    def test_what_texts_cannot_take_is_refused(self, reviews, chinese):
        for model, data, options, message in (
            ("lstm_classifier_tiny", reviews[1], {"augment": "flip"}, "needs raw images"),
            ("seq2seq_luong_tiny", chinese[1], {"class_weight": {0: 1, 1: 2}}, "learns no classes"),
            ("lstm_classifier_tiny", (np.array(["a b", "c"]), np.array([0, 1])), {}, "give kzoo.Data"),
        ):
            with pytest.raises(kzoo.KzooError, match=message):
                fit(model, data, epochs=1, **options)
        for length_penalty in (float("nan"), -1, "x"):
            with pytest.raises(kzoo.KzooError, match="length_penalty must be"):
                kzoo.generate(chinese[0], ["one"], length_penalty=length_penalty)
        with pytest.raises(kzoo.KzooError, match="holds no pairs of texts"):
            kzoo.evaluate(chinese[0], "digits")

    def test_a_long_sentence_is_left_out_of_evaluation(self, chinese, tmp_path):
        lines = ["source\ttarget"] + ["one two\t一二"] * 5 + [" ".join(["one"] * 30) + "\t一"]
        (tmp_path / "long.tsv").write_text("\n".join(lines), encoding="utf-8")
        found = kzoo.evaluate(chinese[0], tmp_path / "long.tsv", split="train")
        assert any("1 of" in note and "left out" in note for note in found.notes) or found.examples == 5

    def test_strings_of_your_own_are_looked_at(self):
        texts = np.array(["一只狗", "两只猫", "一只猫", "两只狗"] * 5, dtype=object)
        data = kzoo.Data((texts, np.arange(20) % 2))
        assert data.info.holds == "texts"
        assert "狗" in fed("lstm_classifier_tiny", data, batch_size=5).reading.specs[0].vocabulary

    def test_more_room_than_words(self, chinese):
        """A network with rows beyond the vocabulary never says one of them."""
        inputs = model_info(chinese[0].model).inputs
        model = kzoo.seq2seq_luong_tiny(target_vocabulary=200)
        attach_info(model, replace(model_info(model), inputs=inputs))
        found = kzoo.generate(model, ["one two", "six"], beams=3)
        assert {token for one in found for token in one.tokens} <= set(inputs.target.vocabulary)

    @pytest.mark.slow
    def test_more_room_than_words_in_a_run(self, chinese):
        _, data = chinese
        run = fit(kzoo.seq2seq_luong_tiny(target_vocabulary=200), data, epochs=1, batch_size=32, limit_train_batches=1)
        assert kzoo.generate(run, ["one two", "six"], beams=3)

    def test_keras_files_carry_the_vocabulary_or_say_that_they_lack_it(self, reviews, digits, tmp_path):
        reviews[0].model.save(tmp_path / "trained.keras")
        said = [kzoo.predict(source, ["good", "awful"]) for source in (tmp_path / "trained.keras", reviews[0])]
        assert [p.scores for p in said[0]] == [p.scores for p in said[1]]
        kzoo.lstm_classifier_tiny().save(tmp_path / "fresh.keras")
        with pytest.raises(kzoo.KzooError, match="has no vocabulary"):
            kzoo.predict(tmp_path / "fresh.keras", ["good"])
        digits.model.save(tmp_path / "gan.keras")
        np.testing.assert_array_equal(made(tmp_path / "gan.keras", count=2), made(digits, count=2))


def said_again(run):
    texts, search = ["one two", "six five four"], {"beams": 4, "length_penalty": 1.0}
    expected = [t.text for t in kzoo.generate(run, texts, **search)]
    assert [t.text for t in kzoo.generate(str(run.path), texts, **search)] == expected
    assert "source:" in (run.path / "predictions.txt").read_text()


class TestAsANewcomerFound:
    def test_a_run_read_again_says_the_same(self, chinese):
        said_again(chinese[0])

    @pytest.mark.slow
    @pytest.mark.parametrize("style", ["functional", "sequential", "subclass"])
    @pytest.mark.parametrize("name", ["seq2seq_luong_tiny", "transformer_tiny"])
    def test_a_run_of_every_style_read_again_says_the_same(self, chinese, name, style):
        said_again(fit(name, chinese[1], epochs=1, batch_size=32, limit_train_batches=2, style=style))

    @pytest.mark.slow
    def test_a_trained_file_without_its_run_is_not_given_new_words(self, reviews, tmp_path):
        run, _ = reviews
        known = model_info(run.model).inputs
        assert model_info(kzoo.load_model(run.path / "model.keras")).inputs == known
        (tmp_path / "alone.keras").write_bytes((run.path / "model.keras").read_bytes())
        other = write_reviews(tmp_path / "other.tsv", rows=60, seed=5)
        other.write_text(other.read_text(encoding="utf-8").replace("film", "play"), encoding="utf-8")
        again = fit(str(tmp_path / "alone.keras"), other, epochs=1)
        assert model_info(again.model).inputs == known and "play" not in known.vocabulary
        model = kzoo.lstm_classifier_tiny()  # trained by Keras on numbers of the user's own, whose words nobody knows
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        model.fit(np.ones((8, 5), "int32"), np.arange(8) % 2, verbose=0)
        with pytest.raises(kzoo.KzooError, match="lstm_classifier_tiny was .* on a vocabulary that it does not carry"):
            fit(model, other, epochs=1)

    @pytest.mark.slow
    def test_a_model_that_learned_from_numbers_is_given_no_words(self, reviews):
        model = kzoo.lstm_classifier_tiny()
        fit(model, (np.ones((8, 5), "int32"), np.arange(8) % 2), epochs=1)
        with pytest.raises(kzoo.KzooError, match="lstm_classifier_tiny reads .*texts"):
            fit(model, reviews[1], epochs=1)

    def test_nothing_is_not_judged(self, reviews, tmp_path):
        """Of an empty text the features are zero, and the scores those of the biases alone."""
        features = kzoo.feature_extractor(reviews[0].model)
        assert not np.asarray(features(np.zeros((1, 4), "int32"))).any()

    def test_a_text_model_of_your_own(self, reviews, tmp_path):
        _, data = reviews
        words = keras.layers.TextVectorization(max_tokens=40)
        words.adapt(kzoo.load_data(data).train.map(lambda x, y: x).batch(32))
        inputs = keras.Input((), dtype="string")
        x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(40, 4)(words(inputs)))
        model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x))
        model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
        run = fit(model, data, epochs=5, batch_size=16)
        assert kzoo.evaluate(run, split="validation").accuracy > 0.8
        assert kzoo.predict(run, ["a good film"])[0].labels[0] == "pos"
        export = kzoo.export(run, tmp_path / "export")
        assert "serving_default" in export.signatures
        own = keras.Sequential([keras.Input((None,), dtype="int32"), keras.layers.Embedding(9, 2)])
        own.compile("sgd", "mse")
        with pytest.raises(kzoo.KzooError, match="TextVectorization as its first layer"):
            fit(own, data, epochs=1)
        with pytest.raises(kzoo.KzooError, match="reads images, but reviews gives texts"):
            fit("dcgan_tiny", data, epochs=1)

    def test_paths_are_not_texts(self, reviews, tmp_path):
        (tmp_path / "image.png").write_bytes(b"")
        with pytest.raises(kzoo.KzooError, match="is the file"):
            kzoo.predict(reviews[0], [str(tmp_path / "image.png")])


def test_predictions_say_words_that_the_vocabulary_lacks(tmp_path):
    rows = [(f"a {word} zorb{k}", word) for k in range(30) for word in ("good", "bad")]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(f"{t},{y}" for t, y in rows) + "\n")
    run = fit("lstm_classifier_tiny", tmp_path / "texts.csv", epochs=1, validation=0.5)
    shown = (run.path / "predictions.txt").read_text()
    held = [
        t.decode() for t, _ in kzoo.load_data(tmp_path / "texts.csv", validation=0.5).validation.as_numpy_iterator()
    ]
    assert all(f": {text}" in shown for text in held)


@pytest.fixture(scope="module")
def few_words(tmp_path_factory):
    """A translator that must say the same words, of which its vocabulary has two: most are unknown to it."""
    rng = np.random.default_rng(0)
    x = np.array([" ".join(rng.choice([f"w{k}" for k in range(9)], rng.integers(2, 6))) for _ in range(120)], object)
    sizes = {"source_vocabulary": 30, "target_vocabulary": 6}
    options = {"epochs": 6, "learning_rate": 0.02, "batch_size": 20, "verbose": False}
    place = tmp_path_factory.mktemp("few") / "r"
    return kzoo.fit("seq2seq_luong_tiny", kzoo.Data((x, x), (x[:20], x[:20])), set=sizes, run_dir=place, **options)


class TestCopying:
    @pytest.mark.slow
    def test_unknown_words_are_those_that_it_looks_at(self, few_words, tmp_path):
        text = "w1 w2 w3 w4"
        (plain,) = kzoo.generate(few_words, text)
        (copied,) = kzoo.generate(few_words, text, copy_unknown=True)
        assert "[UNK]" in copied.tokens and "[UNK]" not in plain.tokens
        said = copied.text.split()
        assert len(said) == len(copied.tokens)
        for token, word, looked in zip(copied.tokens, said, copied.attention, strict=True):
            if token == "[UNK]":  # the marks around the source are no words
                assert word == copied.source_tokens[1:-1][int(looked[1:-1].argmax())]
            else:
                assert word == token
        path = kzoo.export(few_words, tmp_path / "e", copy_unknown=True).path
        served = tf.saved_model.load(str(path)).signatures["serve_text"](text=tf.constant([text]))
        assert served["text"].numpy()[0].decode() == copied.text

    def test_where_it_looked_is_drawn(self, few_words):
        assert (few_words.path / "attention.png").stat().st_size > 5000

    @pytest.mark.slow
    def test_a_network_that_looks_at_nothing_copies_nothing(self, tmp_path):
        pairs = kzoo.Data((np.array(["a b"] * 8, object), np.array(["b a"] * 8, object)))
        model = kzoo.fit("seq2seq_tiny", pairs, epochs=1, verbose=False, run_dir=tmp_path / "r").model
        with pytest.raises(kzoo.KzooError, match="copy_unknown copies words .* has no attention"):
            kzoo.generate(model, "a", copy_unknown=True)

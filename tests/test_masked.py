"""BERT's pre-training: what is hidden, what is guessed, and what a classifier keeps of it."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from serving import served

import kzoo
from kzoo.inputs import reader_of
from kzoo.models import model_info
from kzoo.records import from_config
from kzoo.records.wordpieces import MARKS

PIECES = (*MARKS, *(f"w{k}" for k in range(40)))
SPEC = from_config({"kind": "masked", "vocabulary": PIECES, "length": 12})
START, END, MASK = (PIECES.index(mark) for mark in ("[CLS]", "[SEP]", "[MASK]"))


def texts(count=400):
    """Of 2 to 30 words: some are three parts."""
    rng = np.random.default_rng(0)
    return [" ".join(f"w{k}" for k in rng.integers(0, 40, rng.integers(2, 31))) for _ in range(count)]


def batches(some=None, batch_size=16, **options):
    split = tf.data.Dataset.from_tensor_slices(some if some is not None else texts()).map(lambda x: (x, 0))
    return reader_of(SPEC).batches(split, batch_size, **options)


def rows(of, number=0, **options):
    """(what is shown, what is to be guessed, whether the second segment is another's), padded alike."""
    found = [(x.numpy(), y["tokens"].numpy(), y["next"].numpy()) for x, y in of.epoch(number, **options)]
    wide = max(x.shape[1] for x, _, _ in found)
    pad = lambda a: np.pad(a, [(0, 0), (0, wide - a.shape[1])])
    return [np.concatenate(part) for part in zip(*((pad(x), pad(t), n) for x, t, n in found), strict=True)]


def test_parts_are_whole_texts_in_two_segments():
    """Nothing is lost of a long text, and every part has its three marks."""
    shown, guessed, follows = rows(batches())
    true = np.where(guessed > 0, guessed, shown)
    assert sorted(true[true > 4]) != [] and (np.sum(true == END, axis=1) == 2).all() and (true[:, 0] == START).all()
    words = sum(len(text.split()) for text in texts())
    alone = (true > 4).sum(axis=1)[follows == 0].sum() / (follows == 0).mean()
    assert abs(alone / words - 1) < 0.1  # of those whose segments belong together, as many as there are
    assert abs(follows.mean() - 0.5) < 0.06
    assert max(len(text.split()) for text in texts()) > SPEC.length >= ((true > 4).sum(axis=1)[follows == 0]).max()


def test_shares_of_what_is_hidden():
    shown, guessed, _ = rows(batches(texts(3000)))
    hidden = guessed > 0
    pieces = np.where(hidden, guessed, shown) > 4
    assert abs(hidden.sum() / pieces.sum() - 0.15) < 0.01 and not (guessed[~pieces] > 0).any()
    masked, kept = (shown == MASK)[hidden].mean(), (shown == guessed)[hidden].mean()
    assert abs(masked - 0.8) < 0.02 and abs(kept - 0.1) < 0.02
    assert not (shown == MASK)[~hidden].any()


def test_each_epoch_hides_others_and_the_same_again():
    of = batches(seed=3)
    first, again, second = rows(of), rows(batches(seed=3)), rows(of, 1)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first[1] != second[1]).any() and (rows(batches(seed=4))[1] != first[1]).any()


def test_replicas_see_what_one_device_sees():
    of = batches(shuffle=True)
    halves = [lambda total: (0 * total, total // 2), lambda total: (total // 2, total - total // 2)]
    found = []
    for part in halves:
        found.append([(x.numpy(), y["tokens"].numpy()) for _, (x, y) in of.epoch(2, part)])
    whole = [(x.numpy(), y["tokens"].numpy()) for x, y in of.epoch(2)]
    for (x, tokens), *parts in zip(whole, *found, strict=True):
        np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), x)
        np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), tokens)


def test_a_part_alone_has_no_other_to_be_swapped_with():
    _, _, follows = rows(batches(["w1 w2 w3"] * 20, batch_size=1))
    assert not follows.any()
    with pytest.raises(kzoo.KzooError, match="no texts of two pieces"):
        batches(["w1", ""])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of sentences whose second word says what the first one was; both are in the first segment."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("masked")
    pairs = [("cats", "meow"), ("dogs", "bark"), ("cows", "moo")]
    with open(folder / "animals.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows((f"{a} {b} today and tomorrow", a) for _ in range(40) for a, b in pairs)
    options = {"epochs": 70, "learning_rate": 0.02, "warmup": 10, "batch_size": 30, "verbose": False, "xla": "off"}
    found = kzoo.fit(
        "bert_pretraining_test", folder / "animals.csv", set={"dropout": 0.0, "d_model": 16}, run_dir=folder / "run",
        **options,
    )  # fmt: skip
    return found, folder / "animals.csv"


def test_it_learns_and_fills_gaps(run, capsys):
    run, data = run
    told = kzoo.evaluate(run, data, split="validation")
    assert told.accuracy > told.baseline and told.perplexity < 4
    (found,) = kzoo.predict(run.path, ["[MASK] meow today and tomorrow"], top=2)
    assert found.text == "cats meow today and tomorrow" and found.pieces[0][0] == "cats" and len(found.scores[0]) == 2
    assert [row["piece"] for row in found.rows()] == list(found.pieces[0])
    assert "[MASK](" in (run.path / "batch.txt").read_text() and (run.path / "predictions.txt").is_file()
    with pytest.raises(kzoo.KzooError, match=r"fills gaps: write \[MASK\] where a piece is to be guessed; received"):
        kzoo.predict(run, ["the cats"])
    (again,) = kzoo.predict(run, ["the cats", "[MASK] meow today and tomorrow"])
    assert again.text == found.text and "text 1: " in capsys.readouterr().err, "one without a gap fails no other"


def test_the_export_fills_them_in_a_bare_tensorflow(run, tmp_path):
    given = ["[MASK] meow today", "no gap"]
    found = served(kzoo.export(run[0], tmp_path / "e").path, "serve_text", text=given)
    assert found["text"][0] == kzoo.predict(run[0], given[:1])[0].text and found["valid"] == [True, False]


@pytest.mark.slow
def test_a_classifier_begins_with_what_lies_below_the_heads(run, tmp_path):
    """By fine_tune, with its vocabulary; by the builder from a file, without."""
    run, data = run
    rates = {"learning_rate": 0.02, "epochs": 8, "head_epochs": 1}
    tuned = kzoo.fine_tune(run, data, depth=1, verbose=False, run_dir=tmp_path / "tuned", **rates)
    info = model_info(tuned.model)
    assert info.model == "bert_test" and info.inputs.kind == "wordpieces"
    assert info.inputs.vocabulary == model_info(run.model).inputs.vocabulary
    assert kzoo.evaluate(tuned, data, split="validation").accuracy > 0.5  # of three classes
    settings, path = model_info(run.model).settings, tmp_path / "pretrained.safetensors"
    kzoo.save_weights(run.model, path)
    sizes = {key: settings[key] for key in ("vocabulary", "separator", "d_model")}
    model = kzoo.bert_test(**sizes, classes=3, weights=str(path))
    mine, theirs = (kzoo.weights.values_of(m) for m in (model, run.model))
    shared = mine.keys() & theirs.keys()
    assert len(shared) == len(mine) - 2  # kernel and bias of the head
    for key in shared:
        np.testing.assert_array_equal(mine[key], theirs[key])


@pytest.mark.slow
@pytest.mark.parametrize("xla", ["on", "off"])
def test_replicas_learn_as_one_device(run, xla):
    found = []
    for strategy in (kzoo.strategy("default"), kzoo.strategy("mirrored", 2)):
        keras.utils.set_random_seed(1)
        model = kzoo.create_model("bert_pretraining_test", dropout=0.0, vocabulary=60)
        learned = kzoo.fit(
            model, run[1], strategy=strategy, epochs=2, batch_size=23, xla=xla, verbose=False, optimizer="sgd"
        )
        found.append(learned.history["loss"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_what_is_written_around_gaps_stays(run, capsys):
    """Words that the vocabulary lacks, capitals, several spaces; a gap that is not read is said."""
    (found,) = kzoo.predict(run[0], ["日本  [MASK] MEOW, [MASK]!"], top=1)
    first, second = (pieces[0].removeprefix("##") for pieces in found.pieces)
    assert found.text.replace(" ", "") == f"日本{first}MEOW,{second}!" and found.text.startswith("日本")
    long = "cats " * 17 + "[MASK] " + "cats " * 10 + "[MASK]"
    kzoo.predict(run[0], [long])
    assert "text 1 has 2 gaps: 1 are among the first 24 pieces" in capsys.readouterr().err
    with pytest.raises(kzoo.KzooError, match="reads 24 pieces, and no .* is among the first of text 1"):
        kzoo.predict(run[0], ["cats " * 40 + "[MASK]"])
    assert kzoo.attention_maps(run[0], "[MASK] meow").tokens[:2] == ("[CLS]", "[MASK]")


@pytest.mark.parametrize("make", ["text alone", "one class", "folder", "classes", "txt"])
def test_texts_need_no_labels(make, tmp_path):
    lines = ["the cat sat on the mat", "a dog ran far away", "the moon is big"] * 6
    if make == "folder":
        for part in ("train", "test"):
            (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
    elif make == "classes":
        for k, line in enumerate(lines):
            path = tmp_path / ("a" if k % 2 else "b") / f"{k}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(line)
    elif make == "txt":
        (tmp_path / "some.txt").write_text("\n".join(lines) + "\n")
    else:
        rows = [("text",), *((line,) for line in lines)] if make == "text alone" else []
        rows = rows or [("text", "label"), *((line, "a") for line in lines)]
        with open(tmp_path / "some.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    path = next(iter(tmp_path.glob("some.*")), tmp_path)
    data = kzoo.load_data(path, holds="prose")
    assert data.info.holds == "prose" and not data.info.classes
    assert sum(len(list(data[part])) for part in ("train", "validation") if data[part] is not None) == 18


def test_what_is_no_text_is_one_line(tmp_path):
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "a man\tein Mann\n" * 8)
    (tmp_path / "two.csv").write_text("text,comment\na,b\n")
    for call, line in (
        (lambda: kzoo.load_data(tmp_path / "pairs.tsv", holds="prose"), "names no column, or several, of texts"),
        (lambda: kzoo.load_data(tmp_path / "two.csv", holds="prose"), "names no column, or several, of texts"),
        (lambda: kzoo.fit("word2vec_tiny", kzoo.load_data(tmp_path / "pairs.tsv"), verbose=False), "gives pairs"),
        (lambda: from_config({"kind": "masked", "vocabulary": PIECES[:4]}), r"has \[MASK\]; this one lacks it"),
    ):
        with pytest.raises(kzoo.KzooError, match=line) as error:
            call()
        assert "\n" not in str(error.value)

"""Pieces of bytes in the graph against the library `tokenizers`; networks that write in them."""

import gzip
import json
import lzma

import numpy as np
import pytest
import tensorflow as tf
from serving import served

import kzoo
from kzoo.data import DataInfo
from kzoo.inputs import reader_of
from kzoo.models import model_info
from kzoo.records import from_config

tokenizers = pytest.importorskip("tokenizers")
ODD = [
    "Hello  world,   it's  3.14 o'clock!",
    "I'll we'd they've you're I'm isn't 'tis 's",
    " leading\n\n\n  and\ttrailing \n",
    "tabs\t\tand\r\nreturns\x0bform\x0cfeeds \x0c x",
    "Ünïcödé İstanbul naïve ß ſ",
    "日本語 の\u3000テキスト。",
    "🎉🎊 emoji👍🏽 \u200b\u00a0\u00a0nbsp",
    "a\u2028b\u2029c \u1680 d\x85\x85e",
    "\x00\x02 \x1c\x1d controls \x7f",
    "x" * 300,
    "    ",
    "\n",
    "don't'don't ''' '' 'S 'LL",
    "1 23  456   7_8-9",
    "<|endoftext|> is text",
]


def learned(texts, size=500):
    info = DataInfo("texts", "prose")
    data = kzoo.Data((np.array(texts, object), np.zeros(len(texts), np.int64)), info=info)
    return reader_of(from_config({"kind": "bytepairs", "size": size})).learn(data)


def differ(spec, texts):
    """Texts whose pieces are not the library's."""
    pieces = {piece: k for k, piece in enumerate(spec.vocabulary)}
    merges = [tuple(merge.split(" ")) for merge in spec.merges]
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=pieces, merges=merges))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = tf.function(reader_of(spec).ids, input_signature=[tf.TensorSpec([None], tf.string)])
    wrong = []
    for k in range(0, len(texts), 1024):
        part = texts[k : k + 1024]
        found = made(tf.constant(part)).to_list()
        wrong += [text for text, ids in zip(part, found, strict=True) if library.encode(text).ids != ids]
    return wrong


def test_odd_texts_are_cut_as_the_library_cuts_them():
    spec = learned(ODD * 3)
    assert len(spec.vocabulary) <= 500 and spec.vocabulary[spec.end] == "<|endoftext|>" and len(spec.merges) > 50
    assert differ(spec, ODD) == [] and differ(spec, ["never seen: qvw 漢字 \U0010ffff"]) == []
    assert learned(ODD * 3) == spec and from_config(spec.to_config()) == spec


@pytest.mark.data
def test_real_texts_are_cut_as_the_library_cuts_them(shared):
    with lzma.open(shared / "imdb" / "train_pos.txt.xz", "rt", encoding="utf-8") as file:
        texts = [line.split("\t", 1)[1].rstrip("\n") for line in file][:300]
    with gzip.open(shared / "multi30k" / "train.de.gz", "rt", encoding="utf-8") as file:
        texts += [line.rstrip("\n") for line in file][:2000]
    play = (shared / "shakespeare" / "input.txt").read_text(encoding="utf-8")
    texts += [play[k : k + 2000] for k in range(0, 100_000, 2000)]
    assert differ(learned(texts, 3000), texts) == []


def test_texts_come_back_whole():
    reader = reader_of(learned(ODD * 3))
    again = [text.decode() for text in reader.text(reader.prepare(tf.constant(ODD))).numpy()]
    assert again == ODD
    halves = reader.ids(tf.constant(["日"])).numpy()[:, :1]  # a part of a letter is no letter
    assert reader.text(tf.constant(halves)).numpy()[0].decode() in ("\ufffd", "日")


def test_its_files_are_read_and_written():
    spec = learned(ODD * 3)
    blank = from_config({"kind": "bytepairs", "size": 500})
    assert blank.of_files(*spec.to_files()) == spec
    pieces, merges = spec.to_files()
    for given, line in (
        (("[1, 2]", merges), "vocab.json is no vocabulary of pieces"),
        (('{"a": 0, "b": 2}', ""), "its ids are not 0, 1, 2"),
        ((pieces, merges + "zz qq\n"), "merges.txt has a line whose pieces are not in vocab.json: 'zz qq'"),
    ):
        with pytest.raises(kzoo.KzooError, match=line):
            blank.of_files(*given)
    with pytest.raises(kzoo.KzooError, match="has all 256 of them; this one lacks"):
        reader_of(blank.of_files('{"a": 0}', ""))
    with pytest.raises(kzoo.KzooError, match="has no room for 256 bytes"):
        learned(ODD, 100)


PLAY = "".join(f"{who}:\nNow is the {what} of our discontent, {k}!\n\n" for k in range(40) for who, what in
               (("GLOUCESTER", "winter"), ("RICHMOND", "summer")))  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "play.txt").write_text(PLAY)
    options = {"epochs": 12, "batch_size": 8, "learning_rate": 0.01, "verbose": False, "xla": "off", "warmup": 4}
    return kzoo.fit("gpt2_test", folder / "play.txt", run_dir=folder / "run", **options), folder / "play.txt"


def test_it_learns_pieces_and_writes_on(run):
    run, play = run
    told = kzoo.evaluate(run, play, split="validation")
    assert told.perplexity < told.baseline / 2 and told.unit == "pieces" and "bits a piece" in str(told)
    one, two = kzoo.generate(run, ["GLOUCESTER:\nNow is", "R"], length=20, temperature=0.0)
    assert one.text and two.text and one.input == "GLOUCESTER:\nNow is"
    (alone,) = kzoo.generate(run.path, "R", length=20, temperature=0.0)
    assert alone.text == two.text and alone.score == pytest.approx(two.score, abs=1e-3)
    (stopped,) = kzoo.generate(run, "GLOUCESTER:\nNow is", length=20, temperature=0.0, stop=one.text[4:6])
    assert stopped.text == one.text.partition(one.text[4:6])[0] and 0 >= stopped.score >= one.score


def test_scores_are_those_of_the_network(run):
    """Of what was written, whatever piece ends in the middle of a letter."""
    (found,) = kzoo.generate(run[0], "Now is the", length=10, temperature=1.0, seed=3)
    reader = reader_of(model_info(run[0].model).inputs)
    said = reader.ids(tf.constant([found.text])).numpy()[0]
    before = reader.ids(tf.constant(["Now is the"])).numpy()[0]
    if len(said) == 10:  # the pieces that were drawn are those that the text is cut into
        logits = run[0].model(np.concatenate([before, said])[None])
        known = len(reader.spec.vocabulary)
        log_p = tf.nn.log_softmax(logits[0, len(before) - 1 : -1, :known]).numpy()
        assert found.score == pytest.approx(float(log_p[np.arange(10), said].sum()), abs=1e-3)


def test_the_export_writes_what_the_run_does(run, tmp_path):
    found = served(kzoo.export(run[0], tmp_path / "e").path, "serve_text", text=["Now is", ""], seed=1)
    assert found["valid"] == [True, False] and found["text"][1] == ""
    assert found["text"][0] == kzoo.generate(run[0], "Now is", length=16, seed=1)[0].text  # half of what it reads


def test_it_goes_to_transformers_and_back_with_its_pieces(run, tmp_path):
    folder = kzoo.save_weights(run[0].model, tmp_path / "gpt2", names="transformers")
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "vocab.json", "merges.txt"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "gpt2" and config["vocab_size"] == 300
    again = kzoo.gpt2_test(weights=str(folder), style="subclass")
    assert model_info(again).inputs == model_info(run[0].model).inputs
    texts = [kzoo.generate(model, "Now is", length=8, seed=2)[0].text for model in (again, run[0])]
    assert texts[0] == texts[1]


def test_padding_is_not_learned():
    """The last window is padded; 0 is a piece like any other."""
    spec = learned(["ab" * 10])
    (x, y), = reader_of(spec).batches(tf.data.Dataset.from_tensor_slices((["!!!"], [0])), 4).epoch(0)  # fmt: skip
    assert x.shape == (1, 1024) and (y.numpy()[0, 2:] == -1).all() and (y.numpy()[0, :2] >= 0).all()
    loss = kzoo.engine.recipe_loss(model_info(kzoo.gpt2_test()))
    logits = np.zeros((1, 4, 5), "float32")
    logits[..., 0] = 3
    one, two = (float(loss(np.array([row]), logits)) for row in ([0, 0, -1, -1], [0, 0, 0, 0]))
    assert one == pytest.approx(two) == pytest.approx(np.log(np.exp(3) + 4) - 3, rel=1e-5)

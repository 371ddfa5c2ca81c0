"""Batches of token ids: like lengths together, the same in every epoch of the same number, at most four lengths."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.inputs import Batches, Reader, Sequences, reader_of
from kzoo.inputs.pairs import Pairs
from kzoo.inputs.text import Texts, learn_vocabulary
from kzoo.records import ImageInputs, PairInputs, TextInputs

RNG = np.random.default_rng(0)
WORDS = [f"w{k}" for k in range(30)]
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(1, 40))) for _ in range(200)]
LABELS = np.arange(200) % 3


def texts(length=64, **options):
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS))
    spec = learn_vocabulary(TextInputs(size=100, length=length), data.map(lambda x, y: x))
    return Texts(spec).batches(data, 16, **options)


def pairs(length=64, **options):
    data = tf.data.Dataset.from_tensor_slices((TEXTS, TEXTS[::-1]))
    side = learn_vocabulary(TextInputs(size=100, length=length, framed=True), tf.data.Dataset.from_tensor_slices(TEXTS))
    return Pairs(PairInputs(side, side)).batches(data, 16, **options)


def rows(batches, epoch=0):
    return [tuple(np.asarray(t) for t in tf.nest.flatten(batch)) for batch in batches.epoch(epoch)]


@pytest.mark.parametrize("shuffle", [False, True])
def test_every_text_once_an_epoch_with_its_label(shuffle):
    batches = texts(shuffle=shuffle)
    found = rows(batches, 3)
    assert len(found) == batches.steps
    reader, said = batches.reader, []
    for ids, labels in found:
        said += zip((t.decode() for t in reader.text(tf.constant(ids)).numpy()), labels.tolist(), strict=True)
    assert sorted(said) == sorted(zip(TEXTS, LABELS.tolist(), strict=True))


def test_at_most_four_lengths_and_little_padding():
    found = rows(texts(shuffle=True))
    assert len({ids.shape[1] for ids, _ in found}) <= 4
    assert len({ids.shape for ids, _ in found}) <= 8  # and a last, shorter batch of each
    real = sum((ids != 0).sum() for ids, _ in found)
    alone = 200 * max(ids.shape[1] for ids, _ in found)  # if all were padded to the longest
    assert sum(ids.size for ids, _ in found) - real < 0.5 * (alone - real)


def test_epochs_differ_and_repeat():
    batches = texts(shuffle=True, seed=1)
    first, second, again = rows(batches, 0), rows(batches, 1), rows(texts(shuffle=True, seed=1), 0)
    assert any(a[0].shape != b[0].shape or (a[0] != b[0]).any() for a, b in zip(first, second, strict=True))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_one_stream_gives_the_epochs_one_by_one():
    batches = pairs(shuffle=True)
    for start, then, numbers in ((0, "next", (1, 2, 3)), (2, "next", (1, 2)), (1, "again", (1, 1))):
        one_by_one = [b for k, n in enumerate(numbers) for b in batches.epoch(n, None, 0 if k else start)]
        stream = list(batches.epoch(1, None, start, then).take(len(one_by_one)))
        for a, b in zip(tf.nest.flatten(one_by_one), tf.nest.flatten(stream), strict=True):
            np.testing.assert_array_equal(a, b)


def test_pairs_are_shifted_by_one():
    for source, read, said in rows(pairs()):
        assert (source[:, 0] == 2).all() and (read[:, 0] == 2).all()
        for one, next_one in zip(read, said, strict=True):
            count = (next_one != 0).sum()
            assert next_one[count - 1] == 3
            np.testing.assert_array_equal(one[1:count], next_one[: count - 1])


def test_parts_of_workers_are_the_batch():
    batches = texts(shuffle=True)

    def half(k):
        return lambda n: (n // 2 * k, n // 2 if k == 0 else n - n // 2)

    whole = rows(batches)
    parts = [list(batches.epoch(0, half(k))) for k in (0, 1)]
    for batch, (total, a), (_, b) in zip(whole, *parts, strict=True):
        assert int(total) == len(batch[0])
        for k in (0, 1):
            np.testing.assert_array_equal(batch[k], np.concatenate([a[k], b[k]]))


def test_long_texts_are_cut_and_long_pairs_left_out():
    batches = texts(length=20)
    assert any("longer than 20 words: cut" in note for note in batches.notes)
    assert batches.examples == 200 and max(ids.shape[1] for ids, _ in rows(batches)) == 20
    batches = pairs(length=20)
    assert any("left out" in note for note in batches.notes) and 0 < batches.examples < 200
    with pytest.raises(kzoo.KzooError, match="no pair has at most 1 tokens"):
        pairs(length=1)


def test_unknown_words_are_said():
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS))
    spec = TextInputs(size=100, vocabulary=("", "[UNK]", "w1", "w2"))
    (note,) = Texts(spec).batches(data, 16).notes
    assert note.endswith("are unknown to the vocabulary") and 80 < float(note.split("%")[0]) < 100


def test_limit_tokens_and_endless_stream():
    batches = texts(limit=3)
    assert batches.steps == 3 and len(rows(batches)) == 3
    assert batches.counted(3, 0) == sum((ids != 0).sum() for ids, _ in rows(batches))
    stream = texts(shuffle=True).portable()()
    assert len(list(stream.take(30))) == 30


def test_shapes_are_counted():
    """For each of them XLA compiles the step."""
    batches = pairs(shuffle=True)
    shapes = {tuple(part.shape for part in batch) for epoch in range(3) for batch in rows(batches, epoch)}
    assert batches.shapes == len(shapes) > 4


def test_labels_are_checked_and_weighed():
    batches = texts()
    batches.label_limit = 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels out of range"):
        rows(batches)
    weighed = rows(texts(class_weights=(1.0, 2.0, 3.0)))
    assert all((w == y + 1).all() for _, y, w in weighed)


def test_each_kind_of_inputs_makes_its_own_batches():
    data = tf.data.Dataset.from_tensor_slices((np.zeros((4, 2, 2, 1)), LABELS[:4]))
    assert type(reader_of(None).batches(data, 2)) is type(Reader().batches(data, 2)) is Batches
    assert type(reader_of(ImageInputs((2, 2), 1)).batches(data, 2)) is Batches
    assert type(texts()) is type(pairs()) is Sequences

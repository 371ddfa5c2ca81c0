"""Files of images are read when they are needed: in the order of their names, kept where they fit, named where not."""

import numpy as np
import pytest
import tensorflow as tf
from pets import image, pets

import kzoo
from kzoo.inputs import image_files, later
from kzoo.inputs.image import Images
from kzoo.records import ImageInputs

READER = Images(ImageInputs((8, 8), 3))


def whole(batches, number):
    parts = list(batches.epoch(number))
    return np.concatenate([x for x, _ in parts]), [int(k) for _, y in parts for k in y]


@pytest.fixture
def data(tmp_path):
    pets(tmp_path / "pets", {"cat": 9, "dog": 12})
    image(tmp_path / "pets" / "dog" / "wide.png", 99, size=(20, 40))
    return kzoo.load_data(tmp_path / "pets", validation=0)


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_is_the_same_read_or_kept(data, shuffle):
    kept, read = (READER.batches(data.train, 4, shuffle=shuffle, seed=3, keep=keep) for keep in (True, False))
    for number in range(3):
        (x, y), (x_read, y_read) = whole(kept, number), whole(read, number)
        np.testing.assert_array_equal(x, x_read)
        assert y == y_read and len(y) == 22
    assert kept._later.seen.numpy().all() and read._later.store is None


def test_what_is_kept_is_not_read_again(data, tmp_path):
    kept = READER.batches(data.train, 4, shuffle=True, keep=True)
    first = whole(kept, 0)
    for path in (tmp_path / "pets").rglob("*.png"):
        path.unlink()
    np.testing.assert_array_equal(np.sort(whole(kept, 1)[0].ravel()), np.sort(first[0].ravel()))


def test_a_split_that_does_not_fit_is_not_kept(data, monkeypatch):
    monkeypatch.setattr(later, "KEPT_BYTES", 1000)
    assert READER.batches(data.train, 4, keep=True)._later.store is None


@pytest.mark.parametrize("keep", [True, False])
def test_the_middle_of_an_epoch(data, keep):
    batches = READER.batches(data.train, 4, shuffle=True, keep=keep)
    parts = [x.numpy() for x, _ in batches.epoch(1)]
    for start in (1, 3, 5):
        np.testing.assert_array_equal(
            np.concatenate([x for x, _ in batches.epoch(1, start=start)]), np.concatenate(parts[start:])
        )
    few = READER.batches(data.train, 4, shuffle=True, keep=keep, limit=2)
    assert few.steps == 2 and [len(y) for _, y in few.epoch(0)] == [4, 4]
    assert [len(y) for _, y in few.epoch(0, start=1)] == [4]


def test_the_first_batch_reads_the_first_batch_only(data, monkeypatch):
    """However many there are: nothing is decoded before it is needed, and nothing twice."""
    opened = []
    monkeypatch.setattr(image_files, "open_image", lambda path: opened.append(path))
    batches = READER.batches(data.train, 4, shuffle=True, keep=True)
    next(iter(batches.epoch(0)))
    assert not opened
    assert batches._later.seen.numpy().sum() <= 4 * 8, "what is made ahead"


def damaged(path):
    """Its first and last bytes are those of a whole image."""
    contents = bytearray(path.read_bytes())
    contents[60:-20] = bytes(len(contents) - 80)
    path.write_bytes(bytes(contents))


def test_what_turns_out_to_be_damaged_is_left_out_and_named(data, tmp_path, capsys):
    damaged(tmp_path / "pets" / "cat" / "3.png")
    batches = READER.batches(data.train, 4, shuffle=True, keep=True)
    assert len(whole(batches, 0)[1]) == 21
    assert capsys.readouterr().err == "cat/3.png: cannot be decoded; left out\n"
    assert len(whole(batches, 1)[1]) == 21 and capsys.readouterr().err == ""


def test_so_a_training_goes_on(tmp_path, capsys):
    root = pets(tmp_path / "pets", {"cat": 9, "dog": 12})
    damaged(root / "cat" / "3.png")
    damaged(root / "dog" / "7.png")
    run = kzoo.fit("lenet5", kzoo.load_data(root, validation=0), epochs=2, batch_size=4, verbose=False)
    err = capsys.readouterr().err
    assert "cat/3.png: cannot be decoded" in err and "dog/7.png: cannot be decoded" in err
    assert len(run.history["loss"]) == 2
    found = kzoo.evaluate(run, root, split="train")
    assert found.examples == 19 and "2 left out that cannot be decoded: cat/3.png, dog/7.png" in found.notes
    names = kzoo.load_data(root, validation=0).info.files["train"]
    assert all(names[m.index] == m.input and m.input.startswith(m.true) for m in found.mistakes)


def test_only_some_classes_are_still_read_later(data, tmp_path):
    some = kzoo.load_data(tmp_path / "pets", validation=0, only=["dog", "cat"])
    assert later.rows_of(some.train) is not None and some.info.classes == ("dog", "cat")
    x, y = whole(READER.batches(some.train, 4, keep=True), 0)
    assert y == [1] * 9 + [0] * 13


def test_user_made_examples_are_shuffled_in_bounded_memory(monkeypatch):
    from kzoo.inputs import batches as module

    monkeypatch.setattr(module, "KEPT_BYTES", 8 * 8 * 3 * 4 * 10)
    made = tf.data.Dataset.range(40).map(lambda k: (tf.fill([8, 8, 3], tf.cast(k, tf.float32)), k))
    batches = READER.batches(made, 4, shuffle=True)
    assert batches._buffer == 9  # of 10 of them, with a label each
    assert sorted(whole(batches, 0)[1]) == list(range(40))

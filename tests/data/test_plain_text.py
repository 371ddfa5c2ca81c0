"""Prose: a .txt file, or a folder of them, whole."""

import gzip

import pytest

import kzoo

TEXT = "\nFirst passage,\nof two lines.\n\nSecond.\n \n\nThird, without an end"


def whole(data, split="train"):
    return [x.decode() for x, _ in data[split].as_numpy_iterator()]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_passages_end_at_blank_lines_and_nothing_is_lost(name, tmp_path):
    packed = gzip.compress(TEXT.encode()) if name.endswith(".gz") else TEXT.encode()
    (tmp_path / name).write_bytes(packed)
    data = kzoo.load_data(tmp_path / name, validation=0)
    assert (data.info.holds, data.info.name, data.info.classes) == ("prose", "a", ())
    assert whole(data) == ["\nFirst passage,\nof two lines.\n\n", "Second.\n \n\n", "Third, without an end"]
    assert "passages of prose" in data.info.describe()


def test_without_blank_lines_a_line_is_a_passage_and_windows_ends_are_read(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    assert whole(kzoo.load_data(tmp_path / "a.txt", validation=0)) == ["one\n", "two\n", "three\n"]


def test_a_folder_has_its_splits_and_a_file_gives_some(tmp_path):
    for stem in ("train", "val", "test"):
        (tmp_path / f"{stem}.txt").write_text(f"{stem} one\n\n{stem} two\n", encoding="utf-8")
    data = kzoo.load_data(tmp_path)
    assert whole(data, "validation") == ["val one\n\n", "val two\n"] and data.info.counts["test"] == 2
    lines = "\n\n".join(f"passage {k}" for k in range(50))
    (tmp_path / "whole.txt").write_text(lines, encoding="utf-8")
    alone = kzoo.load_data(tmp_path / "whole.txt", test=0.2)
    assert alone.info.counts == {"train": 35, "validation": 5, "test": 10}
    assert sorted(whole(alone) + whole(alone, "validation") + whole(alone, "test")) == sorted(
        [*(f"passage {k}\n\n" for k in range(49)), "passage 49"]
    )


def test_what_is_none_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    with pytest.raises(kzoo.KzooError, match="holds prose, not images"):
        kzoo.load_data(tmp_path / "a.txt", holds="images")
    for option, value in (("columns", {"text": 1}), ("data_dir", tmp_path), ("download", True)):
        with pytest.raises(kzoo.KzooError, match=f"^{option} goes with "):
            kzoo.load_data(tmp_path / "a.txt", **{option: value})
    with pytest.raises(kzoo.KzooError, match="keeps classes"):
        kzoo.load_data(tmp_path / "a.txt", only=["a"])
    with pytest.raises(kzoo.KzooError, match="reads images, but a gives"):
        kzoo.fit("lenet5", tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(kzoo.KzooError, match="is not UTF-8"):
        kzoo.load_data(tmp_path / "b.txt")


@pytest.mark.data
def test_shakespeare_is_whole(shared):
    data = kzoo.load_data(shared / "shakespeare" / "input.txt", test=0.05)
    assert sum(len(text) for split in data.splits for text in whole(data, split)) == 1_115_394

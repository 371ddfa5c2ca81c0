"""The parts that a run was trained on stay its parts, whatever is added to the data or taken away."""

import json

import pytest
from pets import image, pets

import kzoo


def files(info):
    return {part: set(names) for part, names in info.files.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remembered")
    root = pets(folder / "pets", {"cat": 15, "dog": 15})
    run = kzoo.fit(
        "lenet5", kzoo.load_data(root, test=0.3, validation=0.2), epochs=1, verbose=False, run_dir=folder / "run"
    )
    return run, root, files(kzoo.load_data(root, test=0.3, validation=0.2).info)


def test_a_run_keeps_which_example_was_where(trained):
    run, root, before = trained
    kept = json.loads((run.path / "splits.json").read_text())
    assert {part: set(names) for part, names in kept.items()} == {**before, "left": set()}
    assert files(kzoo.load_data(root, splits=run.path).info) == before
    assert files(kzoo.load_data(root, splits=run.path / "splits.json").info) == before


def test_what_is_added_or_taken_away_moves_no_other(trained):
    run, root, before = trained
    for k in range(4):
        image(root / "cat" / f"a_new_{k}.png", 900 + k)
    gone = sorted(before["test"])[0]
    (root / gone).rename(root.parent / "away.png")
    try:
        data = kzoo.load_data(root, splits=run.path)
        new = {f"cat/a_new_{k}.png" for k in range(4)}
        assert files(data.info) == {**before, "train": before["train"] | new, "test": before["test"] - {gone}}
        assert "parts as in run" in data.info.notes
        assert "4 new since then, in train: cat/a_new_0.png …" in data.info.notes
        assert "1 of them gone since then" in data.info.notes
        found = kzoo.evaluate(run.path)
        assert found.examples == len(before["test"]) - 1 and "1 of them gone since then" in found.notes
        drawn_anew = files(kzoo.load_data(root, test=0.3, validation=0.2).info)
        assert drawn_anew["test"] & before["train"], "which is what a run must not do"
    finally:
        for name in new:
            (root / name).unlink()
        (root.parent / "away.png").rename(root / gone)


@pytest.mark.slow
def test_a_resumed_run_and_one_by_its_config_have_its_parts(trained, tmp_path):
    run, root, before = trained
    image(root / "dog" / "a_new.png", 950)
    try:
        more = kzoo.fit(config=str(run.path), epochs=1, verbose=False, run_dir=tmp_path / "more")
        kept = json.loads((more.path / "splits.json").read_text())
        assert set(kept["test"]) == before["test"] and set(kept["train"]) == before["train"] | {"dog/a_new.png"}
        on = kzoo.fit(resume=run.path, epochs=2, verbose=False)
        assert any("1 new since then, in train: dog/a_new.png" in note for note in on.plan.notes)
        other = kzoo.evaluate(run.path, split="validation", validation=0.5)
        assert other.examples != len(before["validation"]), "parts that are asked for are drawn anew"
    finally:
        (root / "dog" / "a_new.png").unlink()


def test_of_each_class_only_so_many(tmp_path):
    root = pets(tmp_path / "pets", {"cat": 12, "dog": 12})
    data = kzoo.load_data(root, per_class=3)
    run = kzoo.fit("lenet5", data, epochs=1, verbose=False, run_dir=tmp_path / "run")
    kept = json.loads((run.path / "splits.json").read_text())
    assert len(kept["train"]) == 6 and len(kept["left"]) == 24 - 6 - len(kept["validation"])
    assert files(kzoo.load_data(root, splits=run.path).info) == files(data.info)


@pytest.mark.parametrize("kind", ["tsv", "npz", "parallel"])
def test_examples_without_a_file_are_known_by_what_they_are(kind, tmp_path):
    import numpy as np

    rows = [f"{'good' if k % 2 else 'bad'} thing {k}" for k in range(30)]

    def write(rows):
        if kind == "tsv":
            (tmp_path / "all.tsv").write_text("text\tlabel\n" + "".join(f"{r}\t{r[0]}\n" for r in rows))
            return tmp_path / "all.tsv"
        if kind == "parallel":
            (tmp_path / "all.tsv").write_text("source\ttarget\n" + "".join(f"{r}\t{r[::-1]}\n" for r in rows))
            return tmp_path / "all.tsv"
        x = np.array([[hash(r) % 1000 / 7, len(r)] for r in rows], "float32")
        np.savez(tmp_path / "all.npz", x=x, y=np.array([k % 2 for k in range(len(rows))]))
        return tmp_path / "all.npz"

    where = write(rows)
    data = kzoo.load_data(where)
    of = lambda split: sorted(repr(row) for row in split.as_numpy_iterator())
    held = of(data.validation)
    (tmp_path / "splits.json").write_text(json.dumps(data.info.drawn))
    write(["better thing", "bad start", *rows])
    again = kzoo.load_data(where, splits=tmp_path / "splits.json")
    if kind != "npz":  # there the labels of the rows have moved on by two
        assert of(again.validation) == held
    assert again.info.counts == {"train": data.info.counts["train"] + 2, "validation": data.info.counts["validation"]}


def test_what_cannot_be(trained, tmp_path):
    run, root, _ = trained
    (tmp_path / "odd.json").write_text('{"train": 3}')
    other = pets(tmp_path / "other", {"cat": 3, "dog": 3})
    for part in ("train", "test"):
        pets(tmp_path / "own" / part)
    for name in list((other / "cat").iterdir()):
        name.rename(name.with_name("x" + name.name))
    for name in list((other / "dog").iterdir()):
        name.rename(name.with_name("x" + name.name))
    for data, splits, says in (
        (root, tmp_path / "none.json", "cannot be read: .* give a run, or its splits.json"),
        (root, tmp_path / "odd.json", "does not say which example is in which part"),
        (other, run.path, "knows none of the examples of"),
        (tmp_path / "own", run.path, "draws test of train, and .* has one of its own by now"),
    ):
        with pytest.raises(kzoo.KzooError, match=says):
            kzoo.load_data(data, splits=splits)

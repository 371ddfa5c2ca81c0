"""Folders, tables and texts whose names and letters are drawn: each is read as it is written, or refused in a line;
never a traceback, never a wrong class.
"""

import csv
import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import kzoo
from kzoo.errors import printable
from kzoo.inputs import reader_of
from kzoo.records import TextInputs

QUICK = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
LETTERS = st.characters(exclude_categories=["Cs"])
WORDS = ("cat", "train", "test", "val", "images", "Dog", "dog", "é", "é", "0", "01", "nan", "None", "label", "file",
         "=1+1", "C:", "a.b", "..", "con", "🐈", "‮abc", "x" * 80, "runs")  # fmt: skip
NAMES = st.one_of(st.sampled_from(WORDS), st.text(LETTERS, min_size=1, max_size=12))
LABELS = st.one_of(NAMES, st.integers(-3, 12).map(str), st.floats(0, 5).map(str))


def drawn_of(*draws):
    def keep(function):
        function.draws = draws
        return function

    return keep


READ = []  # what was


def loaded(path, **options):
    """What is read, or the line that says why not."""
    try:
        READ.append(kzoo.load_data(path, validation=0, **options))
        return READ[-1]
    except kzoo.KzooError as error:
        assert str(error) and "\n" not in str(error) and "\x1b" not in str(error), repr(str(error))
        return str(error)


def pictures(count):
    """So many PNGs, no two alike."""
    for k in range(count):
        file = io.BytesIO()
        Image.new("RGB", (3, 2), (k % 256, k // 256, 7)).save(file, "png")
        yield file.getvalue()


def usable(name):
    """Whether a file system takes it."""
    return not set(name) & set("/\0") and name not in (".", "..") and len(name.encode()) < 120


@drawn_of(st.lists(NAMES.filter(usable), min_size=1, max_size=4, unique=True), st.booleans(), st.booleans())
def folders(names, split, deep):
    with tempfile.TemporaryDirectory() as place:
        root, made = Path(place) / "pets", {}
        for part in ("train", "test") if split else ("",):
            for name in names:
                folder = root / part / name / ("more" if deep else "")
                folder.mkdir(parents=True, exist_ok=True)
                for k, picture in enumerate(pictures(3)):
                    (folder / f"{k}.png").write_bytes(picture + os.urandom(4))
                    made[folder / f"{k}.png"] = name
        data = loaded(root)
        if isinstance(data, str):
            return
        for part, examples in data.splits.items():
            labels = [data.info.classes[int(y)] for _, y in examples.as_numpy_iterator()]
            folders = [file.split("/") for file in data.info.files[part]]
            assert all(label in folder for label, folder in zip(labels, folders, strict=True))
        assert set(data.info.classes) <= {printable(n) for n in [*names, "more"]}


@drawn_of(
    st.lists(st.tuples(NAMES.filter(usable), LABELS), min_size=2, max_size=6, unique_by=lambda row: row[0]),
    st.sampled_from([("file", "label"), ("label", "filename"), ("id", "image", "class"), ("image", "split", "label")]),
    st.sampled_from([",", ";", "\t"]), st.booleans(),
)  # fmt: skip
def tables_of_images(rows, header, mark, suffix):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "table"
        folder.mkdir()
        text = io.StringIO()
        writer = csv.writer(text, delimiter=mark)
        writer.writerow(header)
        wanted = {}
        for k, ((name, label), picture) in enumerate(zip(rows, pictures(6), strict=False)):
            (folder / f"{name}.png").write_bytes(picture)
            wanted[f"{name}.png"] = label
            cells = {"id": str(k), "split": "train", "label": label, "class": label}
            writer.writerow([cells.get(column, f"{name}.png" if suffix else name) for column in header])
        (folder / "labels.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
        data = loaded(folder)
        if isinstance(data, str):
            return
        for file, (_, y) in zip(data.info.files["train"], data.train.as_numpy_iterator(), strict=True):
            known = {label.strip().strip("\"'").strip() for name, label in wanted.items() if name == file}
            assert not known or data.info.classes[int(y)] in known | set(wanted.values()), (file, wanted)
            if known:
                assert data.info.classes[int(y)].strip("\"' ") in {k.strip("\"' ") for k in known}


@drawn_of(
    st.lists(st.tuples(st.text(LETTERS, max_size=20), LABELS), min_size=2, max_size=8),
    st.sampled_from([("text", "label"), ("label", "text"), ("id", "review", "stars")]), st.booleans(), st.booleans(),
)  # fmt: skip
def tables_of_texts(rows, header, tabs, clean):
    if clean:
        seen = lambda text: "".join(filter(str.isprintable, text))
        rows = [(f"a {seen(text)}", seen(label) or "x") for text, label in rows]
    with tempfile.TemporaryDirectory() as place:
        file, text = Path(place) / ("texts.tsv" if tabs else "texts.csv"), io.StringIO()
        row = lambda cells: "\t".join(cells) + "\n"
        writer = csv.writer(text)
        for k, cells in enumerate([header, *rows]):
            first, second = (cells[-2], cells[-1]) if k else ("", "")
            by_name = {"id": str(k), "text": first, "review": first, "label": second, "stars": second}
            line = [by_name[column] for column in header] if k else list(header)
            text.write(row(line)) if tabs else writer.writerow(line)
        file.write_bytes(text.getvalue().encode())
        data = loaded(file)
        if isinstance(data, str):
            return
        plain = lambda label: label.strip().strip("\"'").strip()
        found = [(x.decode(), data.info.classes[int(y)]) for x, y in data.train.as_numpy_iterator()]
        if not tabs:  # where no letter of a text is what cuts the table
            assert [x for x, _ in found] == [x for x, _ in rows]
            assert [plain(y) for _, y in found] == [plain(y) for _, y in rows]


@drawn_of(st.lists(st.text(LETTERS, max_size=30), min_size=1, max_size=6), st.sampled_from(["words", "characters"]))
def letters(texts, unit):
    """Whatever a text holds, it becomes ids of the vocabulary, and as many rows as there are texts."""
    reader = reader_of(TextInputs(length=10, size=50, unit=unit, vocabulary=("", "[UNK]", "a", "b", "cat")))
    ids, counts = reader.prepare(texts).numpy(), reader.counts(texts).numpy()
    assert ids.shape == (len(texts), max(1, min(10, counts.max())))
    assert ids.min() >= 0 and ids.max() < 5
    assert ((ids > 0).sum(axis=1) == counts.clip(max=10)).all()


@pytest.mark.parametrize("count", [20, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "drawn",
    [*(pytest.param(what, marks=pytest.mark.slow) for what in (folders, tables_of_images)), tables_of_texts, letters],
)
def test_what_is_drawn(drawn, count):
    READ.clear()
    settings(QUICK, max_examples=count)(given(*drawn.draws)(drawn))()
    assert drawn is letters or len(READ) >= 10, "refused all of it: nothing was tested"

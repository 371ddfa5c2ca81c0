"""Every source of texts, on real files; every bad one in one line with its number."""

import gzip
import lzma
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import kzoo
from kzoo.inputs import unit_of

TWO = ["Ein Hund läuft.\tA dog runs.", "Zwei Katzen.\tTwo cats.", "Ein Kind.\tA child."]
PAIRS = ["source\ttarget", *TWO]


def write(path, lines, end="\n"):
    text = end.join(lines) + end
    raw = text.encode() if isinstance(text, str) else text
    path.parent.mkdir(parents=True, exist_ok=True)
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(raw))
    return path


def reviews(count=40):
    rows = [f"review {k} was {'good' if k % 4 else 'bad'}\t{'pos' if k % 4 else 'neg'}" for k in range(count)]
    return ["text\tlabel", *rows]


def rows(split):
    """[(text, label or text)] as Python values."""
    plain = lambda v: v.decode() if isinstance(v, bytes) else int(v)
    return [(plain(x), plain(y)) for x, y in split.as_numpy_iterator()]


def everything(data):
    return sorted(row for split in data.splits.values() for row in rows(split))


def refused(message, *arguments, **keywords):
    with pytest.raises(kzoo.KzooError, match=message) as caught:
        kzoo.load_data(*arguments, **keywords)
    assert "\n" not in str(caught.value)


class TestTables:
    @pytest.mark.parametrize("end", ["", ".gz", ".xz"])
    def test_text_and_label(self, tmp_path, end):
        data = kzoo.load_data(write(tmp_path / f"films.tsv{end}", reviews()))
        info = data.info
        assert (info.name, info.holds, info.classes, info.units) == ("films", "texts", ("neg", "pos"), ("words",))
        assert info.counts == {"train": 36, "validation": 4} and info.shape is None and info.languages == ()
        assert info.describe() == "films: 36 train, 4 validation; texts; 2 classes"
        assert info.notes == (
            "validation: 10% of train, stratified, seed 0",
            "imbalance: 27 'pos' to 9 'neg'; class_weight='balanced' (--class-weight balanced) weighs them",
        )
        assert ("review 0 was bad", 0) in everything(data) and ("review 1 was good", 1) in everything(data)
        assert [y for _, y in rows(data.validation)].count(0) == 1
        assert data.train.element_spec[0].dtype == "string" and data.train.element_spec[1].dtype == "int64"

    def test_two_columns_of_text(self, tmp_path):
        data = kzoo.load_data(write(tmp_path / "de-en.tsv", PAIRS))
        assert data.info.holds == "pairs" and data.info.classes == () and data.info.units == ("words", "words")
        assert data.info.describe() == "de-en: 2 train, 1 validation; pairs"
        assert data.info.notes == ("validation: 10% of train, seed 0",)
        assert everything(data)[0] == ("Ein Hund läuft.", "A dog runs.")

    def test_columns_say_how_a_table_without_a_header_is_read(self, tmp_path):
        path = write(tmp_path / "films.tsv", reviews()[1:])
        refused(
            "line 1 of .* has no names that say what its columns are, 'review 0 was bad, neg'; name the columns", path
        )
        texts = kzoo.load_data(path, columns={"text": 1, "label": 2})
        assert texts.info.holds == "texts" and texts.info.classes == ("neg", "pos")
        assert ("review 0 was bad", 0) in everything(texts) and len(everything(texts)) == 40
        assert texts.info.arguments == {"name": str(path), "columns": {"text": 1, "label": 2}}
        assert kzoo.load_data(**texts.info.arguments).info == texts.info
        pairs = kzoo.load_data(path, columns={"source": 1, "target": 2})
        assert pairs.info.holds == "pairs" and ("review 0 was bad", "neg") in everything(pairs)
        turned = kzoo.load_data(path, columns={"text": 2, "label": 1}, only=("review 1 was good", "review 0 was bad"))
        assert everything(turned) == [("neg", 1), ("pos", 0)]
        numbers = write(tmp_path / "numbers.tsv", [f"{k}\t{k % 2}" for k in range(20)])
        assert kzoo.load_data(numbers, columns={"text": 1, "label": 2}).info.classes == ("0", "1")

    def test_columns_by_name_where_their_names_are_not_known(self, tmp_path):
        path = write(tmp_path / "films.csv", ["what,mood,year", "good,pos,1999", "bad,neg,2000"])
        data = kzoo.load_data(path, columns={"text": "what", "label": "mood"})
        assert everything(data) == [("bad", 0), ("good", 1)] and "columns left out: year" in data.info.notes
        several = write(tmp_path / "several.csv", ["text,review,label", "a,b,pos", "c,d,neg"])
        assert everything(kzoo.load_data(several, columns={"text": "review", "label": "label"})) == [("b", 1), ("d", 0)]

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"text": "waht", "label": "mood"}, "unknown column of '.*films.csv' 'waht'; did you mean 'what'"),
            ({"text": 1, "label": 4}, "columns: label is number 4, and '.*films.csv' has 3"),
            ({"text": 1}, "columns of '.*films.csv' must say text and label, or source and target; received text"),
            ({"text": 1, "label": "mood"}, "columns are all named, or all numbered where there is no header"),
            ({"text": 1, "labels": 2}, "unknown role in columns 'labels'; did you mean 'label'"),
            ({"text": 0, "label": 2}, "columns names a column, or gives its number from 1; text is 0"),
            ({}, "columns must be {role: column}, such as .*; received {}"),
            (["text", "label"], "columns must be {role: column}"),
        ],
    )
    def test_columns_that_do_not_fit(self, tmp_path, columns, message):
        path = write(tmp_path / "films.csv", ["what,mood,year", "good,pos,1999", "bad,neg,2000"])
        refused(message, path, columns=columns)

    def test_columns_are_of_tables(self, tmp_path):
        (tmp_path / "cat").mkdir()
        Image.new("L", (4, 4)).save(tmp_path / "cat" / "0.png")
        for name in (tmp_path, "digits"):
            refused("columns goes with a table, and .* is none; leave it out", name, columns={"text": 1, "label": 2})

    @pytest.mark.parametrize(
        ("header", "order"),
        [
            ("sentence\tlabel", 1),
            ("Label\tText", -1),
            ("CLASS\tReview", -1),
            ("tweet\tSentiment", 1),
            ("text\ttarget", 1),
        ],
    )
    def test_a_header_names_text_and_label(self, tmp_path, header, order):
        lines = [header, *("\t".join(line.split("\t")[::order]) for line in ["so good\tpos", "so bad\tneg", "ok\tpos"])]
        data = kzoo.load_data(write(tmp_path / "films.tsv", lines))
        assert data.info.classes == ("neg", "pos")
        assert everything(data) == [("ok", 1), ("so bad", 0), ("so good", 1)]

    @pytest.mark.parametrize(("header", "order"), [("source\ttarget", 1), ("TGT\tsrc", -1)])
    def test_a_header_names_source_and_target(self, tmp_path, header, order):
        data = kzoo.load_data(
            write(tmp_path / "pairs.tsv", [header, *("\t".join(line.split("\t")[::order]) for line in TWO)])
        )
        assert data.info.holds == "pairs" and everything(data)[0] == ("Ein Hund läuft.", "A dog runs.")

    def test_a_header_names_languages(self, tmp_path):
        path = write(tmp_path / "pairs.tsv", ["de\ten", *TWO])
        assert kzoo.load_data(path).info.describe() == "pairs: 2 train, 1 validation; pairs de-en"
        data = kzoo.load_data(path, languages="en-de")
        assert data.info.languages == ("en", "de") and ("A child.", "Ein Kind.") in everything(data)
        assert kzoo.load_data(**data.info.arguments).info == data.info
        refused("unknown languages 'en-fr'; did you mean 'en-de'. .* has de, en", path, languages="en-fr")
        path = write(tmp_path / "three.csv", ["de,en,fr", "Hund,dog,chien", "Katze,cat,chat"])
        refused("give languages=two of de, en, fr as 'source-target'", path)
        data = kzoo.load_data(path, languages="fr-de")
        assert everything(data) == [("chat", "Katze"), ("chien", "Hund")]
        assert "languages left out: en" in data.info.notes

    def test_columns_beside_are_said(self, tmp_path):
        data = kzoo.load_data(write(tmp_path / "f.csv", ["id,label,text,stars", "1,pos,good,", "2,neg,bad,1"]))
        assert everything(data) == [("bad", 0), ("good", 1)]
        assert "columns left out: id, stars" in data.info.notes

    def test_names_of_columns_may_come_again_as_values(self, tmp_path):
        lines = ["question\tintent", *(f"How are you {k}\t{('question', 'answer')[k % 2]}" for k in range(20))]
        assert kzoo.load_data(write(tmp_path / "acts.tsv", lines)).info.classes == ("answer", "question")
        read = kzoo.load_data(write(tmp_path / "bare.tsv", lines[1:]), columns={"text": 1, "label": 2}).info
        assert read.classes == ("answer", "question") and sum(read.counts.values()) == 20

    def test_csv_has_quotes_and_lines_within_them(self, tmp_path):
        raw = 'text,label\r\n"good, very ""good""",pos\r\n"two\nlines",neg\r\nHe said "no",neg\r\n'
        (tmp_path / "films.csv").write_bytes(raw.encode())
        data = kzoo.load_data(tmp_path / "films.csv")
        assert everything(data) == [('He said "no"', 0), ('good, very "good"', 1), ("two\nlines", 0)]
        long = "word " * 50_000
        data = kzoo.load_data(write(tmp_path / "long.csv", ["text,label", f'"{long}",a', "short,b"]))
        assert len(everything(data)[1][0]) == 250_000

    def test_csv_has_excels_line_of_the_separator(self, tmp_path):
        lines = ["sep=;", "text;label", '"good; very, ""good""";pos', "bad;neg"]
        data = kzoo.load_data(write(tmp_path / "films.csv", lines))
        assert everything(data) == [("bad", 0), ('good; very, "good"', 1)]
        with pytest.raises(kzoo.KzooError, match="line 5 of .* is empty; delete it"):
            kzoo.load_data(write(tmp_path / "more.csv", [*lines, "", "far;neg"]))

    def test_tsv_has_no_quoting(self, tmp_path):
        lines = ["text\tlabel", '"Open\tpos', 'shut"\tneg', 'a, "b" \u2028c\tneg']
        data = kzoo.load_data(write(tmp_path / "films.tsv", lines))
        assert everything(data) == [('"Open', 1), ('a, "b" \u2028c', 0), ('shut"', 0)]

    def test_labels_may_be_whole_numbers(self, tmp_path):
        lines = ["text\tstars", *(f"text {k}\t{(10, 9, -1)[k % 3]}" for k in range(30))]
        data = kzoo.load_data(write(tmp_path / "stars.tsv", lines))
        assert data.info.classes == ("-1", "9", "10") and ("text 0", 2) in everything(data)
        assert kzoo.load_data(tmp_path / "stars.tsv", only=(9, 10)).info.classes == ("9", "10")

    def test_windows_line_ends_and_a_byte_order_mark(self, tmp_path):
        plain = kzoo.load_data(write(tmp_path / "a.tsv", PAIRS))
        windows = write(tmp_path / "b.tsv", PAIRS, end="\r\n")
        windows.write_bytes(b"\xef\xbb\xbf" + windows.read_bytes().removesuffix(b"\r\n"))
        assert everything(kzoo.load_data(windows)) == everything(plain)
        marked = tmp_path / "c.csv"
        marked.write_bytes(b"\xef\xbb\xbftext,label\r\ngood,pos\r\nbad,neg\r\n")
        assert kzoo.load_data(marked).info.classes == ("neg", "pos")

    def test_only_some_classes(self, tmp_path):
        path = write(tmp_path / "t.tsv", ["text\tlabel", *(f"text {k}\t{'abc'[k % 3]}" for k in range(60))])
        data = kzoo.load_data(path, only=("c", "a"))
        assert data.info.classes == ("c", "a") and sum(data.info.counts.values()) == 40
        assert ("text 2", 0) in everything(data) and ("text 0", 1) in everything(data)
        assert kzoo.load_data(**data.info.arguments).info == data.info
        refused("unknown class of .* 'd'", path, only=("d",))
        refused("has one class only, 'a'; a classifier needs at least two", path, only=("a",))
        pairs = write(tmp_path / "p.tsv", PAIRS)
        refused(r"only=\['a'\] keeps classes, and .* has none", pairs, only=("a",))


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("t.tsv", b"a b\tpos\n\nc d\tneg\n", "line 2 of '.*t.tsv' is empty; delete it"),
        ("t.tsv", b"a b\tpos\nc d\tneg\n\n", "line 3 of '.*t.tsv' is empty; delete it"),
        ("t.csv", b"a b,pos\n\nc d,neg\n", "line 2 of '.*t.csv' is empty; delete it"),
        (
            "t.tsv",
            b"source\ttarget\na b\tpos\n \tneg\n",
            r"line 3 of '.*t.tsv' has an empty source \(column 1\); fill it or delete",
        ),
        ("t.csv", b'text,label\n"a\nb",pos\n,neg\n', r"line 4 of '.*t.csv' has an empty text \(column 1\)"),
        ("t.csv", b"label,text\npos,a\n,b\n", r"line 3 of '.*t.csv' has an empty label \(column 1\)"),
        ("t.tsv", b"a b\tpos\nc d neg\n", "line 2 of '.*t.tsv' has 1 column, not 2; separate them by tabs"),
        ("t.tsv", b"a b pos\nc d\tneg\n", "line 1 of '.*t.tsv' has 1 column, not 2; separate them by tabs"),
        ("t.tsv", b"a b\tpos\nc\td\tneg\n", "line 2 of '.*t.tsv' has 3 columns, not 2; .*none inside a text"),
        ("t.csv", b"text,label\na, b,pos\n", "line 2 of '.*t.csv' has 3 columns, not 2; .* stands in double quotes"),
        (
            "t.csv",
            b"a,b,c\nx,y,z\n",
            "line 1 of '.*t.csv' has no names .* its columns are, 'a, b, c'; name the columns",
        ),
        ("t.tsv", b"a b\tpos\nc \xe9\tneg\n", r"line 2 of '.*t.tsv' is not UTF-8 \(byte 0xe9\); save the file as"),
        ("t.tsv", b"\xef\xbb\xbfa b\tpos\n\xe9\tneg\n", r"line 2 of '.*t.tsv' is not UTF-8 \(byte 0xe9\)"),
        ("t.csv", b'text,label\n"a,pos\nb,neg\n', r"line 2 of '.*t.csv' is not CSV \(unexpected end of data\)"),
        ("t.csv", b'text,label\nz,neg\n"a"b,pos\n', "line 3 of '.*t.csv' is not CSV .* is written twice"),
        ("t.tsv", b"", "'.*t.tsv' is empty; a file of texts needs at least one"),
        ("t.tsv", b"\xef\xbb\xbf\n", "'.*t.tsv' is empty"),
        ("t.tsv", b"text\tlabel\n", "'.*t.tsv' has a header and no rows"),
        ("t.tsv.gz", b"no gzip", "cannot read '.*t.tsv.gz': .*; check that the file is whole"),
        (
            "t.tsv.gz",
            gzip.compress(b"a b\tpos\n" * 99, mtime=0)[:-9],
            "cannot read '.*t.tsv.gz': .*; check that the file is",
        ),
        ("t.tsv.xz", b"no xz", "cannot read '.*t.tsv.xz': .*; check that the file is whole"),
        ("t.tsv", b"text\tlabel\n" + b"a b\tpos\n" * 9, "has one class only, 'pos'; a classifier needs at least two"),
        (
            "t.tsv",
            b"text\tmood\na\tpos\nb\tneg\n",
            "line 1 of '.*t.tsv' has no names .* 'text, mood'; name the columns",
        ),
        ("t.tsv", b"what\tclass\na\tpos\nb\tneg\n", r"'what, class'; .* or give columns={'text': …, 'label': …}"),
        ("t.csv", b"text,review,label\na,b,pos\n", "has no names that say what its columns are, 'text, review, label'"),
        (
            "t.tsv",
            b"a b\tpos\nc d\tneg\n",
            r"no names .*--columns text=1 --columns label=2 of a file without such a line",
        ),
        ("t.doc", b"a b\tpos\n", "cannot read '.*t.doc' as data; allowed: .* texts as .tsv, .csv or .txt"),
        ("t.doc.gz", b"a b\tpos\n", "cannot read '.*t.doc.gz' as data; allowed: "),
    ],
)
def test_tables_that_do_not_fit(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    refused(message, tmp_path / name)


class TestHolds:
    def test_what_a_source_cannot_have(self, tmp_path):
        refused("'digits' holds images, not pairs; give data that holds pairs", holds="pairs")
        refused("languages='en-de' picks a direction, but 'digits' names no languages", languages="en-de")
        refused("languages must be text like 'en-de' .*; received \\('en', 'de'\\)", languages=("en", "de"))
        refused("unknown holds 'image'; did you mean 'images'", holds="image")
        assert kzoo.load_data("digits", holds="images").info.arguments == {"name": "digits"}
        labelled = write(tmp_path / "a.tsv", ["text\tlabel", "a\tx", "b\ty"])
        refused("holds texts, not pairs; give data that holds pairs", labelled, holds="pairs")
        refused("holds texts, not rows", labelled, holds="rows")
        refused("languages='en-de' picks a direction, but .* names no languages", labelled, languages="en-de")
        pairs = write(tmp_path / "b.tsv", PAIRS)
        refused("holds pairs, not texts", pairs, holds="texts")
        refused("names no languages; leave it out", pairs, languages="en-de")

    def test_before_images_are_decoded(self, tmp_path, monkeypatch):
        (tmp_path / "pets" / "cat").mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "pets" / "cat" / "0.png")
        monkeypatch.setattr("kzoo.data.load.image_folder", None)
        refused("holds no texts; expected train.tsv or train.csv, parallel files", "pets/", holds="pairs")
        refused("holds no texts", "./pets", languages="en-de")
        refused("'pets' holds no rows", "./pets", holds="rows")


class TestFoldersOfTables:
    def test_splits_by_their_names(self, tmp_path):
        write(tmp_path / "films" / "train.tsv", reviews(8))
        write(tmp_path / "films" / "Dev.tsv.gz", ["label\ttext", "neg\tbad", "neg\tworse"])
        write(tmp_path / "films" / "test.csv", ["text,label", "good,pos"])
        write(tmp_path / "films" / "extra.tsv", TWO)
        data = kzoo.load_data(tmp_path / "films")
        assert data.info.name == "films" and data.info.counts == {"train": 8, "validation": 2, "test": 1}
        assert data.info.notes == (
            "files beside are left out: extra.tsv",
            "imbalance: 6 'pos' to 2 'neg'; class_weight='balanced' (--class-weight balanced) weighs them",
        )
        assert rows(data.validation) == [("bad", 0), ("worse", 0)] and rows(data.test) == [("good", 1)]

    @pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
    def test_every_name_of_validation(self, tmp_path, name):
        write(tmp_path / "train.tsv", PAIRS)
        write(tmp_path / f"{name}.tsv", PAIRS[:2])
        assert kzoo.load_data(tmp_path).info.counts == {"train": 3, "validation": 1}

    def test_a_test_without_labels_is_left_out(self, tmp_path):
        write(tmp_path / "train.tsv", ["sentence\tlabel", *reviews(8)[1:]])
        write(tmp_path / "test.tsv", ["index\tsentence", "0\tgood"])
        info = kzoo.load_data(tmp_path).info
        assert set(info.counts) == {"train", "validation"} and "test.tsv is left out: it has no labels" in info.notes

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"dev.tsv": TWO}, "has dev, but no train file"),
            (
                {"train.tsv": PAIRS, "val.tsv": PAIRS, "dev.tsv": PAIRS},
                "has two validation parts, dev and val; keep one",
            ),
            ({"train.tsv": TWO, "train.tsv.gz": TWO}, "has both train.tsv and train.tsv.gz; keep one"),
            (
                {"train.tsv": ["text\tlabel", "a\tx", "b\ty"], "test.tsv": ["c\tz"]},
                "line 1 of '.*test.tsv' has no names that say what its columns are, 'c, z'; name the columns in line 1",
            ),
            (
                {"train.tsv": ["text\tlabel", "a\tx", "b\ty"], "test.tsv": ["text\tlabel", "a\tx", "c\tz"]},
                "line 3 of '.*test.tsv' has the label 'z', which train.tsv has not; allowed: x, y",
            ),
            (
                {"train.tsv": ["text\tlabel", "a\tx", "b\ty"], "test.tsv": ["source\ttarget", *TWO]},
                "line 1 of '.*test.tsv' names source, target; expected text, label as in train.tsv",
            ),
            (
                {"train.tsv": PAIRS, "test.tsv": ["de\ten", *TWO]},
                "line 1 of .*test.tsv' names de, en; expected source, ta",
            ),
            (
                {"train.tsv": ["de\ten", *TWO], "test.tsv": ["de\tfr", *TWO]},
                "names de, fr; expected de, en as in train",
            ),
            ({"train.tsv": PAIRS, "test.tsv": [*PAIRS, ""]}, "line 5 of '.*test.tsv' is empty"),
            ({"films.tsv": TWO, "notes.csv": TWO}, r"has films.tsv, notes.csv; name the parts train, val and test"),
        ],
    )
    def test_what_does_not_fit(self, tmp_path, files, message):
        for name, lines in files.items():
            write(tmp_path / name, lines)
        refused(message, tmp_path)

    def test_a_table_beside_images_is_not_the_data(self, tmp_path):
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
            for k in range(2):
                Image.new("L", (4, 4)).save(tmp_path / name / f"{k}.png")
        write(tmp_path / "train.tsv", PAIRS)
        assert kzoo.load_data(tmp_path).info.holds == "images"
        assert kzoo.load_data(tmp_path, holds="images").info.classes == ("cat", "dog")
        assert kzoo.load_data(tmp_path, holds="pairs").info.counts == {"train": 2, "validation": 1}

    def test_a_list_of_files_in_train_txt_is_not_the_data(self, tmp_path):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / name).mkdir(parents=True)
            for k in range(2):
                Image.new("L", (4, 4)).save(tmp_path / "pets" / name / f"{k}.png")
        write(tmp_path / "pets" / "train.txt", ["cat/0.png", "dog/0.png"])
        assert kzoo.load_data(tmp_path / "pets").info.holds == "images"
        assert kzoo.load_data(tmp_path / "pets", holds="prose").info.holds == "prose"
        write(tmp_path / "films" / "train.tsv", reviews(8))
        write(tmp_path / "films" / "train.txt", ["hello"])
        assert kzoo.load_data(tmp_path / "films").info.holds == "texts"

    def test_a_folder_beside_is_no_hindrance(self, tmp_path):
        write(tmp_path / "train.tsv", PAIRS)
        write(tmp_path / "original" / "README.txt", ["hello"])
        assert kzoo.load_data(tmp_path).info.holds == "pairs"


SIDES = {"de": ["Ein Hund.", "Zwei Katzen.", "Ein Kind."], "en": ["A dog.", "Two cats.", "A child."]}


def parallel(root, stems=("train",), sides=SIDES, end=""):
    for stem in stems:
        for language, lines in sides.items():
            write(root / f"{stem}.{language}{end}", lines)
    return root


class TestParallelFiles:
    @pytest.mark.parametrize("end", ["", ".gz", ".xz"])
    def test_languages_pick_the_direction(self, tmp_path, end):
        root = parallel(tmp_path / "set", ("train", "val", "test"), end=end)
        data = kzoo.load_data(root, languages="en-de")
        assert data.info.describe() == "set: 3 train, 3 validation, 3 test; pairs en-de"
        assert data.info.holds == "pairs" and data.info.units == ("words", "words")
        assert rows(data.train)[0] == ("A dog.", "Ein Hund.")
        assert data.info.arguments == {"name": str(root), "languages": "en-de"}
        assert kzoo.load_data(**data.info.arguments).info == data.info
        assert rows(kzoo.load_data(root, languages="de-en", holds="pairs").test)[0] == ("Ein Hund.", "A dog.")
        refused("can be read in several directions; give languages='de-en' or 'en-de'", root)
        for wrong in ("en-fr", "en-en", "en", "de_en", ""):
            refused("unknown languages .* has de, en: give 'source-target'", root, languages=wrong)
        refused("holds pairs, not texts", root, languages="en-de", holds="texts")
        refused("keeps classes, and .* has none", root, languages="en-de", only=("en",))

    def test_the_first_of_several_tests_is_taken_and_said(self, tmp_path):
        parallel(tmp_path, ("train", "dev", "test_2017_flickr", "test_2016_flickr", "test_2018"))
        notes = kzoo.load_data(tmp_path, languages="en-de").info.notes
        assert notes == ("test is test_2016_flickr", "test sets left out: test_2017_flickr, test_2018")
        parallel(tmp_path, ("test",))
        notes = kzoo.load_data(tmp_path, languages="en-de").info.notes
        assert notes == ("test sets left out: test_2016_flickr, test_2017_flickr, test_2018",)

    def test_a_third_language_is_no_hindrance(self, tmp_path):
        parallel(tmp_path, ("train", "test_2016"))
        write(tmp_path / "train.zh-CN", ["一只狗。", "两只猫。", "一个孩子。"])
        write(tmp_path / "train.txt", ["hello"])
        write(tmp_path / "README.md", ["hello"])
        refused("give languages=two of de, en, zh-CN as 'source-target'", tmp_path)
        data = kzoo.load_data(tmp_path, languages="en-zh-CN")
        assert data.info.languages == ("en", "zh-CN") and data.info.units == ("words", "characters")
        assert data.info.describe().endswith("2 train, 1 validation; pairs en-zh-CN in words and characters")
        assert ("A dog.", "一只狗。") in everything(data)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"train.en": b"A dog.\n\nA child.\n"}, "line 2 of '.*train.en' is empty; fill it, or delete that line"),
            ({"train.en": b"A dog.\nTwo.\n"}, "'.*train.en' has 2 lines and train.de 3; line n of one must be"),
            ({"train.en": b"A dog.\nTwo \xff.\nA.\n"}, r"line 2 of '.*train.en' is not UTF-8 \(byte 0xff\)"),
            ({"train.en": b""}, "'.*train.en' is empty"),
            ({"val.en": b"A dog.\n"}, "has val.en without its val.de; add it or take both away"),
            ({"train.en.gz": gzip.compress(b"A dog.\n", mtime=0)}, "has both train.en and train.en.gz; keep one"),
            ({"val.en": b"A\n", "val.de": b"A\n", "dev.en": b"A\n", "dev.de": b"A\n"}, "two validation parts, dev and"),
        ],
    )
    def test_what_does_not_fit(self, tmp_path, changed, message):
        parallel(tmp_path)
        for name, raw in changed.items():
            (tmp_path / name).write_bytes(raw)
        refused(message, tmp_path, languages="en-de")

    def test_one_language_alone_and_no_train(self, tmp_path):
        write(tmp_path / "a" / "train.en", SIDES["en"])
        refused("has train.en alone; pairs need a second language beside it", tmp_path / "a")
        parallel(tmp_path / "b", ("val", "test_a"))
        refused("has val, test_a, but no train file", tmp_path / "b", languages="en-de")

    def test_windows_line_ends_and_a_byte_order_mark(self, tmp_path):
        parallel(tmp_path)
        raw = "\r\n".join(SIDES["de"]).encode()
        (tmp_path / "train.de").write_bytes(b"\xef\xbb\xbf" + raw)
        assert ("A dog.", "Ein Hund.") in everything(kzoo.load_data(tmp_path, languages="en-de"))


class TestTrees:
    @staticmethod
    def tree(root, classes=("neg", "pos"), count=4):
        for name in classes:
            for k in range(count):
                write(root / name / f"{k}_7.txt", [f"{name} number {k}", "", "and more"])
        return root

    def test_like_aclimdb(self, tmp_path):
        self.tree(tmp_path / "train")
        self.tree(tmp_path / "train", ("unsup",))
        self.tree(tmp_path / "test", count=1)
        write(tmp_path / "train" / "labeledBow.feat", ["9 0:9"])
        (tmp_path / "train" / "pos" / ".DS_Store").write_bytes(b"\0")
        data = kzoo.load_data(tmp_path)
        assert data.info.holds == "texts" and data.info.classes == ("neg", "pos")
        assert data.info.counts == {"train": 6, "validation": 2, "test": 2} and data.info.units == ("words",)
        assert rows(data.test) == [("neg number 0\n\nand more", 0), ("pos number 0\n\nand more", 1)]
        assert "without labels, left out: train/unsup" in data.info.notes
        refused("holds texts, not pairs", tmp_path, holds="pairs")

    def test_without_splits(self, tmp_path):
        data = kzoo.load_data(self.tree(tmp_path / "spam", ("ham", "spam", "eggs")), only=("spam", "ham"))
        assert data.info.classes == ("spam", "ham") and data.info.counts == {"train": 6, "validation": 2}

    def test_what_does_not_fit(self, tmp_path):
        self.tree(tmp_path / "train")
        (tmp_path / "train" / "pos" / "bad.txt").write_bytes(b"one\ntwo \xff")
        refused(r"line 2 of '.*pos/bad.txt' is not UTF-8 \(byte 0xff\)", tmp_path)
        (tmp_path / "train" / "pos" / "bad.txt").write_bytes(b"\n")
        refused("'.*pos/bad.txt' is empty", tmp_path)
        (tmp_path / "train" / "pos" / "bad.txt").unlink()
        (tmp_path / "train" / "none").mkdir()
        refused("'.*train/none' has no .txt file; every class needs at least one", tmp_path)
        (tmp_path / "train" / "none").rmdir()
        self.tree(tmp_path / "test", ("good",))
        refused("'.*test/good' is a class that train has not; allowed: neg, pos", tmp_path)

    def test_one_class_only(self, tmp_path):
        refused("has one class only, 'pos'", self.tree(tmp_path / "a", ("pos",)))

    def test_with_images_it_is_a_folder_of_images(self, tmp_path):
        self.tree(tmp_path, count=1)
        for name in ("neg", "pos"):
            for k in range(2):
                Image.new("L", (4, 4)).save(tmp_path / name / f"{k}.png")
        info = kzoo.load_data(tmp_path).info
        assert info.holds == "images" and len(info.skipped) == 2


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("Two dogs run.", "words"),
        ("Zwei Hunde laufen über die Straße.", "words"),
        ("Две собаки бегут.", "words"),
        ("두 마리의 개가 달린다.", "words"),
        ("كلبان يركضان", "words"),
        ("两只狗在跑。", "characters"),
        ("二匹の犬が走っている。", "characters"),
        ("アイス", "characters"),
        ("สุนัขสองตัวกำลังวิ่ง", "characters"),
        ("ໝາສອງໂຕກຳລັງແລ່ນ", "characters"),
        ("ឆ្កែពីរកំពុងរត់", "characters"),
        ("ခွေးနှစ်ကောင် ပြေးနေသည်။", "characters"),
        ("ཁྱི་གཉིས་རྒྱུག་གི་འདུག", "characters"),
        ("The sign says 停.", "words"),
        ("我用 GPU 训练模型", "characters"),
        ("12 34 !?", "words"),
    ],
)
def test_units_go_by_the_letters(text, units):
    assert unit_of([text]) == unit_of([text.encode()]) == units


def test_units_of_a_file_of_pairs(tmp_path):
    lines = ["source\ttarget", "A dog runs.\t一只狗在跑。", "Two cats.\t两只猫。", "OK.\t好 OK。"]
    info = kzoo.load_data(write(tmp_path / "en-zh.tsv", lines)).info
    assert info.units == ("words", "characters")
    assert info.describe() == "en-zh: 2 train, 1 validation; pairs in words and characters"
    lines = ["text\tlabel", *(f"{text}\t{k % 2}" for k, text in enumerate(["好电影", "不好看"] * 10))]
    info = kzoo.load_data(write(tmp_path / "zh.tsv", lines)).info
    assert info.units == ("characters",) and info.describe().endswith("; texts in characters; 2 classes")


@pytest.mark.data
def test_multi30k(shared):
    data = kzoo.load_data(shared / "multi30k", languages="en-de")
    assert data.info.counts == {"train": 29_000, "validation": 1_014, "test": 1_000}
    assert data.info.units == ("words", "words") and data.info.languages == ("en", "de")
    assert data.info.notes == ("test is test_2016_flickr", "test sets left out: test_2017_flickr")
    assert data.info.describe() == "multi30k: 29,000 train, 1,014 validation, 1,000 test; pairs en-de"
    assert rows(data.test.take(1)) == [
        ("A man in an orange hat starring at something.", "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.")
    ]


@pytest.mark.data
def test_sst2_as_files(shared):
    data = kzoo.load_data(shared / "sst2")
    assert data.info.counts == {"train": 67_349, "validation": 872} and data.info.classes == ("0", "1")
    assert np.bincount([int(y) for _, y in data.validation.as_numpy_iterator()]).tolist() == [428, 444]


@pytest.fixture
def tfds_texts(tmp_path_factory, shared):
    """imdb_reviews and glue/sst2 as TensorFlow Datasets prepares them, from the real files; written once."""
    folder = tmp_path_factory.getbasetemp() / "tfds-texts"
    if folder.is_dir():
        return folder
    sys.path.insert(0, str(shared))
    try:
        import to_tfds

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            to_tfds.main([str(folder), "imdb_reviews", "glue/sst2"])
    finally:
        sys.path.remove(str(shared))
    return folder


@pytest.mark.slow
@pytest.mark.data
class TestTensorFlowDatasets:
    """The real ones; TestSmallTensorFlowDatasets has the same builders on a few rows."""

    def test_imdb_reviews(self, tfds_texts):
        data = kzoo.load_data("imdb_reviews", data_dir=tfds_texts)
        assert data.info.describe() == ("imdb_reviews: 22,500 train, 2,500 validation, 25,000 test; texts; 2 classes")
        assert data.info.classes == ("neg", "pos") and data.info.units == ("words",)
        assert data.info.source.startswith("TensorFlow Datasets imdb_reviews/plain_text/1.0.0")
        labels = list(data.test.map(lambda x, y: y).batch(5000).as_numpy_iterator())
        assert np.bincount(np.concatenate(labels)).tolist() == [12_500, 12_500]

    def test_glue_sst2_has_no_supervised_keys(self, tfds_texts, shared):
        data = kzoo.load_data("glue/sst2", data_dir=tfds_texts)
        assert data.info.name == "glue-sst2" and data.info.classes == ("negative", "positive")
        assert data.info.counts == {"train": 67_349, "validation": 872}
        assert sorted(rows(data.validation)) == sorted(rows(kzoo.load_data(shared / "sst2").validation))

    def test_what_they_cannot_be(self, tfds_texts):
        refused("holds texts, not pairs", "glue/sst2", data_dir=tfds_texts, holds="pairs")
        refused("names no languages", "imdb_reviews", data_dir=tfds_texts, languages="en-de")


class TestSmallTensorFlowDatasets:
    def test_a_translation(self, tmp_path, prepared):
        for split, lines in {"train": 20, "dev": 2, "test": 3}.items():
            write(tmp_path / "datasets" / "pt_to_en" / f"pt.{split}", [f"frase {k}" for k in range(lines)])
            english = [f"phrase {k}" if k or split != "test" else " " for k in range(lines)]
            write(tmp_path / "datasets" / "pt_to_en" / f"en.{split}", english)
        given = prepared("ted_hrlr_translate/pt_to_en", tmp_path, tmp_path / "tfds")
        data = kzoo.load_data(**given)
        assert data.info.describe() == ("ted_hrlr_translate-pt_to_en: 20 train, 2 validation, 2 test; pairs pt-en")
        assert data.info.units == ("words", "words") and rows(data.test)[0] == ("frase 1", "phrase 1")
        assert data.info.notes == ("test: 1 rows without a text or a label are left out",)
        data = kzoo.load_data(**given, languages="en-pt", holds="pairs")
        assert data.info.languages == ("en", "pt") and rows(data.test)[0] == ("phrase 1", "frase 1")
        assert kzoo.load_data(**data.info.arguments).info == data.info
        refused("unknown languages 'en-de'.* has en, pt", **given, languages="en-de")
        refused("holds pairs, not texts", **given, holds="texts")
        refused("keeps classes, and .* has none", **given, only=("en",))

    def test_unlabelled_splits_are_left_out(self, tmp_path, prepared):
        for split in ("train", "dev"):
            write(tmp_path / "SST-2" / f"{split}.tsv", ["sentence\tlabel", *(f"text {k}\t{k % 2}" for k in range(20))])
        write(tmp_path / "SST-2" / "test.tsv", ["index\tsentence", "0\tgood"])
        given = prepared("glue/sst2", tmp_path, tmp_path / "tfds")
        data = kzoo.load_data(**given)
        info = data.info
        assert info.name == "glue-sst2" and info.classes == ("negative", "positive"), "it has no supervised keys"
        assert info.counts == {"train": 20, "validation": 20}
        assert sorted(rows(data.validation)) == sorted((f"text {k}", k % 2) for k in range(20))
        refused("holds texts, not pairs", **given, holds="pairs")
        assert info.notes[0] == "splits left out: test (it has no labels)"

    def test_unsupervised_is_left_out(self, tmp_path, prepared):
        for part in ("train/neg", "train/pos", "train/unsup", "test/neg", "test/pos"):
            for k in range(10):
                write(tmp_path / "aclImdb" / part / f"{k}_7.txt", [f"{part} {k}"])
        given = prepared("imdb_reviews", tmp_path, tmp_path / "tfds")
        info = kzoo.load_data(**given).info
        assert info.describe() == "imdb_reviews: 18 train, 2 validation, 20 test; texts; 2 classes"
        assert info.source.startswith("TensorFlow Datasets imdb_reviews/plain_text/1.0.0")
        assert kzoo.load_data(**info.arguments).info == info
        refused("names no languages", **given, languages="en-de")
        assert kzoo.load_data(**given, only=("pos", "neg")).info.classes == ("pos", "neg")
        assert info.counts == {"train": 18, "validation": 2, "test": 20}
        assert "splits left out: unsupervised" in info.notes

    def test_what_kzoo_does_not_read(self, tmp_path, prepared):
        for split in ("train", "dev", "test"):
            lines = ["index\tsentence1\tsentence2\tlabel", "0\tone\ttwo\tentailment"]
            write(tmp_path / "RTE" / f"{split}.tsv", lines)
        refused(
            "'glue/rte' is not a set that kzoo reads: .* its features are .*sentence1, sentence2",
            **prepared("glue/rte", tmp_path, tmp_path / "tfds"),
        )

    def test_names_with_a_slash_or_a_version(self, tmp_path):
        for name in ("glue/sst2", "imdb_reviews/plain_text:1.0.0", "glue"):
            refused("is not on this machine; fetch it with --download", name, data_dir=tmp_path / "none")
        refused("no file or folder 'gleu/sst2'", "gleu/sst2")
        write(tmp_path / "glue" / "sst2" / "train.tsv", PAIRS)
        assert kzoo.load_data("glue/sst2").info.holds == "pairs", "a path that is there"

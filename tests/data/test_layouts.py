"""Folders and tables as people have them: names of splits, folders around and beside, columns of labels."""

import pytest
from pets import image, labels_of, pets

import kzoo

PARTS = [
    ("Training", "Testing"),
    ("train_set", "test_set"),
    ("training_set", "test_set"),
    ("trainset", "testset"),
    ("seg_train", "seg_test"),
    ("images_train", "images_test"),
    ("TRAIN", "Test"),
]


def parts(root, names):
    """A folder of classes in each; no image twice."""
    for part, name in enumerate(names):
        for c, kind in enumerate(("cat", "dog")):
            for k in range(4):
                image(root / name / kind / f"{k}.png", seed=100 * part + 10 * c + k)
    return root


class TestFolders:
    @pytest.mark.parametrize("names", PARTS, ids=["/".join(names) for names in PARTS])
    def test_names_of_splits(self, tmp_path, names):
        info = kzoo.load_data(parts(tmp_path / "pets", names)).info
        assert info.classes == ("cat", "dog")
        assert info.counts == {"train": 6, "validation": 2, "test": 8}

    @pytest.mark.parametrize("name", ["val", "validation_set", "valid", "dev", "Validation"])
    def test_names_of_the_validation(self, tmp_path, name):
        counts = kzoo.load_data(parts(tmp_path / "pets", ("train", name, "test"))).info.counts
        assert counts == {"train": 8, "validation": 8, "test": 8}

    def test_a_class_may_be_called_train(self, tmp_path):
        info = kzoo.load_data(pets(tmp_path / "vehicles", {"car": 5, "train": 5, "plane": 5})).info
        assert info.classes == ("car", "plane", "train") and sum(info.counts.values()) == 15

    def test_two_folders_of_one_split(self, tmp_path):
        with pytest.raises(kzoo.KzooError, match="has two train folders: (train and Training|Training and train)"):
            kzoo.load_data(parts(tmp_path / "pets", ("train", "Training")))

    @pytest.mark.parametrize("deep", ["archive", "archive/dataset"])
    def test_a_folder_too_many(self, tmp_path, deep):
        pets(tmp_path / "pets" / deep)
        info = kzoo.load_data(tmp_path / "pets").info
        assert info.classes == ("cat", "dog") and sum(info.counts.values()) == 10
        assert f"read in {deep}, the only folder with images in it" in info.notes
        assert info.files["train"][0].startswith(f"{deep}/cat/") and kzoo.load_data(**info.arguments).info == info

    def test_a_folder_too_many_around_splits(self, tmp_path):
        parts(tmp_path / "pets" / "archive", ("train", "test"))
        assert kzoo.load_data(tmp_path / "pets").info.counts == {"train": 6, "validation": 2, "test": 8}

    def test_photos_beside_annotations(self, tmp_path):
        pets(tmp_path / "pets" / "photos")
        (tmp_path / "pets" / "annotations").mkdir()
        (tmp_path / "pets" / "annotations" / "0.xml").write_text("<xml/>")
        info = kzoo.load_data(tmp_path / "pets").info
        assert info.classes == ("cat", "dog") and "read in photos, the only folder with images in it" in info.notes

    def test_folders_without_images_beside_the_classes(self, tmp_path):
        root = pets(tmp_path / "pets")
        (root / "notes").mkdir()
        (root / "notes" / "read.me").write_text("x")
        info = kzoo.load_data(root).info
        assert info.classes == ("cat", "dog") and "folders without images are left out: notes" in info.notes

    def test_folders_inside_a_class_are_said(self, tmp_path):
        root = pets(tmp_path / "pets")
        for k in range(3):
            image(root / "cat" / "kittens" / f"{k}.png", 500 + k)
        info = kzoo.load_data(root).info
        assert sum(info.counts.values()) == 13
        assert "images in folders inside a class folder are taken for that class: cat/kittens (3)" in info.notes

    def test_class_folders_beside_a_table(self, tmp_path):
        root = pets(tmp_path / "pets")
        for k in range(4):
            image(root / "listed" / f"{k}.png", 600 + k)
        (root / "labels.csv").write_text("file,label\n" + "".join(f"listed/{k}.png,{'ab'[k % 2]}\n" for k in range(4)))
        info = kzoo.load_data(root).info
        assert info.classes == ("a", "b") and sum(info.counts.values()) == 4
        said = "labels.csv is read; folders of images that it does not name are left out: cat, dog"
        assert said in info.notes


def table(root, text, folder="images", names=range(6)):
    for k in names:
        image(root / folder / f"{k}.png", seed=k)
    (root / "labels.csv").write_text(text)
    return kzoo.load_data(root, validation=0)


ROW = lambda form: "".join(form.format(k=k, label="ab"[k % 2], one=k % 2, other=1 - k % 2) + "\n" for k in range(6))
TABLES = {
    "an unnamed number and an id": ",image_id,label\n" + ROW("{k},{k}.png,{label}"),
    "two ids": "id,image_id,label\n" + ROW("x{k},{k},{label}"),
    "another name for the file": "number,what,label\n" + ROW("n{k},{k}.png,{label}"),
    "size and class": "img_path,width,height,class\n" + ROW("images/{k}.png,7,9,{label}"),
    "ids without a suffix": "id,label\n" + ROW("{k},{label}"),
    "Excel's own line": "sep=;\nfile;label\n" + ROW("images/{k}.png;{label}"),
    "quoted": "file,label\n" + ROW('"images/{k}.png", "{label}"'),
    "quotes that stayed": "file\tlabel\n" + ROW("images/{k}.png\t'{label}'"),
    "another system's folders": "file,label\n" + ROW("images\\{k}.png,{label}"),
    "one-hot": "file,a,b\n" + ROW("{k}.png,{other},{one}"),
    "one-hot with points": "image_id,a,b\n" + ROW("{k},{other}.0,{one}.0"),
}


class TestTables:
    @pytest.mark.parametrize("kind", TABLES)
    def test_as_they_are_found(self, tmp_path, kind):
        data = table(tmp_path / "flat", TABLES[kind])
        assert data.info.classes == ("a", "b") and labels_of(data.train) == [0, 1, 0, 1, 0, 1]
        assert data.info.files["train"] == tuple(f"images/{k}.png" for k in range(6))

    def test_what_was_taken_is_said(self, tmp_path):
        notes = table(tmp_path / "one", TABLES["another name for the file"]).info.notes
        assert "labels.csv: the files are those of the column 'what'" in notes
        assert "labels.csv: columns left out: number" in notes
        assert "labels.csv: labels are one-hot, in a, b" in table(tmp_path / "two", TABLES["one-hot"]).info.notes

    @pytest.mark.parametrize("words", [("training", "testing"), ("Train", "TEST"), ("train_set", "test_set")])
    def test_words_for_splits(self, tmp_path, words):
        rows = "".join(f"{k}.png,{words[k // 4]},{'ab'[k % 2]}\n" for k in range(6))
        assert table(tmp_path / "flat", "image_id,split,label\n" + rows).info.counts == {"train": 4, "test": 2}

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("number,label\n" + ROW("n{k},{label}"), "has the columns number, label; name them file and label"),
            ("file,price\n" + ROW("{k}.png,{k}.5"), "has the columns file, price; name them file and label"),
            ("file,label\n" + ROW("{k}.png,{label}").replace(",a", ",A", 1), "'A' and 'a' differ in case or accents"),
            ("file,a,b\n" + ROW("{k}.png,1,{one}"), "has the columns file, a, b; name them"),
        ],
    )  # fmt: skip
    def test_what_says_nothing(self, tmp_path, text, says):
        with pytest.raises(kzoo.KzooError, match=says):
            table(tmp_path / "flat", text)

    def test_numbers_to_be_estimated_are_no_classes(self, tmp_path):
        rows = "".join(f"{k}.png,{0.37 * k:.2f}\n" for k in range(30))
        with pytest.raises(kzoo.KzooError, match="are 30 different numbers such as 0.37, no classes"):
            table(tmp_path / "flat", "file,label\n" + rows, names=range(30))
        stars = "".join(f"{k}.png,{k % 3 / 2}\n" for k in range(30))
        assert table(tmp_path / "stars", "file,label\n" + stars, names=range(30)).info.classes == ("0.0", "0.5", "1.0")

    def test_one_name_in_two_folders(self, tmp_path):
        for folder in ("left", "right"):
            image(tmp_path / "flat" / folder / "0.png", 1)
        with pytest.raises(kzoo.KzooError, match="row 2 .* names '0', which is left/0.png and right/0.png; say which"):
            table(tmp_path / "flat", "id,label\n0,a\n1,b\n", names=[1])

    def test_numbered_classes_are_in_their_order(self, tmp_path):
        rows = "".join(f"{k}.png,{k}\n" for k in range(12))
        data = table(tmp_path / "flat", "file,label\n" + rows, names=range(12))
        assert data.info.classes == tuple(map(str, range(12)))

    def test_labels_of_texts(self, tmp_path):
        rows = "".join(f'word {k}\t"{"ab"[k % 2]}"\n' for k in range(8))
        (tmp_path / "all.tsv").write_text("text\tlabel\n" + rows)
        assert kzoo.load_data(tmp_path / "all.tsv").info.classes == ("a", "b")
        (tmp_path / "mixed.tsv").write_text("text\tlabel\n" + rows.replace('"a"', "A", 1))
        with pytest.raises(kzoo.KzooError, match="'A' and 'a' differ in case or accents only"):
            kzoo.load_data(tmp_path / "mixed.tsv")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    return kzoo.fit(
        "lenet5", pets(folder / "pets", {"cat": 8, "dog": 8}), epochs=1, verbose=False, run_dir=folder / "r"
    )


class TestTextsTwice:
    def write(self, folder, name, rows):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))

    def test_with_two_labels_or_in_two_parts(self, tmp_path):
        rows = [(f"a thing {k}", "ab"[k % 2]) for k in range(20)]
        self.write(tmp_path / "set", "train", [*rows, ("a thing 3", "a")])
        self.write(tmp_path / "set", "test", rows[:4] + [("another", "a")])
        notes = kzoo.load_data(tmp_path / "set", validation=0).info.notes
        assert "texts with two labels: 1 (a thing 3)" in notes and "the same text in test and train: 4" in notes

    def test_once(self, tmp_path):
        self.write(tmp_path, "all", [(f"a thing {k}", "ab"[k % 2]) for k in range(20)])
        assert not any("text" in note for note in kzoo.load_data(tmp_path / "all.tsv").info.notes)


class TestEvaluating:
    """A labelled folder or table without splits is the test, all of it."""

    def test_a_folder(self, run, tmp_path):
        found = kzoo.evaluate(run, pets(tmp_path / "held", {"cat": 3, "dog": 1}))
        assert found.examples == 4 and "no splits: all of it is the test" in found.notes

    def test_a_folder_of_one_class(self, run, tmp_path):
        assert kzoo.evaluate(run, pets(tmp_path / "held", {"cat": 3})).per_class["cat"]["support"] == 3

    def test_a_table(self, run, tmp_path):
        for k in range(6):
            image(tmp_path / "held" / f"{k}.png", k)
        (tmp_path / "held" / "labels.csv").write_text(
            "file,label\n" + ROW("{k}.png,{label}").replace("a\n", "cat\n").replace("b\n", "dog\n")
        )
        assert kzoo.evaluate(run, tmp_path / "held").examples == 6

    @pytest.mark.parametrize("names", [("test",), ("test", "val"), ("train", "test")])
    def test_a_test_part_is_the_test(self, run, tmp_path, names):
        assert kzoo.evaluate(run, parts(tmp_path / "held", names)).examples == 8

    def test_the_data_that_it_was_trained_on_keeps_its_splits(self, run):
        where = run.path.parent / "pets"
        assert kzoo.evaluate(run, where, split="validation").examples == 2
        with pytest.raises(
            kzoo.KzooError, match=r"has no test split; evaluate split='train' or 'validation' \(--split\)"
        ):
            kzoo.evaluate(run, where)

    def test_there_is_nothing_to_train_on(self, tmp_path):
        with pytest.raises(kzoo.KzooError, match="has test, but no train part"):
            kzoo.fit("lenet5", parts(tmp_path / "held", ("test",)))

    def test_texts(self, tmp_path):
        rows = "".join(f"{'good' if k % 2 else 'bad'} {k}\t{'ab'[k % 2]}\n" for k in range(20))
        for name in ("all", "held"):
            (tmp_path / f"{name}.tsv").write_text("text\tlabel\n" + rows)
        run = kzoo.fit("lstm_classifier", tmp_path / "all.tsv", epochs=1, verbose=False, run_dir=tmp_path / "r")
        assert kzoo.evaluate(run, tmp_path / "held.tsv").examples == 20


class TestWithoutLabels:
    """Images right in a folder: to learn to make more, and for nothing else."""

    @pytest.fixture
    def flat(self, tmp_path):
        for k in range(12):
            image(tmp_path / "flat" / f"{k}.png", k, size=(16, 16))
        return tmp_path / "flat"

    def test_players_learn_from_them(self, flat, tmp_path):
        run = kzoo.fit("dcgan_tiny", flat, epochs=1, batch_size=4, verbose=False, run_dir=tmp_path / "run")
        assert "no folders of classes: images without labels" in run.plan.notes
        assert kzoo.evaluate(run.path, split="validation").examples == 1

    def test_players_learn_from_images_alone(self):
        import numpy as np

        images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), dtype="uint8")
        assert kzoo.fit("dcgan_tiny", kzoo.Data((images,)), epochs=1, batch_size=4, verbose=False).history

    def test_a_classifier_is_told_so(self, flat, tmp_path):
        with pytest.raises(kzoo.KzooError, match="flat has images and no classes; put them in one folder a class"):
            kzoo.fit("lenet5", flat, run_dir=tmp_path / "run")
        assert not (tmp_path / "run").exists()


class TestLines:
    """What ends a line for Python and not in a table: a label or a name may hold it."""

    def test_a_separator_of_lines_inside_a_cell(self, tmp_path):
        for k, name in enumerate(("a\u2028b", "c\x0bd", "e")):
            image(tmp_path / f"{name}.png", k)
        rows = "file,label\n" + "\n".join(
            f"{n}.png,x\x85y" if n != "e" else "e.png,z" for n in ("a\u2028b", "c\x0bd", "e")
        )
        (tmp_path / "labels.csv").write_text(rows, encoding="utf-8")
        with pytest.raises(kzoo.KzooError, match=r"has a label with a line break in it, 'x\\x85y'"):
            kzoo.load_data(tmp_path)
        (tmp_path / "labels.csv").write_text(rows.replace("\x85", ""), encoding="utf-8")
        info = kzoo.load_data(tmp_path, validation=0).info
        assert info.classes == ("xy", "z") and info.counts == {"train": 3}

    def test_a_quote_that_is_not_closed(self, tmp_path):
        for k in range(4):
            image(tmp_path / f"{k}.png", k)
        (tmp_path / "labels.csv").write_text('file,label\n0.png,"cat\n1.png,dog\n2.png,cat"\n3.png,dog\n')
        with pytest.raises(kzoo.KzooError, match="a line break in it, .*; is a quote there not closed"):
            kzoo.load_data(tmp_path)


def test_images_that_the_table_does_not_name_are_said(tmp_path):
    for k in range(6):
        image(tmp_path / "pictures" / f"{k}.png", k)
    (tmp_path / "labels.csv").write_text(
        "file,label\n" + "".join(f"pictures/{k}.png,{'ab'[k % 2]}\n" for k in range(4))
    )
    info = kzoo.load_data(tmp_path, validation=0).info
    assert info.counts == {"train": 4}
    said = "labels.csv is read; 2 images that it does not name left out: pictures/4.png, pictures/5.png"
    assert said in info.notes

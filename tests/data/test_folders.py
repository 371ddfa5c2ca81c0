"""Folders of images as users have them: system files, odd names, links, damaged and huge files, tables of labels."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pets import image, labels_of, pets
from PIL import Image

import kzoo
from kzoo.data import balanced_weights
from kzoo.data.shares import some_of_each


class TestWhatLiesThere:
    def test_system_and_hidden_files_are_nobodys_data(self, tmp_path):
        root = pets(tmp_path / "pets")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "Icon\r"):
            (root / "cat" / name).write_bytes(b"x")
        for folder in ("__MACOSX", ".ipynb_checkpoints", "@eaDir"):
            image(root / folder / "x.png", 1)
            image(root / "cat" / folder / "x.png", 2)
        info = kzoo.load_data(root).info
        assert info.classes == ("cat", "dog") and sum(info.counts.values()) == 10
        assert info.skipped == () and len(info.notes) == 1, info.notes

    def test_classes_that_differ_in_case_or_accents_only(self, tmp_path):
        root = pets(tmp_path / "pets", {"Cat": 2, "cat": 2, "dog": 2})
        with pytest.raises(kzoo.KzooError, match="'Cat' and 'cat' differ in case or accents only.*rename or merge"):
            kzoo.load_data(root)
        shutil.rmtree(root)
        pets(root, {"Ünïcode": 2, "U\u0308nïcode": 2})
        with pytest.raises(kzoo.KzooError, match="differ in case or accents only"):
            kzoo.load_data(root)

    def test_case_across_splits(self, tmp_path):
        pets(tmp_path / "pets" / "train")
        pets(tmp_path / "pets" / "test", {"Cat": 2, "dog": 2})
        with pytest.raises(kzoo.KzooError, match="'Cat' and 'cat'"):
            kzoo.load_data(tmp_path / "pets")

    def test_an_empty_class_may_be_left_out(self, tmp_path):
        root = pets(tmp_path / "pets")
        (root / "new folder").mkdir()
        with pytest.raises(kzoo.KzooError, match="no readable image of 'new folder' .*or name the other classes with"):
            kzoo.load_data(root)
        assert kzoo.load_data(root, only=("cat", "dog")).info.classes == ("cat", "dog")

    def test_images_beside_the_class_folders_are_named(self, tmp_path):
        root = pets(tmp_path / "pets")
        image(root / "loose.png", 5)
        assert "1 image beside the class folders left out" in kzoo.load_data(root).info.notes

    def test_links_that_lead_back(self, tmp_path):
        root = pets(tmp_path / "pets")
        (root / "all").symlink_to(root)
        (root / "cat" / "more").symlink_to(root / "cat")
        (root / "dog" / "self").symlink_to(root / "dog" / "self")
        image(tmp_path / "elsewhere" / "far.png", 77)
        (root / "dog" / "disk").symlink_to(tmp_path / "elsewhere")
        info = kzoo.load_data(root).info
        assert info.classes == ("cat", "dog")
        assert "links that lead back into the folder are not followed: all, cat/more" in info.notes
        assert sum(info.counts.values()) == 11, "a link to another disk is followed"
        assert any("dog/disk/far.png" in files for files in info.files.values())

    def test_the_same_image_under_two_labels(self, tmp_path):
        root = pets(tmp_path / "pets")
        shutil.copy(root / "cat" / "0.png", root / "dog" / "copy.png")
        notes = kzoo.load_data(root).info.notes
        assert "1 image is there under two labels, byte for byte: cat/0.png (cat) = dog/copy.png (dog)" in notes

    def test_the_same_image_in_train_and_test(self, tmp_path):
        pets(tmp_path / "pets" / "train")
        pets(tmp_path / "pets" / "test", {"cat": 3, "dog": 2})
        assert "5 images the same in test and train" in kzoo.load_data(tmp_path / "pets").info.notes

    def test_the_same_image_twice_in_a_class(self, tmp_path):
        root = pets(tmp_path / "pets")
        shutil.copy(root / "cat" / "0.png", root / "cat" / "copy.png")
        notes = kzoo.load_data(root).info.notes
        assert "1 image is there more than once, byte for byte: cat/0.png = cat/copy.png" in notes

    def test_names_in_any_letters(self, tmp_path):
        root = tmp_path / "Fotos 中文 ü"
        for c, name in enumerate(("Ünïcode", "中文 spaces")):
            for k in range(4):
                image(root / name / f"bild ß {k} 图.png", seed=10 * c + k)
        data = kzoo.load_data(root)
        assert data.info.classes == ("Ünïcode", "中文 spaces") and data.info.name == "Fotos 中文 ü"
        image(root / "Ünïcode" / "größer.png", 9, size=(20, 30))
        data = kzoo.load_data(root)  # now read from the files each time
        assert sorted(x.shape for x, _ in data.train.concatenate(data.validation).as_numpy_iterator())[-1] == (
            20,
            30,
            3,
        )
        assert "Ünïcode/größer.png" in data.info.files["train"] + data.info.files["validation"]

    @pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
    def test_a_name_that_is_no_utf8(self, tmp_path):
        root = pets(tmp_path / "pets")
        os.rename(root / "cat" / "0.png", os.fsencode(root / "cat") + b"/\xe4.png")
        info = kzoo.load_data(root).info
        assert sum(info.counts.values()) == 10
        assert any("cat/\\xe4.png" in files for files in info.files.values())


class TestDamaged:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    def test_what_is_cut_short_is_never_half_grey(self, tmp_path, kind, share):
        root = pets(tmp_path / "pets")
        whole = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype="uint8")).save(whole, kind)
        cut = whole.getvalue()[: int(share * len(whole.getvalue()))]
        (root / "cat" / f"cut.{kind.lower()}").write_bytes(cut)
        info = kzoo.load_data(root).info
        assert info.skipped == (f"cat/cut.{kind.lower()}: corrupt image",)
        assert info.notes[0] == f"1 file skipped: cat/cut.{kind.lower()}: corrupt image"

    def test_wide_images(self, tmp_path, claim_png):
        root = pets(tmp_path / "pets")
        Image.new("RGB", (30_000, 40)).save(root / "cat" / "wide.png")
        claim_png(root / "cat" / "sheet.png", 30_000, 20_000)
        claim_png(root / "cat" / "between.png", 10_000, 12_000)  # of which Pillow itself only warns
        info = kzoo.load_data(root, validation=0).info
        assert info.counts == {"train": 11} and info.shape == (None, None, 3)
        assert set(info.skipped) == {
            "cat/sheet.png: too many pixels (at most 50,000,000)",
            "cat/between.png: 10000x12000 pixels are too many (at most 50,000,000)",
        }

    @pytest.mark.slow
    @pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
    def test_large_images_take_bounded_memory(self, tmp_path):
        """Six of 48 million pixels, 144 MB each as bytes, are read and resized one at a time."""
        root = pets(tmp_path / "pets")
        for k in range(6):
            Image.new("RGB", (20_000, 2_400), (k, 50, 90)).save(root / "cat" / f"wide{k}.jpg")
        code = f"""
import kzoo, numpy as np
from kzoo.inputs.image import Images
from kzoo.records import ImageInputs
peak = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024
reader = Images(ImageInputs((64, 64), 3))
reader.prepare(np.zeros((1, 9, 9, 3), "uint8"))
before = peak()
data = kzoo.load_data({str(root)!r}, validation=0)
count = sum(len(y) for _, y in reader.batches(data.train, 4, shuffle=True).epoch(0))
print(count, peak() - before)
"""
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        count, megabytes = result.stdout.split()
        assert int(count) == 16
        assert float(megabytes) < 700, "as floats, or all at once, it would be 1 to 3 GB"


class TestLabelsCsv:
    def write(self, root, text, encoding="utf-8"):
        root = pets(root, {"images": 6})
        (root / "labels.csv").write_bytes(text.encode(encoding))
        return kzoo.load_data(root, validation=0)

    def rows(self, form, mark=","):
        return "\n".join(form.format(f"images/{k}.png", "ab"[k % 2], k, m=mark) for k in range(6)) + "\n"

    @pytest.mark.parametrize(
        ("head", "form", "encoding"),
        [
            ("file,label\n", "{0},{1}", "utf-8"),
            ("", "{0},{1}", "utf-8"),
            ("File;Label\r\n", "{0};{1}", "utf-8-sig"),  # as Excel writes where the comma is the decimal point
            ("", "{0};{1}", "utf-8-sig"),
            ("path\tclass\n", "{0}\t{1}", "utf-8"),
            ("label,file\n", "{1},{0}", "utf-8"),
            ("filename,category\n", '"{0}","{1}"', "utf-8"),
            ("id,width,class,image\n", "{2},9,{1},{0}", "utf-8"),
        ],
    )
    def test_as_people_and_spreadsheets_write_them(self, tmp_path, head, form, encoding):
        data = self.write(tmp_path / "flat", head + self.rows(form), encoding)
        assert data.info.classes == ("a", "b") and data.info.class_counts == {"train": (3, 3)}
        assert data.info.files["train"] == tuple(f"images/{k}.png" for k in range(6))
        assert labels_of(data.train) == [0, 1, 0, 1, 0, 1]
        left = [note for note in data.info.notes if note.startswith("labels.csv")]
        assert left == ["labels.csv: columns left out: id, width"] * head.startswith("id")

    @pytest.mark.parametrize(
        ("head", "form", "columns"),
        [
            ("Datei,Sorte\n", "{0},{1}", {"file": "Datei", "label": "Sorte"}),
            ("filename,kind,defect\n", "{0},x,{1}", {"file": "filename", "label": "defect"}),
            ("", "{1},{0}", {"file": 2, "label": 1}),
        ],
    )
    def test_columns_say_what_the_first_row_does_not(self, tmp_path, head, form, columns):
        with pytest.raises(kzoo.KzooError, match="has the columns .*; name them file and label in row 1, or give"):
            self.write(tmp_path / "flat", head + self.rows(form))
        data = kzoo.load_data(tmp_path / "flat", validation=0, columns=columns)
        assert data.info.classes == ("a", "b") and labels_of(data.train) == [0, 1, 0, 1, 0, 1]
        assert data.info.files["train"] == tuple(f"images/{k}.png" for k in range(6))
        assert kzoo.load_data(**data.info.arguments).info == data.info

    def test_columns_that_do_not_fit(self, tmp_path):
        self.write(tmp_path / "flat", "file,label\n" + self.rows("{0},{1}"))
        for columns, message in (
            ({"file": "file"}, "columns of .*labels.csv' must say file and label; received {'file': 'file'}"),
            ({"file": "fiel", "label": "label"}, "unknown column of .*labels.csv 'fiel'; did you mean 'file'"),
        ):
            with pytest.raises(kzoo.KzooError, match=message):
                kzoo.load_data(tmp_path / "flat", columns=columns)

    def test_a_column_of_splits(self, tmp_path):
        form = "{0},{1}," + "{2}"
        text = "file,label,split\n" + self.rows(form).replace(",0\n", ",test\n").replace(",1\n", ",test\n")
        for k in range(2, 6):
            text = text.replace(f",{k}\n", ",train\n")
        data = self.write(tmp_path / "flat", text)
        assert data.info.counts == {"train": 4, "test": 2}
        assert data.info.files["test"] == ("images/0.png", "images/1.png")
        with pytest.raises(kzoo.KzooError, match="row 2 .* has the split 'later'; allowed: train"):
            self.write(tmp_path / "other", "file,label,split\nimages/0.png,a,later\nimages/1.png,b,train\n")

    def test_files_elsewhere_are_read_and_said(self, tmp_path):
        far = image(tmp_path / "disk" / "far.png", 50)
        text = self.rows("{0},{1}") + f"{far},a\n../disk/far.png,a\n../disk/gone.png,b\n"
        data = self.write(tmp_path / "flat", text)
        assert data.info.counts == {"train": 7}
        assert data.info.files["train"][-1] == str(far)
        assert "labels.csv: 2 images outside the folder" in data.info.notes
        assert "labels.csv: 1 row said again what an earlier one says" in data.info.notes
        assert data.info.skipped == (f"{tmp_path / 'disk' / 'gone.png'}: no such file",)

    def test_written_on_another_system(self, tmp_path):
        root = pets(tmp_path / "flat", {"images": 4})
        (root / "images" / "0.png").rename(root / "images" / "u\u0308ber.png")
        names = ["images\\\\\u00fcber.png".replace("\\\\", "\\"), *(f"images\\{k}.png" for k in (1, 2, 3))]
        (root / "labels.csv").write_text("".join(f"{name},{'ab'[k % 2]}\n" for k, name in enumerate(names)), "utf-8")
        data = kzoo.load_data(root, validation=0)
        assert data.info.counts == {"train": 4} and data.info.skipped == ()

    def test_labels_that_differ_in_case_only(self, tmp_path):
        with pytest.raises(kzoo.KzooError, match="labels of .* 'A' and 'a' differ in case"):
            self.write(tmp_path / "flat", self.rows("{0},{1}") + "images/5b.png,A\n")


class TestSplits:
    def test_test_and_validation_are_shares_of_the_whole(self, tmp_path):
        root = pets(tmp_path / "pets", {"cat": 40, "dog": 20})
        data = kzoo.load_data(root, test=0.2, validation=0.2)
        assert data.info.counts == {"train": 36, "validation": 12, "test": 12}
        assert data.info.class_counts == {"train": (24, 12), "validation": (8, 4), "test": (8, 4)}
        assert "test: 20% of train, stratified, seed 0" in data.info.notes
        every = [name for files in data.info.files.values() for name in files]
        assert len(every) == len(set(every)) == 60
        assert kzoo.load_data(root, test=0.2).info.counts == {"train": 42, "validation": 6, "test": 12}

    def test_files_name_the_examples(self, tmp_path):
        root = pets(tmp_path / "pets", {"cat": 6, "dog": 6})
        data = kzoo.load_data(root, test=0.3, only=("dog", "cat"))
        for split, examples in data.splits.items():
            for (x, y), name in zip(examples.as_numpy_iterator(), data.info.files[split], strict=True):
                np.testing.assert_array_equal(x, np.asarray(Image.open(root / name)))
                assert data.info.classes[int(y)] == Path(name).parent.name

    def test_data_made_of_other_data_is_not_taken_for_it(self, tmp_path):
        data = kzoo.load_data(pets(tmp_path / "pets"))
        other = kzoo.Data(data.train.filter(lambda x, y: y == 1), data.validation, info=data.info)
        assert other.info.files == {"validation": data.info.files["validation"]}
        assert other.info.class_counts == {"validation": (1, 1)}

    def test_a_split_seed_takes_others_and_is_kept(self, tmp_path):
        root = pets(tmp_path / "pets", {"cat": 20, "dog": 20})
        first, other = (kzoo.load_data(root, test=0.2, split_seed=seed) for seed in (0, 3))
        assert first.info.files["test"] != other.info.files["test"]
        assert other.info.arguments == {"name": str(root), "test": 0.2, "split_seed": 3}
        again = kzoo.load_data(**other.info.arguments)
        assert again.info.files == other.info.files

    def test_per_class_leaves_test_and_validation_alone(self, tmp_path):
        root = pets(tmp_path / "pets", {"cat": 30, "dog": 20, "newt": 4})
        whole = kzoo.load_data(root, test=0.2)
        few, more = (kzoo.load_data(root, test=0.2, per_class=n) for n in (3, 9))
        assert few.info.files["test"] == more.info.files["test"] == whole.info.files["test"]
        assert few.info.files["validation"] == whole.info.files["validation"]
        assert few.info.class_counts["train"] == (3, 3, 2) and more.info.class_counts["train"] == (9, 9, 2)
        assert set(few.info.files["train"]) < set(more.info.files["train"]) < set(whole.info.files["train"])
        assert "train: only 3 examples of each class, seed 0" in few.info.notes
        assert "train: fewer than 3 there are: newt has 2" in few.info.notes
        assert kzoo.load_data(root, only=("dog", "cat"), per_class=2).info.class_counts["train"] == (2, 2)

    def test_a_class_of_one_image_stays_in_train(self, tmp_path):
        root = pets(tmp_path / "pets", {"cat": 20, "dog": 20, "newt": 1})
        info = kzoo.load_data(root, test=0.2).info
        assert [counts[2] for counts in info.class_counts.values()] == [1, 0, 0]
        assert "test has no example of newt: it has too few for every part" in info.notes
        assert "validation has no example of newt: it has too few for every part" in info.notes

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"test": 1.0}, "test must be a number from 0 to below 1; received 1.0"),
            ({"test": True}, "test must be a number from 0 to below 1; received True"),
            ({"test": 0.6, "validation": 0.4}, "test=0.6 and validation=0.4 leave nothing to train on"),
            ({"per_class": 0}, "per_class must be a whole number of at least 1; received 0"),
            ({"split_seed": -1}, "split_seed must be a whole number of at least 0; received -1"),
            ({"split_seed": 2, "validation": 0}, "split_seed=2: .* nothing is drawn; leave it out"),
        ],
    )
    def test_what_does_not_fit(self, tmp_path, arguments, message):
        root = pets(tmp_path / "pets")
        with pytest.raises(kzoo.KzooError, match=message):
            kzoo.load_data(root, **arguments)

    def test_a_source_with_a_test_split_keeps_it(self):
        with pytest.raises(kzoo.KzooError, match="test=0.2, but 'digits' has a test split of its own; leave it out"):
            kzoo.load_data("digits", test=0.2)
        with pytest.raises(kzoo.KzooError, match="test=0.2: 'xor' is trained on whole|'xor' has a test split"):
            kzoo.load_data("xor", test=0.2)

    def test_texts_too(self, tmp_path):
        rows = ["text\tlabel", *(f"text number {k}\t{'good' if k % 4 else 'bad'}" for k in range(80))]
        (tmp_path / "texts.tsv").write_text("\n".join(rows) + "\n")
        info = kzoo.load_data(tmp_path / "texts.tsv", test=0.25, per_class=5).info
        assert info.counts == {"train": 10, "validation": 8, "test": 20}
        assert info.class_counts["test"] == (5, 15)

    def test_some_of_each_grows(self):
        labels = np.repeat([0, 1], [50, 3])
        sizes = [set(some_of_each(labels, n, seed=1)) for n in (1, 2, 10)]
        assert [len(s) for s in sizes] == [2, 4, 13] and sizes[0] < sizes[1] < sizes[2]


class TestCounts:
    def test_of_each_class_and_split(self, rng):
        info = kzoo.load_data("digits").info
        assert {split: sum(counts) for split, counts in info.class_counts.items()} == info.counts
        assert not any(note.startswith("imbalance") for note in info.notes)
        own = kzoo.Data((rng.random((6, 4, 4, 1)), np.array([0, 2, 2, 2, 0, 2])), test=(rng.random((1, 4, 4, 1)), [1]))
        assert own.info.class_counts["train"] == (2, 0, 4)

    def test_an_imbalance_is_said(self, tmp_path):
        root = pets(tmp_path / "pets", {"good": 16, "scratch": 10})
        expected = "imbalance: 16 'good' to 10 'scratch'; class_weight='balanced' (--class-weight balanced) weighs them"
        assert expected in kzoo.load_data(root, validation=0).info.notes
        shutil.rmtree(root)
        pets(root, {"good": 15, "scratch": 10})
        assert not [n for n in kzoo.load_data(root, validation=0).info.notes if n.startswith("imbalance")]

    def test_too_small_to_give_any(self, tmp_path):
        """One example a class: nothing can be taken, and it is said."""
        info = kzoo.load_data(pets(tmp_path / "pets", {"cat": 1, "dog": 1})).info
        assert info.counts == {"train": 2} and info.class_counts == {"train": (1, 1)}
        assert info.notes == ("validation: none, train is too small to give any",)

    def test_balanced_weights(self, tmp_path):
        root = pets(tmp_path / "pets", {"good": 12, "scratch": 4, "hole": 2})
        info = kzoo.load_data(root, validation=0).info
        weights = balanced_weights(info)
        y = np.repeat([0, 1, 2], info.class_counts["train"])
        from sklearn.utils.class_weight import compute_class_weight

        expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
        np.testing.assert_allclose([weights[k] for k in range(3)], expected)
        assert np.mean([weights[k] for k in y]) == pytest.approx(1)
        with pytest.raises(kzoo.KzooError, match="needs the examples of each class"):
            balanced_weights(kzoo.Data((np.zeros((2, 3)), np.zeros((2, 3)))).info)

"""Every source of data, on real files; every bad one in one line."""

import gzip
import shutil
import struct

import numpy as np
import pytest
from PIL import Image

import kzoo
from kzoo.data.shares import stratified


def labels_of(split):
    return np.array([int(y) for _, y in split.as_numpy_iterator()])


def folder_of_images(root, classes=("cat", "dog"), count=5, size=(12, 10), mode="RGB", suffix=".png"):
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 256, (*size, 3) if mode == "RGB" else size, dtype="uint8")
            Image.fromarray(pixels).save(root / name / f"{k}{suffix}")
    return root


def test_digits_need_nothing():
    data = kzoo.load_data()
    assert data.info.counts == {"train": 1295, "validation": 143, "test": 359}
    assert sum(data.info.counts.values()) == 1797
    x, y = next(data.test.as_numpy_iterator())
    assert x.shape == (8, 8, 1) and x.dtype == np.uint8 and x.max() > 200
    assert "validation: 10% of train, stratified, seed 0" in data.info.notes
    counts = np.bincount(labels_of(data.validation))
    assert counts.min() >= 13 and counts.max() <= 16


def test_splits_are_disjoint_and_fixed():
    first, again = kzoo.load_data("digits"), kzoo.load_data("digits")
    rows = [
        [(x.tobytes(), int(y)) for x, y in split.as_numpy_iterator()]
        for split in (first.train, first.validation, first.test)
    ]
    assert rows[0] == [(x.tobytes(), int(y)) for x, y in again.train.as_numpy_iterator()]
    from sklearn.datasets import load_digits

    assert sum(map(len, rows)) == len(load_digits().target)
    assert not {r[0] for r in rows[2]} & {r[0] for r in rows[0]}


def test_only_some_classes():
    data = kzoo.load_data("digits", only=(7, 1))
    assert data.info.classes == ("7", "1")
    assert set(labels_of(data.test)) == {0, 1}
    whole = kzoo.load_data("digits")
    assert (labels_of(data.test) == 0).sum() == (labels_of(whole.test) == 7).sum()
    with pytest.raises(kzoo.KzooError, match="unknown class of digits '11'"):
        kzoo.load_data("digits", only=(11,))


def test_truth_tables():
    data = kzoo.load_data("xor")
    assert data.validation is None
    assert [(x.tolist(), int(y)) for x, y in data.test.as_numpy_iterator()] == [
        ([0, 0], 0), ([0, 1], 1), ([1, 0], 1), ([1, 1], 0),
    ]  # fmt: skip
    assert labels_of(kzoo.load_data("and").test).tolist() == [0, 0, 0, 1]
    assert labels_of(kzoo.load_data("or").test).tolist() == [0, 1, 1, 1]


def test_stratified_keeps_every_class():
    labels = np.repeat([0, 1, 2], [100, 10, 2])
    rest, held = stratified(labels, 0.1, seed=0)
    assert np.bincount(labels[held]).tolist() == [10, 1, 1]
    assert sorted([*rest, *held]) == list(range(112))
    assert np.array_equal(stratified(labels, 0.1, seed=0)[1], held)
    assert not np.array_equal(stratified(labels, 0.1, seed=1)[1], held)


class TestFolders:
    def test_one_subfolder_a_class(self, tmp_path):
        data = kzoo.load_data(folder_of_images(tmp_path / "pets", count=10))
        assert data.info.classes == ("cat", "dog") and data.info.shape == (12, 10, 3)
        assert data.info.counts == {"train": 18, "validation": 2}
        assert data.test is None

    def test_with_train_val_and_test_above(self, tmp_path):
        for split in ("train", "val", "test"):
            folder_of_images(tmp_path / "pets" / split, count=3)
        data = kzoo.load_data(tmp_path / "pets")
        assert data.info.counts == {"train": 6, "validation": 6, "test": 6}

    def test_pixels_are_the_files(self, tmp_path):
        folder_of_images(tmp_path / "pets", count=2, size=(5, 4))
        data = kzoo.load_data(tmp_path / "pets")
        found = {x.tobytes() for split in data.splits.values() for x, _ in split.as_numpy_iterator()}
        files = {np.asarray(Image.open(p)).tobytes() for p in (tmp_path / "pets").rglob("*.png")}
        assert found == files

    def test_grey_images_have_one_channel_and_sizes_may_differ(self, tmp_path):
        root = folder_of_images(tmp_path / "pets", count=4, mode="L")
        assert kzoo.load_data(root).info.shape == (12, 10, 1)
        Image.fromarray(np.zeros((40, 30), "uint8")).save(root / "cat" / "large.png")
        data = kzoo.load_data(root)
        assert data.info.shape == (None, None, 1)
        assert {x.shape for s in data.splits.values() for x, _ in s.as_numpy_iterator()} == {(12, 10, 1), (40, 30, 1)}

    def test_labels_csv(self, tmp_path):
        root = folder_of_images(tmp_path / "flat", classes=("images",), count=6)
        rows = ["file,label", *(f"images/{k}.png,{'good' if k % 2 else 'bad'}" for k in range(6))]
        (root / "labels.csv").write_text("\n".join(rows) + "\n")
        data = kzoo.load_data(root)
        assert data.info.classes == ("bad", "good")
        assert data.info.counts == {"train": 4, "validation": 2}

    def test_bad_files_are_named_skipped_and_counted(self, tmp_path):
        root = folder_of_images(tmp_path / "pets")
        (root / "cat" / "empty.png").touch()
        (root / "cat" / "notes.txt").write_text("not an image")
        whole = (root / "dog" / "0.png").read_bytes()
        (root / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
        (root / "dog" / "fake.jpg").write_text("<html>no such page</html>")
        info = kzoo.load_data(root).info
        assert set(info.skipped) == {
            "cat/empty.png: empty file",
            "cat/notes.txt: not an image (.txt)",
            "dog/cut.png: corrupt image",
            "dog/fake.jpg: corrupt image",
        }
        assert info.notes[0].startswith("4 files skipped: ")
        assert sum(info.counts.values()) == 10

    def test_a_class_left_empty_is_an_error(self, tmp_path):
        root = folder_of_images(tmp_path / "pets")
        for path in (root / "cat").iterdir():
            path.write_bytes(b"")
        with pytest.raises(kzoo.KzooError, match=r"no readable image of 'cat' .*skipped: cat/0.png: empty file"):
            kzoo.load_data(root)

    def test_what_is_no_data_folder(self, tmp_path):
        with pytest.raises(kzoo.KzooError, match="has no subfolders; expected one folder of images a class"):
            kzoo.load_data(tmp_path)
        folder_of_images(tmp_path / "test")
        with pytest.raises(kzoo.KzooError, match="has test, but no train part"):
            kzoo.load_data(tmp_path)

    def test_labels_csv_with_a_short_row(self, tmp_path):
        (tmp_path / "labels.csv").write_text("file,label\na.png\n")
        with pytest.raises(kzoo.KzooError, match="row 2 of .* must have a file and a label"):
            kzoo.load_data(tmp_path)

    def test_a_huge_image_is_refused_by_its_header(self, tmp_path, claim_png):
        root = folder_of_images(tmp_path / "pets")
        claim_png(root / "cat" / "bomb.png", 30_000, 30_000)
        assert any("bomb.png: " in s and "too many" in s for s in kzoo.load_data(root).info.skipped)


class TestNpz:
    def test_keras_names(self, tmp_path, rng):
        x = rng.integers(0, 256, (30, 6, 6), dtype="uint8")
        y = np.arange(30) % 3
        np.savez(tmp_path / "set.npz", x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
        data = kzoo.load_data(tmp_path / "set.npz")
        assert data.info.shape == (6, 6, 1) and data.info.classes == ("0", "1", "2")
        assert data.info.counts == {"train": 27, "validation": 3, "test": 6}

    def test_pixels_of_0_to_1_are_rescaled_and_said(self, tmp_path, rng):
        np.savez(tmp_path / "set.npz", x=np.ones((4, 5, 5, 3), "float32"), y=np.array([0, 1, 0, 1]))
        data = kzoo.load_data(tmp_path / "set.npz")
        assert "pixels of 0 to 1 are rescaled to 0 to 255" in data.info.notes
        assert next(data.train.as_numpy_iterator())[0].max() == 255

    def test_names_as_labels(self, tmp_path, rng):
        np.savez(tmp_path / "set.npz", x=rng.random((4, 5, 5, 3)), y=np.array(["b", "a", "b", "a"]))
        assert kzoo.load_data(tmp_path / "set.npz").info.classes == ("a", "b")

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"images": np.zeros(3)}, "must hold x_train and y_train"),
            ({"x": np.zeros((3, 4, 4)), "y": np.zeros(2, int)}, "x_train has 3 rows and y_train has 2"),
            ({"x": np.zeros((3, 4, 4)), "y": np.zeros(3)}, "must be whole numbers from 0"),
            ({"x": np.zeros((3, 4, 4)), "y": np.array([0, -1, 1])}, "must be whole numbers from 0"),
        ],
    )
    def test_what_does_not_fit(self, tmp_path, arrays, message):
        np.savez(tmp_path / "set.npz", **arrays)
        with pytest.raises(kzoo.KzooError, match=message):
            kzoo.load_data(tmp_path / "set.npz")

    def test_no_npz_at_all(self, tmp_path):
        (tmp_path / "set.npz").write_text("hello")
        with pytest.raises(kzoo.KzooError, match="is not a readable .npz file"):
            kzoo.load_data(tmp_path / "set.npz")
        (tmp_path / "set.bin").write_text("hello")
        with pytest.raises(kzoo.KzooError, match="allowed: a .npz file, or a folder"):
            kzoo.load_data(tmp_path / "set.bin")


def write_idx(path, array):
    raw = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files(tmp_path, rng, end):
    for part, count in (("train", 40), ("t10k", 10)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{end}", rng.integers(0, 256, (count, 28, 28), dtype="uint8"))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{end}", (np.arange(count) % 10).astype("uint8"))
    data = kzoo.load_data(tmp_path)
    assert data.info.counts == {"train": 30, "validation": 10, "test": 10}
    assert data.info.shape == (28, 28, 1)


def test_a_cut_idx_file(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((4, 28, 28), "uint8"))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(4, "uint8"))
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(kzoo.KzooError, match="is not a whole idx file"):
        kzoo.load_data(tmp_path)
    path.unlink()
    with pytest.raises(kzoo.KzooError, match="not both train-images and train-labels"):
        kzoo.load_data(tmp_path)


def test_the_same_images_by_idx_files_and_by_tensorflow_datasets(tmp_path, rng, prepared, monkeypatch):
    """MNIST's own builder, on fifty images."""
    from tensorflow_datasets.image_classification import mnist

    for part, number, count in (("train", "_TRAIN_EXAMPLES", 40), ("t10k", "_TEST_EXAMPLES", 10)):
        (tmp_path / "idx").mkdir(exist_ok=True)
        write_idx(tmp_path / "idx" / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), dtype="uint8"))
        write_idx(tmp_path / "idx" / f"{part}-labels-idx1-ubyte", (np.arange(count) % 10).astype("uint8"))
        for file in (tmp_path / "idx").glob(f"{part}*"):
            (tmp_path / f"{file.name}.gz").write_bytes(file.read_bytes())  # the builder reads what was unpacked
        monkeypatch.setattr(mnist, number, count)
    tfds = kzoo.load_data(**prepared("mnist", tmp_path, tmp_path / "tfds"), validation=0)
    idx = kzoo.load_data(tmp_path / "idx", validation=0)
    assert idx.info.counts == tfds.info.counts == {"train": 40, "test": 10}
    assert idx.info.classes == tfds.info.classes and tfds.info.shape == (28, 28, 1)
    assert tfds.info.source.startswith("TensorFlow Datasets mnist/3.0.1")
    for split in ("train", "test"):
        contents = [sorted((x.tobytes(), int(y)) for x, y in data[split].as_numpy_iterator()) for data in (idx, tfds)]
        assert contents[0] == contents[1]


@pytest.mark.data
def test_mnist_is_whole(shared):
    data = kzoo.load_data(shared / "mnist")
    assert data.info.counts == {"train": 54_001, "validation": 5_999, "test": 10_000}
    assert data.info.class_counts["test"] == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)


@pytest.mark.slow
@pytest.mark.data
def test_mnist_idx_and_tfds_are_the_same(shared, tfds_folder):
    idx, tfds = kzoo.load_data(shared / "mnist"), kzoo.load_data("mnist", data_dir=tfds_folder)
    assert idx.info.counts == tfds.info.counts and idx.info.class_counts == tfds.info.class_counts
    assert tfds.info.source.startswith("TensorFlow Datasets mnist/3.0.1")
    contents = [{(x.tobytes(), int(y)) for x, y in data.test.as_numpy_iterator()} for data in (idx, tfds)]
    assert contents[0] == contents[1]


@pytest.mark.data
def test_photographs_of_many_sizes(shared):
    data = kzoo.load_data(shared / "hymenoptera")
    assert data.info.classes == ("ants", "bees")
    assert data.info.counts == {"train": 244, "validation": 153}
    assert data.info.shape == (None, None, 3)


class TestNames:
    def test_unknown(self):
        with pytest.raises(kzoo.KzooError, match="unknown data set 'mnits'; did you mean 'mnist'"):
            kzoo.load_data("mnits")

    def test_no_such_path(self):
        with pytest.raises(kzoo.KzooError, match="no file or folder 'photos/train'"):
            kzoo.load_data("photos/train")

    def test_not_on_this_machine_says_how_to_get_or_place_it(self, tmp_path):
        with pytest.raises(kzoo.KzooError, match=r"fetch it with --download .* or place a prepared copy in"):
            kzoo.load_data("mnist", data_dir=tmp_path)
        assert list(tmp_path.iterdir()) == [], "nothing was written"

    def test_no_network(self, tmp_path, monkeypatch):
        import socket

        def refuse(*args):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.delenv("HTTPS_PROXY", raising=False)
        monkeypatch.delenv("https_proxy", raising=False)
        with pytest.raises(kzoo.KzooError, match="no network to fetch 'mnist' .*place a prepared copy"):
            kzoo.load_data("mnist", data_dir=tmp_path, download=True)

    def test_a_folder_beats_no_name(self, tmp_path):
        folder_of_images(tmp_path / "pets")
        assert kzoo.load_data("pets").info.classes == ("cat", "dog")
        shutil.rmtree(tmp_path / "pets")


def test_data_of_your_own(rng):
    data = kzoo.Data((rng.random((9, 4)), np.arange(9)), test=(rng.random((3, 4)), np.arange(3)))
    assert data.info.counts == {"train": 9, "test": 3} and data.info.shape == (4,)
    with pytest.raises(kzoo.KzooError, match="has no split 'validation'; it has train, test"):
        data["validation"]
    with pytest.raises(kzoo.KzooError, match=r"different lengths: \[8, 9\]"):
        kzoo.Data((rng.random((9, 4)), np.arange(8)))
    with pytest.raises(kzoo.KzooError, match="must be a tf.data.Dataset or"):
        kzoo.Data([1, 2, 3])


class TestOddFolders:
    def test_one_class_only(self, tmp_path):
        with pytest.raises(kzoo.KzooError, match="has one class only, 'cat'; a classifier needs at least two"):
            kzoo.load_data(folder_of_images(tmp_path / "pets", classes=("cat",)))

    def test_a_folder_named_like_an_embedded_set_is_not_it(self, tmp_path):
        folder_of_images(tmp_path / "digits")
        assert kzoo.load_data("digits").info.arguments == {"name": "digits"}
        assert kzoo.load_data("./digits").info.classes == ("cat", "dog")

    def test_the_folder_one_is_in_with_runs_of_kzoo(self, tmp_path, monkeypatch):
        monkeypatch.chdir(folder_of_images(tmp_path / "pets"))
        (tmp_path / "pets" / "runs" / "0001-x").mkdir(parents=True)
        (tmp_path / "pets" / "runs" / "0001-x" / "plan.json").write_text("{}")
        info = kzoo.load_data(".").info
        assert info.classes == ("cat", "dog") and info.name == "pets"

    def test_folders_beside_train_are_named(self, tmp_path):
        folder_of_images(tmp_path / "pets" / "train")
        folder_of_images(tmp_path / "pets", classes=("bird",))
        assert "folders beside train are left out: bird" in kzoo.load_data(tmp_path / "pets").info.notes

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"\xff\xfe\x00a,b", "is not CSV in UTF-8"),
            (b"file,label\n", "names no files"),
            (b"images/0.png,\n", "row 1 .* must have a file and a label"),
            (b"images/0.png,a\nimages/0.png,b\n", "row 2 .* labels 'images/0.png' 'b', an earlier one 'a'"),
        ],
    )
    def test_labels_csv_that_do_not_fit(self, tmp_path, text, message):
        root = folder_of_images(tmp_path / "flat", classes=("images",))
        (root / "labels.csv").write_bytes(text)
        with pytest.raises(kzoo.KzooError, match=message):
            kzoo.load_data(root)

    def test_a_missing_first_file_is_no_header(self, tmp_path):
        root = folder_of_images(tmp_path / "flat", classes=("images",), count=4)
        rows = ["gone.png,a", "/nowhere/far.png,b", *(f"images/{k}.png,{'ab'[k % 2]}" for k in range(4))]
        (root / "labels.csv").write_text("\n".join(rows))
        assert set(kzoo.load_data(root).info.skipped) == {"gone.png: no such file", "/nowhere/far.png: no such file"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((0, 4, 4)), "y": np.zeros(0, int)}, "must be .* and not empty"),
        ({"x": np.float64(3), "y": np.int64(3)}, "must be .* and not empty"),
        ({"x": np.zeros((3, 4, 4), complex), "y": np.arange(3)}, "must hold numbers; it is complex"),
        ({"x": np.zeros((3, 4, 4, 5)), "y": np.arange(3)}, "have 5 channels"),
        ({"x": np.zeros((3, 4, 4)), "y": np.eye(3, dtype=int)}, "one-hot: take its argmax"),
        ({"x": np.zeros((2, 4, 4)), "y": np.array([0, 30_000_000])}, "reach 30000000 for 2 classes"),
        (
            {
                "x_train": np.zeros((3, 4, 4)),
                "y_train": np.arange(3),
                "x_test": np.zeros((3, 5, 5)),
                "y_test": np.arange(3),
            },
            r"one row of x_test is \(5, 5\), of x_train \(4, 4\)",
        ),
    ],
)
def test_odd_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(kzoo.KzooError, match=message):
        kzoo.load_data(tmp_path / "set.npz")


def test_npz_validation_by_its_other_names(tmp_path):
    x, y = np.zeros((6, 4, 4), "uint8"), np.arange(6) % 2
    np.savez(tmp_path / "set.npz", x_train=x, y_train=y, x_val=x[:2], y_val=y[:2])
    assert kzoo.load_data(tmp_path / "set.npz").info.counts == {"train": 6, "validation": 2}

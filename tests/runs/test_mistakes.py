"""What a classifier gets wrong: named, counted, drawn; and predictions of folders as users have them."""

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import kzoo
from kzoo.inputs import reader_of
from kzoo.runs import Predictor
from kzoo.tasks import find_task

EXAMPLES = Path(__file__).parents[2] / "examples"


class Brightness(keras.layers.Layer):
    """Calls an image light by its mean: no training, and what it gets wrong is known."""

    def call(self, x):
        light = keras.ops.mean(x, axis=(1, 2, 3))
        return keras.ops.stack([1 - light, light], axis=1)


@pytest.fixture(scope="module")
def judge():
    return keras.Sequential([keras.Input((6, 6, 3)), Brightness(), keras.layers.Activation("linear")], name="judge")


def grey(path, value, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, "uint8")).save(path)
    return path


@pytest.fixture
def sheets(tmp_path):
    """Dark and light sheets, three of them in the wrong folder: d3 by far, l1 and l2 a little."""
    root = tmp_path / "Blätter"
    for k, value in enumerate((10, 20, 30, 240)):
        grey(root / "test" / "dark" / f"d{k}.png", value)
    for k, value in enumerate((250, 110, 100, 230, 220)):
        grey(root / "test" / "light" / f"l{k}.png", value)
    for name, value in (("dark", 0), ("light", 255)):
        for k in range(3):
            grey(root / "train" / name / f"{k}.png", abs(value - k))
    return root


@pytest.fixture
def loaded(judge):
    """The judge with a preprocessing, as kzoo keeps one with a model."""
    reader, task = reader_of(kzoo.ImageInputs((6, 6), 3)), find_task("image-classification")
    return Predictor(judge, "judge", reader, ("dark", "light"), task, {}, scores="probabilities")


def test_all_mistakes_the_surest_first(loaded, sheets, tmp_path):
    found = kzoo.evaluate(loaded, sheets, output_dir=tmp_path / "out")
    assert found.accuracy == pytest.approx(6 / 9)
    assert [(m.index, m.true, m.guess, m.input) for m in found.mistakes] == [
        (3, "dark", "light", "test/dark/d3.png"),
        (6, "light", "dark", "test/light/l2.png"),
        (5, "light", "dark", "test/light/l1.png"),
    ]
    assert [m.probability for m in found.mistakes] == pytest.approx([240 / 255, 155 / 255, 145 / 255], abs=1e-4)
    with open(found.files["mistakes"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == [m.input for m in found.mistakes]
    assert list(rows[0].values())[:3] == ["3", "dark", "light"]
    assert float(rows[0]["probability"]) == pytest.approx(240 / 255, abs=1e-5)
    pixels = np.asarray(Image.open(found.files["worst"]).convert("L"))
    assert all((pixels == value).sum() > 5000 for value in (240, 110, 100)), "the images as they are"
    written = json.loads(Path(found.files["figures"]).read_text(encoding="utf-8"))
    assert [m["index"] for m in written["mistakes"]] == [3, 6, 5]


def test_without_mistakes_no_old_picture_stays(loaded, sheets, tmp_path):
    first = kzoo.evaluate(loaded, sheets, output_dir=tmp_path / "out")
    for name in ("dark/d3", "light/l1", "light/l2"):
        (sheets / "test" / f"{name}.png").unlink()
    found = kzoo.evaluate(loaded, sheets, output_dir=tmp_path / "out")
    assert found.mistakes == () and "worst" not in found.files
    assert not Path(first.files["worst"]).exists()
    assert Path(found.files["mistakes"]).read_text() == "index,true,guess,probability,input\n"


def test_of_a_labels_csv_and_of_arrays(loaded, tmp_path):
    rows = ["file;label"]
    for k, value in enumerate((0, 1, 2, 90, 255, 254, 253, 252)):
        grey(tmp_path / "flat" / "all" / f"{k}.png", value)
        rows.append(f"all/{k}.png;{'light' if k > 2 else 'dark'}")
    (tmp_path / "flat" / "labels.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    data = kzoo.load_data(tmp_path / "flat", validation=0)
    found = kzoo.evaluate(loaded, data, split="train")
    assert [(m.index, m.input) for m in found.mistakes] == [(3, "all/3.png")] and found.files == {}
    x = np.stack([x for x, _ in data.train.as_numpy_iterator()])
    found = kzoo.evaluate(loaded, (x, np.array([0, 0, 0, 1, 1, 1, 1, 0])), output_dir=tmp_path / "out")
    assert [(m.index, m.input) for m in found.mistakes] == [(7, ""), (3, "")]
    pixels = np.asarray(Image.open(found.files["worst"]).convert("L"))
    assert (pixels == 252).sum() > 5000 and (pixels == 90).sum() > 5000


def test_of_texts_by_their_text(tmp_path):
    words = ("fine", "dull", "long", "short", "warm", "cold")
    rows = ["text\tlabel"]
    rows += [f"{' '.join(words[(k * j) % 6] for j in range(1 + k % 5))}\t{'ab'[k % 2]}" for k in range(60)]
    (tmp_path / "t.tsv").write_text("\n".join(rows) + "\n")
    data = kzoo.load_data(tmp_path / "t.tsv", test=0.3)
    run = kzoo.fit("lstm_classifier_tiny", data, epochs=1, xla="off", verbose=False)
    found = kzoo.evaluate(run, data, batch_size=4)
    texts = [(x.decode(), int(y)) for x, y in data.test.as_numpy_iterator()]
    assert len(found.mistakes) == found.examples - round(found.accuracy * found.examples) > 0
    for m in found.mistakes:
        assert texts[m.index] == (m.input, found.labels.index(m.true)), "places in the split, not in the batches"
    assert "worst" not in found.files and Path(found.files["mistakes"]).is_file()


class TestPredict:
    def test_what_cannot_be_read_in_a_folder_is_left_out_and_named(self, loaded, tmp_path, capsys):
        for k in range(5):
            grey(tmp_path / "in" / f"bild ü {k}.png", 50 * k)
        whole = (tmp_path / "in" / "bild ü 0.png").read_bytes()
        (tmp_path / "in" / "cut.png").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "in" / "._x.png").write_bytes(b"x")
        (tmp_path / "in" / "Thumbs.db").write_bytes(b"x")
        (tmp_path / "in" / "notes.txt").write_text("x")
        found = kzoo.predict(loaded, tmp_path / "in", batch_size=2)
        assert [Path(p.input).name for p in found] == [f"bild ü {k}.png" for k in range(5)]
        assert [p.labels[0] for p in found] == ["dark", "dark", "dark", "light", "light"]
        said = capsys.readouterr().err
        assert "cut.png: corrupt image; left out" in said and "1 file that are no images left out" in said
        with pytest.raises(kzoo.KzooError, match=r"cut.png' is no readable image .*: corrupt image"):
            kzoo.predict(loaded, [tmp_path / "in" / "cut.png"])

    def test_a_folder_of_nothing_that_can_be_read(self, loaded, tmp_path):
        grey(tmp_path / "in" / "a.png", 1)
        for name in "ab":
            shutil.copyfile(__file__, tmp_path / "in" / f"{name}.png")
        with pytest.raises(kzoo.KzooError, match="none of the 2 images can be read; the reasons are above"):
            kzoo.predict(loaded, tmp_path / "in")

    def test_an_enormous_image_is_refused(self, loaded, tmp_path):
        Image.new("L", (30_000, 4_000)).save(tmp_path / "sheet.png")
        with pytest.raises(kzoo.KzooError, match="sheet.png' is no readable image .*30000x4000 pixels are too many"):
            kzoo.predict(loaded, tmp_path / "sheet.png")


def photographs(root, rng, count=20):
    """Two kinds that a network tells apart soon: stripes that lie and that stand."""
    for k in range(2 * count):
        stripes = np.tile(np.array([0, 0, 255, 255], "uint8"), (32, 8))
        pixels = np.clip((stripes if k % 2 else stripes.T) + rng.normal(0, 20, (32, 32)), 0, 255).astype("uint8")
        path = root / ("standing" if k % 2 else "lying") / f"{k} ü.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


@pytest.mark.slow
def test_the_example_of_surface_inspection(tmp_path, rng, capsys):
    """From a user's folder to a table of predictions, by the public names only."""
    spec = importlib.util.spec_from_file_location("aoi_defects", EXAMPLES / "aoi_defects.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    root = photographs(tmp_path / "parts", rng)
    start = kzoo.fit("resnet_cifar_tiny", root, epochs=1, run_dir=tmp_path / "start", xla="off", verbose=False)
    found = example.main([str(root), "--model", str(start.path), "--weights", "", "--epochs", "1"])
    assert found.examples == 8 and found.split == "test"
    out = capsys.readouterr().out
    assert f"accuracy {found.accuracy:.4f} on 8 test images; baseline 0.5000" in out
    rows = list(csv.DictReader(Path("predictions.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 8 and all(Path(row["file"]).is_file() for row in rows)
    wrong = {row["file"] for row in rows if row["class"] != Path(row["file"]).parent.name}
    assert wrong == {str(root / m.input) for m in found.mistakes}, "predict and evaluate say the same of a file"


@pytest.mark.slow
def test_fit_on_the_command_line_takes_parts(tmp_path, rng, here):
    root = photographs(tmp_path / "parts", rng)
    status, _, err = here(
        "fit", "resnet_cifar_tiny", "--data", root, "--test", 0.2, "--per-class", 6, "--split-seed", 3,
        "--epochs", 1, "--augment", "flips", "--augment", "rotate90", "--run-dir", "run",
    )  # fmt: skip
    assert status == 0, err
    given = json.loads(Path("run/config.json").read_text(encoding="utf-8"))["data"]
    assert given == {"name": str(root), "test": 0.2, "per_class": 6, "split_seed": 3}
    found = kzoo.evaluate("run")
    assert found.examples == 8
    assert {m.input for m in found.mistakes} <= set(kzoo.load_data(**given).info.files["test"])

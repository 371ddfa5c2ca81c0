"""Many inputs at once: folders in folders, patterns, lists; one that cannot be read fails no other; results reach their
file.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pets import image, pets
from PIL import Image

import kzoo


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return kzoo.fit("lenet5", pets(folder / "pets"), epochs=1, verbose=False, run_dir=folder / "run")


@pytest.fixture
def photos(tmp_path):
    for k in range(3):
        image(tmp_path / "photos" / f"{k}.png", k)
    image(tmp_path / "photos" / "deep" / "er" / "3.png", 3)
    image(tmp_path / "photos" / ".hidden" / "4.png", 4)
    return tmp_path / "photos"


def names(answers):
    return [Path(a.input).name for a in answers]


def test_folders_in_folders(run, photos, capsys):
    assert names(kzoo.predict(run, photos)) == ["0.png", "1.png", "2.png", "3.png"]
    assert "1 of 4 images lie in folders inside it" in capsys.readouterr().err


def test_patterns_lists_and_iterators(run, photos, tmp_path):
    assert names(kzoo.predict(run, str(photos / "*.png"))) == ["0.png", "1.png", "2.png"]
    assert names(kzoo.predict(run, str(photos / "**" / "3.*"))) == ["3.png"]
    (photos / "some.txt").write_text("0.png\n\ndeep/er/3.png\n")
    assert names(kzoo.predict(run, photos / "some.txt")) == ["0.png", "3.png"]
    assert names(kzoo.predict(run, (photos / f"{k}.png" for k in (2, 0)))) == ["2.png", "0.png"]
    with pytest.raises(kzoo.KzooError, match="no file fits '.*no.*png'"):
        kzoo.predict(run, str(photos / "no*.png"))


def test_files_without_a_suffix_and_of_other_kinds(run, photos):
    whole = Image.open(photos / "0.png")
    for name, kind in (("plain", "PNG"), ("a.tif", "TIFF"), ("b.ppm", "PPM"), ("c.jfif", "JPEG"), ("d.dat", "PNG")):
        whole.save(photos / name, kind)
    given = ["0.png", "plain", "a.tif", "b.ppm", "d.dat"]
    found = kzoo.predict(run, [photos / name for name in given])
    for answer in found:
        np.testing.assert_allclose(answer.scores, found[0].scores, rtol=1e-5)


def damaged(path):
    contents = bytearray(path.read_bytes())
    contents[60:-20] = bytes(len(contents) - 80)
    path.write_bytes(bytes(contents))


@pytest.mark.parametrize("batch_size", [1, 2, 32])
@pytest.mark.parametrize("wrong", [[0], [1], [2], [0, 2]])
def test_one_that_cannot_be_read_fails_no_other(run, photos, batch_size, wrong):
    expected = {Path(a.input).name: a.scores for a in kzoo.predict(run, photos)}
    damaged(photos / f"{wrong[0]}.png")
    for k in wrong[1:]:
        (photos / f"{k}.png").write_bytes(b"no image")
    found = kzoo.predict(run, photos, batch_size=batch_size)
    assert names(found) == [name for name in expected if name not in [f"{k}.png" for k in wrong]]
    for answer in found:
        np.testing.assert_allclose(answer.scores, expected[Path(answer.input).name], rtol=1e-5)
    assert sorted(found.left_out) == [f"{photos}/{k}.png: corrupt image; left out" for k in wrong]


def typed(*arguments, stdin="", **options):
    command = [sys.executable, "-m", "kzoo", *map(str, arguments)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **options.pop("env", {})}
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=env, errors="surrogateescape", **options
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_what_was_computed_reaches_its_file(run, photos, tmp_path):
    """Names that are no UTF-8, a console of another encoding, a link and a pipe as the table, a file left out."""
    os.rename(photos / "1.png", os.fsencode(photos) + b"/\xe4\xff.png")
    image(photos / "größer 图.png", 7)
    (photos / "2.png").write_bytes(b"no image")
    (tmp_path / "table.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "table.csv")
    done = typed("predict", run.path, photos, "--csv", tmp_path / "link.csv", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1, done.stderr
    assert "2.png: corrupt image; left out" in done.stderr and "Traceback" not in done.stderr
    table = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert (tmp_path / "link.csv").is_symlink() and table.count("\n") == 5
    assert "\\xe4\\xff.png" in table and "größer 图.png" in table and "gr\\xf6\\xdfer" in done.stdout
    done = typed("predict", run.path, "-", "--csv", "/dev/stdout", stdin=f"{photos}/0.png\n")
    assert done.returncode == 0, done.stderr
    assert f"file,label1,score1,label2,score2\n{photos}/0.png,cat," in done.stdout.replace(",dog,", ",cat,")


def test_arrays_of_several_sizes(run):
    """Each as alone; their numbers are one decision."""
    rng = np.random.default_rng(0)
    sizes = [(30, 20, 3), (28, 28, 3), (40, 50, 3)]
    images = [rng.integers(0, 256, size, dtype="uint8") for size in sizes]
    found = kzoo.predict(run, images)
    assert [p.input for p in found] == ["0", "1", "2"]
    for one, pixels in zip(found, images, strict=True):
        assert one.scores == pytest.approx(kzoo.predict(run, pixels[None])[0].scores, rel=1e-6)
    dark = [images[0] / np.float32(255), images[1] / np.float32(510)]
    assert [p.class_ids for p in kzoo.predict(run, dark)] == [
        p.class_ids for p in kzoo.predict(run, [images[0].astype("float32"), images[1] / np.float32(2)])
    ]
    with pytest.raises(kzoo.KzooError, match=r"takes an array of examples .*; received uint8 \[1, 5, 5, 7\]"):
        kzoo.predict(run, [images[0], np.zeros((5, 5, 7), "uint8")])

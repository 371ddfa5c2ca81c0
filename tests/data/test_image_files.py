"""Files of images of every kind: the picture that people see, in data, answers and exports; or named."""

import shutil

import filthy
import numpy as np
import pytest
import serving
import tensorflow as tf

import kzoo
from kzoo.inputs import BY_PILLOW, PLAIN, Unreadable, decode_image, decode_plain, open_image
from kzoo.inputs.image_files import GRAPH_SUFFIXES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("filthy") / "data"
    said = filthy.write(root)
    return root, said


@pytest.mark.parametrize("name", filthy.READ)
def test_what_people_see(name, tmp_path):
    make, tolerance = filthy.READ[name]
    (tmp_path / name).write_bytes(make(5))
    found, wanted = open_image(tmp_path / name), filthy.seen(make(5))
    assert found.pixels.shape == wanted.shape
    assert np.abs(found.pixels.numpy().astype(int) - wanted).max() <= tolerance
    if found.seen.way != BY_PILLOW:
        graph = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])
        np.testing.assert_array_equal(graph(found.contents), found.pixels)
        assert name.lower().endswith(GRAPH_SUFFIXES)
    if found.seen.way == PLAIN:
        np.testing.assert_array_equal(decode_plain(found.contents), found.pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(kind, orientation):
    options = {} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    contents = filthy.turned(kind, orientation, **options)(3)
    found, wanted = decode_image(contents).numpy(), filthy.seen(contents)
    assert found.shape == wanted.shape and np.abs(found.astype(int) - wanted).max() <= 8


@pytest.mark.parametrize("name", [name for name in filthy.NAMED if not name.endswith(("mp4", "txt"))])
def test_what_is_named(name, tmp_path):
    make, reason = filthy.NAMED[name]
    (tmp_path / name).write_bytes(make(5))
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        open_image(tmp_path / name)


def test_a_folder_of_all_of_them(folder):
    root, said = folder
    info = kzoo.load_data(root).info
    assert set(info.skipped) == {f"{name}: {reason}" for name, reason in said.items()}
    assert sum(info.counts.values()) == 2 * len(filthy.READ)
    assert info.notes[0].startswith(f"{len(said)} files skipped: cat/")
    data = kzoo.load_data(root, validation=0)
    for name, (x, _) in zip(data.info.files["train"], data.train.as_numpy_iterator(), strict=True):
        wanted = filthy.seen((root / name).read_bytes())
        tolerance = filthy.READ[name.rpartition("/")[2]][1]
        assert x.shape == wanted.shape and np.abs(x.astype(int) - wanted).max() <= tolerance, name


@pytest.mark.slow
def test_the_whole_way_on_such_a_folder(folder, tmp_path, capsys):
    """Trained, evaluated, answered file by file, tuned and served: the same files and scores everywhere."""
    root, said = folder
    run = kzoo.fit("lenet5", root, epochs=1, verbose=False, run_dir=tmp_path / "run")
    good = 2 * len(filthy.READ)
    held = kzoo.evaluate(run, shutil.copytree(root, tmp_path / "held"))
    assert held.examples == good and "no splits: all of it is the test" in held.notes
    capsys.readouterr()
    answers = kzoo.predict(run, [root / "cat", root / "dog"])
    err = capsys.readouterr().err
    assert len(answers) == good
    for name, reason in said.items():
        if not name.endswith((".mp4", ".txt")):
            assert f"{root / name}: {reason}; left out" in err
    right = sum(a.labels[0] == a.input.split("/")[-2] for a in answers)
    assert right / good == pytest.approx(held.accuracy)
    export = kzoo.export(run, tmp_path / "out")
    names = [n for n in filthy.READ if open_image(root / "cat" / n).seen.way != BY_PILLOW]
    served = serving.served(export.path, "serve_bytes", bytes=[{"file": str(root / "cat" / name)} for name in names])
    by_name = {a.input.split("/")[-1]: a for a in answers if "/cat/" in a.input}
    for name, scores in zip(names, served["scores"], strict=True):
        np.testing.assert_allclose(scores, by_name[name].scores, rtol=1e-3, atol=1e-4, err_msg=name)
    tuned = kzoo.fine_tune(run, root, epochs=1, verbose=False, run_dir=tmp_path / "tuned")
    assert kzoo.evaluate(tuned, tmp_path / "held").examples == good

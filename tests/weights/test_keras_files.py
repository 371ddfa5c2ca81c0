"""Weight files of keras.applications: parity of the outputs, tops and heads, and what is refused."""

import re

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

import kzoo
from kzoo.records import STYLES
from kzoo.weights import weights_by_name

# kzoo's name: keras.applications' builder, side of the images, classes
APPLICATIONS = {
    "vgg16": (keras.applications.VGG16, 32, 10),
    "vgg19": (keras.applications.VGG19, 32, 10),
    "resnet50": (keras.applications.ResNet50, 64, 10),
    "resnet101": (keras.applications.ResNet101, 64, 10),
    "resnet152": (keras.applications.ResNet152, 64, 10),
    "resnet50_v2": (keras.applications.ResNet50V2, 64, 10),
    "resnet101_v2": (keras.applications.ResNet101V2, 64, 10),
    "resnet152_v2": (keras.applications.ResNet152V2, 64, 10),
    "inception_v3": (keras.applications.InceptionV3, 75, 10),
}
KINDS = ("legacy.h5", "weights.h5")


def randomise(model, seed=0):
    """Every variable, batch-norm statistics too: He-uniform kernels, positive scales and variances."""
    rng = np.random.default_rng(seed)
    values = []
    for variable in model.weights:
        uniform = rng.random(variable.shape, "float32")
        if len(variable.shape) > 1:
            values.append((uniform * 2 - 1) * np.float32(np.sqrt(6 / np.prod(variable.shape[:-1]))))
        elif variable.name in ("gamma", "moving_variance"):
            values.append(uniform + np.float32(0.5))
        else:
            values.append((uniform * 2 - 1) * np.float32(0.2))
    model.set_weights(values)
    return model


def save(model, folder, kind):
    path = folder / f"{model.name}.{kind}"
    if kind == "weights.h5":
        model.save_weights(path)
    else:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def applications(name, /, **arguments):
    build, side, classes = APPLICATIONS[name]
    given = {"input_shape": (side, side, 3), "classes": classes, "classifier_activation": None, **arguments}
    return randomise(build(weights=None, **given))


def difference(model, expected, images):
    """Largest difference, as a share of the largest output."""
    found = model(images).numpy()
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


# One network of each family by default, ResNet-50 in every style: weights have the same names in all of them.
BY_DEFAULT = {
    "vgg16": ("subclass",),
    "resnet50": ("functional",),
    "resnet50_v2": ("sequential",),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Of a model of keras.applications: arguments, images, [(file, outputs)]; each kind has its weights."""
    kept = {}

    def publish(name):
        if name in kept:
            return kept[name]
        for _, _, files in kept.values():  # one at a time
            for path, _ in files:
                path.unlink()
        kept.clear()
        folder = tmp_path_factory.mktemp(name)
        _, side, classes = APPLICATIONS[name]
        images = np.random.default_rng(1).standard_normal((2, side, side, 3), "float32")
        arguments = {"input_shape": (side, side, 3), "classes": classes, "classifier_activation": None}
        model, files = applications(name), []
        for seed, kind in enumerate(KINDS):
            outputs = randomise(model, seed)(images).numpy()
            assert np.abs(outputs[0] - outputs[1]).max() > 1e-3 * np.abs(outputs).max(), "the outputs say nothing"
            files.append((save(model, folder, kind), outputs))
        kept[name] = arguments, images, files
        return kept[name]

    return publish


@pytest.mark.parametrize(
    ("name", "style"),
    [
        pytest.param(name, style, marks=() if style in BY_DEFAULT.get(name, ()) else pytest.mark.slow)
        for name in APPLICATIONS
        for style in STYLES
    ],
)
def test_outputs_are_those_of_keras_applications(published, name, style, capsys):
    arguments, images, files = published(name)
    model = kzoo.create_model(name, style=style, **arguments)
    for path, expected in files:
        report = kzoo.load_weights(model, path)
        assert not report.skipped and not report.reinitialised
        assert difference(model, expected, images) < 1e-5, path.name
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet50", *(pytest.param(n, marks=pytest.mark.slow) for n in ("inception_v3", "resnet50_v2", "vgg16"))],
)
def test_files_without_layer_names(name, tmp_path):
    """As Keras 3.4 wrote them: layers are numbered by class, in the order of `model.layers`."""
    source = applications(name)
    path = save(source, tmp_path, "weights.h5")
    with h5py.File(path, "r+") as file:
        groups = []
        file.visititems(lambda place, item: groups.append(place) if "name" in item.attrs else None)
        for place in groups:
            del file[place].attrs["name"]
    _, side, classes = APPLICATIONS[name]
    images = np.random.default_rng(1).standard_normal((2, side, side, 3), "float32")
    model = kzoo.create_model(
        name, input_shape=(side, side, 3), classes=classes, classifier_activation=None, weights=path
    )
    assert difference(model, source(images).numpy(), images) < 1e-5


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """{whole, notop: path} of VGG16s with the same convolutions."""
    folder = tmp_path_factory.mktemp("vgg")
    whole = applications("vgg16")
    notop = applications("vgg16", include_top=False, name="notop")
    notop.set_weights(whole.get_weights()[: len(notop.weights)])
    return {"whole": save(whole, folder, "legacy.h5"), "notop": save(notop, folder, "weights.h5")}


SIDE = {"input_shape": (32, 32, 3)}


def test_another_number_of_classes_leaves_the_head_fresh(vgg, capsys):
    model = kzoo.vgg16(weights=vgg["whole"], classes=5, style="sequential", **SIDE)
    assert model.output_shape == (None, 5)
    said = capsys.readouterr().err
    assert "legacy.h5'" in said and said.count("\n") == 1
    assert "15 layers loaded; skipped, in the file only: predictions; not from the file: predictions" in said
    with h5py.File(vgg["whole"]) as file:
        np.testing.assert_array_equal(model.get_layer("fc2").kernel.numpy(), file["fc2/fc2/kernel"][()])


def test_without_the_top_a_whole_file_is_read(vgg, capsys):
    model = kzoo.vgg16(weights=vgg["whole"], include_top=False, **SIDE)
    said = capsys.readouterr().err
    assert "13 layers loaded; skipped, in the file only: fc1, fc2, predictions (Keras" in said
    plain = kzoo.vgg16(weights=vgg["notop"], include_top=False, **SIDE)
    assert capsys.readouterr().err == ""
    for one, two in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_a_file_without_top_needs_classes(vgg, capsys):
    with pytest.raises(kzoo.KzooError, match=r"weights='.*notop.*has no top \(fc1, fc2, predictions\).*classes=N"):
        kzoo.vgg16(weights=vgg["notop"], **SIDE)
    kzoo.vgg16(weights=vgg["notop"], classes=7, **SIDE)
    assert "13 layers loaded; not from the file: fc1, fc2, predictions" in capsys.readouterr().err


def test_the_head_is_kept_where_it_is_asked_for(vgg, capsys):
    model = kzoo.vgg16(classes=10, **SIDE)
    before = model.get_layer("predictions").kernel.numpy()
    report = kzoo.load_weights(model, vgg["whole"], head="keep")
    assert report.skipped == report.reinitialised == ("predictions",) and len(report.loaded) == 15
    np.testing.assert_array_equal(model.get_layer("predictions").kernel.numpy(), before)
    assert kzoo.load_weights(model, vgg["whole"], head="fit").reinitialised == ()
    with pytest.raises(kzoo.KzooError, match="unknown head 'new'"):
        kzoo.load_weights(model, vgg["whole"], head="new")


def one_line(error, *parts):
    assert "\n" not in str(error.value)
    for part in parts:
        assert re.search(part, str(error.value)), f"{part!r} not in {error.value}"


def test_what_does_not_fit_says_what_would(vgg):
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.vgg16(weights=vgg["whole"], **SIDE)
    one_line(error, r"weights='.*has 10 classes; give classes=10, or for a fresh head")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.load_weights(kzoo.vgg16(classes=10, input_shape=(32, 32, 1)), vgg["whole"])
    one_line(error, r"block1_conv1/kernel is \(3, 3, 3, 64\)", r"images of 3 channels; give input_shape=\(32, 32, 3\)")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.load_weights(kzoo.vgg16(classes=10, input_shape=(64, 64, 3)), vgg["whole"])
    one_line(error, r"fc1/kernel is \(512, 4096\) there and \(2048, 4096\) here", "images of another size")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.vgg19(weights=vgg["whole"], classes=10, **SIDE)
    one_line(error, "- block3_conv4/bias", "does not fit the model 'vgg19'")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.resnet_tiny(weights=vgg["whole"])
    one_line(error, r"\+ block1_conv1/bias")
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.load_weights(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="mine"), vgg["whole"])
    one_line(error, "goes into models of kzoo's builders only; received 'mine'")


def test_a_model_is_unchanged_where_its_file_does_not_fit(vgg):
    model = kzoo.vgg_tiny()
    before = model.get_weights()
    with pytest.raises(kzoo.KzooError, match="does not fit"):
        kzoo.load_weights(model, vgg["whole"])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("style", STYLES)
def test_what_keras_saves_of_kzoo_goes_into_the_other_styles(tmp_path, style):
    """A compiled model's file holds its optimizer too."""
    source = kzoo.resnet_tiny(style=style)
    source.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    source.optimizer.build(source.trainable_variables)
    source.save_weights(tmp_path / "own.weights.h5")
    with h5py.File(tmp_path / "own.weights.h5") as file:
        assert len(file["optimizer/vars"]) > len(source.trainable_variables)
    for other in STYLES:
        model = kzoo.resnet_tiny(style=other, weights=tmp_path / "own.weights.h5")
        for key, variable in weights_by_name(source).items():
            np.testing.assert_array_equal(variable.numpy(), weights_by_name(model)[key].numpy())


def test_older_names_of_the_head_and_of_weights(tmp_path):
    """keras.applications' first files: `block1_conv1_W_1:0` for a kernel, `probs` for the head."""
    source = randomise(kzoo.vgg_tiny())
    with h5py.File(tmp_path / "old.h5", "w") as file:
        layers = [layer for layer in source.layers if layer.weights]
        names = ["probs" if layer.name == "predictions" else layer.name for layer in layers]
        file.attrs["layer_names"] = [name.encode() for name in ["input_1", *names]]
        file.create_group("input_1").attrs["weight_names"] = []
        for name, layer in zip(names, layers, strict=True):
            inside = [f"{name}_W_1:0", f"{name}_b_1:0"]
            file.create_group(name).attrs["weight_names"] = [i.encode() for i in inside]
            for i, variable in zip(inside, layer.weights, strict=True):
                file[name][i] = variable.numpy()
    report = kzoo.load_weights(model := kzoo.vgg_tiny(), tmp_path / "old.h5")
    assert "predictions" in report.loaded and not report.skipped
    for one, two in zip(source.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def broken(path, how):
    """A weight file of vgg_tiny, damaged."""
    randomise(source := kzoo.vgg_tiny()).save_weights(path)
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "header only":
        path.write_bytes(data[:40])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "web page":
        path.write_text("\n<!DOCTYPE html><html><body>404</body></html>")
    elif how == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    elif how == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(1000))
    elif how == "whole model":
        source.save(keras_file := path.with_suffix(".keras"))
        path.write_bytes(keras_file.read_bytes())
    elif how == "zip":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("notes.txt", "nothing")
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "absent":
        path.unlink()
    else:
        place = "layers/conv2d/vars"
        with h5py.File(path, "r+") as file:
            inside = file[place]
            if how not in ("other file", "cycle"):
                del inside["0"]
            if how == "external link":
                inside["0"] = h5py.ExternalLink("/etc/passwd", "/x")
            elif how == "soft link":
                inside["0"] = h5py.SoftLink("/layers/conv2d/vars/1")
            elif how == "linked group":
                del file["layers/dense"]
                file["layers/dense"] = h5py.ExternalLink("other.h5", "/x")
            elif how == "external data":
                inside.create_dataset("0", (3, 3, 3, 4), "float32", external=[("/etc/hostname", 0, 432)])
            elif how == "virtual":
                layout = h5py.VirtualLayout((3, 3, 3, 4), "float32")
                layout[...] = h5py.VirtualSource("other.h5", "x", (3, 3, 3, 4))
                inside.create_virtual_dataset("0", layout)
            elif how == "text":
                inside["0"] = "words"
            elif how == "bomb":  # 40 TB of zeros that take no room in the file
                inside.create_dataset("0", (10**13,), "float32", chunks=(10**6,), compression="gzip")
            elif how == "two of a name":
                inside.create_dataset("0", data=np.zeros((3, 3, 3, 4), "float32"))
                file["layers/conv2d_1/vars"].attrs["name"] = "block1_conv1"
            elif how == "cycle":
                inside.parent["0"] = file["layers"]
            elif how == "other file":
                del file["layers"], file["vars"]
                file["measurements"] = np.zeros(3)
    return path


DAMAGE = {
    "cut": "is not a whole HDF5 file: .*truncated file.*; fetch it again",
    "header only": "is not a whole HDF5 file",
    "empty": "is empty; fetch it again",
    "web page": "is a web page, not weights",
    "pointer": "is a Git LFS pointer",
    "noise": "is no weight file; kzoo reads",
    "whole model": "is a whole Keras model, not weights; give it to kzoo.load_model",
    "zip": "is an archive without weights",
    "folder": "is a folder",
    "absent": "no weight file there",
    "external link": "'0' is a link; links in HDF5 files are not read",
    "soft link": "'0' is a link; links in HDF5 files are not read",
    "linked group": "'layers/dense' is no group; links in HDF5 files are not read",
    "external data": "'0' is not a plain dataset; external and virtual ones are not read",
    "virtual": "'0' is not a plain dataset",
    "text": "'0' has numbers of type object",
    "bomb": r"block1_conv1/kernel is \(10000000000000,\) there and \(3, 3, 3, 4\) here",
    "two of a name": "two layers named 'block1_conv1'",
    "cycle": "the group 'layers/conv2d/0' is in the file twice",
    "other file": "is no group|without Keras layers",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_and_foreign_files(tmp_path, how):
    path = broken(tmp_path / "given.weights.h5", how)
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.vgg_tiny(weights=path)
    one_line(error, f"^weights='{path}'", DAMAGE[how])
    model = kzoo.vgg_tiny()
    before = model.get_weights()
    with pytest.raises(kzoo.KzooError) as error:
        kzoo.load_weights(model, path)
    one_line(error, f"^the file '{path}'", DAMAGE[how])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

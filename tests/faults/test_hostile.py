"""Files that somebody has made to run code, to read elsewhere, or to take all memory: refused in a line, at once."""

import gzip
import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kzoo
from kzoo.cli.use import _write_csv
from kzoo.inputs.bounded import bounded
from kzoo.runs import RunFolder
from kzoo.tasks import Prediction

GROWTH = 256 << 20  # bytes
DEEP = 90_000


class Evil:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


def plain():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="d")])


def keras_file(path, config=None, entries=(), weights=None, compressed=False):
    """A .keras file like a whole one, but for what is given."""
    plain().save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    if config is not None:
        parts["config.json"] = config if isinstance(config, bytes) else json.dumps(config).encode()
    if weights is not None:
        parts["model.weights.h5"] = weights
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in (*parts.items(), *entries):
            file.writestr(name, content)
    return path


def config_of(*layers):
    return {"module": "keras", "class_name": "Sequential", "registered_name": None,
            "config": {"name": "s", "trainable": True, "layers": list(layers)}}  # fmt: skip


def layer(module, name, /, **config):
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


INPUT = layer("keras.layers", "InputLayer", batch_shape=[None, 4], name="i")


def hdf5(make):
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        make(file)
    return held.getvalue()


def huge(file):
    file.create_dataset("layers/d/vars/0", shape=(1 << 20, 1 << 12), dtype="float64", chunks=(1, 1 << 12))


def linked(file):
    file["layers/d/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft(file):
    file["layers/d/vars/0"] = h5py.SoftLink("/nowhere")


def outside(file):
    group = file.create_group("layers/d/vars")
    group.create_dataset("0", (8,), "float32", external=[("/etc/passwd", 0, 32)])


def virtual(file):
    layout = h5py.VirtualLayout((4, 2), "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 2))
    file.create_virtual_dataset("layers/d/vars/0", layout)


KERAS = {
    "lambda": lambda p: keras_file(p, config_of(INPUT, layer("keras.layers", "Lambda", name="l", function={
        "class_name": "__lambda__", "config": {"code": "4wAAAAA=", "defaults": None, "closure": None}}))),
    "lambda of a name": lambda p: keras_file(p, config_of(INPUT, layer("keras.layers", "Lambda", name="l", function={
        "class_name": "function", "config": "system", "module": "os", "registered_name": "system"}))),
    "a module": lambda p: keras_file(p, config_of(INPUT, layer("os", "system", command="touch pwned"))),
    "a function": lambda p: keras_file(p, layer("builtins", "exec", source="open('pwned', 'w')")),
    "get_file": lambda p: keras_file(p, config_of(INPUT, {"module": "keras.utils", "class_name": "function",
        "config": "get_file", "registered_name": "get_file"})),
    "an activation": lambda p: keras_file(p, config_of(INPUT, layer("keras.layers", "Dense", name="d", units=2,
        activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}))),
    "an initializer": lambda p: keras_file(p, config_of(INPUT, layer("keras.layers", "Dense", name="d", units=2,
        kernel_initializer=layer("subprocess", "Popen", args="touch pwned")))),
    "wide layers": lambda p: keras_file(p, config_of(INPUT, layer("keras.layers", "Dense", name="d", units=10**9))),
    "a wide embedding": lambda p: keras_file(p, config_of(layer("keras.layers", "Embedding", name="e",
        input_dim=10**8, output_dim=1000, batch_shape=[None, 4]))),
    "deep": lambda p: keras_file(p, b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    "deep lists": lambda p: keras_file(p, b"[" * DEEP + b"]" * DEEP),
    "a list": lambda p: keras_file(p, b"[1, 2]"),
    "null": lambda p: keras_file(p, b"null"),
    "no JSON": lambda p: keras_file(p, b"{"),
    "no UTF-8": lambda p: keras_file(p, b"\xff\xfe{}"),
    "a bomb": lambda p: keras_file(p, entries=[("zeros", bytes(1 << 29))], compressed=True),
    "weights of fill": lambda p: keras_file(p, weights=hdf5(huge)),
    "weights by a link": lambda p: keras_file(p, weights=hdf5(linked)),
    "weights by a soft link": lambda p: keras_file(p, weights=hdf5(soft)),
    "weights outside": lambda p: keras_file(p, weights=hdf5(outside)),
    "weights virtual": lambda p: keras_file(p, weights=hdf5(virtual)),
    "weights no HDF5": lambda p: keras_file(p, weights=b"x" * 1000),
    "no archive": lambda p: p.write_bytes(b"PK\x03\x04" + bytes(100)) and p,
    "a pickle": lambda p: p.write_bytes(pickle.dumps(Evil())) and p,
    "empty": lambda p: p.write_bytes(b"") or p,
}  # fmt: skip


def whole_h5(path, make=lambda file: None, config=None):
    plain().save(path)
    with h5py.File(path, "a") as file:
        make(file)
        if config is not None:
            del file.attrs["model_config"]
            file.attrs["model_config"] = config
    return path


H5 = {
    "linked": lambda p: whole_h5(p, linked),
    "outside": lambda p: whole_h5(p, outside),
    "virtual": lambda p: whole_h5(p, virtual),
    "fill": lambda p: whole_h5(p, huge),
    "a lambda": lambda p: whole_h5(p, config=json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "Lambda", "config": {"name": "l", "function": ["4wAAAAA=", None, None],
         "function_type": "lambda", "batch_input_shape": [None, 4]}}]}})),
    "no config": lambda p: whole_h5(p, config="{"),
    "a list": lambda p: whole_h5(p, config="[]"),
}  # fmt: skip


def npz(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return path


def npy(shape, dtype="<f8", body=b""):
    head = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}}}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + body


def object_array():
    held = io.BytesIO()
    np.save(held, np.array([Evil()], object), allow_pickle=True)
    return held.getvalue()


DATA = {
    "a lying head.npz": lambda p: npz(p, x=npy((10**9, 28, 28)), y=npy((10**9,))),
    "more than there can be.npz": lambda p: npz(p, x=npy((2**40, 2**20)), y=npy((4,))),
    "a bomb.npz": lambda p: npz(p, x=npy((1 << 29,), "|u1", bytes(1 << 29)), y=npy((4,))),
    "a pickle.npz": lambda p: npz(p, x=object_array(), y=object_array()),
    "no arrays.npz": lambda p: npz(p, x=b"x", y=b"y"),
    "no archive.npz": lambda p: p.write_bytes(b"PK\x03\x04") and p,
    "a bomb.tsv.gz": lambda p: p.write_bytes(gzip.compress(b"text\tlabel\n" + b"a" * (1 << 29), 9)) and p,
    "a cut one.tsv.gz": lambda p: p.write_bytes(gzip.compress(b"text\tlabel\n" * 999)[:50]) and p,
    "zeros.csv": lambda p: p.write_bytes(bytes(1 << 20)) and p,
    "a long line.tsv": lambda p: p.write_bytes(b"text\tlabel\n" + b"a\t" * 400_000) and p,
}  # fmt: skip


def png(width, height, body=b"\0" * 10):
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def saved(kind, size, **more):
    held = io.BytesIO()
    Image.new("L" if kind != "WEBP" else "RGB", size).save(held, kind, **more)
    return held.getvalue()


def many_pictures():
    held = io.BytesIO()
    frames = [Image.new("P", (2000, 2000), k) for k in range(60)]
    frames[0].save(held, "GIF", save_all=True, append_images=frames[1:])
    return held.getvalue()


IMAGES = {
    "png that says more.png": lambda: png(60_000, 60_000),
    "png of one line.png": lambda: png(2**31 - 1, 1),
    "png of zeros.png": lambda: saved("PNG", (12_000, 12_000)),
    "jpeg.jpg": lambda: saved("JPEG", (20_000, 20_000)),
    "gif.gif": lambda: saved("GIF", (12_000, 12_000)),
    "webp.webp": lambda: saved("WEBP", (16_000, 16_000), lossless=True, method=0),
    "tiff.tiff": lambda: saved("TIFF", (30_000, 30_000), compression="tiff_adobe_deflate"),
    "bmp that says more.bmp": lambda: b"BM" + struct.pack("<IHHIIiiHHIIIIII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24,
                                                          0, 0, 0, 0, 0, 0) + bytes(46),
    "svg.png": lambda: b"<svg><image href='file:///etc/passwd'/></svg>",
    "gif of nothing.gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0xF7, 0, 0) + bytes(800),
}  # fmt: skip


def peak():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


def now():
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


STRANGE = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class")
seen, watched = [], []  # what Python was asked for, while it is watched: for its folder


def _hook(event, arguments):
    if not watched:
        return
    if event.startswith(STRANGE) and event != "socket.gethostname":  # which a lock holds
        seen.append((event, arguments))
    if event == "open" and isinstance(arguments[0], str):
        path, mode, flags = arguments
        writes = any(c in (mode or "") for c in "wax+") or (mode is None and (flags or 0) & (os.O_WRONLY | os.O_RDWR))
        outside = not Path(path).absolute().is_relative_to(watched[0])
        if (writes and outside and "__pycache__" not in path) or path.startswith("/etc/passwd"):
            seen.append((event, arguments))


sys.addaudithook(_hook)


def refused(call, seconds=5):
    """The one line of its error; no file of its making, no socket, no process, no time, no memory."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = now(), time.monotonic()
    seen.clear()
    watched.append(Path.cwd().parent)
    try:
        with pytest.raises(kzoo.KzooError) as error:
            call()
    finally:
        watched.clear()
    assert not seen, seen
    assert time.monotonic() - begun < seconds
    assert peak() - before < GROWTH, f"{(peak() - before) >> 20} MiB"
    assert "\n" not in str(error.value) and not Path("pwned").exists()
    return str(error.value)


@pytest.mark.parametrize("name", KERAS)
def test_keras_files(name, tmp_path):
    path = KERAS[name](tmp_path / "model.keras")
    refused(lambda: kzoo.load_model(path))


@pytest.mark.parametrize("name", H5)
def test_whole_hdf5_files(name, tmp_path):
    path = H5[name](tmp_path / "model.h5")
    refused(lambda: kzoo.load_model(path))


VERBS = {
    "evaluate": lambda path: kzoo.evaluate(path, "digits"),
    "predict": lambda path: kzoo.predict(path, np.zeros((1, 4), "float32")),
    "export": lambda path: kzoo.export(path, "out"),
    "weights": lambda path: kzoo.load_weights(kzoo.mlp_xor(), path),
    "fine_tune": lambda path: kzoo.fine_tune(path, "xor", verbose=False),
    "fine_tune weights": lambda path: kzoo.fine_tune("mlp_xor", "xor", weights=str(path), verbose=False),
    "tune weights": lambda path: kzoo.tune("mlp_xor", "xor", weights=str(path), trials=1, verbose=False),
    "resume": lambda path: kzoo.fit(resume=path, verbose=False),
    "config": lambda path: kzoo.fit(config=path, verbose=False),
    "data": lambda path: kzoo.load_data(path),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_files_through_every_verb(verb, tmp_path):
    for kind, files in (("keras", KERAS), ("h5", H5)):
        for name in files:
            folder = tmp_path / f"{kind} {name}"
            folder.mkdir()
            path = files[name](folder / f"model.{kind}")
            try:
                refused(lambda path=path: VERBS[verb](path))
            except BaseException as error:
                raise AssertionError(f"{verb} {name}") from error
            assert not Path("out").exists() and not Path("runs").exists()


@pytest.mark.parametrize("name", DATA)
def test_data(name, tmp_path):
    path = DATA[name](tmp_path / name)
    refused(lambda: kzoo.load_data(path))


@pytest.mark.parametrize("name", IMAGES)
def test_images(name, tmp_path, trained):
    path = tmp_path / name
    path.write_bytes(IMAGES[name]())
    refused(lambda: kzoo.predict(trained, [path]))


GRAPH = tf.function(bounded, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


@pytest.mark.parametrize("name", [n for n in IMAGES if not n.startswith(("svg", "tiff"))])
def test_images_inside_an_exported_graph(name):
    assert GRAPH(IMAGES[name]()).numpy() == b""


def test_of_a_gif_its_first_picture_alone():
    content = many_pictures()
    first = GRAPH(content).numpy()
    assert len(first) < len(content) / 50 and tf.io.decode_gif(first).shape == (1, 2000, 2000, 3)


def test_a_served_bomb_is_one_row(trained, tmp_path):
    """The others are answered."""
    path = kzoo.export(trained, tmp_path / "export").path
    serve = tf.saved_model.load(str(path)).signatures["serve_bytes"]
    good = io.BytesIO()
    Image.new("L", (28, 28)).save(good, "PNG")
    Path("/proc/self/clear_refs").write_text("5")
    before = now()
    found = serve(bytes=tf.constant([good.getvalue(), IMAGES["png of zeros.png"](), good.getvalue()]))
    assert found["valid"].numpy().tolist() == [True, False, True]
    assert peak() - before < GROWTH


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "mine"
    return kzoo.fit("perceptron", "or", epochs=1, run_dir=folder, verbose=False).path


@pytest.mark.parametrize("text", ["[" * DEEP, '{"a":' * DEEP, "[]", "null", "3", '"x"', "{", "\ufeff{}"])
@pytest.mark.parametrize("name", ["config.json", "plan.json", "splits.json"])
def test_files_of_a_run(text, name, mine):
    """Whole by their sha256: somebody else has made the run."""
    RunFolder(shutil.copytree(mine, "mine")).write(name, text)
    if name == "splits.json":
        refused(lambda: kzoo.load_data("digits", splits="mine")) if text != "[]" else None
        return
    refused(lambda: kzoo.fit(resume="mine", epochs=2, verbose=False))


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\x1b[31mred", "a\u202eb"])
def test_names_are_no_commands(name, tmp_path):
    found = [Prediction(name, (name, "b"), (0, 1), (0.7, 0.3))]
    _write_csv(tmp_path / "out.csv", found)
    text = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[1]
    assert "\x1b" not in text and "\u202e" not in text
    assert not re.search(r'(^|,)"?[=+@]|(^|,)"?-\D|(^|,)"?-2\+', text)

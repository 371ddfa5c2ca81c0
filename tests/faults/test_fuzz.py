"""Command lines, configurations, labels and tables that are drawn: what cannot work is said in one line, never by a
traceback.

They are tried in a process of its own: `python tests/faults/test_fuzz.py EXAMPLES [KIND …]`.
"""

import contextlib
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import kzoo
from kzoo.records import VERBS, options_of
from kzoo.runs import RunFolder

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS = st.one_of(
    st.sampled_from((
        "0", "-1", "1", "2", "0.5", "1e400", "nan", "inf", "", "None", "true", "off", "[]", "{", "a=b", "../x", "é",
        "x" * 300, "-", "1,2", "adam:", "sgd:momentum=2", "adam:learning_rate=", "last", "digits", "xor", "run", "🐈",
        "mlp_xor", "mlp_16_16", "lenet5@mnist", "run/config.json", "run/model.keras", "=1", "\x1b[31m", "\u202eabc",
        "cosine", "mirrored", "mixed_float16", "steps=0", "epoch", "a.csv", "a.png", "en-de", "0:1", "flip", "4..2",
    )),
    st.text(LETTERS, max_size=8),
    st.integers(-3, 40).map(str),
    st.floats(-2, 2).map(str),
)  # fmt: skip
TYPED = [verb for verb in VERBS if verb not in ("checks", "list", "info", "runs", "datasets")]
POSITIONAL = {"export": 2, "predict": 2, "generate": 2, "evaluate": 1}  # others take the model


class Reached(kzoo.KzooError):
    """All was checked, and the training would begin."""


def reached(*given, **more):
    raise Reached("the training would begin")


def nobody(*address, **more):
    raise socket.gaierror(-2, "Name or service not known")


def one_line(call):
    """What came of it: nothing, or the line of its error."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            call()
        except kzoo.KzooError as error:
            said = str(error)
            assert said and "\n" not in said and "\x1b" not in said and len(said) < 3000, repr(said)
            return said
    return ""


# --- what is drawn ----------------------------------------------------------------------------------------------------


@st.composite
def drawn_line(draw):
    verb = draw(st.sampled_from(TYPED))
    names = [n for record in VERBS[verb] for n, option in options_of(record).items() if option.kind.typed]
    model = st.one_of(st.sampled_from(("mlp_xor", "run", "mlp_16_16", "last", "lenet5")), WORDS)
    line = [verb.replace("_", "-"), *(draw(model if not k else WORDS) for k in range(POSITIONAL.get(verb, 1)))]
    if draw(st.booleans()):
        line += ["--data", draw(st.one_of(st.sampled_from(("xor", "digits")), WORDS))]
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.one_of(st.sampled_from(names), st.sampled_from(names), st.text(LETTERS, min_size=1, max_size=5)))
        line.append(f"--{name.replace('_', '-')}")
        if draw(st.integers(0, 5)):
            line.append(draw(WORDS))
    return line


def lines(line):
    from kzoo import cli

    out, err, status = io.StringIO(), io.StringIO(), None
    sys.argv = ["kzoo", *line]
    with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        warnings.simplefilter("ignore")
        try:
            cli.main()
        except SystemExit as stopped:
            status = stopped.code or 0
    said = err.getvalue()
    assert status in (0, 2) or (status == 1 and line[0] == "predict"), (status, said)
    assert "Traceback" not in said and "\x1b" not in said, said
    if status == 2:
        assert sum(x.startswith("kzoo: ") for x in said.splitlines()) == 1, said
    for made in Path(".").iterdir():
        if made.name not in ("run", "kept"):
            shutil.rmtree(made) if made.is_dir() else made.unlink()


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=True), st.text(LETTERS, max_size=6),
              st.sampled_from(("fit", "tune", "functional", "digits", "xor", "image", "float32", "mlp_16_16"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def drawn_change(draw):
    """(file, numbers that say which place in it, what comes there; None: it goes)."""
    file = draw(st.sampled_from(("config.json", "config.json", "plan.json")))
    return file, draw(st.lists(st.integers(0, 30), min_size=1, max_size=4)), draw(st.one_of(st.none(), VALUES))


def changed(value, way, new):
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    if not way or not keys:
        return new
    key = keys[way[0] % len(keys)]
    if len(way) == 1 and new is None:
        return (
            {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value[:key] + value[key + 1 :]
        )
    return type(value)(
        ((k, changed(v, way[1:], new) if k == key else v) for k, v in value.items())
        if isinstance(value, dict)
        else (changed(v, way[1:], new) if k == key else v for k, v in enumerate(value))
    )


def configs(change):
    """Written as kzoo writes it: the manifest vouches for it."""
    file, way, new = change
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(shutil.copytree("kept", Path(place) / "run"))
        folder.write_json(file, changed(folder.read_json(file), way, new))
        for call in (
            lambda: kzoo.load_model(folder.path),
            lambda: kzoo.evaluate(folder.path),
            lambda: kzoo.predict(folder.path, np.zeros((1, 2), "float32")),
            lambda: kzoo.fit(config=folder.path, verbose=False),
            lambda: kzoo.fit(resume=folder.path, verbose=False),
            lambda: kzoo.list_runs(place),
        ):
            one_line(call)


LABELS = st.one_of(
    st.lists(st.one_of(st.integers(-3, 5), st.none(), st.booleans(), st.text(LETTERS, max_size=3), st.floats(-2, 4)),
             min_size=0, max_size=14),
    st.lists(st.lists(st.one_of(st.integers(0, 2), st.floats(0, 1)), max_size=3), max_size=12),
    st.integers(0, 12).map(lambda n: np.arange(n) % 3),
    st.integers(1, 12).map(lambda n: np.eye(3)[np.arange(n) % 3]),
    st.integers(0, 12).map(lambda n: (np.arange(n) % 2).astype(bool)),
    st.integers(0, 12).map(lambda n: np.array(["a", "b", "c"])[np.arange(n) % 3]),
    st.integers(1, 12).map(lambda n: np.array(["2020-01-01"] * n, "datetime64[D]")),
    st.integers(1, 12).map(lambda n: np.zeros(n, "complex64")),
    st.sampled_from((None, 3, "a", {"a": [1, 2]}, {1, 2}, b"abc", object())),
)  # fmt: skip


def labels(y):
    """Beside images, to a network of three classes."""
    x = np.arange(12 * 64).reshape(12, 8, 8, 1).astype("uint8")
    one_line(lambda: kzoo.fit("mlp_16_16", (x, y), epochs=1, verbose=False))
    one_line(lambda: kzoo.fit("mlp_16_16", (x[: len(y)] if hasattr(y, "__len__") else x, y), epochs=1, verbose=False))
    one_line(lambda: kzoo.evaluate("kept", (np.zeros((12, 2), "float32"), y)))


HEADS = ("text", "label", "source", "target", "split", "file", '"', "a,b", "\t", "\r", "\n", "train", "test")
CELLS = st.one_of(WORDS, st.text(max_size=12), st.sampled_from(HEADS))


@st.composite
def drawn_table(draw):
    name = draw(st.sampled_from(("t.csv", "t.tsv", "t.txt", "labels.csv", "t.npz", "t.json", "train.en", "t.csv.gz")))
    if draw(st.integers(0, 3)):
        mark = draw(st.sampled_from((",", ";", "\t", "|", " ")))
        rows = draw(st.lists(st.lists(CELLS, max_size=4), max_size=8))
        text = draw(st.sampled_from(("\n", "\r\n", "\r"))).join(mark.join(row) for row in rows)
        return name, text.encode(draw(st.sampled_from(("utf-8", "utf-16", "utf-8-sig"))), "surrogatepass")
    return name, draw(st.binary(max_size=200))


def tables(table):
    name, content = table
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name
        path.write_bytes(content)
        one_line(lambda: kzoo.load_data(path))
        one_line(lambda: kzoo.load_data(place))
        one_line(lambda: kzoo.evaluate("kept", str(path)))


DRAWN = {"lines": (lines, drawn_line()), "configs": (configs, drawn_change()), "labels": (labels, LABELS),
         "tables": (tables, drawn_table())}  # fmt: skip


def main(examples, *kinds):
    """Trainings end where they would begin."""
    import kzoo.verbs.ready

    socket.getaddrinfo = nobody
    for name in ("run", "kept"):
        kzoo.fit("mlp_xor", "xor", epochs=1, run_dir=name, verbose=False)
    kzoo.verbs.ready.make_engine = reached
    quiet = settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                     suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink])  # fmt: skip
    for kind in kinds or DRAWN:
        call, values = DRAWN[kind]
        quiet(given(values)(call))()


@pytest.mark.parametrize("line", ["5", *(pytest.param(f"2500 {kind}", marks=pytest.mark.slow) for kind in DRAWN)])
def test_only_lines(line, tmp_path):
    found = subprocess.run(
        [sys.executable, __file__, *line.split()], capture_output=True, text=True, cwd=tmp_path, errors="replace",
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

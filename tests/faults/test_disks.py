"""Disks that are full, broken, or not to be written: one line with the path, exit status 2, the last whole state."""

import errno
import os
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from remains import differences, left, nothing_beside

import kzoo
from kzoo import files
from kzoo.files import DiskError
from kzoo.runs import RunFolder

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)
LASTING = 1
OF_TENSORFLOW = {errno.EROFS: errno.EACCES, errno.EDQUOT: errno.ENOSPC}  # all that its file of events tells


def wrong_with(forks, wholes, folder, at, number):
    """What is wrong with a training whose disk fails from that call on, and is mended then."""
    status, said, _ = forks("classifier", folder, fault=[at, number, LASTING])
    lines = [line for line in said.splitlines() if line.startswith("kzoo: ")]
    if status != 2 or len(lines) != 1 or "Traceback" in said:
        return f"status {status}: {said[-400:]}"
    allowed = {number, OF_TENSORFLOW.get(number, number)} if "tensorboard" in lines[0] else {number}
    if not any(os.strerror(n) in lines[0] for n in allowed) or "'run" not in lines[0]:
        return lines[0]
    if not (folder / "config.json").is_file():
        return []  # nothing was begun
    status, said, _ = forks("classifier", folder, resume=True)
    if status:
        return f"does not go on: {said[-400:]}"
    return [*differences(left(folder), wholes("classifier").left), *nothing_beside(folder)]


@pytest.mark.parametrize(
    ("share", "number"), [(0.55, errno.EIO), pytest.param(0.97, errno.EROFS, marks=pytest.mark.slow)]
)
def test_a_training_says_it_and_goes_on_later(share, number, forks, wholes, tmp_path):
    assert not wrong_with(forks, wholes, tmp_path / "run", int(share * wholes("classifier").calls), number)


@pytest.mark.slow
@pytest.mark.parametrize("number", ERRORS)
def test_at_many_calls(number, forks, wholes, tmp_path):
    found, calls = {}, wholes("classifier").calls
    for at in range(1 + ERRORS.index(number), calls, calls // 20):
        (tmp_path / str(at)).mkdir()
        found[at] = wrong_with(forks, wholes, tmp_path / str(at) / "run", at, number)
        print(errno.errorcode[number], at, found[at], flush=True)
        shutil.rmtree(tmp_path / str(at))
    assert not {at: wrong for at, wrong in found.items() if wrong}


# --- in this process: every write of every verb, by the one place that renames ----------------------------------------


@pytest.fixture
def broken(monkeypatch):
    """Renaming into a place whose name is given fails with that error."""

    def set_to(name, number):
        real = os.replace

        def replace(source, target, **more):
            if os.path.basename(target) == name:
                raise OSError(number, os.strerror(number), str(target))
            return real(source, target, **more)

        monkeypatch.setattr("os.replace", replace)

    return set_to


@pytest.mark.parametrize("number", ERRORS)
def test_a_file_is_as_it_was(number, broken, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    broken("a.txt", number)
    says = rf"^cannot write '{re.escape(str(path))}': {os.strerror(number)}; 1,000 bytes wanted, [\d,]+ free$"
    with pytest.raises(DiskError, match=says), files.atomic(path, 1000) as beside:
        beside.write_text("after")
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["config.json", "model.keras", "plan.json", "metrics.csv", "manifest.json",
                                  "0001-000000", "marks.json", "curves.png", "card.md"])  # fmt: skip
def test_each_file_of_a_run(name, broken):
    broken(name, errno.ENOSPC)
    with pytest.raises(DiskError, match=rf"^cannot write '[^']*{re.escape(name)}': No space left on device"):
        kzoo.fit("perceptron", "or", epochs=2, run_dir="mine", verbose=False)


def test_an_evaluation_is_told_though_it_cannot_be_written(trained, tmp_path):
    folder = shutil.copytree(trained.path, tmp_path / "run")
    found = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(folder)], capture_output=True, text=True, env={**os.environ}
    )
    assert found.returncode == 2, found.stderr
    assert "accuracy" in found.stdout
    assert re.search(r"^kzoo: cannot write '.*': No space left on device", found.stderr.strip().splitlines()[-1])


EVALUATE = """
import os, sys
real = os.replace
def replace(source, target, **more):
    raise OSError(28, "No space left on device", str(target))
os.replace = replace
sys.argv = ["kzoo", "evaluate", sys.argv[1]]
from kzoo.__main__ import main
main()
"""


@pytest.mark.slow
def test_predictions_are_told_though_their_table_cannot_be_written(trained, tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "zero.png")
    code = EVALUATE.replace('"evaluate", sys.argv[1]', '"predict", sys.argv[1], "zero.png", "--csv", "out.csv"')
    found = subprocess.run(
        [sys.executable, "-c", code, str(trained.path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert found.returncode == 2 and "zero.png" in found.stdout
    assert "cannot write" in found.stderr and "out.csv" in found.stderr
    assert not (tmp_path / "out.csv").exists()


# --- for real ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1.5 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", place], capture_output=True)
    if made.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=False)


def test_a_disk_that_fills_up(small_disk):
    """The run stands, with its last whole checkpoint; with room again it goes on."""
    with pytest.raises(DiskError, match=r"^cannot write '.*': No space left on device"):
        kzoo.fit("lenet5", "digits", epochs=3, run_dir=small_disk / "run", verbose=False)
    filler = small_disk / "filler"
    assert not (small_disk / "run").exists() or RunFolder(small_disk / "run").checkpoints.newest
    filler.write_bytes(b"")
    run = kzoo.fit("mlp_16_16", "digits", epochs=1, run_dir=small_disk / "other", verbose=False)
    assert (run.path / "card.md").is_file()

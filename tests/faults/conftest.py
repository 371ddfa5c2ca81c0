"""The faults: a library that is preloaded, and a process that forks trainings under it."""

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from remains import left, nothing_beside

HERE = Path(__file__).parent


class Forks:
    """Trainings in processes of their own, one after the other."""

    def __init__(self, library, folder):
        self.folder, self.number, self.log = folder, 0, (folder / "forks.log").open("w")
        beside = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": beside, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "forks.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
            stderr=self.log,
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n", (folder / "forks.log").read_text()

    def __call__(self, program, folder, resume=False, fault=None, signal=None, below=None, devices=2):
        """(exit status, negative of a signal's; what was said; calls that were counted)."""
        log = self.folder / f"{self.number}.log"
        self.number += 1
        job = {
            "program": program, "folder": str(folder), "resume": resume, "fault": fault, "signal": signal,
            "log": str(log), "below": str(below or Path(folder).parent), "devices": devices,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], log.read_text(errors="replace"), answer["calls"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
        self.log.close()


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: cc")
    path = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, HERE / "faults.c", "-ldl"], check=True)
    return path


@pytest.fixture(scope="session")
def forks(library, tmp_path_factory):
    found = Forks(library, tmp_path_factory.mktemp("forks"))
    yield found
    found.close()


class Whole(NamedTuple):
    """An uninterrupted training: what it leaves, calls on files, seconds."""

    left: dict
    calls: int
    seconds: float


@pytest.fixture(scope="session")
def wholes(forks, tmp_path_factory):
    """(program) -> Whole, made on first use."""

    @functools.cache
    def whole(program):
        folder, begun = tmp_path_factory.mktemp(program.replace(":", "-")) / "run", time.monotonic()
        status, said, calls = forks(program, folder, fault=[-1, 0, 0])
        assert status == 0, said
        assert not nothing_beside(folder)
        return Whole(left(folder), calls, time.monotonic() - begun)

    return whole

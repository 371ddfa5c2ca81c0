"""The faults: a library that is preloaded, and a process that forks trainings under it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


class Forks:
    """Trainings in processes of their own, one after the other."""

    def __init__(self, library, folder):
        self.folder, self.number, self.log = folder, 0, (folder / "forks.log").open("w")
        env = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(HERE), "TF_CPP_MIN_LOG_LEVEL": "3"}
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

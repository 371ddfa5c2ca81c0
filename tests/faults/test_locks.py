"""One process writes a run; another one is told which, and a dead one is none."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_signals import FIT, typed, until

import kzoo
from kzoo.files import Lock, check_unlocked

HOLD = """
import sys, time
from pathlib import Path
from kzoo.files import Lock
try:
    Lock(Path(sys.argv[1])).take()
except ValueError as error:
    print(error); sys.exit(2)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def holding(folder, seconds=60):
    return subprocess.Popen([sys.executable, "-c", HOLD, folder, str(seconds)], stdout=subprocess.PIPE, text=True)


def ended(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_holder_is_named_and_a_dead_one_taken_over(tmp_path):
    process = holding(tmp_path)
    assert process.stdout.readline() == "held\n"
    says = rf"is being written by process {process.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d; wait for its end$"
    with pytest.raises(kzoo.KzooError, match=says):
        Lock(tmp_path).take()
    with pytest.raises(kzoo.KzooError, match=says):
        check_unlocked(tmp_path)
    ended(process)
    check_unlocked(tmp_path)
    lock = Lock(tmp_path).take()
    assert re.search(rf"was left by process {process.pid} since .*, which has ended; going on$", lock.taken_over)
    lock.release()
    assert not list(tmp_path.iterdir())
    with Lock(tmp_path) as lock:
        assert not lock.taken_over


def test_of_twenty_at_once_one_has_it(tmp_path):
    processes = [holding(tmp_path) for _ in range(20)]
    lines = [process.stdout.readline() for process in processes]
    assert sorted(line == "held\n" for line in lines) == [False] * 19 + [True]
    holder = processes[lines.index("held\n")].pid
    assert sum(f"process {holder} " in line for line in lines) >= 18  # one may have asked while another did
    for process in processes:
        ended(process)


@pytest.mark.parametrize("file", ["", "{", "[]", '{"pid": "x"}', "null"])
def test_a_file_that_nobody_holds_is_no_lock(file, tmp_path):
    (tmp_path / ".lock").write_text(file)
    with Lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_where_the_file_system_knows_no_locks(tmp_path, monkeypatch):
    """By what the file says: of this machine a process that lives, of another one always."""
    monkeypatch.setattr("kzoo.files.lock._locked", lambda handle: None)
    told = {"pid": os.getpid(), "host": os.uname().nodename, "since": 0}
    for changes, held in (
        ({}, True),
        ({"host": "elsewhere"}, True),
        ({"started": -1.0}, False),
        ({"pid": 2**22 + 1}, False),
    ):
        (tmp_path / ".lock").write_text(json.dumps(told | changes))
        with pytest.raises(kzoo.KzooError, match="is being written by process") if held else contextlib.nullcontext():
            check_unlocked(tmp_path)


@pytest.mark.slow
def test_a_run_that_is_being_written(tmp_path):
    """By a training in a process of its own: resumed, by the command line within two seconds, it names that."""
    process = typed(*FIT, cwd=tmp_path)
    until((tmp_path / "runs/0001-lenet5-digits/checkpoints/0001-000000").is_dir, process)
    begun = time.monotonic()
    second = typed("fit", "--resume", "last", cwd=tmp_path)
    _, said = second.communicate(timeout=60)
    seconds = time.monotonic() - begun
    assert second.returncode == 2 and f"is being written by process {process.pid} since" in said
    assert len(said.splitlines()) == 1 and seconds < 2
    for verb in (lambda: kzoo.fit(resume=tmp_path / "runs/0001-lenet5-digits", verbose=False),):
        with pytest.raises(kzoo.KzooError, match=f"is being written by process {process.pid} since"):
            verb()
    assert kzoo.evaluate(tmp_path / "runs/0001-lenet5-digits").examples  # reading is free
    process.send_signal(signal.SIGKILL)
    process.communicate()
    third = typed("fit", "--resume", "last", "--epochs", "1", cwd=tmp_path)
    _, said = third.communicate(timeout=60)
    assert third.returncode == 0 and f"was left by process {process.pid}" in said
    assert not (tmp_path / "runs/0001-lenet5-digits/.lock").exists()


def test_threads_train_one_after_the_other():
    """They would draw from each other's random numbers: refused by name."""
    found, go = {}, threading.Event()

    def train(seed):
        go.wait()
        try:
            found[seed] = kzoo.fit("mlp_16_16", "digits", epochs=1, seed=seed, run_dir=f"{seed}", verbose=False)
        except kzoo.KzooError as error:
            found[seed] = error

    threads = [threading.Thread(target=train, args=(seed,), name=f"t{seed}") for seed in range(4)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    runs = {seed: run for seed, run in found.items() if not isinstance(run, kzoo.KzooError)}
    assert len(runs) >= 1 and len(found) == 4
    for seed, error in found.items():
        if seed not in runs:
            assert re.match(r"the thread 't\d' of this process trains already", str(error))
            assert not Path(f"{seed}").exists()
    for seed, run in runs.items():
        again = kzoo.fit("mlp_16_16", "digits", epochs=1, seed=seed, run_dir=f"again{seed}", verbose=False)
        assert run.history == again.history

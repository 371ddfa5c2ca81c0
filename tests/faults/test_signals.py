"""Signals at any instant: a checkpoint of the step, a line that says how to go on, an exit status, no traceback."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from remains import differences, left, nothing_beside

from kzoo import signals
from kzoo.runs import RunFolder

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
FIT = ["fit", "lenet5", "--data", "digits", "--epochs", "300", "--xla", "off", "--checkpoint", "epoch"]


def defaults():
    """Whoever runs the tests in the background may have these ignored."""
    for number in STATUS:
        signal.signal(number, signal.SIG_DFL)


def typed(*arguments, begin=defaults, **more):
    """A training on the command line, in a process of its own."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen([sys.executable, "-m", "kzoo", *arguments], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, preexec_fn=begin, **more)  # fmt: skip


def until(there, process, seconds=120):
    limit = time.monotonic() + seconds
    while not there():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 1))])
def test_the_command_line_stops_at_its_step(number, tmp_path):
    process = typed(*FIT, cwd=tmp_path)
    until((tmp_path / "runs/0001-lenet5-digits/checkpoints/0001-000000").is_dir, process)
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == STATUS[number] and time.monotonic() - sent < 5, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "resume: kzoo fit --resume runs/0001-lenet5-digits"
    after = re.search(r"interrupted; the checkpoint after (\d+) whole epochs?(?: and (\d+) batch(?:es)?)? is in", said)
    folder = RunFolder(tmp_path / "runs/0001-lenet5-digits")
    assert folder.checkpoints.newest == f"{int(after[1]):04d}-{int(after[2] or 0):06d}"
    assert not nothing_beside(folder.path)


@pytest.mark.slow
def test_sigusr1_writes_a_checkpoint_and_goes_on(tmp_path):
    """Of epochs of some seconds: into shorter ones the host does not look, and each ends with a checkpoint."""
    process = typed(*FIT, "--batch-size", "2", "--strategy", "mirrored", "--devices", "2", cwd=tmp_path)
    checkpoints = tmp_path / "runs/0001-lenet5-digits/checkpoints"
    until((checkpoints / "0001-000000").is_dir, process)
    between = lambda: [p for p in checkpoints.glob("[0-9]*") if not p.name.endswith("-000000")]
    assert not between()
    process.send_signal(signal.SIGUSR1)
    until(between, process, 20)
    whole = max(int(p.name[:4]) for p in checkpoints.glob("[0-9]*"))
    until((checkpoints / f"{whole + 2:04d}-000000").is_dir, process)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_second_one_ends_at_once(tmp_path):
    """While the first one waits for the end of a long step."""
    (tmp_path / "slow.py").write_text(
        "import keras, numpy as np, tensorflow as tf, time, kzoo\n"
        "def rows():\n"
        "    while True:\n"
        "        print('step', flush=True)\n"
        "        time.sleep(8)\n"
        "        yield np.zeros((4, 2), 'float32'), np.zeros((4, 1), 'float32')\n"
        "spec = (tf.TensorSpec((4, 2)), tf.TensorSpec((4, 1)))\n"
        "data = tf.data.Dataset.from_generator(rows, output_signature=spec)\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\n"
        "kzoo.fit(model, data, epochs=1, limit_train_batches=9, run_dir='mine')\n"
    )
    process = subprocess.Popen([sys.executable, "slow.py"], cwd=tmp_path, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    until((tmp_path / "mine/config.json").is_file, process)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert "Traceback" not in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize("seconds", [0.15, pytest.param(1.5, marks=pytest.mark.slow)])
def test_while_it_imports(seconds, tmp_path):
    begin = "import os, sys, kzoo.__main__ as kzoo; os.write(1, b'.'); sys.argv[0] = 'kzoo'; kzoo.main()"
    for number, status in STATUS.items():
        process = subprocess.Popen([sys.executable, "-c", begin, *FIT], cwd=tmp_path, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, preexec_fn=defaults)  # fmt: skip
        assert process.stdout.read(1) == "."
        time.sleep(seconds)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode == status and "Traceback" not in said, said
        assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_sigusr1_ends_nothing_before_and_after(tmp_path):
    """Where there is nothing to write yet, or any more."""
    line = ["fit", "lenet5", "--data", "digits", "--epochs", "2"]
    process = typed(*line, cwd=tmp_path)
    time.sleep(0.8)  # Python itself has begun
    while process.poll() is None:
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.05)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert RunFolder(tmp_path / "runs/0001-lenet5-digits").read_config()["finished"]


def test_sigusr1_inside_and_outside_a_training():
    with signals.spared():
        os.kill(os.getpid(), signal.SIGUSR1)
        with signals.held() as asked:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert asked.checkpoint
        os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_folder_that_is_made_aside_goes_with_the_process(tmp_path):
    code = (
        "import os, pathlib, signal; from kzoo import signals; from kzoo.files import made_aside\n"
        "signals.take(); aside = made_aside(pathlib.Path('runs')); (aside / 'plan.json').touch()\n"
        "print(aside, flush=True); os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, preexec_fn=defaults, capture_output=True)
    assert done.returncode == 143 and done.stdout.startswith(b"runs/.")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_what_is_ignored_stays_ignored(tmp_path):
    """As nohup has it."""
    process = typed(*FIT, cwd=tmp_path, begin=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    checkpoints = tmp_path / "runs/0001-lenet5-digits/checkpoints"
    until((checkpoints / "0001-000000").is_dir, process)
    process.send_signal(signal.SIGHUP)
    until((checkpoints / "0004-000000").is_dir, process)
    process.kill()
    process.communicate()


def interrupted(forks, wholes, folder, number, seconds):
    """Whether the signal came before the end; the run goes on to what it would have been."""
    status, said, _ = forks("classifier", folder, signal=[int(number), seconds])
    if status == 0:
        return False
    assert status in (STATUS[number], -number) and "Traceback" not in said, said
    begun = (folder / "config.json").is_file()
    assert begun or not folder.exists()
    status, said, _ = forks("classifier", folder, resume=begun)
    assert status == 0, said
    newest = f"checkpoints/{RunFolder(folder).checkpoints.newest}/"
    wrong = differences(left(folder), wholes("classifier").left)
    assert not [name for name in wrong if not name.startswith("checkpoints/0") or name.startswith(newest)]  # *
    assert not nothing_beside(folder)
    return True  # * the one before the newest may be the signal's own


def test_it_goes_on_as_if_it_had_not_been(forks, wholes, tmp_path):
    """Late in the training; earlier where this one is faster than the one that was timed, and over before."""

    def came(share):
        (tmp_path / f"{share}").mkdir()
        seconds = share * wholes("classifier").seconds
        return interrupted(forks, wholes, tmp_path / f"{share}" / "run", signal.SIGTERM, seconds)

    assert any(map(came, (0.75, 0.5, 0.25)))


@pytest.mark.slow
@pytest.mark.parametrize("number", STATUS)
def test_at_many_instants(number, forks, wholes, tmp_path):
    """17 of each, from the first moment to the last."""
    came = [
        interrupted(forks, wholes, tmp_path / str(k) / "run", number, (k + 0.5) / 17 * wholes("classifier").seconds)
        for k in range(17)
        if not (tmp_path / str(k)).mkdir()
    ]
    assert sum(came) >= 14

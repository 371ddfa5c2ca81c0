"""Options, markers and the few things that many tests share."""

import gc
import itertools
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", os.environ.get("KZOO_TEST_GPU", "-1"))

os.environ["KZOO_OFFLINE"] = "1"  # no test fetches weights, but from a server of its own

import keras
import numpy as np
import pytest
import serving
import tensorflow as tf

if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken by the other tests
    tf.config.threading.set_intra_op_parallelism_threads(1)
for kind, megabytes in (("CPU", None), ("GPU", 8192)):  # each cut into two, so that strategies have replicas
    for device in tf.config.list_physical_devices(kind)[:1]:
        parts = [tf.config.LogicalDeviceConfiguration(memory_limit=megabytes)] * 2
        tf.config.set_logical_device_configuration(device, parts)

os.fsync = lambda handle: None  # what is lost without it a power cut would lose; tests that count it have own processes

gc.freeze()  # TensorFlow and Keras themselves are not looked through at every collection
gc.set_threshold(20_000, 20, 20)

SHARED = Path(os.environ.get("KZOO_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
if not SHARED.is_dir():
    SHARED = Path.home() / "shared" / "data"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--network", action="store_true", help="also run the tests that need the network")


def pytest_collection_modifyitems(config, items):
    reasons = {
        "slow": None if config.getoption("--slow") else "slow: give --slow",
        "network": None if config.getoption("--network") else "needs the network: give --network",
        "data": None if SHARED.is_dir() else f"no data sets in {SHARED} (KZOO_TEST_DATA)",
        "gpu": None if tf.config.list_physical_devices("GPU") else "no GPU",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):  # keywords hold names of folders, too
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter):
    """What did not run is named, with its reason; it never counts as passed."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"NOT RUN {report.nodeid}: {reason.removeprefix('Skipped: ')}")


def pytest_sessionfinish():
    serving.stop()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder, so that runs/ is its own."""
    monkeypatch.chdir(tmp_path)


_tests = itertools.count(1)


@pytest.fixture(autouse=True)
def _collected():
    """Models and compiled steps hold each other, small objects to Python, which would let their gigabytes lie."""
    yield
    if next(_tests) % 60 == 0:
        gc.collect()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def shared():
    """The folder of the real data sets."""
    return SHARED


@pytest.fixture(scope="session")
def tfds_folder(tmp_path_factory):
    """MNIST and CIFAR-10 as TensorFlow Datasets prepares them, written by the data folder's own script."""
    folder = tmp_path_factory.mktemp("tfds")
    sys.path.insert(0, str(SHARED))
    try:
        import to_tfds

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            to_tfds.main([str(folder), "mnist", "cifar10"])
    finally:
        sys.path.remove(str(SHARED))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """LeNet-5 after two epochs on the digits: a Run, for tests that only read it."""
    import kzoo

    folder = tmp_path_factory.mktemp("trained") / "run"
    return kzoo.fit("lenet5", "digits", epochs=2, run_dir=folder, verbose=False)


def inputs_for(model, count=3, seed=0):
    """Random numbers, or token ids of 7 places, as the model takes them."""
    from kzoo.tasks import random_inputs

    return keras.tree.map_structure(lambda t: t.numpy(), random_inputs(model, count, seed, side=7))


@pytest.fixture(name="inputs_for")
def _inputs_for():
    return inputs_for


@pytest.fixture
def seeded():
    """build() after Keras' seed: equal seeds give equal weights in every style."""

    def build(name, style, seed=0, **arguments):
        import kzoo

        keras.utils.set_random_seed(seed)
        return kzoo.create_model(name, style=style, **arguments)

    return build


@pytest.fixture
def here(monkeypatch, capsys):
    """The command line in this process: (status, stdout, stderr)."""
    from kzoo import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kzoo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run

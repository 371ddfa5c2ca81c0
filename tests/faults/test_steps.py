"""A run goes on at any step, on any number of replicas."""

import csv
import time

import keras
import numpy as np
import pytest
from remains import differences, left

import kzoo
from kzoo.engine import Place
from kzoo.runs import Checkpoints, RunFolder

STEPS = 5


def data():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(110, 5)).astype("float32"), np.arange(110) % 3
    return kzoo.Data((x[:80], y[:80]), validation=(x[80:], y[80:]))


def network():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    return keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(3, "softmax")])


def fit(run_dir, **options):
    return kzoo.fit(
        network(), data(), run_dir=run_dir, epochs=3, batch_size=16, verbose=False, xla="off", schedule="cosine",
        optimizer="adam", learning_rate=0.02, loss="sparse_categorical_crossentropy", metrics=["accuracy"],
        **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "steps"),
    [
        ("default", (4, 11)),
        pytest.param("default", range(1, 3 * STEPS), marks=pytest.mark.slow),
        pytest.param("mirrored", range(1, 3 * STEPS), marks=pytest.mark.slow),
    ],
)
def test_at_each_step_of_three_epochs(strategy, steps, forks, wholes, tmp_path):
    """To the bit; the step after which it was left has its checkpoint."""
    whole, differ = wholes(f"stepwise:{strategy}").left, {}
    for step in steps:
        folder = tmp_path / str(step) / "run"
        folder.parent.mkdir()
        status, said, _ = forks(f"stepwise:{strategy}:{step + 1}", folder)
        assert status == 130, said
        assert RunFolder(folder).checkpoints.newest == f"{step // STEPS:04d}-{step % STEPS:06d}"
        status, said, _ = forks(f"stepwise:{strategy}", folder, resume=True)
        assert status == 0, said
        newest = f"checkpoints/{RunFolder(folder).checkpoints.newest}/"
        wrong = differences(left(folder), whole)  # not of the checkpoint before: here there is one a step
        differ[step] = [name for name in wrong if not name.startswith("checkpoints/0") or name.startswith(newest)]
    assert not any(differ.values()), differ


@pytest.mark.slow
def test_on_one_two_four_and_one_replica(forks, tmp_path):
    """Each example once an epoch: the losses are those of one replica all the way, to 1e-5."""
    status, said, _ = forks("elastic:1:4", tmp_path / "whole", devices=4)
    assert status == 0, said
    for epochs, devices in enumerate((1, 2, 4, 1), start=1):
        status, said, _ = forks(f"elastic:{devices}:{epochs}", tmp_path / "run", resume=epochs > 1, devices=4)
        assert status == 0, said
    losses = []
    for name in ("whole", "run"):
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            losses.append([float(row["loss"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize("given", ["epoch", "steps=3", "seconds=1.5"])
def test_how_often(given, tmp_path):
    run = fit(tmp_path / "run", checkpoint=given)
    assert RunFolder(run.path).read_config()["options"]["checkpoint"] == given
    assert RunFolder(run.path).checkpoints.newest == "0003-000000"


@pytest.mark.parametrize("given", ["steps", "steps=0", "seconds=-1", "steps=x", "often", 3, "epochs=2"])
def test_how_often_is_checked(given):
    with pytest.raises(kzoo.KzooError, match="^checkpoint must be 'epoch', 'steps=N' or 'seconds=X'; received"):
        kzoo.fit("mlp_xor", "xor", checkpoint=given)


def test_a_checkpoint_is_a_copy(tmp_path, monkeypatch):
    """It is written while the weights change: what is written is what they were."""
    save, kept = Checkpoints.save, []

    def slowly(self, place: Place, tensors, *more):
        before = {k: np.array(v) for k, v in tensors.items()}
        time.sleep(0.2)
        kept.append(all(np.array_equal(before[k], v) for k, v in tensors.items()))
        return save(self, place, tensors, *more)

    monkeypatch.setattr(Checkpoints, "save", slowly)
    fit(tmp_path / "run", checkpoint="steps=2")
    assert len(kept) >= 6 and all(kept)

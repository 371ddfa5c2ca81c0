"""bench: what it times, and that it leaves the model as it was."""

import numpy as np

import kzoo


def test_a_name_and_an_opponent():
    found = kzoo.bench("lenet5", batch_size=4, against="keras", seconds=0.05, rounds=1)
    assert found.training > 0 and found.inference > 0 and found.ratio > 0


def test_the_weights_are_afterwards_what_they_were():
    model = kzoo.create_model("resnet_tiny")
    before = [w.copy() for w in model.get_weights()]
    kzoo.bench(model, batch_size=2, seconds=0.05, rounds=1)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)

"""Texts and translations under every strategy: the losses of one device, XLA on and off, over at least 20 steps.

Batches are of like lengths and so of all sizes, and losses are means over real tokens. Two players have a file of their
own, test_adversarial.py.
"""

import functools

import cluster
import kinds
import numpy as np
import pytest

import kzoo


@functools.cache
def alone(name):
    return kinds.trajectory(name, kzoo.strategy("default"), False)


@functools.cache
def mirrored():
    return kzoo.strategy("mirrored", ["CPU:0", "CPU:1"])


def assert_same(found, expected):
    assert len(found[0]) == len(expected[0]) >= 20
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    for mine, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("name", kinds.MODELS)
def test_xla_on_one_device(name):
    assert_same(kinds.trajectory(name, kzoo.strategy("default"), True), alone(name))


@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
@pytest.mark.parametrize("name", kinds.MODELS)
def test_mirrored(name, xla):
    assert_same(kinds.trajectory(name, mirrored(), xla), alone(name))


def test_two_processes(tmp_path):
    for found in cluster.run("kinds", {"worker": 2}, tmp_path):
        for name in kinds.MODELS:
            for xla in (False, True):
                assert_same(found[f"{name} {xla}"], alone(name))

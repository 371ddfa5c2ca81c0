"""Several processes: the numbers of one device on every worker, and no update lost on parameter servers.

One cluster of two workers and one of parameter servers answer all of these tests.
"""

import cluster
import kinds
import nets
import numpy as np
import pytest
import test_adversarial
import test_freezing

import kzoo

WORKERS, SERVERS = {"worker": 2}, {"chief": 1, "worker": 2, "ps": 1}
SHOWN = [("subclass", False)]
STYLES = [
    pytest.param(style, xla, marks=() if (style, xla) in SHOWN else pytest.mark.slow)
    for style in nets.STYLES
    for xla in (False, True)
]


# --- two workers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("style", "xla"), STYLES)
def test_losses_and_weights_are_those_of_one_device(style, xla, tmp_path):
    for found in cluster.run("nets.in_processes", WORKERS, tmp_path, [style, xla]):
        nets.assert_same(found, nets.stock(style))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_mobilenet(whole, tmp_path):
    for found in cluster.run("nets.mobilenet_in_processes", WORKERS, tmp_path, [whole]):
        np.testing.assert_allclose(found, nets.mobilenet_without_xla(whole), rtol=1e-6)


def test_batches_in_an_order_of_each_workers_own_are_refused(tmp_path):
    for found in cluster.run("nets.other_orders", WORKERS, tmp_path):
        assert found.startswith("the first batch differs between the workers (")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "xla"), [(model, xla) for model in kinds.MODELS for xla in (False, True)])
def test_texts(model, xla, tmp_path):
    for found in cluster.run("kinds.in_processes", WORKERS, tmp_path, [model, xla]):
        kinds.assert_same(found, kinds.alone(model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["own", *(pytest.param(how, marks=pytest.mark.slow) for how in ("synchronised", "own, xla"))]
)
def test_two_networks(how, tmp_path):
    replicas = 1 if how == "synchronised" else 2
    for found in cluster.run("test_adversarial.in_processes", WORKERS, tmp_path, [how]):
        test_adversarial.assert_same(found, test_adversarial.expected(replicas))


@pytest.mark.slow
def test_what_is_frozen_and_scaled(tmp_path):
    one, two = cluster.run("test_freezing.in_processes", WORKERS, tmp_path)
    assert one["moved"] == two["moved"] and len(one["moved"]) > 20
    assert not [key for key in one["moved"] if key.startswith(tuple(test_freezing.FROZEN))]
    scaled = test_freezing.stepped("functional", "default", rates=test_freezing.RATES)
    for found in (one, two):
        for key, change in scaled.items():
            np.testing.assert_allclose(found["changes"][key], change, atol=1e-6, err_msg=key)
    test_freezing.assert_scaled(scaled, test_freezing.plain("functional"))


# --- parameter servers ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_parameter_servers_lose_no_update(tmp_path):
    (found,) = cluster.run("nets.on_servers", SERVERS, tmp_path)
    one = kzoo.fit("lenet5", "digits", epochs=3, batch_size=32, verbose=False).history["loss"]
    for losses, counted, steps in found.values():
        assert counted == 3 * steps  # every worker's every update is there
        assert losses[0] > losses[-1] and losses[-1] < one[0]  # it learns, in the band of one device
        assert losses[-1] < 2 * one[-1] + 0.1


@pytest.mark.slow
def test_an_update_on_a_parameter_server_is_scaled(tmp_path):
    (found,) = cluster.run("test_freezing.on_servers", SERVERS, tmp_path)
    changes = {key: np.array(change) for key, change in found.items()}
    test_freezing.assert_scaled(changes, test_freezing.plain("functional"))

"""On one GPU cut into two: the matrix of test_strategies.py, and float16 with loss scaling. KZOO_TEST_GPU=0 runs it."""

import nets
import pytest

import kzoo

pytestmark = pytest.mark.gpu
PARTS = ["GPU:0", "GPU:1"]


@pytest.mark.parametrize("style", nets.STYLES)
@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
@pytest.mark.parametrize("name", ["mirrored", "central"])
def test_two_parts_of_a_card_have_the_losses_of_one_device(name, xla, style):
    found = nets.trajectory(style, kzoo.strategy(name, PARTS), xla)
    assert found[0] == pytest.approx(nets.stock_trajectory(style)[0], rel=1e-5)


@pytest.mark.parametrize("xla", [False, True], ids=["xla-off", "xla-on"])
def test_float16_scales_its_loss(xla):
    one = nets.trajectory("functional", kzoo.strategy("one", PARTS[:1]), xla, precision="mixed_float16")
    two = nets.trajectory("functional", kzoo.strategy("mirrored", PARTS), xla, precision="mixed_float16")
    assert two[0] == pytest.approx(one[0], rel=5e-3)
    assert two[0] == pytest.approx(nets.stock_trajectory("functional")[0], rel=2e-2)

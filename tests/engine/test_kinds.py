"""Texts and translations under every strategy: the losses of one device, XLA on and off, over at least 20 steps.

Batches are of like lengths and so of all sizes, and losses are means over real tokens. Two networks that learn from
each other have a file of their own, test_adversarial.py; several processes have test_processes.py.
"""

import kinds
import nets
import pytest

SHOWN = {  # the rest of the cross is slow
    ("default", True): "textcnn_tiny",
    ("mirrored", False): "textcnn_tiny",
    ("mirrored", True): "lstm_classifier_tiny",
}
CROSS = [
    pytest.param(
        name, xla, model, marks=() if SHOWN[name, xla] == model else pytest.mark.slow,
        id=f"{name}-{'xla' if xla else 'plain'}-{model}",
    )
    for name, xla in SHOWN
    for model in kinds.MODELS
]  # fmt: skip


@pytest.mark.parametrize(("name", "xla", "model"), CROSS)
def test_losses_and_weights_are_those_of_one_device(name, xla, model):
    kinds.assert_same(kinds.trajectory(model, nets.strategy(name), xla), kinds.alone(model))

"""Which layers are thawed when, and the names that say it."""

import pytest

import kzoo
from kzoo.engine import named_layers, set_trainable
from kzoo.finetuning.stages import groups_of, prefixes_of, stages_of
from kzoo.records import STYLES, FineTuning
from kzoo.zoo import index

DECAY = 1 / 2.6  # Howard and Ruder 2018
NAMES = [
    name for name, row in index().items()
    if row["task"] == "image-classification" and (row["hidden"] or name in ("mlp", "lenet5", "resnet20"))
]  # fmt: skip


def plan(model, **changes):
    head = groups_of(model)[-1].layers[-1]
    options = {"depth": None, "head_epochs": 3, "epochs": 2, "decay": 0.5, "batch_norm": "adapt"}
    return stages_of(model, {head}, **{**options, **changes})


def named(*large):
    """The names, large networks among the slow tests."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=pytest.mark.slow if name in large else ()) for name in NAMES]
    )


@named("googlenet_bn_tiny", "inception_tiny")
def test_groups_hold_every_layer_once_in_every_style(name):
    found = [groups_of(kzoo.create_model(name, style=style)) for style in STYLES]
    assert found[0] == found[1] == found[2]
    layers = [layer for group in found[0] for layer in group.layers]
    assert layers == list(named_layers(kzoo.create_model(name)))
    for group in found[0]:
        others = set(layers) - set(group.layers)
        for prefix in group.prefixes:
            assert not any(other.startswith(prefix) for other in others)
        assert all(any(layer.startswith(prefix) for prefix in group.prefixes) for layer in group.layers)


@named("googlenet_bn_tiny", "inception_tiny")
def test_each_stage_thaws_one_group_more(name):
    model = kzoo.create_model(name)
    groups, stages = groups_of(model), plan(model)
    assert len(stages) == len(groups)
    for k, stage in enumerate(stages):
        found = set_trainable(model, stage.frozen)
        assert set(found.learning) == {layer for group in groups[len(groups) - 1 - k :] for layer in group.layers}
        assert stage.epochs == (2 if k else 3)


def test_rates_fall_from_group_to_group():
    stages = plan(kzoo.resnet20(), decay=FineTuning().decay)
    assert [list(stage.rates) for stage in stages] == [
        [],
        ["conv4"],
        ["conv3", "conv4"],
        ["conv1", "conv2", "conv3", "conv4"],
    ]
    assert stages[-1].rates["conv4"] == DECAY and stages[-1].rates["conv1"] == pytest.approx(DECAY**3)


def test_depth_batch_norm_and_freeze():
    model = kzoo.resnet20()
    assert [s.name for s in plan(model, depth=0)] == ["head"]
    assert [s.name for s in plan(model, depth=1)] == ["head", "conv4_block1 … conv4_block3"]
    last = set_trainable(model, plan(model, batch_norm="frozen")[-1].frozen)
    assert last.frozen and all(name.endswith("_bn") for name in last.frozen)
    frozen = plan(model, freeze=("conv1", "conv2"))
    assert len(frozen) == 3  # the lowest group never thaws
    assert {n.split("_")[0] for n in set_trainable(model, frozen[-1].frozen).frozen} == {"conv1", "conv2"}


def test_the_head_starts_with_the_first_fresh_layer():
    """VGG at another size has a fresh top of three layers."""
    model = kzoo.vgg_tiny()
    stages = stages_of(
        model, {"fc1", "fc2", "predictions"}, depth=None, head_epochs=1, epochs=1, decay=0.5, batch_norm="frozen"
    )
    assert set(set_trainable(model, stages[0].frozen).learning) == {"fc1", "fc2", "predictions"}
    assert [stage.name for stage in stages] == ["head", "block2_conv1 … block2_conv2", "block1_conv1"]


def test_prefixes_are_exact(rng):
    words = ["conv1", "conv10", "mixed1", "mixed10", "a_b", "a_b_c", "a"]
    for _ in range(50):
        names = list(rng.permutation(words))
        mine, others = names[:3], names[3:]
        found = prefixes_of(mine, others)
        if any(o.startswith(m) for m in mine for o in others):
            continue  # one whole name begins another: no beginning tells them apart
        assert [n for n in words if any(n.startswith(p) for p in found)] == [n for n in words if n in mine]

"""What trains when: the head alone, then one group of layers more at a time, each slower than the one above it.

Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification, https://arxiv.org/abs/1801.06146:
gradual unfreezing (section 3.3), and a learning rate for each layer group, 2.6 times lower than that of the next one
(section 3.2, discriminative fine-tuning).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import keras

from kzoo.engine import named_layers
from kzoo.errors import KzooError, unknown
from kzoo.models import leaves, model_info, taps_of

ALONE = 10.0  # the head alone is a small convex problem on features that stay: it learns faster


@dataclass(frozen=True)
class Group:
    """Neighbouring layers that are thawed together: those between two halvings of the feature map, or one dense layer.

    Attributes:
        name: Its first and its last stage.
        layers: Names of the layers with weights.
        prefixes: How their names begin, and no others' do.
    """

    name: str
    layers: tuple[str, ...]
    prefixes: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """One training of the plan.

    Attributes:
        name: "head", or the group that is thawed.
        frozen: How the names of the layers begin that do not learn, their batch normalization in inference mode.
        rate: Factor on the learning rate of all that learns.
        rates: {how names begin: a further factor}.
        epochs: At most.
        parameters: That learn.
    """

    name: str
    frozen: tuple[str, ...]
    rate: float
    rates: dict[str, float]
    epochs: int
    parameters: int


def groups_of(model: keras.Model) -> list[Group]:
    """The groups of one of kzoo's models, from the image to the head.

    A convolutional network's end where `kzoo.feature_extractor` taps it; any other network has a group a layer.
    """
    info = model_info(model)
    spec = info.spec
    ends, present = set(taps_of(model).values()), named_layers(model)
    found: list[list[tuple[str, list[str]]]] = [[]]
    below = bool(ends)  # inside the convolutional part
    left = len(ends)
    for stage in spec.definition.stages_of(info.config, info.arguments["input_shape"]):
        names = [layer.name for layer in leaves(stage) if layer.name in present]
        if names and (not below or names == [spec.head]):
            found.append([])
        if names:
            found[-1].append((stage.name, names))
        if stage.name in ends:
            left -= 1
            below = left > 0
            if names or found[-1]:
                found.append([])
    groups = [group for group in found if group]
    every = [name for group in groups for _, names in group for name in names]
    made = []
    for group in groups:
        layers = tuple(name for _, names in group for name in names)
        first, last = group[0][0], group[-1][0]
        name = first if first == last else f"{first} … {last}"
        made.append(Group(name, layers, prefixes_of(layers, set(every) - set(layers))))
    return made


def prefixes_of(names: Sequence[str], others: Collection[str]) -> tuple[str, ...]:
    """The fewest beginnings of words that all `names` have one of, and none of `others`.

    >>> prefixes_of(["conv2_block1_1_conv", "conv2_block1_1_bn", "conv3_1"], ["conv1_conv", "conv3_2"])
    ('conv2', 'conv3_1')
    >>> prefixes_of(["mixed1_1x1", "mixed1_5x5"], ["mixed10_1x1"])
    ('mixed1_',)
    """
    found: list[str] = []
    for name in names:
        if any(name.startswith(prefix) for prefix in found):
            continue
        words = name.split("_")
        beginnings = ["_".join(words[:k]) for k in range(1, len(words))]
        tries = [t for b in beginnings for t in (b, f"{b}_")] + [name]
        found.append(next((t for t in tries if not any(other.startswith(t) for other in others)), name))
    return tuple(found)


def stages_of(
    model: keras.Model,
    fresh: Collection[str],
    *,
    depth: int | None,
    head_epochs: int,
    epochs: int,
    decay: float,
    batch_norm: str,
    freeze: Sequence[str] = (),
) -> list[Stage]:
    """The plan.

    Args:
        fresh: Names of the layers that no weights were loaded into; with none, the head is not new: it starts at the
            rate of the others.
        depth: Groups to thaw below the head; None: all.
        batch_norm: "frozen": batch normalization below the head stays in inference mode throughout; "adapt": thawed
            with its group.
        freeze: How the names of layers begin that never learn.

    Raises:
        KzooError: No such layer, or more groups than there are.
    """
    layers, groups = named_layers(model), groups_of(model)
    for prefix in freeze:
        if not any(name.startswith(prefix) for name in layers):
            raise unknown("layer in freeze", prefix, layers, f"kzoo.summary lists the layers of {model.name!r}")
    first = min((k for k, g in enumerate(groups) if set(g.layers) & set(fresh)), default=len(groups) - 1)
    if depth is not None and depth > first:
        raise KzooError(f"depth={depth}, but {model.name!r} has {first} groups of layers below its head")
    always = [name for name in layers if any(name.startswith(prefix) for prefix in freeze)]
    if batch_norm == "frozen":
        below = [name for g in groups[:first] for name in g.layers]
        norms = [name for name in below if isinstance(layers[name], keras.layers.BatchNormalization)]
        always = [name for name in layers if name in {*always, *norms}]
    stages = []
    for thawed in range(first, first - 1 - (first if depth is None else depth), -1):
        new = thawed < first
        frozen = [name for g in groups[:thawed] for name in g.layers]
        frozen = [name for name in layers if name in {*frozen, *always}]
        learning = [name for name in layers if name not in frozen]
        if new and not set(groups[thawed].layers) & set(learning):
            continue  # the whole group stays frozen
        rates = {
            prefix: decay ** (first - k)
            for k, group in enumerate(groups[thawed:first], start=thawed)
            for prefix in group.prefixes
            if any(name.startswith(prefix) for name in learning)
        }
        stages.append(
            Stage(
                name=groups[thawed].name if new else "head",
                frozen=prefixes_of(frozen, learning),
                rate=ALONE if fresh and not new else 1.0,
                rates=rates,
                epochs=epochs if new else head_epochs,
                parameters=sum(layers[name].count_params() for name in learning),
            )
        )
    return stages

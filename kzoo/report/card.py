"""The model card: what a model is, what it was trained on, how good it is, in one page of Markdown."""

from __future__ import annotations

from typing import Any

from kzoo.errors import KzooError, unknown
from kzoo.records import WeightSpec
from kzoo.weights import rows_of
from kzoo.zoo import described_shape, list_models, row_of


def model_card(model: Any) -> str:
    """Markdown for a name (`"lenet5"`), a published model (`"lenet5@mnist"`) or a built Keras model.

    >>> print(model_card("lenet5").splitlines()[0])
    # lenet5
    """
    info = getattr(model, "kzoo_info", None)  # as `kzoo.models.model_info` has it, without Keras
    name, _, tag = model.partition("@") if isinstance(model, str) else (getattr(info, "model", ""), "", "")
    known = list_models(hidden=True)
    if name not in known:
        if isinstance(model, str):
            raise unknown("model", model, known, "See kzoo list")
        raise KzooError(f"no card for {model.name!r}: it is none of kzoo's models")
    row = row_of(name)
    weights = rows_of(name)
    if tag and tag not in weights:
        raise unknown(f"weights of {name}", tag, weights, "" if weights else "none are published yet")
    shape = described_shape(row["input_shape"])
    output = f"{row['classes']} ({row['classifier_activation'] or 'logits'})" if row["classes"] else row["task"]
    lines = [
        f"# {model if isinstance(model, str) else name}",
        "",
        f"{row['summary']}.",
        "",
        f"- Paper: {row['paper']}",
        f"- Task: {row['task']}",
        f"- Input: {shape}; output: {output}",
        f"- Parameters: {row['parameters']:,}, {row['trainable']:,} trainable",
        f"- Recipe: {row['recipe']}",
    ]
    for key, found in weights.items():
        if tag in ("", key):
            lines += ["", f"## Weights `{key}`", "", *weights_lines(found)]
    return "\n".join(lines) + "\n"


def weights_lines(row: WeightSpec) -> list[str]:
    """What is known of one set of weights, a line each."""
    said = [f"- Trained on: {row.data}"]
    said += [
        f"- {name[0].upper()}{name[1:]}: {value:{'.4f' if isinstance(value, float) else ','}}"
        for name, value in row.metrics.items()
    ]
    if row.recipe:
        said.append(f"- Recipe: {row.recipe}")
    if row.command:
        said.append(f"- Command: `{row.command}`")
    shown, more = row.classes[:10], len(row.classes) - 10
    said += [
        f"- Preprocessing: {row.inputs.describe()}",
        f"- Classes: {', '.join(shown)}{f' and {more:,} more' if more > 0 else ''}",
        f"- Source: {row.source}; licence: {row.licence}",
        f"- File: {row.url or f'{row.file}, comes with kzoo'}; {_size(row)}",
        f"- Checksum: {row.checksum or 'none is published; the sha256 that its server names is checked'}",
    ]
    return said


def _size(row: WeightSpec) -> str:
    """Exact of a file that comes with kzoo; of others as their sources round it."""
    if row.size is None:
        return "its size is not published"
    megabytes = row.size / 2**20
    return f"{megabytes:,.1f} MB" if megabytes < 10 else f"{megabytes:,.0f} MB"

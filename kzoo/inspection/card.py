"""The model card: what a model is, what it was trained on, how good it is, in one page of Markdown."""

from __future__ import annotations

from typing import Any

from kzoo.errors import KzooError, unknown
from kzoo.models._registry import described_shape, list_models, model_info, row_of
from kzoo.weights.table import PUBLISHED


def model_card(model: Any) -> str:
    """Markdown for a name (`"lenet5"`), a published model (`"lenet5@mnist"`) or a built Keras model.

    >>> print(model_card("lenet5").splitlines()[0])
    # lenet5
    """
    name, _, tag = model.partition("@") if isinstance(model, str) else (getattr(model_info(model), "model", ""), "", "")
    known = list_models(hidden=True)
    if name not in known:
        if isinstance(model, str):
            raise unknown("model", model, known, "See kzoo list")
        raise KzooError(f"no card for {model.name!r}: it is none of kzoo's models")
    row = row_of(name)
    if tag and tag not in row["weights"]:
        raise unknown(f"weights of {name}", tag, row["weights"], "" if row["weights"] else "none are published yet")
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
    ]
    for weights in PUBLISHED:
        if weights.model == name and tag in ("", weights.tag):
            lines += ["", f"## Weights `{weights.tag}`", "", *weights_lines(weights)]
    return "\n".join(lines) + "\n"


def weights_lines(row: Any) -> list[str]:
    return [
        f"- Trained on: {row.data}",
        *(
            f"- {name.capitalize()}: {value:{'.4f' if isinstance(value, float) else ','}}"
            for name, value in row.metrics.items()
        ),
        f"- Recipe: {row.recipe}",
        f"- Command: `{row.command}`",
        f"- Preprocessing: {row.preprocess.describe()}",
        f"- Classes: {', '.join(row.classes)}",
        f"- Source: {row.source}; licence: {row.licence}",
        f"- sha256: {row.sha256}",
    ]

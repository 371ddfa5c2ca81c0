"""Pictures as PNG: learning curves, confusion matrix, a batch as the network sees it, predictions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2f6db3", "#d9822b", "#808080"


def curves(history: Mapping[str, Sequence[float]], path: Path, title: str) -> None:
    """One panel a metric; train and validation in one."""
    names = [n for n in history if not n.startswith("val_") and n != "learning_rate"]
    figure = Figure(figsize=(5 * len(names), 3.8), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        marker = "o" if len(epochs) < 30 else None
        axes.plot(epochs, history[name], color=BLUE, marker=marker, markersize=3, label="train")
        if f"val_{name}" in history:
            held = history[f"val_{name}"]
            axes.plot(np.arange(1, len(held) + 1), held, color=ORANGE, marker=marker, markersize=3, label="validation")
        axes.set_xlabel("epoch")
        axes.set_title(name.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, title, path)


def confusion(matrix: np.ndarray, labels: Sequence[str], path: Path, title: str) -> None:
    """Counts and, beside them, the share of each true class; counts are written in while they can be read."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = max(4.2, 0.42 * len(labels) + 1.5)
    figure = Figure(figsize=(2 * size + 1, size), layout="constrained")
    for axes, values, name in zip(
        figure.subplots(1, 2), (matrix, share), ("counts", "share of the true class"), strict=True
    ):
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1 if values is share else None)
        axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 2 else 0, parse_math=False)
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(name)
        if len(labels) <= 20:
            top = values.max() or 1
            for i, j in np.argwhere(values > 0):
                text = f"{values[i, j]:.2f}".removeprefix("0") if values is share else str(values[i, j])
                colour = "white" if values[i, j] > top / 2 else "black"
                axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
        figure.colorbar(image, ax=axes, shrink=0.8)
    _save(figure, title, path)


def image_grid(images: np.ndarray, titles: Sequence[str], path: Path, title: str, wrong: Sequence[bool] = ()) -> None:
    """Up to 32 float images [n, height, width, 1 or 3], each scaled to its own range; wrong ones titled in orange."""
    count = min(len(images), 32)
    columns = min(count, 8)
    rows = -(-count // columns)
    figure = Figure(figsize=(1.35 * columns, 1.6 * rows + 0.4), layout="constrained")
    for k, axes in enumerate(np.atleast_1d(figure.subplots(rows, columns)).ravel()):
        axes.axis("off")
        if k < count:
            low, high = images[k].min(), images[k].max()
            shown = (images[k] - low) / max(high - low, 1e-9)
            axes.imshow(shown.squeeze(-1) if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1)
            axes.set_title(
                titles[k], fontsize=8, parse_math=False, color=ORANGE if len(wrong) and wrong[k] else "black"
            )
    _save(figure, title, path)


def sample_grid(images: np.ndarray, path: Path) -> None:
    """uint8 [n, height, width, 1 or 3] side by side, pixel for pixel, each enlarged to at least 56 pixels a side."""
    from PIL import Image

    count, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows, times = -(-count // columns), max(1, 56 // height)
    sheet = np.full((rows * (height + 2), columns * (width + 2), channels), 128, "uint8")
    for k, image in enumerate(images):
        y, x = (k // columns) * (height + 2) + 1, (k % columns) * (width + 2) + 1
        sheet[y : y + height, x : x + width] = image
    drawn = Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet)
    drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST).save(path)


def _save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=10, color=GREY, parse_math=False)
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; the text and the JSON beside it have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=120, bbox_inches="tight")

"""The summary as a picture: a bar for each layer, one panel a quantity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from kzoo.report.pictures import BLUE, GREY, ORANGE, save

if TYPE_CHECKING:
    from kzoo.report.table import Summary

LINE = 0.17  # inches a layer; less from HIGHEST / LINE layers on, and then not every layer's name is written
HIGHEST = 90.0


def layer_bars(table: Summary, path: Path) -> None:
    """Parameters, multiply-accumulates, activations and receptive field of each layer, the first one on top.

    What is not known has no bar. Where a layer sees all of the input the bar is orange and the longest; fields of
    convolutions can exceed the input, and then see padding.
    """
    rows = table.rows
    sides = [n for row in table.inputs for n in (row.output_shape or ())[1:-1] if n]
    fields = [row.receptive_field for row in rows]
    whole = max([*sides, *(max(f) for f in fields if isinstance(f, tuple)), 1])
    seen = [whole if f == "all" else max(f) if f else 0 for f in fields]
    said = lambda total: f"{total:,}" if total else "not known without an input_shape"
    panels = {
        f"parameters: {table.parameters:,}": [row.parameters for row in rows],
        f"multiply-accumulates: {said(table.macs)}": [row.macs or 0 for row in rows],
        f"activations: {said(table.values)}, with the input": [row.values or 0 for row in rows],
        "receptive field (orange: all)": seen,
    }
    height = min(LINE * len(rows), HIGHEST)
    every = -(-len(rows) * LINE // HIGHEST) if height == HIGHEST else 1
    figure = Figure(figsize=(15, height + 1.2), layout="constrained")
    for axes, (title, values) in zip(figure.subplots(1, 4, sharey=True), panels.items(), strict=True):
        colours = [ORANGE if values is seen and f == "all" else BLUE for f in fields]
        axes.barh(range(len(rows)), values, color=colours, height=0.8)
        axes.set_title(title, fontsize=9)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(0, 1.15 * max([*values, 1]))
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=7, top=height > 12, labeltop=height > 12)
        if every == 1:
            short = EngFormatter(places=1, sep="")
            for k, value in enumerate(values):
                if value:
                    text = str(value) if value < 1000 else short(value)
                    text = "all" if values is seen and fields[k] == "all" else text
                    axes.text(value, k, f" {text}", va="center", fontsize=6, color=GREY)
    names = figure.axes[0]
    names.set_ylim(len(rows) - 0.4, -0.6)
    shown = range(0, len(rows), int(every))
    names.set_yticks(shown, [rows[k].name for k in shown], fontsize=7, parse_math=False)
    unknown = f"; of {len(table.uncounted)} not all is known" if table.uncounted else ""
    save(figure, f"{table.name}: one bar a layer, for one example{unknown}", path)

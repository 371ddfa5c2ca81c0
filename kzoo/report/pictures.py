"""Pictures as PNG: learning curves, confusion matrix, a batch as the network sees it, predictions, mistakes."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from kzoo.errors import printable_lines
from kzoo.records import END_OF_WORD

BLUE, ORANGE, GREY = "#2f6db3", "#d9822b", "#808080"
SHOWN = 32  # images in a grid
LINE = 20  # pixels of a title above samples
NAMED = 150  # classes whose names can be written along a confusion matrix


def curves(
    history: Mapping[str, Sequence[float]], path: Path, title: str, stages: Sequence[int] = (), best: int | None = None
) -> None:
    """One panel a metric; train and validation in one; a line after each epoch of `stages`, and at the best one."""
    names = [n for n in history if not n.startswith("val_") and n != "learning_rate"]
    count, width, left, right, gap = len(names), 5 * len(names), 0.65, 0.15, 0.75  # inches
    panel = (width - left - right - gap * (count - 1)) / count
    figure = Figure(figsize=(width, 3.8))  # a "constrained" layout would draw everything twice
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=0.5 / 3.8, top=1 - 0.65 / 3.8, wspace=gap / panel
    )
    for axes, name in zip(np.atleast_1d(figure.subplots(1, count)), names, strict=True):
        epochs = np.arange(1, len(history[name]) + 1)
        marker = "o" if len(epochs) < 30 else None
        axes.plot(epochs, history[name], color=BLUE, marker=marker, markersize=3, label="train")
        if f"val_{name}" in history:
            held = history[f"val_{name}"]
            axes.plot(np.arange(1, len(held) + 1), held, color=ORANGE, marker=marker, markersize=3, label="validation")
        for epoch in stages:
            axes.axvline(epoch + 0.5, color="grey", linewidth=1, linestyle=":")
        if best is not None:
            axes.axvline(best, color=GREY, linewidth=1, linestyle="--", label=f"best epoch, {best}")
        axes.set_xlabel("epoch")
        axes.set_title(name.replace("_", " "), y=1)  # without y the ticks are laid out twice, to find its place
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, title, path)


def rates(
    tried: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float, path: Path
) -> None:
    """The loss over rising learning rates, and the rate that is suggested."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(tried, losses, color=BLUE, alpha=0.35, label="of each batch")
    axes.plot(tried, smoothed, color=BLUE, label="smoothed")
    axes.axvline(suggestion, color=ORANGE, label=f"suggested: {suggestion:g}")
    low, high = min(smoothed), max(smoothed[: max(len(smoothed) // 2, 1)])
    axes.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low) + 1e-9)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, "", path)


def scatter(true: np.ndarray, found: np.ndarray, path: Path, title: str, measured: str) -> None:
    """What was estimated over what is so; on the line they are equal."""
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    low, high = min(true.min(), found.min()), max(true.max(), found.max())
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
    axes.scatter(true, found, s=12, color=BLUE, alpha=0.6)
    axes.set_xlabel(shortened(measured, 40) or "true", parse_math=False)
    axes.set_ylabel("estimated")
    axes.grid(alpha=0.3)
    save(figure, title, path)


def series(
    true: np.ndarray, found: np.ndarray, columns: Sequence[str], horizon: int, path: Path, title: str, most: int = 400
) -> None:
    """A panel a column, of eight at most: what came, and what was forecast; the last `most` moments.

    Args:
        true, found: [time, columns].
        horizon: Moments of each forecast, whose pieces follow one another.
    """
    shown = min(len(columns), 8)
    begin = max(0, (len(true) - most) // horizon * horizon)
    true, found, moments = true[begin:], found[begin:], np.arange(begin, len(true))
    figure = Figure(figsize=(9, 1 + 1.9 * shown), layout="constrained")
    for k, axes in enumerate(np.atleast_1d(figure.subplots(shown, 1, sharex=True))):
        axes.plot(moments, true[:, k], color=GREY, linewidth=1.2, label="what came")
        for i in range(0, len(found), horizon):
            label = "forecast" if i == 0 else None
            part = slice(i, i + horizon)
            marker = "." if horizon == 1 else None
            axes.plot(moments[part], found[part, k], color=ORANGE, linewidth=1.2, marker=marker, ms=3, label=label)
        if horizon == 1:
            axes.plot(moments, found[:, k], color=ORANGE, linewidth=1)
        axes.set_ylabel(shortened(columns[k], 24), parse_math=False)
        axes.grid(alpha=0.3)
        if k == 0:
            axes.legend(loc="upper left", fontsize=8)
    axes.set_xlabel("moments of the split")
    save(figure, title, path)


def attention(
    shown: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]], path: Path, title: str, most: int = 24
) -> None:
    """A panel a text: a row for each token that was said, a column for each that was read; dark where it looked.

    Args:
        shown: (tokens that were read, tokens that were said, weights [said, read]) of each.
    """
    across = min(len(shown), 2)
    down = -(-len(shown) // across)
    figure = Figure(figsize=(5.2 * across, 4.6 * down), layout="constrained")
    panels = np.atleast_1d(figure.subplots(down, across)).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, (read, said, weights) in zip(panels, shown, strict=False):
        read, said = read[:most], said[:most]
        axes.imshow(weights[: len(said), : len(read)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        names = [written(tokens, 14) for tokens in (read, said)]
        axes.set_xticks(range(len(read)), names[0], rotation=90, parse_math=False, fontsize=8)
        axes.set_yticks(range(len(said)), names[1], parse_math=False, fontsize=8)
    save(figure, title, path)


def heads(shown: Mapping[str, tuple[Sequence[str], Sequence[str], np.ndarray]], path: Path, most: int = 24) -> None:
    """A row of panels a layer, of twelve at most; a panel a head, of eight at most; dark where it looks.

    Args:
        shown: {layer: (tokens that look, tokens that are looked at, weights [heads, looking, looked at])}.
    """
    layers = list(shown.items())[:12]
    across = min(max(len(weights) for _, (_, _, weights) in layers), 8)
    figure = Figure(figsize=(2.6 * across + 0.6, 2.7 * len(layers) + 0.4), layout="constrained")
    panels = np.reshape(figure.subplots(len(layers), across), (len(layers), across))
    for row, (name, (looking, looked, weights)) in zip(panels, layers, strict=True):
        looking, looked = looking[:most], looked[:most]
        letters = 7 if max(len(looking), len(looked)) <= 12 else 5
        for k, axes in enumerate(row):
            if k >= len(weights):
                axes.set_axis_off()
                continue
            axes.imshow(weights[k, : len(looking), : len(looked)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_title(f"{shortened(name, 24)}, head {k + 1}", fontsize=7, parse_math=False)
            names = [written(tokens, 10) for tokens in (looked, looking)]
            axes.set_xticks(range(len(looked)), names[0], rotation=90, parse_math=False, fontsize=letters)
            axes.set_yticks([])
            if k == 0:
                axes.set_yticks(range(len(looking)), names[1], parse_math=False, fontsize=letters)
    save(figure, "", path)


def gates(tokens: Sequence[str], layers: Mapping[str, Mapping[str, np.ndarray]], path: Path, most: int = 32) -> None:
    """A row of panels a layer, a panel a gate: a column for each token, a row for each unit of sixty-four at most. What
    lies in 0 to 1 is white to blue; what has a sign is orange to violet.
    """
    across = max(len(parts) for parts in layers.values())
    figure = Figure(figsize=(2.7 * across + 0.4, 2.8 * len(layers) + 0.3), layout="constrained")
    panels = np.reshape(figure.subplots(len(layers), across), (len(layers), across))
    names = written(tokens[:most], 12)
    for row, (name, parts) in zip(panels, layers.items(), strict=True):
        for axes in row[len(parts) :]:
            axes.set_axis_off()
        for axes, (part, values) in zip(row, parts.items(), strict=False):
            values = values[:most, :64].T
            signed = part in ("candidate", "cell", "state")
            high = max(1.0, float(np.abs(values).max())) if signed else 1.0
            colours = (
                {"cmap": "PuOr", "vmin": -high, "vmax": high} if signed else {"cmap": "Blues", "vmin": 0, "vmax": 1}
            )
            axes.imshow(values, aspect="auto", interpolation="nearest", **colours)
            axes.set_title(f"{shortened(name, 28)}: {part}", fontsize=7, parse_math=False)
            axes.set_yticks([])
            axes.set_xticks([])
    for axes in row[: len(parts)]:  # the last one's: all layers read the same tokens
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False, fontsize=6)
    save(figure, "", path)


def places(tokens: Sequence[str], points: np.ndarray, explained: Sequence[float], path: Path) -> None:
    """Each token at its point [tokens, 2]; along the axes what they explain of the variance."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=6, color=BLUE, alpha=0.5)
    axes.margins(x=0.1)  # for the words beside the points
    for name, (x, y) in zip(written(tokens, 16), points, strict=True):
        axes.annotate(name, (x, y), xytext=(2, 2), textcoords="offset points", fontsize=8, parse_math=False)
    axes.set_xlabel(f"first direction, {explained[0]:.1%} of the variance")
    axes.set_ylabel(f"second direction, {explained[1]:.1%}")
    axes.grid(alpha=0.3)
    save(figure, "embeddings", path)


def positions(table: np.ndarray, likeness: np.ndarray, path: Path) -> None:
    """The vectors of places, a row each, and the cosine between each two of them."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    high = float(np.abs(table).max())
    for axes, values, most, across, title in (
        (left, table, high, "number of the vector", "vectors of the places"),
        (right, likeness, 1.0, "place", "cosine between two places"),
    ):
        image = axes.imshow(values, cmap="PuOr", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        axes.set_xlabel(across)
        axes.set_ylabel("place")
        axes.set_title(title, fontsize=9)
        figure.colorbar(image, ax=axes, shrink=0.8)
    save(figure, "", path)


def confusion(matrix: np.ndarray, labels: Sequence[str], path: Path, title: str) -> None:
    """Counts and, beside them, the share of each true class; counts are written in while they can be read.

    Names are shortened to 24 letters; beyond 150 classes only some of their numbers are written.
    """
    count = len(labels)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [shortened(label, 24) for label in labels]
    size = min(max(4.2, 0.42 * count + 1.5), 13)
    letters = min(max(0.7 * 72 * (size - 1.5) / count, 3), 9)  # points: a row of the matrix is as high
    few = count <= 4
    room = min(0.6 * letters / 72 * max(map(len, names)), 2.5)  # of the longest name
    figure = Figure(figsize=(2 * (size + room) + 0.6, size + room), layout="constrained")
    for axes, values, name in zip(
        figure.subplots(1, 2), (matrix, share), ("counts", "share of the true class"), strict=True
    ):
        top = 1 if values is share else max(values.max(), 1)
        image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top)
        if count <= NAMED:
            turned = 90 if max(map(len, names)) > (12 if few else 2) else 0
            axes.set_xticks(range(count), names, rotation=turned, parse_math=False, fontsize=letters)
            axes.set_yticks(range(count), names, parse_math=False, fontsize=letters)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(name)
        if count <= 20:
            for i, j in np.argwhere(values >= 0 if few else values > 0):
                text = f"{values[i, j]:.2f}".removeprefix("0") if values is share else str(values[i, j])
                colour = "white" if values[i, j] > top / 2 else "black"
                axes.text(j, i, text, ha="center", va="center", fontsize=max(7, 18 - 2 * count), color=colour)
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        if values is matrix:
            bar.locator = MaxNLocator(integer=True)
    save(figure, title, path)


def written(tokens: Sequence[str], letters: int) -> list[str]:
    """Tokens as they stand along an axis: of words in pieces, one behind which its word goes on has a hyphen.

    >>> written(["[start]", "fisher", "men</w>", ".</w>"], 10)
    ['[start]', 'fisher-', 'men', '.']
    """
    pieces = any(token.endswith(END_OF_WORD) for token in tokens)
    inside = lambda token: pieces and not token.endswith((END_OF_WORD, "]"))
    return [shortened(token.removesuffix(END_OF_WORD) + "-" * inside(token), letters) for token in tokens]


def shortened(text: str, letters: int) -> str:
    """The two ends of a long name, where names of one kind differ.

    >>> shortened("a_very_long_name_of_a_class", 13)
    'a_very…_class'
    """
    text = printable_lines(text)
    if len(text) <= letters:
        return text
    return f"{text[: letters // 2]}…{text[-((letters - 1) // 2) :]}"


def image_grid(images: np.ndarray, titles: Sequence[str], path: Path, title: str) -> None:
    """Up to 32 float images [n, height, width, 1 or 3], each scaled to its own range."""
    shown = []
    for image in images[:SHOWN]:
        low, high = image.min(), image.max()
        shown.append((image - low) / max(high - low, 1e-9))
    _grid(shown, [shortened(text, 18) for text in titles[:SHOWN]], ["black"] * len(shown), path, title)


def judged(images: Sequence[np.ndarray], said: Sequence[tuple[str, str, float]], path: Path, title: str) -> None:
    """Up to 32 images of any sizes as they are, each under the class it was given, with its probability; beside right
    ones, wrong ones are titled in orange, and with their own class.

    Args:
        images: [height, width, 1, 3 or 4] each; uint8, or numbers in 0 to 255.
        said: (guess, true class, probability of the guess) of each.
    """
    shown = [np.clip(small(image).astype("float32") / 255, 0, 1) for image in images[:SHOWN]]
    own = lambda guess, true: f"\n(is {shortened(true, 14)})" if guess != true else ""
    titles = [f"{shortened(guess, 14)} {p:.2f}{own(guess, true)}" for guess, true, p in said[:SHOWN]]
    mixed = any(guess == true for guess, true, _ in said)
    colours = [ORANGE if mixed and guess != true else "black" for guess, true, _ in said[:SHOWN]]
    _grid(shown, titles, colours, path, f"{title}; wrong ones in orange" if mixed else title)


def small(image: np.ndarray, side: int = 256) -> np.ndarray:
    """With at most `side` pixels a side, one in so many of them: enough for a grid. A ribbon becomes four to one."""
    height, width = image.shape[:2]
    down, across = (max(n, max(height, width) // 4) for n in (height, width))
    return image[:: -(-down // side), :: -(-across // side)]


def _grid(images: Sequence[np.ndarray], titles: Sequence[str], colours: Sequence[str], path: Path, title: str) -> None:
    """Images [height, width, 1, 3 or 4] of 0 to 1, eight a row, each as large as a square allows, in a grey frame.

    By Pillow, in pixels: matplotlib took half a second for it, as long as a small network for an epoch.
    """
    small_font, font = _font(13), _font(17)
    columns = min(max(len(images), 3), 8)  # with fewer than three the title would be wider than the picture
    rows = -(-len(images) // columns)
    words = 17 * max((text.count("\n") + 1 for text in titles), default=1) + 6
    side, gap, top = 150, 12, 42
    width = max(columns * (side + gap), int(font.getlength(title)) + 2 * gap)
    sheet = Image.new("RGB", (width, top + rows * (side + words + gap)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((width / 2, 10), title, fill=GREY, font=font, anchor="ma")
    for k, image in enumerate(images):
        left = k % columns * (side + gap) + gap // 2
        above = top + k // columns * (side + words + gap)
        scale = side / max(image.shape[:2])
        wide, tall = (max(round(n * scale), 2) for n in image.shape[1::-1])
        x, y = left + (side - wide) // 2, above + words + (side - tall) // 2
        pixels = (image * 255).round().astype("uint8")
        drawn = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        drawn = drawn.resize((wide, tall), way)
        sheet.paste(drawn, (x, y), drawn if drawn.mode == "RGBA" else None)
        draw.rectangle((x - 1, y - 1, x + wide, y + tall), outline=GREY)  # or a white image has no end
        place = (left + side / 2, above + words - 4)
        draw.multiline_text(place, titles[k], fill=colours[k], font=small_font, anchor="md", align="center", spacing=2)
    sheet.save(path)


@functools.cache
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    """matplotlib's own, which is there on every machine."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), pixels)


def sample_grid(images: np.ndarray, path: Path, title: str = "") -> None:
    """uint8 [n, height, width, 1 or 3] side by side, pixel for pixel, each enlarged to at least 56 pixels a side; the
    title in a line above them.
    """
    count, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows, times = -(-count // columns), max(1, 56 // height)
    sheet = np.full((rows * (height + 2), columns * (width + 2), channels), 128, "uint8")
    for k, image in enumerate(images):
        y, x = (k // columns) * (height + 2) + 1, (k % columns) * (width + 2) + 1
        sheet[y : y + height, x : x + width] = image
    drawn = Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet)
    drawn = drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST)
    if title:
        whole = Image.new(drawn.mode, (drawn.width, drawn.height + LINE), "white")
        whole.paste(drawn, (0, LINE))
        ImageDraw.Draw(whole).text((4, 3), title, fill="black", font_size=13)
        drawn = whole
    drawn.save(path)


def save(figure: Figure, title: str, path: Path) -> None:
    """A figure whose layout has a place for everything."""
    title = shortened(title, int(13 * figure.get_figwidth()))
    figure.suptitle(title, fontsize=10, color=GREY, parse_math=False)
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; the text and the JSON beside it have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=120)

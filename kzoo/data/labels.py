"""Labels as people write them, in tables of images and of texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from kzoo.errors import KzooError

MANY = 20  # different numbers with fractions; of fewer each may be a class, such as stars in halves


def unquoted(label: str) -> str:
    """Without spaces and quotes around it, which a spreadsheet may have left.

    >>> unquoted(' "cat" ')
    'cat'
    """
    label = label.strip()
    while len(label) > 1 and label[0] == label[-1] and label[0] in "\"'":
        label = label[1:-1].strip()
    return label


def ordered(labels: Iterable[str]) -> list[str]:
    """Whole numbers by their value, names by the alphabet."""
    labels = list(labels)
    whole = all(re.fullmatch(r"[+-]?[0-9]+", label) for label in labels)
    return sorted(labels, key=lambda label: (int(label), label)) if whole else sorted(labels)


def check_classes(classes: Sequence[str], examples: int, where: str) -> None:
    """
    Raises:
        KzooError: They are numbers to be estimated, such as prices, rather than names of classes; or one has several
            lines, as where a quote before it is not closed.
    """
    if broken := next((label for label in classes if len(label.splitlines()) > 1), ""):
        raise KzooError(f"{where!r} has a label with a line break in it, {broken[:40]!r}; is a quote there not closed?")
    if len(classes) <= MANY or len(classes) <= examples / 10:
        return
    numbers = [label for label in classes if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", label)]
    broken = [label for label in numbers if float(label) % 1]
    if len(numbers) == len(classes) and broken:
        raise KzooError(
            f"the labels of {where!r} are {len(classes)} different numbers such as {broken[0]}, no classes: give them"
            " as arrays to a model that is compiled with a loss of numbers, or make classes of them"
        )


def refuse_alike(classes: Sequence[str], where: str) -> None:
    """Names that other systems take for one: "Cat" and "cat", or one accent written in two ways."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            raise KzooError(
                f"the {where} {' and '.join(map(repr, names))} differ in case or accents only, and are one on other"
                " systems; rename or merge them"
            )

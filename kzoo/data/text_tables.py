"""Tables of texts and labels, or of pairs of texts, in `.tsv` and `.csv`, packed or not.

Line 1 names the columns; `columns=` says them where their names are not known, or where there is no such line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kzoo.data.data import DataInfo, Examples
from kzoo.data.labels import check_classes, ordered, refuse_alike, unquoted
from kzoo.data.names import LABELS, SOURCES, TARGETS, TEXTS, places
from kzoo.data.texts import direction, labelled, paired, some
from kzoo.errors import KzooError
from kzoo.inputs import is_blank, rows_of, unit_of, unpacked

REMEDY = (
    "name the columns in line 1 (text and label, or source and target), or give columns={'text': …, 'label': …}"
    " (--columns text=1 --columns label=2 of a file without such a line)"
)
HEADER_LANGUAGE = re.compile(r"[a-z]{2}([-_][a-z]{2,4})?")
ROLES = {"texts": ("text", "label"), "pairs": ("source", "target")}


@dataclass(frozen=True)
class Header:
    """What the columns are.

    Attributes:
        holds: "texts" or "pairs"; "" of texts without labels.
        columns: {role or language: place}.
        named: Whether line 1 says it.
    """

    holds: str
    columns: dict[str, int]
    beside: tuple[str, ...] = ()
    named: bool = True

    @property
    def languages(self) -> tuple[str, ...]:
        return () if "source" in self.columns or self.holds != "pairs" else tuple(self.columns)


@dataclass(frozen=True)
class Table:
    path: Path
    header: Header
    lines: tuple[int, ...]  # numbers, one a row
    rows: list[list[str]]

    def column(self, index: int, role: str) -> list[str]:
        values = [row[index] for row in self.rows]
        for line, value in zip(self.lines, values, strict=True):
            if is_blank(value):
                raise KzooError(
                    f"line {line} of {str(self.path)!r} has an empty {role} (column {index + 1}); fill it or delete"
                    " the row"
                )
        return values


def text_file(
    path: Path, languages: str | None, columns: Mapping[str, str | int] | None
) -> tuple[dict[str, Examples], DataInfo]:
    """One table: text and label, or source and target."""
    return text_tables({"train": path}, Path(unpacked(path)).stem, str(path), languages, columns)


def text_tables(
    paths: Mapping[str, Path],
    name: str,
    where: str,
    languages: str | None,
    columns: Mapping[str, str | int] | None,
) -> tuple[dict[str, Examples], DataInfo]:
    """A table a split, all of the same columns."""
    named_or_given = lambda head, path, split: (
        _given(head, path, columns) if columns is not None else _header(head, path, split)
    )
    tables = {split: _table(path, split, named_or_given) for split, path in paths.items()}
    train, notes = tables["train"], []
    holds, coded = train.header.holds, train.header.languages
    if train.header.beside:
        notes.append(f"columns left out: {', '.join(train.header.beside)}")
    pair = direction(languages, coded, where, coded if len(coded) == 2 else None) if coded else ()
    if set(pair) < set(coded):
        notes.append(f"languages left out: {', '.join(code for code in coded if code not in pair)}")
    roles = pair or ROLES[holds]
    found: dict[str, tuple[list[str], list[str]]] = {}
    for split, table in tables.items():
        header = table.header
        if not header.holds:
            notes.append(f"{table.path.name} is left out: it has no labels")
            continue
        if header.holds != holds or not set(roles) <= set(header.columns):
            raise KzooError(
                f"line 1 of {str(table.path)!r} names {', '.join(header.columns)}; expected {', '.join(roles)}"
                f" as in {train.path.name}"
            )
        first, second = (
            table.column(header.columns[role], said) for role, said in zip(roles, ROLES[holds], strict=True)
        )
        found[split] = first, second
    units = [unit_of(found["train"][0])]
    if holds == "pairs":
        units.append(unit_of(found["train"][1]))
        splits = {split: paired(*both) for split, both in found.items()}
        return splits, DataInfo(name, holds, notes=tuple(notes), units=tuple(units), languages=pair)
    classes = ordered({unquoted(label) for label in found["train"][1]})
    check_classes(classes, len(found["train"][1]), train.path.name)
    refuse_alike(classes, f"labels of {train.path.name!r}")
    numbers = {label: k for k, label in enumerate(classes)}
    splits = {}
    for split, (texts, labels) in found.items():
        for line, label in zip(tables[split].lines, labels, strict=True):
            if unquoted(label) not in numbers:
                raise KzooError(
                    f"line {line} of {str(tables[split].path)!r} has the label {unquoted(label)[:40]!r}, which"
                    f" {train.path.name} has not; allowed: {some(classes)}"
                )
        splits[split] = labelled(texts, [numbers[unquoted(label)] for label in labels])
    return splits, DataInfo(name, holds, tuple(classes), notes=tuple(notes), units=tuple(units))


def passages(
    paths: Mapping[str, Path], name: str, columns: Mapping[str, str | int] | None
) -> tuple[dict[str, Examples], DataInfo]:
    """A table a split: each text is a passage of prose. What stands in other columns, labels too, is left out."""
    splits, notes = {}, []
    for split, path in paths.items():
        table = _table(path, split, lambda head, path, _: _text_alone(head, path, columns), least=1)
        place, beside = table.header.columns["text"], table.header.beside
        splits[split] = labelled(table.column(place, "text"), [0] * len(table.rows))
        notes += [f"columns left out: {', '.join(beside)}"] if beside and split == "train" else []
    return splits, DataInfo(name, "prose", notes=tuple(notes))


def _table(path: Path, split: str, header_of: Callable[[Sequence[str], Path, str], Header], least: int = 2) -> Table:
    rows = rows_of(path, least)
    header = header_of(rows[0][1], path, split)
    rows = rows[1:] if header.named else rows
    if not rows:
        raise KzooError(f"{str(path)!r} has a header and no rows; a file of texts needs at least one")
    return Table(path, header, tuple(n for n, _ in rows), [cells for _, cells in rows])


def _text_alone(head: Sequence[str], path: Path, columns: Mapping[str, str | int] | None) -> Header:
    """Which column is the text, as `columns=` or line 1 says; where there is one column alone, it need not."""
    if columns is not None:
        found, named = places(columns, [cell.strip() for cell in head], repr(str(path)))
        if set(found) != {"text"}:
            raise KzooError(f"columns of {str(path)!r} must say which is the text; received {', '.join(columns)}")
        place = found["text"]
    else:
        known = [k for k, cell in enumerate(head) if cell.strip().lower() in TEXTS]
        named, place = bool(known), known[0] if known else 0
        if len(known) > 1 or (not known and len(head) > 1):
            shown = ", ".join(cell.strip() for cell in head)
            raise KzooError(
                f"line 1 of {str(path)!r} names no column, or several, of texts, {shown[:80]!r}; name one text, or give"
                " columns={'text': …} (--columns text=1)"
            )
    return Header("", {"text": place}, _beside(head, [place], named), named)


def _beside(head: Sequence[str], used: Collection[int], named: bool) -> tuple[str, ...]:
    """What the other columns are called."""
    return tuple(head[k].strip() if named else f"number {k + 1}" for k in range(len(head)) if k not in used)


def _given(head: Sequence[str], path: Path, columns: Mapping[str, str | int]) -> Header:
    """What `columns=` says."""
    found, named = places(columns, head, repr(str(path)))
    holds = next((holds for holds, roles in ROLES.items() if set(roles) == set(found)), None)
    if holds is None:
        raise KzooError(
            f"columns of {str(path)!r} must say text and label, or source and target; received {', '.join(columns)}"
        )
    return Header(holds, found, _beside(head, found.values(), named), named)


def _header(head: Sequence[str], path: Path, split: str) -> Header:
    """What line 1 names."""
    names = [name.strip().lower() for name in head]
    place = lambda known: sorted((known.index(name), k) for k, name in enumerate(names) if name in known)

    def header(holds: str, **columns: int) -> Header:
        return Header(holds, columns, tuple(n for k, n in enumerate(names) if k not in columns.values()))

    texts, labels, sources, targets = map(place, (TEXTS, LABELS, SOURCES, TARGETS))
    if len(texts) == 1 and labels:
        return header("texts", text=texts[0][1], label=labels[0][1])
    if sources and targets and not texts:
        return header("pairs", source=sources[0][1], target=targets[0][1])
    if len(texts) == 1 and split == "test":
        return header("", text=texts[0][1])  # without labels, as GLUE's
    if len(set(names)) == len(names) > 1 and all(HEADER_LANGUAGE.fullmatch(name) for name in names):
        return Header("pairs", {name.strip(): k for k, name in enumerate(head)})
    shown = ", ".join(" ".join(cell.split())[:40] for cell in head)
    raise KzooError(f"line 1 of {str(path)!r} has no names that say what its columns are, {shown[:80]!r}; {REMEDY}")

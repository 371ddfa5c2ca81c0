"""Texts in files: what tables, parallel files and folders of them share.

What cannot be read is an error that names the line, never left out: pairs out by one line would be learned as well.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kzoo.data.data import Examples, as_bytes
from kzoo.data.names import split_of
from kzoo.errors import KzooError, unknown

OTHER_TESTS = re.compile(r"test[\W_\d]")  # test_2016_flickr, test2017, …


def labelled(texts: Sequence[str | bytes], labels: Sequence[int]) -> Examples:
    return Examples.of_arrays(_strings(texts), np.asarray(labels, "int64"))


def paired(source: Sequence[str | bytes], target: Sequence[str | bytes]) -> Examples:
    """Labels all equal: pairs have no classes to keep in proportion."""
    x, y = _strings(source), _strings(target)
    both = lambda i: as_bytes(x[i]) + b"\0" + as_bytes(y[i])
    select = lambda i: tf.data.Dataset.from_tensor_slices((x[i], y[i]))
    return Examples(np.zeros(len(x), "int64"), select, content=both)


def _strings(values: Sequence[str | bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def repeated(splits: Mapping[str, Examples], indices: Mapping[str, np.ndarray]) -> list[str]:
    """Notes on texts that are there with two labels, or in two parts: a test of such says less than it seems to."""
    labels: dict[bytes, set[int]] = defaultdict(set)
    parts: dict[bytes, set[str]] = defaultdict(set)
    for split, places in indices.items():
        for i in places.tolist():
            text = splits[split].content(i)
            labels[text].add(int(splits[split].labels[i]))
            parts[text].add(split)
    two = [text.decode("utf-8", "replace") for text, found in labels.items() if len(found) > 1]
    notes = [f"texts with two labels: {len(two):,} ({some(two[:3])})"] if two else []
    shared = Counter(tuple(sorted(found)) for found in parts.values() if len(found) > 1)
    return notes + [f"the same text in {' and '.join(names)}: {n:,}" for names, n in sorted(shared.items())]


def of_split(stem: str) -> bool:
    """Whether a file's name is that of a split."""
    return split_of(stem) is not None or bool(OTHER_TESTS.match(stem.lower()))


def chosen(stems: Iterable[str], where: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """({split: stem}, notes); where there is no plain test, the first of test_… is."""
    found: dict[str, str] = {}
    others = []
    for stem in sorted(stems):
        split = split_of(stem)
        if split is None:
            others.append(stem)
        elif split in found:
            raise KzooError(f"{where} has two {split} parts, {found[split]} and {stem}; keep one")
        else:
            found[split] = stem
    if "train" not in found:
        raise KzooError(f"{where} has {', '.join([*found.values(), *others])}, but no train file")
    if "test" not in found and others:
        found["test"] = others.pop(0)
    notes = [f"test is {found['test']}"] if found.get("test", "test").lower() != "test" else []
    notes += [f"test sets left out: {', '.join(others)}"] if others else []
    return found, tuple(notes)


def direction(
    languages: str | None, known: Sequence[str], where: str, default: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """(source, target) of "en-de", both among the known; the default where nothing is given."""
    pairs = {f"{a}-{b}": (a, b) for a, b in itertools.permutations(known, 2)}
    if languages is None:
        if default:
            return default
        choices = " or ".join(map(repr, pairs)) if len(known) == 2 else f"two of {', '.join(known)} as 'source-target'"
        raise KzooError(f"{where!r} can be read in several directions; give languages={choices}")
    if languages not in pairs:
        raise unknown("languages", languages, pairs, f"{where!r} has {', '.join(known)}: give 'source-target'")
    return pairs[languages]


def some(names: Sequence[str]) -> str:
    """The first ten, each on one line and shortened."""
    return ", ".join(" ".join(name.split())[:40] for name in names[:10]) + (" …" if len(names) > 10 else "")

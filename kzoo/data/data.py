"""Data: three splits of raw examples, and what is known of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError, unknown
from kzoo.inputs import NUMBERS, numbers_of, range_of

SPLITS = ("train", "validation", "test")
# images: with a class each; texts: with a label each; pairs: of a text and its translation; rows: of numbers; prose:
# passages of running text, without labels; measurements: rows of numbers with a number each; series: moments that
# follow one another, a row of numbers each.
HOLDS = ("images", "texts", "pairs", "rows", "prose", "measurements", "series")
IMBALANCE = 1.5  # times the smallest class


@dataclass(frozen=True)
class DataInfo:
    """What is known of a data set.

    Attributes:
        name: As given to `load_data`.
        holds: What its examples are, one of HOLDS.
        classes: The labels' names, in the order of their numbers; empty where there are none.
        counts: Examples of each split.
        class_counts: Examples of each class, by its number, in each split whose labels are known without reading it.
        files: Of data in files, where each example of a split comes from, in the order of the split: paths relative to
            the folder, or absolute where they lie outside it.
        shape: Of one raw input; None where it differs from example to example.
        source, licence: Who made it, on what terms; "" where not known.
        notes: What was done to it: a split taken, files skipped. Printed before training.
        skipped: Files left out, each with the reason.
        arguments: What `load_data` was called with, to read it again.
        units: Of texts: "words" or "characters", one for each column of text, (text,) or (source, target).
        languages: Of translations, (source, target); empty where not known.
        whole: Whether the rows are all that there is: a truth table, of which nothing can be held back.
        unlabelled: Whether nothing says what an example is: images right in a folder, of which one may learn to make
            more.
        batched: Splits whose counts are batches, which whoever gave them has made.
        drawn: {part: what its examples are known by} of parts that were taken of train; "left": of none.
        numbers: What its images were given in, where that was not 0 to 255: a name in NUMBERS.
        columns: Of tables and series: what each number of a row is.
        measured: Of measurements what is learned; of series the columns that are forecast.
    """

    name: str
    holds: str
    classes: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    shape: tuple[int | None, ...] | None = None
    source: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    whole: bool = False
    batched: tuple[str, ...] = ()
    unlabelled: bool = False
    class_counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    files: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    drawn: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)
    numbers: str = ""
    columns: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()

    def describe(self) -> str:
        unit = lambda split: " in batches" if split in self.batched else ""
        counts = ", ".join(
            f"{n:,} {split}{unit(split)}" if n >= 0 else f"{split} of unknown length"
            for split, n in self.counts.items()
        )
        if not self.holds:
            return f"{self.name}: {counts}"
        if self.units:
            pairs = len(self.units) == 2
            what = f"pairs {'-'.join(self.languages)}".rstrip() if pairs else "texts"
            what += f" in {' and '.join(dict.fromkeys(self.units))}" if "characters" in self.units else ""
            return f"{self.name}: {counts}; {what}" + ("" if pairs else f"; {len(self.classes)} classes")
        if self.holds == "prose":
            return f"{self.name}: {counts}; passages of prose"
        if self.holds in ("measurements", "series"):
            what = "moments" if self.holds == "series" else "rows"
            return f"{self.name}: {counts}; {what} of {len(self.columns)} numbers; learned: {', '.join(self.measured)}"
        shape = "x".join("?" if n is None else str(n) for n in self.shape) if self.shape else "sizes differ"
        classes = f"{len(self.classes)} classes" if self.classes else self.holds
        return f"{self.name}: {counts}; {shape}; {classes}"


class Data:
    """Unbatched, raw splits: each a tf.data.Dataset of `(x, y)` or `(x, y, weight)`; of `(x,)` where nothing is to be
    told but what layers find.

    Args:
        train, validation, test: A tf.data.Dataset of single examples, or a tuple of arrays.
        info: Made from the arrays where it is left out.
    """

    def __init__(self, train: Any, validation: Any = None, test: Any = None, info: DataInfo | None = None) -> None:
        splits, classes = _numbered(dict(zip(SPLITS, (train, validation, test), strict=True)))
        self.splits = {name: _dataset(name, split) for name, split in splits.items() if split is not None}
        whole = {name: _whole_labels(split) for name, split in splits.items()}
        # {split: (smallest, largest)} of labels that are whole numbers in an array; nothing is known of datasets.
        self.labels = {name: (int(y.min()), int(y.max())) for name, y in whole.items() if y is not None}
        # {split: of the numbers of images} in arrays.
        self.pixels = {
            name: r for name, split in splits.items() if isinstance(split, tuple) and (r := range_of(split[0]))
        }
        counts = {name: int(split.cardinality()) for name, split in self.splits.items()}
        if info is None:
            specs = self.splits["train"].element_spec
            texts = [getattr(spec, "dtype", None) == tf.string for spec in specs[:2]]
            shape = tf.nest.flatten(specs[0])[0].shape
            holds = "images" if shape.rank == 3 else "rows"
            if texts[0]:
                holds = "pairs" if texts[1:] == [True] else "texts"
            shape = tuple(shape) if shape.rank is not None else None
            info = DataInfo(name="your data", holds=holds, shape=shape, classes=classes)
        found = {name: counts_of(y, len(info.classes)) for name, y in whole.items() if y is not None}
        known = {name: counted for name, counted in found.items() if counted}
        # What was known of other data under this info, say of all of it before a filter, is not true of this.
        kept = {name: n for name, n in info.class_counts.items() if sum(n) == counts.get(name)}
        files = {name: paths for name, paths in info.files.items() if len(paths) == counts.get(name)}
        self.info = replace(info, counts=counts, class_counts={**kept, **known}, files=files)

    @property
    def train(self) -> tf.data.Dataset:
        return self["train"]

    @property
    def validation(self) -> tf.data.Dataset | None:
        return self.splits.get("validation")

    @property
    def test(self) -> tf.data.Dataset | None:
        return self.splits.get("test")

    def __getitem__(self, split: str) -> tf.data.Dataset:
        if split not in self.splits:
            raise KzooError(f"{self.info.name} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split]

    def in_bytes(self, before: str = "") -> Data:
        """With images of arrays in 0 to 255, whatever they are given in; said in the notes.

        Args:
            before: As `numbers_of` takes it.

        Raises:
            KzooError: They could be anything.
        """
        if not self.pixels:
            return self
        numbers = numbers_of(self.pixels.values(), f"the images of {self.info.name}", before)
        if not numbers:
            return self
        change, said, *_ = NUMBERS[numbers]
        splits = {name: split.map(lambda x, *rest: (change(x), *rest)) for name, split in self.splits.items()}
        info = replace(self.info, notes=(*self.info.notes, said), numbers=numbers)
        made = Data(splits["train"], splits.get("validation"), splits.get("test"), info)
        made.labels = self.labels
        return made

    def __repr__(self) -> str:
        return f"<kzoo.Data {self.info.describe()}>"


def _numbered(splits: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Labels that are names, beside inputs that are no texts, as numbers of the classes in the order of the alphabet.

    Raises:
        KzooError: A split has a name that the training split has not.
    """
    if not isinstance(splits["train"], tuple) or len(splits["train"]) < 2:
        return splits, ()
    named = lambda part: isinstance(part, np.ndarray | list) and _texts(part)
    first = tf.nest.flatten(splits["train"][0])[0]
    if not named(splits["train"][1]) or isinstance(first, str | bytes) or named(first):
        return splits, ()
    plain = lambda part: np.asarray(part).ravel().astype("S" if isinstance(np.asarray(part).flat[0], bytes) else "U")
    classes, numbered = tuple(np.unique(plain(splits["train"][1])).tolist()), {}
    for name, split in splits.items():
        if split is None or not isinstance(split, tuple):
            numbered[name] = split
            continue
        labels = plain(split[1])
        if strange := sorted(set(labels.tolist()) - set(classes)):
            raise unknown(f"class in the {name} split:", strange[0], classes)
        numbered[name] = (split[0], np.searchsorted(classes, labels), *split[2:])
    return numbered, tuple(map(str, classes))


def _texts(part: Any) -> bool:
    try:
        array = np.asarray(part)
    except ValueError:
        raise KzooError("labels, or inputs, are lists of different lengths; give rows of one length") from None
    if not array.size:
        return False
    return array.dtype.kind in "SU" or array.dtype.kind == "O" and all(isinstance(v, str | bytes) for v in array.flat)


def _whole_labels(split: Any) -> np.ndarray | None:
    """Labels that are whole numbers in an array; None of anything else."""
    if not isinstance(split, tuple) or len(split) < 2 or isinstance(split[1], dict | list | tuple):
        return None
    labels = np.asarray(split[1])
    return labels if labels.dtype.kind in "iu" and labels.size else None


def counts_of(labels: np.ndarray, classes: int = 0) -> tuple[int, ...]:
    """Examples of each class from 0, of at least `classes`; () where the numbers are not those of classes.

    >>> counts_of(np.array([0, 2, 2]), 4)
    (1, 0, 2, 0)
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or (len(labels) and (labels.min() < 0 or labels.max() >= 1000 + 10 * len(labels))):
        return ()
    return tuple(np.bincount(labels.astype("int64"), minlength=classes).tolist())


def imbalance(counts: Sequence[int], classes: Sequence[str]) -> str:
    """One line where the largest class has more than 1.5 times the smallest; otherwise ""."""
    if not counts or max(counts) <= IMBALANCE * min(counts):
        return ""
    largest, smallest = int(np.argmax(counts)), int(np.argmin(counts))
    return (
        f"imbalance: {counts[largest]:,} {classes[largest]!r} to {counts[smallest]:,} {classes[smallest]!r};"
        " class_weight='balanced' (--class-weight balanced) weighs them"
    )


def balanced_weights(info: DataInfo) -> dict[int, float]:
    """{class number: weight} that makes every class count the same in training: n / (k * its examples).

    n is the number of training examples, k that of the classes that have any: the mean weight over the examples is 1.
    A class without training examples has nothing to weigh and gets 1. (As scikit-learn's `class_weight="balanced"`,
    after King and Zeng 2001, Logistic Regression in Rare Events Data.)

    Raises:
        KzooError: The data does not say how many examples each class has.

    >>> balanced_weights(DataInfo("two", "images", class_counts={"train": (30, 10)}))
    {0: 0.6666666666666666, 1: 2.0}
    """
    counts = info.class_counts.get("train")
    if not counts:
        raise KzooError(
            f"class_weight='balanced' needs the examples of each class, and {info.name} does not say them; give"
            " {class number: weight}"
        )
    present = sum(n > 0 for n in counts)
    return {k: sum(counts) / (present * n) if n else 1.0 for k, n in enumerate(counts)}


def _arrays(part: list[Any]) -> bool:
    """Whether a list holds arrays, one an input or output, rather than being one."""
    return bool(part) and all(isinstance(a, np.ndarray) or tf.is_tensor(a) for a in part)


def _part(part: Any, split: str) -> Any:
    """Arrays, one or a structure of them; a list of arrays is one an input, any other list an array."""
    if isinstance(part, list) and _arrays(part):
        part = tuple(part)
    if hasattr(part, "to_numpy"):  # of pandas; a column, as Keras takes it
        part = part.to_numpy()
        part = part[:, None] if part.ndim == 1 else part
    if isinstance(part, list) and any(isinstance(v, str) for v in part):
        for place, value in enumerate(part):  # which NumPy would make words of
            if not isinstance(value, str | bytes):
                raise KzooError(f"the {split} split has texts, and {value!r} in their place {place}; give a text there")
    try:
        part = np.asarray(part) if isinstance(part, list) else part
        ragged = isinstance(part, tf.RaggedTensor)
    except ValueError:
        ragged = True
    if ragged:
        raise KzooError(
            f"the {split} split has rows of different lengths; make them equal, with keras.utils.pad_sequences, or give"
            " batches of equal ones"
        )
    for array in tf.nest.flatten(part):
        kind = "" if tf.is_tensor(array) else np.asarray(array).dtype.kind
        if kind == "O" and all(isinstance(text, str | bytes) for text in np.ravel(array)):
            continue
        if kind and (np.ndim(array) == 0 or kind not in "buifSU"):
            raise KzooError(f"the {split} split must hold arrays of numbers or text; it holds {str(array)[:40]!r}")
    return part


def _dataset(name: str, split: Any) -> tf.data.Dataset:
    if isinstance(split, tf.data.Dataset):
        if not isinstance(split.element_spec, tuple) or not 1 <= len(split.element_spec) <= 3:
            raise KzooError(f"the {name} split must give (x, y) or (x, y, weight); it gives {split.element_spec}")
        return split
    if not isinstance(split, tuple) or not 1 <= len(split) <= 3:
        raise KzooError(
            f"the {name} split must be a tf.data.Dataset or (x, y[, weight]); received {type(split).__name__}"
        )
    split = tuple(_part(part, name) for part in split)
    lengths = {len(np.asarray(a)) for a in tf.nest.flatten(split)}
    if len(lengths) != 1:
        raise KzooError(f"the arrays of the {name} split have different lengths: {sorted(lengths)}")
    return tf.data.Dataset.from_tensor_slices(split)


@dataclass
class Examples:
    """The examples of one split.

    Attributes:
        labels: Class numbers.
        select: Those at some places, as an unbatched data set.
        shape: Of one input; None where it differs.
        files: Where each comes from.
        content: What an example is, where it has no file: by it a later reading knows it again.
    """

    labels: np.ndarray
    select: Callable[[np.ndarray], tf.data.Dataset]
    shape: tuple[int | None, ...] | None = None
    files: tuple[str, ...] | None = None
    content: Callable[[int], bytes] | None = None

    @classmethod
    def of_arrays(cls, x: np.ndarray, y: np.ndarray) -> Examples:
        of_row = lambda i: x[i].tobytes() if x.dtype != object else as_bytes(x[i])
        return cls(y, lambda i: tf.data.Dataset.from_tensor_slices((x[i], y[i])), x.shape[1:], content=of_row)

    def keys(self) -> list[str]:
        """What each is known by: its file, or a digest of what it is; equal ones have the same."""
        if self.files is not None:
            return list(self.files)
        if self.content is None:
            return []
        digest = lambda content: hashlib.blake2b(content, digest_size=8).hexdigest()
        return [digest(self.content(i)) for i in range(len(self.labels))]


def as_bytes(text: str | bytes) -> bytes:
    """UTF-8, whatever is in it."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")

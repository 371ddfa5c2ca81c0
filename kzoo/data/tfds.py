"""TensorFlow Datasets that are prepared on this machine, or fetched where that is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.data.data import DataInfo, Examples
from kzoo.data.names import SPLIT_WORDS
from kzoo.data.plain_text import prose
from kzoo.data.prepared import builder_of, by_hand
from kzoo.data.texts import direction, labelled, paired
from kzoo.errors import KzooError
from kzoo.inputs import unit_of


def from_tfds(name: str, data_dir: Any, download: bool, languages: str | None) -> tuple[dict[str, Examples], DataInfo]:
    import tensorflow_datasets as tfds

    builder = builder_of(name, data_dir, download)
    if not builder.info.splits:
        _fetch(builder, name)
    features, keys = builder.info.features, builder.info.supervised_keys
    if keys and isinstance(keys[0], str) and isinstance(features[keys[0]], tfds.features.Image):
        if not isinstance(features[keys[1]], tfds.features.ClassLabel):
            raise KzooError(f"{name!r} is not an image-classification set: its target {keys[1]!r} is not a class label")
        image, label = keys[:2]
        splits = {
            SPLIT_WORDS[split]: _images(tfds, builder, split, image, label)
            for split in builder.info.splits
            if split in SPLIT_WORDS
        }
        info = DataInfo(name, "images", tuple(features[label].names))
    else:
        splits, info = _texts(builder, name, languages)
    if "train" not in splits:
        raise KzooError(f"{name!r} has no train split; it has {', '.join(builder.info.splits)}")
    source = f"TensorFlow Datasets {builder.info.full_name}; {builder.info.homepage}".rstrip("; ")
    licence = builder.info.redistribution_info.license or ""
    return splits, replace(info, name=name.replace("/", "-"), source=source, licence=licence)


def _images(tfds: Any, builder: Any, split: str, image: str, label: str) -> Examples:
    undecoded = {image: tfds.decode.SkipDecoding()}
    rows = builder.as_dataset(split=split, decoders=undecoded)
    labels = np.concatenate(list(rows.map(lambda row: row[label]).batch(4096).as_numpy_iterator())).astype("int64")

    def select(indices: np.ndarray) -> tf.data.Dataset:
        wanted = np.zeros(len(labels), bool)
        wanted[indices] = True
        mask = tf.constant(wanted)
        rows = builder.as_dataset(split=split, decoders=undecoded).enumerate()
        if len(indices) < len(labels):
            rows = rows.filter(lambda i, row: mask[i])
        decode = builder.info.features[image].decode_example
        rows = rows.map(lambda i, row: (decode(row[image]), row[label]), num_parallel_calls=tf.data.AUTOTUNE)
        return rows.apply(tf.data.experimental.assert_cardinality(len(indices)))

    return Examples(labels, select, builder.info.features[image].shape)


def _fetch(builder: Any, name: str) -> None:
    import requests

    try:
        builder.download_and_prepare()
    except (requests.RequestException, OSError) as error:
        raise KzooError(f"could not fetch {name!r}: {str(error).splitlines()[0]}; {by_hand(builder)}") from error


def _texts(builder: Any, name: str, languages: str | None) -> tuple[dict[str, Examples], DataInfo]:
    """A prepared set of one text and one class label an example, or of translations."""
    import tensorflow_datasets as tfds

    features, keys = builder.info.features, builder.info.supervised_keys
    translations = {key: f for key, f in features.items() if isinstance(f, tfds.features.Translation)}
    if isinstance(features, tfds.features.Translation):
        translations = {"": features}
    texts = [key for key, f in features.items() if isinstance(f, tfds.features.Text)]
    labels = [key for key, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    if len(translations) == 1:
        (key, translation), *_ = translations.items()
        known = translation.languages
        default = tuple(keys[:2]) if keys and all(key in known for key in keys[:2]) else None
        pair = direction(languages, known, name, default)
        read = lambda row: tuple((row[key] if key else row)[language] for language in pair)
        columns, notes = _columns(builder, read, texts=2)
        units = tuple(unit_of(columns["train"][i]) for i in (0, 1)) if "train" in columns else ()
        splits = {split: paired(*both) for split, both in columns.items()}
        return splits, DataInfo(name, "pairs", notes=notes, units=units, languages=pair)
    if len(texts) == 1 and not labels:  # running text
        columns, notes = _columns(builder, lambda row: (row[texts[0]], row[texts[0]]), texts=2)
        splits = {split: prose("\n\n".join(t.decode() for t in both[0])) for split, both in columns.items()}
        return splits, DataInfo(name, "prose", notes=notes)
    if keys and keys[0] in texts and keys[1] in labels:
        text, label = keys[:2]
    elif len(texts) == len(labels) == 1:
        (text,), (label,) = texts, labels
    else:
        raise KzooError(
            f"{name!r} is not a set that kzoo reads: an image or a text with one class label, or translations; its"
            f" features are {', '.join(features)}"
        )
    columns, notes = _columns(builder, lambda row: (row[text], row[label]), texts=1)
    others = [key for key in (*texts, *labels) if key not in (text, label)]
    notes += (f"features left out: {', '.join(others)}",) if others else ()
    splits = {split: labelled(*both) for split, both in columns.items()}
    units = (unit_of(columns["train"][0]),) if "train" in columns else ()
    return splits, DataInfo(name, "texts", tuple(features[label].names), notes=notes, units=units)


def _columns(builder: Any, read: Any, texts: int) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """({split: two columns, the first `texts` of them text}, notes). Rows without a text or a label are left out."""
    columns, notes, left_out = {}, [], []
    for split in builder.info.splits:
        if split not in SPLIT_WORDS:
            left_out.append(split)
            continue
        batches = list(builder.as_dataset(split=split).map(read).batch(4096).as_numpy_iterator())
        if not batches:
            continue
        both = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        labelled = both[1] >= 0 if texts == 1 else np.ones(len(both[1]), bool)
        if not labelled.any():
            left_out.append(f"{split} (it has no labels)")
            continue
        whole = labelled & np.all([[bool(t.strip()) for t in column] for column in both[:texts]], axis=0)
        if not whole.all():
            notes.append(f"{split}: {(~whole).sum():,} rows without a text or a label are left out")
        if whole.any():
            columns[SPLIT_WORDS[split]] = tuple(column[whole] for column in both)
    notes += [f"splits left out: {', '.join(left_out)}"] if left_out else []
    return columns, tuple(notes)

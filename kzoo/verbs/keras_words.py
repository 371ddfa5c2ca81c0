"""Keras' own words for what `fit` takes: those that mean the same are taken, any other is answered with ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kzoo.errors import KzooError

# {Keras' word: what says it here}.
WORDS = {
    "x": "data=(x, y[, weight])",
    "y": "data=(x, y[, weight])",
    "sample_weight": "the third of data=(x, y, weight)",
    "validation_data": "validation=(x, y[, weight]), or a dataset",
    "validation_split": "validation: a share of named data, or examples of yours",
    "validation_steps": "limit_validation_batches",
    "validation_batch_size": "batch_size, of both; batches of yours are taken as they are",
    "validation_freq": "every epoch is validated; limit_validation_batches makes it short",
    "steps_per_epoch": "limit_train_batches",
    "workers": "keras.utils.PyDataset is read in this process",
    "use_multiprocessing": "keras.utils.PyDataset is read in this process",
    "max_queue_size": "batches are made ahead by themselves",
    "initial_epoch": "resume=a run, which goes on where it was",
    "shuffle": "raw examples and arrays are shuffled anew each epoch, by seed; batches of yours come in their order",
}


def in_our_words(data: Any, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(data, what is given) without Keras' words.

    Raises:
        KzooError: One that means something else here.
    """
    ours = dict(given)
    said = {word: ours.pop(word) for word in WORDS if word in ours}
    if "x" in said and data is None:
        data = said.pop("x")
        if "y" in said:
            data = (data, said.pop("y"))
    if "sample_weight" in said and isinstance(data, tuple) and len(data) == 2:
        data = (*data, said.pop("sample_weight"))
    if "validation_data" in said and "validation" not in ours:
        ours["validation"] = said.pop("validation_data")
    if "validation_split" in said and isinstance(data, tuple) and "validation" not in ours:
        data, ours["validation"] = _split(data, said.pop("validation_split"))
    if said.get("shuffle") is True:
        said.pop("shuffle")
    for word in said:
        raise KzooError(f"{word} is Keras' word; here: {WORDS[word]}")
    return data, ours


def _split(arrays: tuple[Any, ...], share: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The last examples for validation, before any are shuffled, as Keras does."""
    if isinstance(share, bool) or not isinstance(share, float) or not 0 < share < 1:
        raise KzooError(f"validation_split must be a number above 0 and below 1; received {share!r}")
    parts = [np.asarray(part) for part in arrays if not isinstance(part, dict | list | tuple)]
    if len(parts) != len(arrays):
        raise KzooError("validation_split goes with single arrays; give validation=(x, y[, weight])")
    cut = int(len(parts[0]) * (1 - share))
    if not 0 < cut < len(parts[0]):
        raise KzooError(f"validation_split={share} of {len(parts[0])} examples leaves a part empty")
    return tuple(part[:cut] for part in parts), tuple(part[cut:] for part in parts)

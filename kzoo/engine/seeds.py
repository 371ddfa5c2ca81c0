"""The random numbers of whoever calls: a training sets the seeds of its own, and gives theirs back."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator

import numpy as np

from kzoo.errors import KzooError
from kzoo.keras_internals import global_seeds, set_global_seeds
from kzoo.tensorflow_internals import random_state, set_random_state

_training = threading.RLock()  # a fine-tuning calls fit; another thread's would draw from the same numbers
_who: list[str] = []


@contextlib.contextmanager
def own_seeds() -> Iterator[None]:
    """Python's, NumPy's, Keras' and TensorFlow's generators are afterwards where they were.

    Raises:
        KzooError: Another thread trains: they would take each other's random numbers.
    """
    if not _training.acquire(blocking=False):
        raise KzooError(
            f"the thread {(_who or ['?'])[0]!r} of this process trains already, and random numbers are the process';"
            " train one after the other, or each in a process of its own"
        )
    try:
        _who.append(threading.current_thread().name)
        with _seeds_kept():
            yield
    finally:
        _who.pop()
        _training.release()


@contextlib.contextmanager
def _seeds_kept() -> Iterator[None]:
    python, numpy, of_keras, tensorflow = random.getstate(), np.random.get_state(), global_seeds(), random_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        set_global_seeds(of_keras)
        set_random_state(tensorflow)

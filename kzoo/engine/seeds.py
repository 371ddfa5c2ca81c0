"""The random numbers of whoever calls: a training sets the seeds of its own, and gives theirs back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np

from kzoo.keras_internals import global_seeds, set_global_seeds
from kzoo.tensorflow_internals import random_state, set_random_state


@contextlib.contextmanager
def own_seeds() -> Iterator[None]:
    """Python's, NumPy's, Keras' and TensorFlow's generators are afterwards where they were."""
    python, numpy, of_keras, tensorflow = random.getstate(), np.random.get_state(), global_seeds(), random_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        set_global_seeds(of_keras)
        set_random_state(tensorflow)

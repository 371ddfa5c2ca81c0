"""What Keras, TensorFlow or Python say of a user's mistake, in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kzoo.errors import KzooError, in_a_line
from kzoo.inputs import LABELS


def batches_checked(call: Callable[[], Any]) -> Any:
    """What `call` gives; what a batch does wrong, its labels or its shape, or the data set that makes it, is said in a
    line.
    """
    with in_a_line("a batch failed"):
        try:
            return call()
        except (ValueError, TypeError, tf.errors.OpError) as error:
            found = re.search(rf"{LABELS}\]? \[(-?\d+)\]? \[?(-?\d+)", str(error))
            if found is None:
                raise
            raise KzooError(f"a batch has labels from {found[1]} to {found[2]}, beyond the model's classes") from None

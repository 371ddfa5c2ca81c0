"""What Keras, TensorFlow or Python say of a user's mistake, in one line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from kzoo.errors import KzooError, first_line
from kzoo.inputs import LABELS


@contextlib.contextmanager
def in_a_line(says: str, end: str = "") -> Iterator[None]:
    """An error inside is a KzooError: `says`, the error's own first line, `end`. Its kind is named where it is of
    a line of the user's.
    """
    try:
        yield
    except KzooError:
        raise
    except Exception as error:
        said = isinstance(error, ValueError | TypeError | tf.errors.OpError)
        kind = "" if said or not str(error) else f"{type(error).__name__}: "
        raise KzooError(f"{says}: {kind}{first_line(error)}{end}") from error


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

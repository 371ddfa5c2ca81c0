"""Loss and metric of sequences of tokens: positions whose target is padding do not count."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kzoo.keras_internals import mark
from kzoo.models import registering

register = registering("losses")


@register
class TokenCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits [batch, time, vocabulary] with token ids [batch, time], the mean over real tokens.

    Args:
        label_smoothing: Share of the probability that is spread evenly over the vocabulary (Szegedy et al. 2015,
            section 7; Vaswani et al. 2017, section 5.4).
        padding: The id of what is no token.
    """

    def __init__(
        self, label_smoothing: float = 0.0, padding: int = 0, name: str = "token_crossentropy", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.label_smoothing, self.padding = label_smoothing, padding

    def call(self, y_true: Any, y_pred: Any) -> Any:
        given = ops.cast(y_true, "int32")
        ids = ops.maximum(given, 0)
        # -log p(target) = log sum exp - logit of the target: no table of one-hot targets.
        total = ops.logsumexp(y_pred, axis=-1)
        right = ops.squeeze(ops.take_along_axis(y_pred, ops.expand_dims(ids, -1), axis=-1), -1)
        values = total - right
        if self.label_smoothing:
            spread = total - ops.mean(y_pred, axis=-1)
            values = (1 - self.label_smoothing) * values + self.label_smoothing * spread
        return mark(values, ops.not_equal(given, self.padding))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "padding": self.padding}


@register
class TokenAccuracy(keras.metrics.Mean):
    """Share of the real tokens that are the likeliest at their place."""

    def __init__(self, padding: int = 0, name: str = "accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.padding = padding

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        ids = ops.cast(y_true, "int32")
        right = ops.equal(ids, ops.cast(ops.argmax(y_pred, axis=-1), "int32"))
        weight = ops.cast(ops.not_equal(ids, self.padding), self.dtype)
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            weight = weight * (given if len(given.shape) == 2 else ops.expand_dims(given, -1))
        # Flat: Keras would take the mean of each row first, and batches of other lengths would weigh otherwise.
        flat = lambda values: ops.reshape(ops.cast(values, self.dtype), (-1,))
        super().update_state(flat(right), sample_weight=flat(ops.broadcast_to(weight, ops.shape(right))))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding}

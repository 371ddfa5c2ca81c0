"""What translators share: teacher forcing on whole sequences, and decoding token by token in one compiled loop.

A translator maps {"source": ids, "target": ids} to logits of the next token at each place of the target. To generate it
is asked for one token after the other: `begin` reads the source once, `step` says what comes after one more token.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kzoo.errors import KzooError
from kzoo.models._registry import create_model, model_info
from kzoo.models._styles import Definition
from kzoo.spec import END, START

State = dict[str, Any]
NEVER = -1e9  # log probability of what must not be said


def masked_softmax(scores: Any, mask: Any) -> Any:
    """Softmax over the last axis, 0 where the mask does not hold; a row of nothing else is even, not NaN.

    Not keras.ops.softmax, which warns of an axis of one: a sentence of one token has it.
    """
    low = ops.cast(-3e4 if scores.dtype == "float16" else NEVER, scores.dtype)
    scores = ops.where(mask, scores, low)
    parts = ops.exp(scores - ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True)))
    return parts / ops.sum(parts, axis=-1, keepdims=True)


class Translator(Definition):
    """An encoder and a decoder, with the steps that decoding takes.

    A state is a dict of tensors with the batch first; beams are gathered along it.
    """

    def stage(self, name: str) -> Any:
        return next(stage for stage in self.stages if stage.name == name)

    def begin(self, source: Any, length: int) -> State:
        """int32 ids [batch, source time] -> the state before the first of at most `length` tokens."""
        raise NotImplementedError

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        """int32 [batch], the tokens said last -> logits [batch, vocabulary], the state, attention [batch, source]."""
        raise NotImplementedError


def translator_of(model: keras.Model) -> Translator:
    """The model itself, or one in the subclass style with the same weights."""
    if isinstance(model, Translator):
        return model
    info = model_info(model)
    if info is None or info.task != "translation":
        raise KzooError(f"{model.name!r} is no translator of kzoo; generate takes one")
    from kzoo.weights.store import copy_weights

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(model.dtype_policy)
    try:
        twin = create_model(info.model, style="subclass", **info.arguments)
    finally:
        keras.config.set_dtype_policy(before)
    copy_weights(model, twin)
    return twin


def penalty(length: Any, alpha: float) -> Any:
    """((5 + length) / 6) ** alpha, by which scores are divided (Wu et al. 2016, equation 14)."""
    return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)


def decode(
    translator: Translator,
    source: Any,
    *,
    length: int,
    beams: int = 1,
    length_penalty: float = 0.6,
    known: int | None = None,
) -> dict[str, Any]:
    """The best translation that beam search finds; with one beam, greedy.

    The loop ends when every beam has said the end mark, or after `length` tokens. Padding, the start mark and unknown
    tokens are never said.

    Args:
        source: int32 [batch, time], 0 is padding.
        beams: Hypotheses that are kept for each sentence.
        length_penalty: The exponent in `penalty`; 0 compares sums of log probabilities.
        known: Tokens in the vocabulary, where the network has room for more: these alone are said.

    Returns:
        ids: int32 [batch, length], without marks, padded with 0.
        scores: float32 [batch], the sum of log probabilities divided by the penalty.
        attention: float32 [batch, length, time], on the source at each token.
    """
    batch, time = ops.shape(source)[0], ops.shape(source)[1]
    widened = lambda t: ops.repeat(t, beams, axis=0)
    state = {k: widened(v) for k, v in translator.begin(source, length).items()}
    rows = ops.expand_dims(ops.arange(batch, dtype="int32") * beams, 1)  # [batch, 1]: first beam of each sentence

    def body(t, said, ids, total, lengths, finished, attention, state):
        logits, state, weights = translator.step(ops.reshape(said, (-1,)), state)
        vocabulary = ops.shape(logits)[-1]
        forbidden = ops.arange(vocabulary) < END  # padding, unknown, start
        if known is not None:
            forbidden = ops.logical_or(forbidden, ops.arange(vocabulary) >= known)
        logits = ops.where(forbidden, NEVER, ops.cast(logits, "float32"))
        log_p = ops.reshape(ops.log_softmax(logits), (batch, beams, vocabulary))
        # A finished hypothesis goes on as itself: with padding, at no cost.
        nothing = ops.where(ops.equal(ops.arange(vocabulary), 0), 0.0, NEVER)
        log_p = ops.where(ops.expand_dims(finished, -1), nothing, log_p)
        lengths = ops.where(finished, lengths, lengths + 1)
        totals = ops.expand_dims(total, -1) + log_p
        ranked = totals / ops.expand_dims(penalty(lengths, length_penalty), -1)
        _, best = ops.top_k(ops.reshape(ranked, (batch, beams * vocabulary)), beams)
        best = ops.cast(best, "int32")
        parent, said = best // vocabulary, best % vocabulary
        place = ops.reshape(rows + parent, (-1,))
        total = ops.take_along_axis(ops.reshape(totals, (batch, beams * vocabulary)), best, axis=1)
        lengths = ops.take_along_axis(lengths, parent, axis=1)
        finished = ops.logical_or(ops.take_along_axis(finished, parent, axis=1), ops.equal(said, END))
        here = ops.equal(ops.arange(length), t)  # [length]
        ids = ops.where(here, ops.expand_dims(said, -1), ops.take_along_axis(ids, ops.expand_dims(parent, -1), axis=1))
        weights = ops.take(ops.cast(weights, "float32"), place, axis=0)
        attention = ops.where(
            ops.reshape(here, (1, length, 1)), ops.expand_dims(weights, 1), ops.take(attention, place, axis=0)
        )
        state = {k: ops.take(v, place, axis=0) for k, v in state.items()}
        return t + 1, said, ids, total, lengths, finished, attention, state

    first = ops.concatenate([ops.zeros((1,)), ops.full((beams - 1,), NEVER)])  # all beams begin alike: one counts
    start = (
        ops.convert_to_tensor(0, "int32"),
        ops.full((batch, beams), START, dtype="int32"),
        ops.zeros((batch, beams, length), "int32"),
        ops.broadcast_to(first, (batch, beams)),
        ops.zeros((batch, beams), "int32"),
        ops.zeros((batch, beams), "bool"),
        ops.zeros((batch * beams, length, time), "float32"),
        state,
    )
    unfinished = lambda t, said, ids, total, lengths, finished, *_: ops.logical_not(ops.all(finished))
    _, _, ids, total, lengths, _, attention, _ = ops.while_loop(unfinished, body, start, maximum_iterations=length)
    ids, attention = ids[:, 0], ops.take(attention, ops.squeeze(rows, 1), axis=0)  # beams are in the order of scores
    return {
        "ids": ops.where(ops.equal(ids, END), 0, ids),
        "scores": total[:, 0] / penalty(ops.maximum(lengths[:, 0], 1), length_penalty),
        "attention": attention,
    }

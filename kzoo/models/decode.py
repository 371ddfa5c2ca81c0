"""Saying token after token in one compiled loop: beam search, greedy, or drawn; of a source, or on from a prompt.

A network that decodes gives the logits of the next token at each place of a whole sequence, which is how it learns. To
generate it is asked for one token after the other: `begin` reads what is given once, `step` says what comes after one
more token.
"""

from __future__ import annotations

from typing import Any, ClassVar

from keras import ops

from kzoo.models.styles import Definition
from kzoo.records import END, START, UNKNOWN

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


class Decoding(Definition):
    """A network with the steps that decoding takes.

    A state is a dict of tensors with the batch first; beams are gathered along it.

    Attributes:
        attends: Whether it looks at what it was given while it speaks.
    """

    attends: ClassVar[bool] = False

    def stage(self, name: str) -> Any:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def vocabulary(self) -> int:
        """Tokens that it has logits of: asked of a language model."""
        raise NotImplementedError

    def begin(self, given: Any, length: int, lengths: Any = None) -> State:
        """What is read before the first token is said, all at once.

        Of a source, int32 ids [batch, time]: the state before the first of at most `length` tokens. Of a prompt, whose
        rows have so many tokens as int32 `lengths` [batch] says: the state before its last token, with room for `length`
        tokens, the prompt's among them.
        """
        raise NotImplementedError

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        """int32 [batch], the tokens said last -> logits [batch, vocabulary], the state, and what was looked at: float
        [batch, given time]; None of a network that does not attend.
        """
        raise NotImplementedError


def penalty(length: Any, alpha: float) -> Any:
    """((5 + length) / 6) ** alpha, by which scores are divided (Wu et al. 2016, equation 14)."""
    return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)


def decode(
    network: Decoding,
    source: Any,
    *,
    length: int,
    beams: int = 1,
    length_penalty: float = 0.6,
    known: int | None = None,
    unknown: bool = False,
) -> dict[str, Any]:
    """The best translation that beam search finds; with one beam, greedy.

    The loop ends when every beam has said the end mark, or after `length` tokens. Padding and the start mark are never
    said.

    Args:
        source: int32 [batch, time], 0 is padding.
        beams: Hypotheses that are kept for each sentence.
        length_penalty: The exponent in `penalty`; 0 compares sums of log probabilities.
        known: Tokens in the vocabulary, where the network has room for more: these alone are said.
        unknown: Whether the token may be said that stands for all that the vocabulary lacks.

    Returns:
        ids: int32 [batch, length], without marks, padded with 0.
        scores: float32 [batch], the sum of log probabilities divided by the penalty.
        attention: float32 [batch, length, time], on the source at each token, of a network that attends.
    """
    batch, time = ops.shape(source)[0], ops.shape(source)[1]
    widened = lambda t: ops.repeat(t, beams, axis=0)
    state = {k: widened(v) for k, v in network.begin(source, length).items()}
    rows = ops.expand_dims(ops.arange(batch, dtype="int32") * beams, 1)  # [batch, 1]: first beam of each sentence

    def body(t, said, ids, total, lengths, finished, attention, state):
        logits, state, weights = network.step(ops.reshape(said, (-1,)), state)
        vocabulary = ops.shape(logits)[-1]
        possible = allowed(logits, END, known, UNKNOWN if unknown else None)
        log_p = ops.reshape(ops.log_softmax(possible), (batch, beams, vocabulary))
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
        if network.attends:
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
    found = {
        "ids": ops.where(ops.equal(ids, END), 0, ids),
        "scores": total[:, 0] / penalty(ops.maximum(lengths[:, 0], 1), length_penalty),
    }
    return {**found, "attention": attention} if network.attends else found


def go_on(
    network: Decoding,
    prompt: Any,
    drawn: Any,
    *,
    reserved: int,
    lengths: Any = None,
    known: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
) -> dict[str, Any]:
    """What a language model says after a prompt, each token drawn from its probabilities.

    Args:
        prompt: int32 [batch, time], one token at least in each row: prompts of unequal lengths go on each from its own
            last token.
        drawn: float32 [batch, length], a number in 0 to below 1 for each token that is said.
        reserved: Ids below it are never said.
        lengths: int32 [batch], tokens in each row of the prompt, whatever stands behind them; None: those that are not 0.
        known: Tokens in the vocabulary, where the network has room for more.
        temperature: Logits are divided by it; 0: always the likeliest token.
        top_k: Only so many of the likeliest tokens are drawn from.
        top_p: Only the likeliest tokens that have so much of the probability together are drawn from.
        repetition_penalty: Logits of tokens that stand in the prompt, or were said, are divided by it above 0, and
            multiplied below.

    Returns:
        ids: int32 [batch, length], what was said after the prompt.
        scores: float32 [batch, length], the log probability of each, as the network gives it.
    """
    length = ops.shape(drawn)[1]
    lengths = lengths_of(prompt) if lengths is None else lengths
    state = network.begin(prompt, ops.shape(prompt)[1] + length, lengths)
    last = ops.take_along_axis(prompt, ops.expand_dims(lengths - 1, 1), axis=1)[:, 0]
    met = None
    if repetition_penalty != 1:
        real = ops.expand_dims(ops.arange(ops.shape(prompt)[1], dtype="int32"), 0) < ops.expand_dims(lengths, 1)
        there = ops.expand_dims(ops.where(real, prompt, -1), -1)
        met = ops.any(ops.equal(there, ops.arange(network.vocabulary, dtype="int32")), axis=1)

    def body(t, last, ids, scores, state, *met):
        logits, state, _ = network.step(last, state)
        logits = allowed(logits, reserved, known)
        liked = logits
        if met:
            factor = ops.where(logits > 0, 1 / repetition_penalty, repetition_penalty)
            liked = ops.where(ops.logical_and(met[0], logits > NEVER / 2), logits * factor, logits)
        random = ops.take(drawn, ops.reshape(t, (1,)), axis=1)  # [batch, 1]
        said = chosen(liked, random, temperature, top_k, top_p)
        here, one = ops.equal(ops.arange(length), t), ops.expand_dims(said, 1)
        scores = ops.where(here, ops.take_along_axis(ops.log_softmax(logits), one, axis=1), scores)
        ids = ops.where(here, one, ids)
        met = [ops.logical_or(m, ops.equal(one, ops.arange(network.vocabulary))) for m in met]
        return t + 1, said, ids, scores, state, *met

    zero, ids = ops.convert_to_tensor(0, "int32"), ops.zeros_like(ops.cast(drawn, "int32"))
    start = (zero, last, ids, ops.zeros_like(drawn), state, *([] if met is None else [met]))
    _, _, ids, scores, *_ = ops.while_loop(lambda t, *_: t < length, body, start, maximum_iterations=length)
    return {"ids": ids, "scores": scores}


def lengths_of(ids: Any) -> Any:
    """int32 [batch]: tokens in each row of ids [batch, time], padded at the end with 0."""
    return ops.sum(ops.cast(ops.not_equal(ids, 0), "int32"), axis=1)


def allowed(logits: Any, reserved: int, known: int | None, but: int | None = None) -> Any:
    """float32 logits [batch, vocabulary] without ids below `reserved` but one, and without those that no token has."""
    places = ops.arange(ops.shape(logits)[-1])
    forbidden = places < reserved
    if but is not None:
        forbidden = ops.logical_and(forbidden, places != but)
    if known is not None:
        forbidden = ops.logical_or(forbidden, places >= known)
    return ops.where(forbidden, NEVER, ops.cast(logits, "float32"))


def chosen(logits: Any, drawn: Any, temperature: float, top_k: int | None = None, top_p: float = 1.0) -> Any:
    """int32 [batch]: the token where the sum of the probabilities passes the number drawn, [batch, 1] in 0 to 1."""
    if temperature == 0:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    if top_k is not None:
        least = ops.top_k(logits, min(top_k, logits.shape[-1]))[0][:, -1:]
        logits = ops.where(logits < least, NEVER, logits)
    if top_p < 1:  # Holtzman et al. 2020, https://arxiv.org/abs/1904.09751, section 3.1
        ranked = ops.flip(ops.sort(logits, axis=-1), axis=-1)
        shares = masked_softmax(ranked / temperature, ranked > NEVER / 2)
        before = ops.cumsum(shares, axis=-1) - shares  # of those that are likelier
        least = ops.min(ops.where(before < top_p, ranked, ranked[:, :1]), axis=-1, keepdims=True)
        logits = ops.where(logits < least, NEVER, logits)
    sums = ops.cumsum(masked_softmax(logits / temperature, logits > NEVER / 2), axis=-1)
    # The sum of all may be a rounding below one: the number is measured by it.
    return ops.sum(ops.cast(sums <= drawn * sums[:, -1:], "int32"), axis=-1)

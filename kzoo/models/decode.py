"""Saying token after token in one compiled loop: beam search, greedy, or drawn; of a source, or on from a prompt.

A network that decodes gives the logits of the next token at each place of a whole sequence, which is how it learns. To
generate it is asked for one token after the other: `begin` reads what is given once, `step` says what comes after one
more token.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
from keras import ops

from kzoo.models.styles import Definition
from kzoo.records import END, START

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
        """Tokens that it has logits of."""
        raise NotImplementedError

    def begin(self, given: Any, length: Any, lengths: Any = None) -> tuple[Any, State]:
        """What is given, int32 ids [batch, time], read all at once: int32 [batch], the first token that `step` is to read,
        and the state before it, with room for `length` tokens that are said.

        Of a source the first is the start mark. Of a prompt, whose rows have so many tokens as int32 `lengths` [batch]
        says, it is its last token.
        """
        raise NotImplementedError

    def met(self, given: Any, lengths: Any = None) -> Any:
        """bool [batch, vocabulary]: tokens that stand already in what is gone on with; of a source none do."""
        return ops.zeros((ops.shape(given)[0], self.vocabulary), "bool")

    def step(self, ids: Any, state: State) -> tuple[Any, State, Any]:
        """int32 [batch], the tokens said last -> logits [batch, vocabulary], the state, and what was looked at: float
        [batch, given time]; None of a network that does not attend.
        """
        raise NotImplementedError


class LanguageModel(Decoding):
    """Without a source: it is given a prompt, the beginning of a text, and goes on."""

    def met(self, given: Any, lengths: Any = None) -> Any:
        lengths = lengths_of(given) if lengths is None else lengths
        real = ops.expand_dims(ops.arange(ops.shape(given)[1], dtype="int32"), 0) < ops.expand_dims(lengths, 1)
        there = ops.expand_dims(ops.where(real, given, -1), -1)
        return ops.any(ops.equal(there, ops.arange(self.vocabulary, dtype="int32")), axis=1)


def penalty(length: Any, alpha: float) -> Any:
    """((5 + length) / 6) ** alpha, by which scores are divided (Wu et al. 2016, equation 14)."""
    return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)


def decode(
    network: Decoding,
    given: Any,
    *,
    length: Any,
    lengths: Any = None,
    reserved: int = END,
    spared: int | None = None,
    known: int | None = None,
    end: int | None = END,
    padding: int = 0,
    beams: int = 1,
    length_penalty: float = 0.6,
    drawn: Any = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
) -> dict[str, Any]:
    """What a network says of a source, or after a prompt: the likeliest that beam search finds, or what is drawn.

    The loop ends when every text has its end mark, or after `length` tokens. A hypothesis is one of the `beams` texts that
    may yet become the answer of a row; what is known of it, and the network's state behind it, lie in one row each.

    Args:
        given: int32 [batch, time]: a source, 0 is padding, or a prompt of one token at least in each row; prompts of
            unequal lengths go on each from its own last token.
        length: Most tokens that are said: a number, or an int32 tensor.
        lengths: int32 [batch], tokens in each row of a prompt, whatever stands behind them; None: those that are not 0.
        reserved: Ids below it are never said: padding, marks; but `spared`.
        known: Tokens in the vocabulary, where the network has room for more: these alone are said.
        end: What ends a text; None: nothing does.
        padding: Stands where nothing more was said.
        beams: Hypotheses that are kept for each row. More than one are searched for the likeliest text, and nothing is drawn.
        length_penalty: The exponent in `penalty`; 0 compares sums of log probabilities.
        drawn: float32 [batch, length], a number in 0 to below 1 for each token; where the temperature is 0 it is not read.
        temperature: Logits are divided by it; 0: always the likeliest token.
        top_k: Only so many of the likeliest tokens are drawn from.
        top_p: Only the likeliest tokens that have so much of the probability together are drawn from.
        repetition_penalty: Logits of tokens that stand in the prompt, or were said, are divided by it above 0, and
            multiplied below.

    Returns:
        ids: int32 [batch, length], without the end mark.
        log_p: float32 [batch, length], the log probability of each token, the end mark too, as the network gives it.
        scores: float32 [batch], their sum divided by the penalty.
        attention: float32 [batch, length, time], on what was given at each token, of a network that attends.
    """
    said, state = network.begin(given, length, lengths)  # [batch], the token that is read first
    batch, time, places = ops.shape(given)[0], ops.shape(given)[1], ops.arange(length)
    kept = {
        "ids": ops.zeros((batch, length), "int32"),
        "log_p": ops.zeros((batch, length)),
        "count": ops.zeros((batch,), "int32"),
        "over": ops.zeros((batch,), "bool"),
    }
    if network.attends:
        kept["attention"] = ops.zeros((batch, length, time))
    if repetition_penalty != 1:
        kept["met"] = network.met(given, lengths)
    if beams > 1:
        said, kept, state = keras.tree.map_structure(lambda t: ops.repeat(t, beams, axis=0), (said, kept, state))
        # All hypotheses of a row begin alike: the first counts.
        kept["total"] = ops.where(ops.arange(batch * beams) % beams == 0, 0.0, NEVER)

    def body(t, said, kept, state):
        logits, state, looked = network.step(said, state)
        logits = allowed(logits, reserved, known, spared)  # [hypotheses, vocabulary]
        liked = logits
        if "met" in kept:
            factor = ops.where(logits > 0, 1 / repetition_penalty, repetition_penalty)
            liked = ops.where(ops.logical_and(kept["met"], logits > NEVER / 2), logits * factor, logits)
        log_p = ops.log_softmax(logits)
        if beams > 1:
            before, said, total = best_of(liked, kept, beams, length_penalty)
            kept, state = keras.tree.map_structure(lambda x: ops.take(x, before, axis=0), (kept, state))
            log_p, kept["total"] = ops.take(log_p, before, axis=0), total
            looked = ops.take(looked, before, axis=0) if network.attends else None
        else:
            number = ops.take(drawn, ops.reshape(t, (1,)), axis=1) if temperature else None
            said = chosen(liked, number, temperature, top_k, top_p)
        return t + 1, said, noted(kept, ops.equal(places, t), said, log_p, looked, end), state

    start = ops.convert_to_tensor(0, "int32"), said, kept, state
    unfinished = lambda t, said, kept, state: ops.logical_and(t < length, ops.logical_not(ops.all(kept["over"])))
    _, _, kept, _ = ops.while_loop(unfinished, body, start)
    if beams > 1:  # those of a row are in the order of their scores
        kept = keras.tree.map_structure(lambda t: t[::beams], kept)
    ids = kept["ids"]
    said = ops.expand_dims(places, 0) < ops.expand_dims(kept["count"], 1)
    if end is not None:
        said = ops.logical_and(said, ops.not_equal(ids, end))
    found = {
        "ids": ops.where(said, ids, padding),
        "log_p": kept["log_p"],
        "scores": ops.sum(kept["log_p"], axis=1) / penalty(ops.maximum(kept["count"], 1), length_penalty),
    }
    return {**found, "attention": kept["attention"]} if network.attends else found


def noted(kept: State, here: Any, said: Any, log_p: Any, looked: Any, end: int | None) -> State:
    """What is known of each hypothesis once it has said one token more, at the place where `here`, bool [length], holds."""
    one, going = ops.expand_dims(said, 1), ops.logical_not(kept["over"])
    now = ops.where(ops.expand_dims(going, 1), ops.take_along_axis(log_p, one, axis=1), 0.0)
    found = {
        **kept,
        "ids": ops.where(here, one, kept["ids"]),
        "log_p": ops.where(here, now, kept["log_p"]),
        "count": kept["count"] + ops.cast(going, "int32"),
    }
    if end is not None:
        found["over"] = ops.logical_or(kept["over"], ops.equal(said, end))
    if "attention" in kept:
        looked = ops.expand_dims(ops.cast(looked, "float32"), 1)
        found["attention"] = ops.where(ops.expand_dims(here, -1), looked, kept["attention"])
    if "met" in kept:
        found["met"] = ops.logical_or(kept["met"], ops.equal(one, ops.arange(ops.shape(log_p)[-1])))
    return found


def best_of(logits: Any, kept: State, beams: int, alpha: float) -> tuple[Any, Any, Any]:
    """The `beams` best of all that the hypotheses of a row can become by one more token, each int32 or float32
    [hypotheses]: which hypothesis each was before, what it says, the sum of its log probabilities.
    """
    vocabulary = ops.shape(logits)[-1]
    of_row = lambda t: ops.reshape(t, (-1, beams * vocabulary))
    # One that is over goes on as itself: with padding, at no cost.
    nothing = ops.where(ops.equal(ops.arange(vocabulary), 0), 0.0, NEVER)
    log_p = ops.where(ops.expand_dims(kept["over"], 1), nothing, ops.log_softmax(logits))
    totals = ops.expand_dims(kept["total"], 1) + log_p
    counts = kept["count"] + ops.cast(ops.logical_not(kept["over"]), "int32")
    _, best = ops.top_k(of_row(totals / ops.expand_dims(penalty(counts, alpha), 1)), beams)
    best = ops.cast(best, "int32")  # [batch, beams]
    total = ops.take_along_axis(of_row(totals), best, axis=1)
    first = beams * ops.expand_dims(ops.arange(ops.shape(best)[0], dtype="int32"), 1)  # hypothesis of each row
    return tuple(ops.reshape(t, (-1,)) for t in (first + best // vocabulary, best % vocabulary, total))


def starts(source: Any) -> Any:
    """int32 [batch]: the start mark for each row."""
    return ops.full((ops.shape(source)[0],), START, dtype="int32")


def last_of(prompt: Any, lengths: Any) -> Any:
    """int32 [batch]: the last token of each row."""
    return ops.take_along_axis(prompt, ops.expand_dims(lengths - 1, 1), axis=1)[:, 0]


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

"""Pieces of a text that are hidden are guessed from what stands on both sides: what BERT is pre-trained on.

How good it is: the share of the hidden pieces that it guesses, beside that of always saying the commonest one, and the
perplexity, e to the mean negative log probability that it gives to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.errors import KzooError
from kzoo.inputs import is_utf8, random_texts, words_for
from kzoo.records import Options, Whole
from kzoo.report import Shown, Text
from kzoo.tasks.task import Evaluated, Result, Score, Signature, Task, of_raw, read_by

SHOWN = 8  # examples of a batch


@dataclass(frozen=True)
class Filled(Result):
    """What may stand in the gaps of one text.

    Attributes:
        text: With the likeliest piece in each gap.
        pieces: Of each gap the likeliest pieces, the first one first; `scores` their probabilities.
    """

    input: str
    text: str
    pieces: tuple[tuple[str, ...], ...]
    scores: tuple[tuple[float, ...], ...]

    def rows(self) -> list[dict[str, str | float]]:
        gaps = enumerate(zip(self.pieces, self.scores, strict=True), start=1)
        return [
            {"text": self.input, "gap": k, "piece": piece, "score": score}
            for k, (pieces, scores) in gaps
            for piece, score in zip(pieces, scores, strict=True)
        ]

    def __str__(self) -> str:
        lines = [self.text]
        for pieces, scores in zip(self.pieces, self.scores, strict=True):
            lines.append("  " + ", ".join(f"{p} {s:.4f}" for p, s in zip(pieces, scores, strict=True)))
        return "\n".join(lines)


@dataclass(frozen=True)
class MaskedEvaluation(Evaluated):
    """How well hidden pieces of one split are guessed; `examples` are the pieces.

    Attributes:
        accuracy: Share of the hidden pieces that are the likeliest at their place; `baseline`: of the commonest one.
        next_accuracy: Share of the parts of which it is known whether their second segment follows; half do.
    """

    accuracy: float
    baseline: float
    perplexity: float
    next_accuracy: float

    @property
    def score(self) -> tuple[str, float]:
        return "accuracy", self.accuracy

    def __str__(self) -> str:
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} hidden pieces",
            f"accuracy   {self.accuracy:.4f}",
            f"baseline   {self.baseline:.4f} (the commonest piece)",
            f"perplexity {self.perplexity:.3f}",
            f"next       {self.next_accuracy:.4f} (whether the second segment follows)",
        ]
        return "\n".join([*lines, *(f"note       {note}" for note in self.notes)])


@dataclass(frozen=True)
class Guesses(Options):
    top: Annotated[int, Whole(), "How many pieces to give for each gap, the likeliest first."] = 5


class MaskedLanguage(Task):
    name, holds = "masked-language", "prose"
    asks_export = "predict {} 'a text with a [MASK]'"
    score: ClassVar[Score | None] = Score((("val_loss", False), ("loss", False)))
    Options: ClassVar[type[Options]] = Guesses

    def made_up(self, model: Any, count: int, tokens: int) -> Data:
        return Data((random_texts(count, words_for(read_by(model), tokens), seed=0), np.zeros(count, np.int64)))

    def question(self, model: Any, data: Any, count: int) -> Any:
        if not isinstance(data, Data):
            return super().question(model, data, count)
        return [f"{text} [MASK]" for text in super().question(model, data, count)]

    def evaluate(self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any) -> MaskedEvaluation:
        reader = predictor.reader
        reader.check(predictor.name, data)
        batches = reader.batches(data[split], batch_size)
        nats, right, counts, nexts = 0.0, 0, np.zeros(len(reader.spec.vocabulary), np.int64), []
        for ids, labels in batches.epoch(0):
            outputs = predictor.forward(ids)
            logits, true = tf.cast(outputs["tokens"], tf.float32), labels["tokens"]
            hidden = tf.not_equal(true, 0)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=true, logits=logits)
            nats += float(tf.reduce_sum(tf.where(hidden, losses, 0.0)))
            right += int(tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), true) & hidden, tf.int32)))
            counts += np.bincount(true.numpy()[hidden.numpy()], minlength=len(counts))
            nexts += np.equal(np.argmax(outputs["next"], axis=-1), labels["next"]).tolist()
        total = int(counts.sum())
        if not total:
            raise KzooError(f"of the {split} split no piece was hidden; it has too few")
        return MaskedEvaluation(
            predictor.name, data.info.name, split, total, right / total, counts.max() / total,
            math.exp(nats / total), float(np.mean(nexts)), notes=(*data.info.notes, *batches.notes),
        )  # fmt: skip

    def answer(self, predictor: Any, given: Any, *, batch_size: int, top: int = 5, **options: Any) -> list[Filled]:
        if given is None:
            raise KzooError(f"{predictor.name} fills gaps; give it a text with [MASK] in it")
        reader, found = predictor.reader, []
        known = len(reader.spec.vocabulary)
        for texts, ids in reader.examples(given, batch_size, predictor.name):
            logits = tf.cast(predictor.forward(ids)["tokens"], tf.float32)[..., :known]
            scores, places = (t.numpy() for t in tf.math.top_k(tf.nn.softmax(logits), min(top, known)))
            gaps = tf.equal(ids, reader.mask).numpy()
            filled = reader.filled(tf.constant(texts), ids, tf.constant(places[..., 0])).numpy()
            for row, text in enumerate(texts):
                said = [tuple(reader.spec.vocabulary[k] for k in best) for best in places[row][gaps[row]]]
                sure = [tuple(map(float, some)) for some in scores[row][gaps[row]]]
                found.append(Filled(text, filled[row].decode(), tuple(said), tuple(sure)))
        return found

    def as_read(self, predictor: Any, text: str) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
        """With its gaps."""
        ids = np.asarray(predictor.reader.with_gaps(tf.constant([text])).to_tensor())
        return ids, tuple(predictor.reader.spec.vocabulary[k] for k in ids[0]), ()

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Beside the network alone: texts with gaps in, the same with the likeliest pieces in them out."""
        found = super().signatures(predictor)
        reader, model = predictor.reader, predictor.model
        if not reader.spec.known:
            return found
        known = len(reader.spec.vocabulary)

        def filled(text: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            ids = reader.with_gaps(text).to_tensor()
            logits = tf.cast(model(ids, training=False)["tokens"], tf.float32)[..., :known]
            gaps = tf.equal(ids, reader.mask)
            best = tf.where(gaps, tf.reduce_max(tf.nn.log_softmax(logits), axis=-1), 0.0)
            said = reader.filled(text, ids, tf.argmax(logits, -1, tf.int32))
            count = tf.reduce_sum(tf.cast(gaps, tf.int32), axis=1)
            made = {"text": said, "scores": tf.reduce_sum(best, axis=1), "gaps": count}
            return made, (count > 0) & is_utf8(text)

        takes = {"text": tf.TensorSpec([None], tf.string, name="text")}
        notes = (
            "A text without [MASK], or no UTF-8, is not valid; gaps are those that were read, scores the sums of the"
            " log probabilities of what stands in them. Of a longer text the first"
            f" {reader.spec.length} pieces are read.",
        )
        keeps = (reader.lookup,)
        return {**found, "serve_text": Signature(of_raw(filled), takes, keeps=keeps, notes=notes)}

    def show_batch(self, batch: Any, reading: Any, labels: Sequence[str]) -> list[Shown]:
        ids, guessed = batch[0][:SHOWN].numpy(), batch[1]["tokens"][:SHOWN].numpy()
        vocabulary, lines = reading.reader.spec.vocabulary, []
        for row, true in zip(ids, guessed, strict=True):
            said = (f"{vocabulary[k]}({vocabulary[t]})" if t else vocabulary[k] for k, t in zip(row, true, strict=True))
            lines.append(" ".join(word for word, k in zip(said, row, strict=True) if k))
        title = "one training batch as the network sees it; what is to be guessed stands in brackets"
        return [Text("batch.txt", "\n\n".join([title, *lines]) + "\n")]

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """What it guesses in some of the validation split."""
        ids, true = next(iter(validation.epoch(0)))
        ids, true = ids[:SHOWN], true["tokens"][:SHOWN].numpy()
        said = np.argmax(predictor.forward(ids)["tokens"], axis=-1)
        vocabulary, lines = predictor.reader.spec.vocabulary, ["each hidden piece: guessed (true)", ""]
        for row, here in zip(said, true, strict=True):
            name = lambda k: vocabulary[k] if k < len(vocabulary) else "?"
            guesses = [f"{name(k)} ({vocabulary[t]})" for k, t in zip(row, here, strict=True) if t]
            lines += [", ".join(guesses)] if guesses else []
        return [Text("predictions.txt", "\n".join(lines) + "\n")]


TASK = MaskedLanguage()

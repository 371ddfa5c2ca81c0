"""Writing on: a language model gives the probabilities of the next token, and text is drawn from them.

How good it is: the perplexity, e to the mean negative log probability that it gives to what comes next; 1 is certainty,
the number of different tokens is ignorance. A token is a character, or a piece of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import tensorflow as tf

from kzoo.data import Data, DataInfo
from kzoo.errors import KzooError
from kzoo.inputs import is_utf8, random_texts
from kzoo.models import decode
from kzoo.records import TEXT, Callbacks, Options, Whole
from kzoo.report import Shown, Text
from kzoo.tasks.saying import Saying, manner, serves_texts, speaker, uniform
from kzoo.tasks.task import Evaluated, Result, Score, Signature, Task, read_by


@dataclass(frozen=True)
class Written(Result):
    """What was written after one prompt.

    Attributes:
        score: The sum of the log probabilities of what was written, as the network gives them.
    """

    input: str
    text: str
    score: float = field(repr=False)

    def __str__(self) -> str:
        return self.input + self.text


@dataclass(frozen=True)
class LanguageEvaluation(Evaluated):
    """How well a language model knows what comes next in one split; `examples` are tokens.

    Attributes:
        baseline: The perplexity of knowing only how common each token of the split is.
        accuracy: Share of the tokens that are the likeliest at their place.
        unit: What a token is: "characters", or "pieces".
    """

    perplexity: float
    baseline: float
    accuracy: float
    unit: str = "characters"

    @property
    def score(self) -> tuple[str, float]:
        return "perplexity", self.perplexity

    def __str__(self) -> str:
        one = self.unit.removesuffix("s")
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} {self.unit}",
            f"perplexity {self.perplexity:.3f} ({math.log2(self.perplexity):.3f} bits a {one})",
            f"baseline   {self.baseline:.3f} (how common each {one} is)",
            f"accuracy   {self.accuracy:.4f}",
        ]
        return "\n".join([*lines, *(f"note       {note}" for note in self.notes)])


@dataclass(frozen=True)
class Writing(Saying):
    length: Annotated[int, Whole(), "Characters, or pieces, to write."] = 200
    stop: Annotated[str | None, TEXT, "Writing ends in front of this text."] = None
    seed: Annotated[int, Whole(0), "Of the numbers that tokens are drawn by."] = 0
    stream: Annotated[Any, Callbacks(), "A function that is given the pieces of one text as they are written."] = None


UNTOLD = {"beams": 1, "temperature": 1.0}


def says(spec: Any) -> dict[str, Any]:
    """What `decode` takes of what the network reads."""
    return {"reserved": len(spec.reserved), "known": len(spec.vocabulary), "end": spec.end, "padding": spec.padding}


def room(tokens: int, most: int) -> int:
    """Places for so many tokens: few different numbers, for the loop is compiled for each.

    >>> [room(tokens, 512) for tokens in (1, 16, 17, 300)]
    [16, 16, 32, 512]
    """
    return min(max(1 << (int(tokens) - 1).bit_length(), 16), most)


class TextGeneration(Task):
    name, holds, verb = "text-generation", "prose", "generate"
    asks_export = ""
    score: ClassVar[Score | None] = Score((("val_loss", False), ("loss", False)))
    Options: ClassVar[type[Options]] = Writing

    def options(self, verb: str) -> type[Options]:
        """An export has the loop inside; it writes so many tokens by the seed that it is given."""
        return Saying if verb == "export" else super().options(verb)

    def made_up(self, model: Any, count: int, tokens: int) -> Data:
        many = count * read_by(model).length // 100 + 1  # passages of a hundred words, which have more characters
        return Data((random_texts(many, 100, seed=0), np.zeros(many, np.int64)), info=DataInfo("random", "prose"))

    def evaluate(
        self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any
    ) -> LanguageEvaluation:
        reader, padding = predictor.reader, predictor.reader.spec.padding
        reader.check(predictor.name, data)
        nats, right, counts = 0.0, 0, np.zeros(len(reader.spec.vocabulary), np.int64)
        batches = reader.batches(data[split], batch_size)
        for ids, after in batches.epoch(0):
            logits, real = tf.cast(predictor.forward(ids), tf.float32), tf.not_equal(after, padding)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.maximum(after, 0), logits=logits)
            hits = tf.equal(tf.argmax(logits, -1, tf.int32), after)
            nats += float(tf.reduce_sum(tf.where(real, losses, 0.0)))
            right += int(tf.reduce_sum(tf.cast(hits & real, tf.int32)))
            counts += np.bincount(after.numpy()[real.numpy()], minlength=len(counts))
        if not (total := int(counts.sum())):
            raise KzooError(f"the {split} split has no two {reader.spec.unit} to go from one to the next")
        share = counts[counts > 0] / total
        baseline = math.exp(-(share * np.log(share)).sum())
        return LanguageEvaluation(
            predictor.name, data.info.name, split, total, math.exp(nats / total), baseline, right / total,
            reader.spec.unit, notes=(*data.info.notes, *batches.notes),
        )  # fmt: skip

    def answer(
        self, predictor: Any, given: Any, *, batch_size: int, length: int = 200, seed: int = 0, stop: str | None = None,
        stream: Callable[[str], Any] | None = None, **saying: Any,
    ) -> list[Written]:  # fmt: skip
        """Piece after piece: half of what the network reads at once is what came before."""
        if given is None:
            raise KzooError(f"{predictor.name} writes on; give it the beginning of a text")
        if stream is not None and (not callable(stream) or (not isinstance(given, str) and len(given) != 1)):
            raise KzooError("stream is a function that is given the pieces of one text; give one text and a function")
        told = 0  # characters that `stream` was given
        spec = predictor.reader.spec
        made, half = [], predictor.reader.half
        how = manner(saying, **UNTOLD)
        write = self._writer(predictor, how)

        def ended(ids: np.ndarray) -> np.ndarray:
            """Behind the end of a text is padding, and then nothing: a later piece does not know that it was over."""
            return np.where(np.cumsum(ids == spec.padding, axis=1) > 0, spec.padding, ids)

        spelled = lambda ids: [text.decode() for text in predictor.reader.text(tf.constant(ids)).numpy()]
        for number, (texts, prompts) in enumerate(predictor.reader.examples(given, batch_size, predictor.name)):
            before = [row[row != spec.padding] for row in prompts.numpy()]
            said, scores = np.zeros((len(texts), 0), np.int32), np.zeros((len(texts), 0), np.float32)
            for i in range(0, length, half):
                lasts = [np.concatenate(parts)[-half:] for parts in zip(before, said, strict=True)]
                counts = np.array([len(last) for last in lasts], np.int32)
                window = np.full((len(texts), room(counts.max(), half)), spec.padding, np.int32)
                for row, last in zip(window, lasts, strict=True):
                    row[: len(last)] = last
                # Of a longer text that is the likeliest, the beginning is not.
                most = min(length - i, half) if how["beams"] > 1 else room(length - i, half)
                piece = uniform(len(texts), half, seed % (2**31 - 1), i // half, number).numpy()[:, :most]
                ids, score = (t.numpy() for t in write(*map(tf.constant, (window, counts, piece))))
                said = np.concatenate([said, ids[:, : length - i]], axis=1)
                scores = np.concatenate([scores, score[:, : length - i]], axis=1)
                over = i + half >= length or (said == spec.padding).any(axis=1).all()
                if stream is not None:
                    (text,) = spelled(ended(said))
                    sure = len(text)
                    if not over:  # part of a letter, and what may be the beginning of the stop text, wait
                        sure = len(text.rstrip("\ufffd")) - (len(stop) - 1 if stop else 0)
                    sure = max(min(sure, len(text.partition(stop)[0])) if stop else sure, told)
                    stream(text[told:sure])
                    told = sure
                if over or (stop and all(stop in text for text in spelled(said))):
                    break
            said = ended(said)
            for text, new, row, log_p in zip(texts, spelled(said), said, scores, strict=True):
                new = new.partition(stop)[0] if stop else new
                made.append(Written(text, new, float(log_p[: predictor.reader.spelling(row, new)].sum())))
        return made

    def _writer(self, predictor: Any, how: Mapping[str, Any]) -> Callable[..., Any]:
        """(ids [n, half], how many each row has [n], drawn [n, half]) -> (what comes next [n, half], its log
        probabilities), compiled.
        """
        if predictor.export is not None:
            raise KzooError(
                f"{predictor.name} is an export: its serve_text writes; generate takes the run it came from"
            )
        network, how = speaker(predictor), {**says(predictor.reader.spec), **how}

        def write(ids: tf.Tensor, counts: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            length = tf.shape(drawn)[1]
            found = decode(network, tf.maximum(ids, 0), length=length, lengths=counts, drawn=drawn, **how)
            return found["ids"], found["log_p"]

        return predictor.function(("write", *how.items()), lambda: write)

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Beside the network alone: beginnings of texts and a seed in, what comes next out: as many characters as half
        of what the network reads at once.
        """
        found = super().signatures(predictor)
        reader, half = predictor.reader, predictor.reader.half
        if not reader.spec.known:
            return found
        network, how = speaker(predictor), {**says(reader.spec), **manner(options, **UNTOLD)}

        def written(text: tf.Tensor, seed: tf.Tensor | None) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            ids = reader.ids(text)[:, -half:]
            drawn = None if seed is None else uniform(tf.shape(text)[0], half, seed)
            counts = tf.cast(ids.row_lengths(), tf.int32)
            # An empty text is not valid; what would come after it is not asked.
            lengths, ids = tf.maximum(counts, 1), ids.to_tensor(shape=[None, half])
            made = decode(network, ids, length=half, lengths=lengths, drawn=drawn, **how)
            log_p = tf.where(tf.equal(made["ids"], reader.spec.padding), 0.0, made["log_p"])
            scores = tf.reduce_sum(log_p, axis=1)
            return {"text": reader.text(made["ids"]), "scores": scores}, (counts > 0) & is_utf8(text)

        notes = (
            f"An empty text, or no UTF-8, is not valid; of a longer one the last {half} {reader.spec.unit} are read.",
        )
        keeps = (reader.lookup, network)
        serve_text = serves_texts(written, how["temperature"] > 0, keeps=keeps, notes=notes)
        return {**found, "serve_text": serve_text}

    def show_batch(self, batch: Any, reading: Any, labels: Sequence[str]) -> list[Shown]:
        lines = [repr(t.decode())[1:-1] for t in reading.reader.text(batch[0][:32]).numpy()]
        return [Text("batch.txt", "one training batch as the network sees it\n\n" + "\n".join(lines) + "\n")]

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """What it writes after the beginning of the validation split."""
        ids = next(iter(validation.epoch(0)))[0][:1, : predictor.reader.half]
        start = predictor.reader.text(ids).numpy()[0].decode()
        (written,) = self.answer(predictor, start, batch_size=1)
        return [Text("predictions.txt", f"begun with {start!r}\n\n{written}\n")]


TASK = TextGeneration()

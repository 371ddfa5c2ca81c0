"""Writing on: a language model gives the probabilities of the next character, and text is drawn from them.

How good it is: the perplexity, e to the mean negative log probability that it gives to what comes next; 1 is certainty,
the number of characters is ignorance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import tensorflow as tf

from kzoo.data import Data, DataInfo
from kzoo.errors import KzooError
from kzoo.inputs import is_utf8, random_texts
from kzoo.models import go_on
from kzoo.records import TEXT, Callbacks, Number, Options, Whole
from kzoo.report import Shown, Text
from kzoo.tasks.task import Evaluated, Result, Score, Signature, Task, of_raw, read_by
from kzoo.tasks.translation import speaker

RESERVED = 2  # ids that are never said: padding and unknown characters


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
    """How well a language model knows what comes next in one split; `examples` are characters.

    Attributes:
        baseline: The perplexity of knowing only how common each character of the split is.
        accuracy: Share of the characters that are the likeliest at their place.
    """

    perplexity: float
    baseline: float
    accuracy: float

    @property
    def score(self) -> tuple[str, float]:
        return "perplexity", self.perplexity

    def __str__(self) -> str:
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} characters",
            f"perplexity {self.perplexity:.3f} ({math.log2(self.perplexity):.3f} bits a character)",
            f"baseline   {self.baseline:.3f} (how common each character is)",
            f"accuracy   {self.accuracy:.4f}",
        ]
        return "\n".join([*lines, *(f"note       {note}" for note in self.notes)])


@dataclass(frozen=True)
class Drawing(Options):
    length: Annotated[int, Whole(), "Characters to write."] = 200
    temperature: Annotated[float, Number(at_least=0), "Below 1 is bolder, above 1 wilder; 0: always the likeliest."] = (
        1.0
    )
    top_k: Annotated[int | None, Whole(), "Draw from so many of the likeliest characters only."] = None
    top_p: Annotated[
        float,
        Number(above=0, at_most=1),
        "Draw from the likeliest characters only that have this probability together.",
    ] = 1.0
    repetition_penalty: Annotated[
        float, Number(above=0), "Above 1, characters that stand there already become less likely."
    ] = 1.0
    stop: Annotated[str | None, TEXT, "Writing ends in front of this text."] = None
    seed: Annotated[int, Whole(0), "Of the numbers that characters are drawn by."] = 0
    stream: Annotated[Any, Callbacks(), "A function that is given the pieces of one text as they are written."] = None


class TextGeneration(Task):
    name, holds, verb = "text-generation", "prose", "generate"
    score: ClassVar[Score | None] = Score((("val_loss", False), ("loss", False)))
    Options: ClassVar[type[Options]] = Drawing

    def made_up(self, model: Any, count: int, tokens: int) -> Data:
        many = count * read_by(model).length // 100 + 1  # passages of a hundred words, which have more characters
        return Data((random_texts(many, 100, seed=0), np.zeros(many, np.int64)), info=DataInfo("random", "prose"))

    def evaluate(
        self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any
    ) -> LanguageEvaluation:
        reader = predictor.reader
        reader.check(predictor.name, data)
        nats, right, counts = 0.0, 0, np.zeros(len(reader.spec.vocabulary), np.int64)
        batches = reader.batches(data[split], batch_size)
        for ids, after in batches.epoch(0):
            logits, real = tf.cast(predictor.forward(ids), tf.float32), tf.not_equal(after, 0)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=after, logits=logits)
            hits = tf.equal(tf.argmax(logits, -1, tf.int32), after)
            nats += float(tf.reduce_sum(tf.where(real, losses, 0.0)))
            right += int(tf.reduce_sum(tf.cast(hits & real, tf.int32)))
            counts += np.bincount(after.numpy().ravel(), minlength=len(counts))
        counts[0] = 0  # padding
        if not (total := int(counts.sum())):
            raise KzooError(f"the {split} split has no two characters to go from one to the next")
        share = counts[counts > 0] / total
        baseline = math.exp(-(share * np.log(share)).sum())
        return LanguageEvaluation(
            predictor.name, data.info.name, split, total, math.exp(nats / total), baseline, right / total,
            notes=(*data.info.notes, *batches.notes),
        )  # fmt: skip

    def answer(
        self, predictor: Any, given: Any, *, batch_size: int, length: int = 200, seed: int = 0, stop: str | None = None,
        stream: Callable[[str], Any] | None = None, **drawing: Any,
    ) -> list[Written]:  # fmt: skip
        """Piece after piece: half of what the network reads at once is what came before."""
        if given is None:
            raise KzooError(f"{predictor.name} writes on; give it the beginning of a text")
        if stream is not None and (not callable(stream) or (not isinstance(given, str) and len(given) != 1)):
            raise KzooError("stream is a function that is given the pieces of one text; give one text and a function")
        told = 0  # characters that `stream` was given
        made, half = [], predictor.reader.spec.length // 2
        write, rng = self._writer(predictor, **drawing), np.random.default_rng(seed)
        spelled = lambda ids: [text.decode() for text in predictor.reader.text(tf.constant(ids)).numpy()]
        for texts, prompts in predictor.reader.examples(given, batch_size, predictor.name):
            drawn = rng.random((len(texts), length), dtype="float32")
            before = [row[row > 0] for row in prompts.numpy()]
            said, scores = np.zeros((len(texts), 0), np.int32), np.zeros((len(texts), 0), np.float32)
            for i in range(0, length, half):
                window = np.zeros((len(texts), half), np.int32)
                for row, parts in zip(window, zip(before, said, strict=True), strict=True):
                    last = np.concatenate(parts)[-half:]
                    row[: len(last)] = last
                piece = np.pad(drawn[:, i : i + half], [(0, 0), (0, max(i + half - length, 0))])
                ids, score = (t.numpy() for t in write(tf.constant(window), tf.constant(piece)))
                said = np.concatenate([said, ids[:, : length - i]], axis=1)
                scores = np.concatenate([scores, score[:, : length - i]], axis=1)
                if stream is not None:
                    (text,) = spelled(said)
                    # What may be the beginning of the stop text waits for the next piece.
                    sure = len(text) if not stop or i + half >= length else max(len(text) - len(stop) + 1, told)
                    sure = min(sure, len(text.partition(stop)[0])) if stop else sure
                    stream(text[told:sure])
                    told = sure
                if stop and all(stop in text for text in spelled(said)):
                    break
            for text, new, log_p in zip(texts, spelled(said), scores, strict=True):
                new = new.partition(stop)[0] if stop else new
                made.append(Written(text, new, float(log_p[: len(new)].sum())))  # a character is a token
        return made

    def _writer(self, predictor: Any, **drawing: Any) -> Callable[..., Any]:
        """(ids [n, half], drawn [n, half]) -> (what comes next [n, half], its log probabilities), compiled."""
        if predictor.export is not None:
            raise KzooError(
                f"{predictor.name} is an export: its serve_text writes; generate takes the run it came from"
            )
        network, known = speaker(predictor), len(predictor.reader.spec.vocabulary)

        def write(ids: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            found = go_on(network, ids, drawn, reserved=RESERVED, known=known, **drawing)
            return found["ids"], found["scores"]

        return predictor.function(("write", *sorted(drawing.items())), lambda: write)

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Beside the network alone: beginnings of texts and a seed in, what comes next out: as many characters as half
        of what the network reads at once.
        """
        found = super().signatures(predictor)
        found.pop("features", None)  # the last layer reads two tensors: what it is given, and the embedding's matrix
        reader, half = predictor.reader, predictor.reader.spec.length // 2
        if not reader.spec.known:
            return found
        network, known = speaker(predictor), len(reader.spec.vocabulary)

        def written(text: tf.Tensor, seed: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            ids = reader.ids(text)[:, -half:]
            drawn = tf.random.stateless_uniform([tf.shape(text)[0], half], [seed, 0])
            drawn.set_shape([None, half])
            made = go_on(network, ids.to_tensor(shape=[None, half]), drawn, reserved=RESERVED, known=known)
            valid = (ids.row_lengths() > 0) & is_utf8(text)
            return {"text": reader.text(made["ids"]), "scores": tf.reduce_sum(made["scores"], axis=1)}, valid

        takes = {
            "text": tf.TensorSpec([None], tf.string, name="text"),
            "seed": tf.TensorSpec([], tf.int32, name="seed"),
        }
        notes = (f"An empty text, or no UTF-8, is not valid; of a longer one the last {half} characters are read.",)
        keeps = (reader.lookup, network)
        serve_text = lambda text, seed: of_raw(lambda raw: written(raw, seed))(text)
        return {**found, "serve_text": Signature(serve_text, takes, keeps=keeps, notes=notes)}

    def show_batch(self, batch: Any, reading: Any, labels: Sequence[str]) -> list[Shown]:
        lines = [repr(t.decode())[1:-1] for t in reading.reader.text(batch[0][:32]).numpy()]
        return [Text("batch.txt", "one training batch as the network sees it\n\n" + "\n".join(lines) + "\n")]

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """What it writes after the beginning of the validation split."""
        ids = next(iter(validation.epoch(0)))[0][:1, : predictor.reader.spec.length // 2]
        start = predictor.reader.text(ids).numpy()[0].decode()
        (written,) = self.answer(predictor, start, batch_size=1)
        return [Text("predictions.txt", f"begun with {start!r}\n\n{written}\n")]


TASK = TextGeneration()

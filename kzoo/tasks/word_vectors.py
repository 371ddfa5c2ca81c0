"""Words to vectors: what stands in like places has like vectors, and differences of vectors mean something.

How good they are: the share of pairs of words that stand together to which the network gives more than to a pair that
was drawn; a half is ignorance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.errors import KzooError
from kzoo.inputs import is_utf8, leave_out_all, random_texts, texts_of
from kzoo.keras_internals import layers_in
from kzoo.records import UNKNOWN, Options, Whole
from kzoo.report import Shown, Text
from kzoo.tasks.task import Evaluated, Result, Score, Signature, Task, of_raw, read_by


@dataclass(frozen=True)
class Neighbours(Result):
    """The words whose vectors point most nearly where a word's does, or a sum of words.

    Attributes:
        scores: The cosine of the angle to each, 1 for the same direction.
    """

    input: str
    words: tuple[str, ...]
    scores: tuple[float, ...]

    def rows(self) -> list[dict[str, str | float]]:
        return [{"text": self.input, "word": w, "score": s} for w, s in zip(self.words, self.scores, strict=True)]

    def __str__(self) -> str:
        return f"{self.input}: " + ", ".join(f"{w} {s:.3f}" for w, s in zip(self.words, self.scores, strict=True))


@dataclass(frozen=True)
class VectorEvaluation(Evaluated):
    """How well vectors tell which words stand together in one split; `examples` are pairs that do.

    Attributes:
        told: Share of these pairs that have more than the pairs that were drawn for them.
        loss: The mean negative log probability of all pairs.
    """

    told: float
    loss: float

    @property
    def score(self) -> tuple[str, float]:
        return "told", self.told

    def __str__(self) -> str:
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} pairs of words",
            f"told apart {self.told:.4f} from pairs that were drawn (a half is ignorance)",
            f"loss       {self.loss:.4f}",
        ]
        return "\n".join([*lines, *(f"note       {note}" for note in self.notes)])


@dataclass(frozen=True)
class Nearest(Options):
    top: Annotated[int, Whole(), "How many words to give, the nearest first."] = 10


class WordVectors(Task):
    name, holds = "word-vectors", "prose"
    asks_export = ""
    score: ClassVar[Score | None] = Score((("val_loss", False), ("loss", False)))
    Options: ClassVar[type[Options]] = Nearest

    def made_up(self, model: Any, count: int, tokens: int) -> Data:
        texts = random_texts(count, min(tokens, 50), seed=0)
        return Data((texts, np.zeros(count, np.int64)))

    def question(self, model: Any, data: Any, count: int) -> Any:
        if not isinstance(data, Data):
            return super().question(model, data, count)
        known = set(read_by(model).vocabulary)
        words = [word for text in super().question(model, data, count) for word in text.split() if word in known]
        return [words[k % len(words)] for k in range(count)]

    def evaluate(self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any) -> VectorEvaluation:
        reader = predictor.reader
        reader.check(predictor.name, data)
        batches = reader.batches(data[split], batch_size)
        width = 2 * reader.spec.window
        losses, weight, above, pairs, drawn = 0.0, 0.0, 0.0, 0, 0
        for x, truth, weights in batches.epoch(0):
            logits = tf.cast(predictor.forward(x), tf.float32)
            each = tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logits)[..., 0] * weights
            losses, weight = losses + float(tf.reduce_sum(each)), weight + float(tf.reduce_sum(weights))
            logits, real = logits[..., 0].numpy(), weights.numpy()[:, :width] > 0
            others = logits[:, width:].reshape(len(logits), width, -1)
            more = (logits[:, :width, None] > others) + 0.5 * (logits[:, :width, None] == others)
            above += float(more[real].sum())
            pairs, drawn = pairs + int(real.sum()), drawn + int(real.sum()) * others.shape[-1]
        if not pairs:
            raise KzooError(f"the {split} split has no two words of the vocabulary side by side")
        return VectorEvaluation(
            predictor.name, data.info.name, split, pairs, above / drawn, losses / weight,
            notes=(*data.info.notes, *batches.notes),
        )  # fmt: skip

    def answer(self, predictor: Any, given: Any, *, batch_size: int, top: int = 10, **options: Any) -> list[Neighbours]:
        """Of a word, or of words with + and - between them: "king - man + woman"."""
        if given is None:
            raise KzooError(f"{predictor.name} names the neighbours of a word; give it one")
        vectors, vocabulary = vectors_of(predictor), predictor.reader.spec.vocabulary
        places = {word: k for k, word in enumerate(vocabulary)}
        found, wrong = [], []

        def neighbours(text: str) -> Neighbours:
            wanted, asked = np.zeros(vectors.shape[1], "float32"), []
            for sign, word in terms(predictor, text):
                if word not in places or places[word] <= UNKNOWN:
                    raise KzooError(f"{word!r} is not in the vocabulary of {predictor.name}: {len(vocabulary):,} words")
                wanted, asked = wanted + sign * vectors[places[word]], [*asked, places[word]]
            likeness = vectors @ (wanted / max(float(np.linalg.norm(wanted)), 1e-12))
            likeness[[*range(UNKNOWN + 1), *asked]] = -np.inf
            best = np.argsort(-likeness, kind="stable")[: min(top, len(vocabulary) - UNKNOWN - 1 - len(set(asked)))]
            return Neighbours(text, tuple(vocabulary[k] for k in best), tuple(map(float, likeness[best])))

        for text in texts_of(given):
            try:
                found.append(neighbours(text))
            except KzooError as error:
                wrong.append((repr(text[:40]), error))
        leave_out_all(wrong, found)
        return found

    def as_read(self, predictor: Any, text: str) -> Any:
        raise KzooError(f"{predictor.name} reads pairs of words, no texts")

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Beside the network alone: words in, their vectors out."""
        found = super().signatures(predictor)
        reader = predictor.reader
        if not reader.spec.known:
            return found
        table = embedding_of(predictor)

        def looked_up(text: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            ids = reader.ids(text)
            first = ids[:, :1].to_tensor(shape=[None, 1])[:, 0]
            valid = tf.equal(ids.row_lengths(), 1) & (first > UNKNOWN) & is_utf8(text)
            return {"vector": tf.cast(tf.gather(table, first), tf.float32)}, valid

        takes = {"text": tf.TensorSpec([None], tf.string, name="text")}
        notes = ("What is no single word of the vocabulary is not valid.",)
        serve = Signature(of_raw(looked_up), takes, keeps=(reader.lookup,), notes=notes)
        return {**found, "serve_text": serve}

    def show_batch(self, batch: Any, reading: Any, labels: Sequence[str]) -> list[Shown]:
        x, truth, weights = batch
        words, spec = reading.reader.spec.vocabulary, reading.reader.spec
        lines = [
            "one training batch as the network sees it: a word, what stands around it, and words that were drawn",
            "",
        ]
        for k in range(min(16, len(x["word"]))):
            real = weights[k].numpy() > 0
            named = [words[i] for i, r in zip(x["context"][k].numpy(), real, strict=True) if r]
            many = int(real[: 2 * spec.window].sum())
            lines.append(f"{words[int(x['word'][k, 0])]}: {' '.join(named[:many])} | {' '.join(named[many:])}")
        return [Text("batch.txt", "\n".join(lines) + "\n")]

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """The neighbours of some words."""
        vocabulary = predictor.reader.spec.vocabulary
        words = list(vocabulary[UNKNOWN + 1 :])
        rare = words[20 : 20 + 400 : 20] or words[:5]
        lines = [str(found) for found in self.answer(predictor, rare, batch_size=len(rare), top=6)] if rare else []
        return [Text("predictions.txt", "\n".join(lines) + "\n")]


def terms(predictor: Any, text: str) -> list[tuple[int, str]]:
    """[(1 or -1, word)] of "king - man + woman"; words as the network reads them."""
    found, sign = [], 1
    for part in re.findall(r"(?<!\S)[+-](?!\S)|\S+", text):
        if part in "+-":
            sign = -1 if part == "-" else 1
            continue
        (ids,) = predictor.reader.ids(tf.constant([part])).to_list()
        if len(ids) != 1:
            raise KzooError(f"{predictor.name} takes single words, with + and - between them; received {part!r}")
        found.append((sign, part.lower() if ids[0] <= UNKNOWN else predictor.reader.spec.vocabulary[ids[0]]))
        sign = 1
    if not found:
        raise KzooError(f"{predictor.name} names the neighbours of words; received {text!r}")
    return found


def embedding_of(predictor: Any) -> Any:
    """The table of the words' own vectors."""
    return next(layer.embeddings for layer in layers_in(predictor.model) if layer.name == "embedding")


def vectors_of(predictor: Any) -> np.ndarray:
    """float32 [words, width], each of length one."""
    predictor.reader.needs_vocabulary()
    rows = np.array(embedding_of(predictor), "float32")[: len(predictor.reader.spec.vocabulary)]
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


TASK = WordVectors()

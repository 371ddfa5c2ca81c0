"""Translation: strings to strings, and how good they are. The same graph in generate, evaluate and export."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import KzooError, whole_number
from kzoo.models._translator import decode, translator_of
from kzoo.runs._load import Loaded
from kzoo.text import PairLayer, TextLayer
from kzoo.training.step import compiled

TOO_LONG = "a text is longer than the model reads"


@dataclass(frozen=True)
class Translation:
    """What was made of one text.

    Attributes:
        score: The sum of log probabilities, divided by the length penalty.
        source_tokens: As the network reads them, marks included; empty from an export.
        tokens: As it says them, without the end mark; empty from an export.
        attention: float32 [tokens, source_tokens]: where the network looked as it said each token; None from an export.
    """

    input: str
    text: str
    score: float
    source_tokens: tuple[str, ...] = field(repr=False, default=())
    tokens: tuple[str, ...] = field(repr=False, default=())
    attention: np.ndarray | None = field(repr=False, default=None)

    def __str__(self) -> str:
        return self.text


def translating(loaded: Loaded, beams: int, length_penalty: float) -> tuple[PairLayer, Callable[[tf.Tensor], Any]]:
    """(the tokeniser, strings [n] -> {"text", "scores", "ids", "source", "attention"})."""
    translator, layer = translator_of(loaded.model), PairLayer(loaded.preprocess)
    length = loaded.preprocess.target.length + 1  # and the end mark
    known = len(loaded.preprocess.target.vocabulary)

    def translate(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        source = layer.source(texts)
        found = decode(
            translator, source, length=length, beams=beams, length_penalty=length_penalty, known=known
        )  # fmt: skip
        return {**found, "text": layer.target.text(found["ids"]), "source": source}

    return layer, translate


def check_beams(beams: Any, length_penalty: Any) -> None:
    whole_number("beams", beams)
    number = isinstance(length_penalty, numbers.Real) and not isinstance(length_penalty, bool)
    if not number or not math.isfinite(length_penalty) or length_penalty < 0:
        raise KzooError(f"length_penalty must be a number of at least 0; received {length_penalty!r}")


def translate(
    loaded: Loaded, texts: Sequence[str], *, beams: int, length_penalty: float, batch_size: int
) -> list[Translation]:
    """One Translation a text, in order. Texts of like length are translated together."""
    check_beams(beams, length_penalty)
    if loaded.signatures is not None:
        return _by_export(loaded, texts, batch_size)
    layer, graph = translating(loaded, beams, length_penalty)
    counts = layer.source.counts(tf.constant(texts)).numpy()
    limit = loaded.preprocess.source.length
    if counts.max() > limit:
        k = int(counts.argmax())
        raise KzooError(f"text {k + 1} has {counts[k]} {layer.source.spec.unit}; {loaded.name} reads at most {limit}")
    if counts.min() == 0:
        raise KzooError(f"text {int(counts.argmin()) + 1} is empty; give texts with words")
    function, found = compiled(graph), {}
    for rows in _alike(counts, batch_size):
        out = {k: v.numpy() for k, v in function(tf.constant([texts[i] for i in rows])).items()}
        for j, i in enumerate(rows):
            source, ids = out["source"][j], out["ids"][j]
            said, read = int((ids != 0).sum()), int((source != 0).sum())
            found[i] = Translation(
                texts[i], out["text"][j].decode(), float(out["scores"][j]),
                tuple(layer.source.spec.vocabulary[k] for k in source[:read]),
                tuple(layer.target.spec.vocabulary[k] for k in ids[:said]), out["attention"][j, :said, :read],
            )  # fmt: skip
    return [found[i] for i in range(len(texts))]


def _by_export(loaded: Loaded, texts: Sequence[str], batch_size: int) -> list[Translation]:
    if "serve_text" not in loaded.signatures:
        raise KzooError(f"{loaded.name} has no serve_text; export the run anew")
    serve, found = loaded.signatures["serve_text"], {}
    for rows in _alike(np.array([len(t) for t in texts]), batch_size):
        try:
            out = serve(text=tf.constant([texts[i] for i in rows]))
        except tf.errors.InvalidArgumentError as error:
            if TOO_LONG not in str(error):
                raise
            raise KzooError(f"{TOO_LONG}: {loaded.name} reads at most {loaded.preprocess.source.length}") from None
        for j, i in enumerate(rows):
            found[i] = Translation(texts[i], out["text"].numpy()[j].decode(), float(out["scores"].numpy()[j]))
    return [found[i] for i in range(len(texts))]


def _alike(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


@dataclass(frozen=True)
class TranslationEvaluation:
    """How good the translations of one split are.

    Attributes:
        bleu: By sacrebleu, in 0 to 100; `signature` says how.
        copy_bleu: Of the sources themselves: what saying nothing new would have.
        samples: The first texts, with their translations and references.
    """

    name: str
    data: str
    split: str
    examples: int
    bleu: float
    copy_bleu: float
    signature: str
    samples: tuple[tuple[str, str, str], ...] = field(repr=False, default=())
    notes: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    def to_config(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __str__(self) -> str:
        lines = [
            f"{self.name} on {self.data}, {self.split}: {self.examples:,} pairs",
            f"BLEU       {self.bleu:.2f} ({self.signature})",
            f"baseline   {self.copy_bleu:.2f} (the source itself)",
            *(f"note       {note}" for note in self.notes),
        ]
        for source, found, reference in self.samples:
            lines += ["", f"source     {source}", f"said       {found}", f"reference  {reference}"]
        return "\n".join(lines)


def evaluate_translation(
    loaded: Loaded, data: Any, split: str, *, batch_size: int, beams: int, length_penalty: float
) -> TranslationEvaluation:
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise KzooError('BLEU is counted by sacrebleu; install it: pip install "kzoo[text]"') from error
    specs = data[split].element_spec
    if not all(getattr(spec, "dtype", None) == tf.string for spec in specs[:2]):
        raise KzooError(f"{loaded.name} translates, but {data.info.name} holds no pairs of texts")
    pairs = [(a.decode(), b.decode()) for a, b, *_ in data[split].as_numpy_iterator()]
    counts = TextLayer(loaded.preprocess.source).counts(tf.constant([a for a, _ in pairs])).numpy()
    limit, notes = loaded.preprocess.source.length, list(data.info.notes)
    fits = (counts <= limit) & (counts > 0)
    if not fits.all():
        notes.append(f"{(~fits).sum():,} of {len(pairs):,} sources are empty or longer than {limit} tokens: left out")
        pairs = [pair for pair, fit in zip(pairs, fits, strict=True) if fit]
    if not pairs:
        raise KzooError("the split has no pair that the model can translate")
    sources, references = [a for a, _ in pairs], [b for _, b in pairs]
    found = [
        t.text for t in translate(loaded, sources, beams=beams, length_penalty=length_penalty, batch_size=batch_size)
    ]
    characters = loaded.preprocess.target.unit == "characters"
    metric = BLEU(tokenize="char" if characters else "13a", lowercase=True)
    copied = metric.corpus_score(sources, [references]).score
    score = metric.corpus_score(found, [references])
    return TranslationEvaluation(
        name=loaded.name,
        data=data.info.name,
        split=split,
        examples=len(pairs),
        bleu=score.score,
        copy_bleu=copied,
        signature=str(metric.get_signature()),
        samples=tuple(zip(sources[:5], found[:5], references[:5], strict=True)),
        notes=tuple(notes),
    )

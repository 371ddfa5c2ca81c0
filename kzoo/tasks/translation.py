"""Translation: strings to strings, and how good they are. The same graph in generate, evaluate and export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import tensorflow as tf

from kzoo.data import Data
from kzoo.errors import KzooError
from kzoo.inputs import COMPOSE, is_utf8, leave_out_all, random_texts, texts_of
from kzoo.models import decode
from kzoo.records import END, FLAG, START, UNKNOWN, Options, Whole
from kzoo.report import Picture, Shown, Text, pictures
from kzoo.tasks.saying import Saying, manner, serves_texts, speaker, uniform
from kzoo.tasks.task import Evaluated, NoOptions, Result, Signature, Task, read_by

UNTOLD = {"beams": 4, "temperature": 0.0}  # Vaswani et al. 2017, section 6.1
LOOKED = 4  # of these, those whose attention is drawn
SHOWN = 16  # validation pairs that a run translates in the end


@dataclass(frozen=True)
class Translation(Result):
    """What was made of one text.

    Attributes:
        score: The sum of log probabilities, divided by the length penalty.
        source_tokens: As the network reads them, marks included; empty from an export.
        tokens: As it says them, without the end mark; empty from an export.
        attention: float32 [tokens, source_tokens]: where the network looked as it said each token; None from an
            export, or of a network without attention.
    """

    input: str
    text: str
    score: float
    source_tokens: tuple[str, ...] = field(repr=False, default=())
    tokens: tuple[str, ...] = field(repr=False, default=())
    attention: np.ndarray | None = field(repr=False, default=None)

    def to_config(self) -> dict[str, Any]:
        return {"input": self.input, "text": self.text, "score": self.score}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class TranslationEvaluation(Evaluated):
    """How good the translations of one split are.

    Attributes:
        bleu: By sacrebleu, in 0 to 100; `signature` says how.
        copy_bleu: Of the sources themselves: what saying nothing new would have.
        samples: The first texts, with their translations and references.
    """

    bleu: float
    copy_bleu: float
    signature: str
    samples: tuple[tuple[str, str, str], ...] = field(repr=False, default=())

    @property
    def score(self) -> tuple[str, float]:
        return "BLEU", self.bleu

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


@dataclass(frozen=True)
class Searching(Saying):
    copy_unknown: Annotated[
        bool, FLAG,
        "Where the network says that a word is unknown, the word of the source stands that it looks at: of networks on"
        " words, with attention.",
    ] = False  # fmt: skip


@dataclass(frozen=True)
class Drawing(Searching):
    seed: Annotated[int, Whole(0), "Of the numbers that tokens are drawn by."] = 0


class Translating(Task):
    name, holds, is_default, verb = "translation", "pairs", True, "generate"
    asks_export = "generate {} 'a text'"
    Options: ClassVar[type[Options]] = Drawing

    def options(self, verb: str) -> type[Options]:
        """An evaluation and an export decode, too; the export is given its seed when it is called."""
        return {"predict": NoOptions, "export": Searching}.get(verb, Drawing)

    def made_up(self, model: Any, count: int, tokens: int) -> Data:
        tokens = min(tokens, read_by(model).most_tokens)
        return Data((random_texts(count, tokens, seed=0), random_texts(count, tokens, seed=1)))

    def evaluate(self, predictor: Any, data: Data, split: str, *, batch_size: int, **options: Any) -> Evaluated:
        """BLEU, by sacrebleu."""
        try:
            from sacrebleu.metrics import BLEU
        except ImportError as error:
            raise KzooError('BLEU is counted by sacrebleu; install it: pip install "kzoo[text]"') from error
        specs = data[split].element_spec
        if not all(getattr(spec, "dtype", None) == tf.string for spec in specs[:2]):
            raise KzooError(f"{predictor.name} translates, but {data.info.name} holds no pairs of texts")
        pairs = [(a.decode(), b.decode()) for a, b, *_ in data[split].as_numpy_iterator()]
        reader = predictor.reader
        counts = reader.source.counts(tf.constant([a for a, _ in pairs])).numpy()
        limit, notes = reader.spec.source.length, list(data.info.notes)
        fits = (counts <= limit) & (counts > 0)
        if not fits.all():
            notes.append(
                f"{(~fits).sum():,} of {len(pairs):,} sources are empty or longer than {limit} tokens: left out"
            )
            pairs = [pair for pair, fit in zip(pairs, fits, strict=True) if fit]
        if not pairs:
            raise KzooError("the split has no pair that the model can translate")
        sources, references = [a for a, _ in pairs], [b for _, b in pairs]
        found = [t.text for t in self._translated(predictor, sources, batch_size, **options)]
        metric = BLEU(tokenize="char" if reader.spec.target.unit == "characters" else "13a", lowercase=True)
        copied = metric.corpus_score(sources, [references]).score
        score = metric.corpus_score(found, [references])
        return TranslationEvaluation(
            name=predictor.name,
            data=data.info.name,
            split=split,
            examples=len(pairs),
            bleu=score.score,
            copy_bleu=copied,
            signature=str(metric.get_signature()),
            samples=tuple(zip(sources[:5], found[:5], references[:5], strict=True)),
            notes=tuple(notes),
        )

    def answer(self, predictor: Any, given: Any, *, batch_size: int, **options: Any) -> list[Translation]:
        if given is None:
            raise KzooError(f"{predictor.name} translates; give it texts")
        return self._translated(predictor, texts_of(given), batch_size, **options)

    def as_read(self, predictor: Any, text: str) -> tuple[Any, tuple[str, ...], tuple[str, ...]]:
        """Of a text and its own greedy translation of it."""
        (found,) = self._translated(predictor, [text], 1, beams=1)
        source, target = predictor.reader.source, predictor.reader.target
        said = (target.spec.vocabulary[START], *found.tokens)
        known = {token: k for k, token in enumerate(target.spec.vocabulary)}
        ids = tf.constant([[known[token] for token in said]], tf.int32)
        return {"source": source.prepare(tf.constant([text])), "target": ids}, found.source_tokens, said

    def signatures(self, predictor: Any, **options: Any) -> dict[str, Signature]:
        """Strings in, strings out, the decoding loop inside."""
        found = super().signatures(predictor)
        reader = predictor.reader
        if not reader.spec.known:
            return found
        how = manner(options, **UNTOLD)
        translate = translating(predictor, how, options.get("copy_unknown", False))
        limit, longest = reader.spec.source.length, reader.spec.target.length + 1

        def serve_text(text: tf.Tensor, seed: tf.Tensor | None) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            counts = reader.source.counts(text)
            valid = (counts > 0) & (counts <= limit) & is_utf8(text)
            drawn = None if seed is None else uniform(tf.shape(text)[0], longest, seed)
            made = translate(tf.where(valid, text, ""), drawn)
            return {"text": made["text"], "scores": made["scores"]}, valid

        keeps = (reader.source.lookup, reader.target.lookup, speaker(predictor))
        notes = (
            f"A text without {reader.source.spec.unit}, with more than {limit}, or no UTF-8, is not valid.",
            COMPOSE,
        )
        found["serve_text"] = serves_texts(serve_text, how["temperature"] > 0, keeps=keeps, notes=notes)
        return found

    def show_batch(self, batch: Any, reading: Any, labels: Sequence[str]) -> list[Shown]:
        x, y, *_ = batch
        both = {"source": x["source"].numpy(), "target": y.numpy()}
        return reading.reader.shown(both, (), "batch", "one training batch as the network sees it")

    def show_predictions(self, predictor: Any, validation: Any, labels: Sequence[str]) -> list[Shown]:
        """What the translator says of the first validation pairs that it can read."""
        reader = predictor.reader
        if reader.as_given:
            return []
        limit, pairs = reader.spec.source.length, []
        for source, target, *_ in validation.split.take(SHOWN).as_numpy_iterator():
            if 0 < int(reader.source.counts(tf.constant([source]))[0]) <= limit:
                pairs.append((source.decode(), target.decode()))
        if not pairs:
            return []
        found = self._translated(predictor, [source for source, _ in pairs], len(pairs))
        looked = [one for one in found if one.attention is not None and one.attention.size][:LOOKED]
        draw = lambda path: pictures.attention(
            [(one.source_tokens, one.tokens, one.attention) for one in looked], path, "where it looked as it spoke"
        )
        lines = [
            f"source:    {source}\nsaid:      {one.text}\nreference: {target}\n"
            for (source, target), one in zip(pairs, found, strict=True)
        ]
        shown: list[Shown] = [Text("predictions.txt", "\n".join(lines))]
        return [*shown, Picture("attention.png", draw)] if looked else shown

    def _translated(
        self,
        predictor: Any,
        texts: Sequence[str],
        batch_size: int,
        seed: int = 0,
        copy_unknown: bool = False,
        **saying: Any,
    ) -> list[Translation]:
        """One Translation a text, in order. Texts of like length are translated together."""
        reader = predictor.reader
        texts, counts = _fitting(predictor, texts)
        if predictor.signatures is not None:
            others = [name for name, default in vars(Saying()).items() if saying.get(name, default) != default]
            if others := others + ["copy_unknown"] * copy_unknown:
                raise KzooError(
                    f"{predictor.name} is an export, with its own {others[0]} inside; leave it out, or give the run"
                )
            return _by_export(predictor, texts, batch_size, seed)
        speaker(predictor)  # with the weights that the model has now
        how = manner(saying, **UNTOLD)
        function = predictor.function(
            ("translate", *how.items(), copy_unknown), lambda: translating(predictor, how, copy_unknown)
        )
        drawn = None
        if how["temperature"]:
            drawn = uniform(len(texts), reader.spec.target.length + 1, seed % (2**31 - 1)).numpy()
        found: dict[int, Translation] = {}
        for rows in _alike(counts, batch_size):
            numbers = [] if drawn is None else [tf.constant(drawn[rows])]
            out = {k: v.numpy() for k, v in function(tf.constant([texts[i] for i in rows]), *numbers).items()}
            for j, i in enumerate(rows):
                source, ids = out["source"][j], out["ids"][j]
                said, read = int((ids != 0).sum()), int((source != 0).sum())
                looked = out["attention"][j, :said, :read] if "attention" in out else None
                found[i] = Translation(
                    texts[i], out["text"][j].decode(), float(out["scores"][j]),
                    tuple(reader.source.spec.vocabulary[k] for k in source[:read]),
                    tuple(reader.target.spec.vocabulary[k] for k in ids[:said]), looked,
                )  # fmt: skip
        return [found[i] for i in range(len(texts))]


def _fitting(predictor: Any, texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """(the texts that it can read whole, their tokens); others are left out and named.

    Raises:
        KzooError: There is none.
    """
    source = predictor.reader.source
    limit, unit = source.spec.length, source.spec.unit
    ids, counts = source.ids_and_counts(tf.constant(texts))
    ids, counts = ids.to_tensor().numpy(), counts.numpy()
    reason = lambda n: f"it has {n} {unit}; {predictor.name} reads at most {limit}" if n else f"it has no {unit}"
    good = (counts > 0) & (counts <= limit)
    wrong = [(repr(text[:40]), reason(n)) for text, n, ok in zip(texts, counts, good, strict=True) if not ok]
    leave_out_all(wrong, good.any(), "{what}: {why}")
    source.say_unknown(ids, np.where(good, counts, 0))
    return [texts[k] for k in np.flatnonzero(good)], counts[good]


def translating(predictor: Any, how: Mapping[str, Any], copy_unknown: bool) -> Callable[..., dict[str, tf.Tensor]]:
    """Strings [n], and where tokens are drawn float32 [n, tokens] -> {"text", "scores", "ids", "source", "attention"
    where it attends}; `how` is of `manner`.

    Raises:
        KzooError: Unknown words are to be copied by a network that looks at none.
    """
    reader, network = predictor.reader, speaker(predictor)
    units = {reader.spec.source.unit, reader.spec.target.unit}
    if copy_unknown and (not network.attends or units != {"words"}):
        why = "has no attention" if not network.attends else f"reads and says {' and '.join(sorted(units))}"
        raise KzooError(f"copy_unknown copies words that the network looks at; {predictor.name} {why}; leave it out")
    length = reader.spec.target.length + 1  # and the end mark
    known = len(reader.spec.target.vocabulary)

    def translate(texts: tf.Tensor, drawn: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        source = reader.prepare(texts)
        found = decode(
            network, source, length=length, reserved=END, spared=UNKNOWN if copy_unknown else None, known=known,
            drawn=drawn, **how,
        )  # fmt: skip
        copies = None
        if copy_unknown:  # Luong et al. 2015, section 4.1: the word that was looked at most; no mark
            words = reader.source.written(texts)
            looked = tf.where(tf.equal(words, "")[:, None], -1.0, found["attention"])  # [n, length, source]
            copies = tf.gather(words, tf.argmax(looked, axis=-1), batch_dims=1)
        return {**found, "text": reader.target.text(found["ids"], copies), "source": source}

    return translate


def _by_export(predictor: Any, texts: Sequence[str], batch_size: int, seed: int) -> list[Translation]:
    if "serve_text" not in predictor.signatures:
        raise KzooError(f"{predictor.name} has no serve_text; export the run anew")
    serve, found = predictor.signatures["serve_text"], {}
    draws = "seed" in serve.structured_input_signature[1]
    # Drawn ones are in the order of the run's, which one seed says alike as far as one batch goes.
    lengths = np.array([0 if draws else len(t) for t in texts])
    for number, rows in enumerate(_alike(lengths, batch_size)):
        numbers = {"seed": tf.constant((seed + number) % (2**31 - 1))} if draws else {}
        out = serve(text=tf.constant([texts[i] for i in rows]), **numbers)
        for j, i in enumerate(rows):
            found[i] = Translation(texts[i], out["text"].numpy()[j].decode(), float(out["scores"].numpy()[j]))
    return [found[i] for i in range(len(texts))]


def _alike(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


TASK = Translating()

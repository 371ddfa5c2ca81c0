"""Sentences and their translations to token ids; either side alone as `source` and `target`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.inputs.reader import Reader
from kzoo.inputs.sequences import Sequences
from kzoo.inputs.text import Texts, check_ids, check_texts, learn_vocabulary, texts_of, unit_of_column
from kzoo.records import PairInputs
from kzoo.report import Shown, Text


class Pairs(Reader):
    unit, reads, as_given = "tokens", "pairs of texts", False

    def __init__(self, spec: PairInputs) -> None:
        super().__init__(spec)
        self.source, self.target = Texts(spec.source), Texts(spec.target)

    def check(self, name: str, data: Any) -> None:
        check_texts(name, data, 2, self.reads)

    def check_fed(self, name: str, data: Any) -> None:
        check_ids(name, data)

    def learn(self, data: Any) -> PairInputs:
        """With a vocabulary of each side, or one for both, where they are joint and written in one unit."""
        if self.spec.known:
            return self.spec
        columns = [data.train.map(lambda *row, k=k: row[k]) for k in range(2)]
        units = data.info.units or [unit_of_column(column) for column in columns]
        source, target = (replace(s, unit=u) for s, u in zip((self.spec.source, self.spec.target), units, strict=True))
        if self.spec.joint and source.unit == target.unit:
            both = learn_vocabulary(target, columns[0].concatenate(columns[1]))
            sides = (replace(side, vocabulary=both.vocabulary, merges=both.merges) for side in (source, target))
            return PairInputs(*sides, joint=True)
        sides = (learn_vocabulary(side, column) for side, column in zip((source, target), columns, strict=True))
        return PairInputs(*sides, joint=False)  # of words on one side, characters on the other, too

    def batches(self, split: tf.data.Dataset, batch_size: int | None, **options: Any) -> Sequences:
        return Sequences(split, batch_size, self, [self.source, self.target], **options)

    def prepare(self, raw: tf.Tensor) -> tf.Tensor:
        """Sources, strings [n], to int32 [n, longest]."""
        return self.source.prepare(raw)

    def examples(self, given: Any, batch_size: int, name: str, shape: Any = None) -> Iterator[tuple[list[str], Any]]:
        self.source.needs_vocabulary()
        texts = texts_of(given)
        for i in range(0, len(texts), batch_size):
            yield texts[i : i + batch_size], self.prepare(tf.constant(texts[i : i + batch_size]))

    def shown(self, x: Any, titles: Sequence[str], name: str, title: str) -> list[Shown]:
        """Tokens of both sides."""
        lines = []
        for source, target in zip(np.asarray(x["source"])[:32], np.asarray(x["target"])[:32], strict=True):
            lines += [f"source: {self.source.said(source)}", f"target: {self.target.said(target)}", ""]
        return [Text(f"{name}.txt", f"{title}\n\n" + "\n".join(lines))]


READER = Pairs

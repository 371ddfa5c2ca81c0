"""Spelling to sound by a translator that others have trained: g2p-en's GRUs (Park and Kim 2019,
https://github.com/Kyubyong/g2p), read by kzoo's `seq2seq`, and served as strings to strings.

    pip download --no-deps g2p-en==2.1.0 && unzip g2p_en-2.1.0-py3-none-any.whl
    python examples/grapheme_to_phoneme.py g2p_en/checkpoint20.npz activationist kzoo --export g2p

The file has arrays in PyTorch's layout and nothing of what its ids mean, which stands in g2p_en/g2p.py: letters between
`</s>`, phonemes of the CMU dictionary between `<s>` and `</s>`. Both are written into a .safetensors that kzoo reads.
"""

from __future__ import annotations

import argparse
import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import kzoo
from kzoo.records import PairInputs, TextInputs

MARKS = ("", "[UNK]", "[start]", "[end]")  # the first ids of every vocabulary that is framed
# The digit is the stress of a vowel: 0 none, 1 the word's, 2 a second one.
PHONEMES = (
    "AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1"
    " EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2"
    " V W Y Z ZH"
)
INPUTS = PairInputs(
    TextInputs(
        "characters", length=60, framed=True, starts=False, vocabulary=(*MARKS, *string.ascii_lowercase),
    ),
    TextInputs("words", length=19, framed=True, vocabulary=(*MARKS, *PHONEMES.split())),
)  # fmt: skip


def converted(npz: Path, path: Path) -> Path:
    """The arrays under PyTorch's names, with INPUTS in the metadata."""
    given, tensors = np.load(npz), {}
    for theirs, ours in (("enc", "encoder"), ("dec", "decoder")):
        tensors[f"{ours}.embedding.weight"] = given[f"{theirs}_emb"]
        for part, kind in (("w", "weight"), ("b", "bias")):
            for which in ("ih", "hh"):
                tensors[f"{ours}.gru.{kind}_{which}_l0"] = given[f"{theirs}_{part}_{which}"]
    tensors |= {"output.weight": given["fc_w"], "output.bias": given["fc_b"]}
    # Its source has ids for padding, unknown letters, </s>; kzoo's has one for [start] before that, which never comes.
    tensors["encoder.embedding.weight"] = np.insert(tensors["encoder.embedding.weight"], 2, 0, axis=0)
    metadata = {"format": "pt", "kzoo.inputs": json.dumps(INPUTS.to_config())}
    safetensors.numpy.save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, path, metadata)
    return path


def network(weights: Path, style: str = "functional") -> Any:
    """One GRU of 256 units a side; letters are read as they stand."""
    sizes = {"source_vocabulary": len(INPUTS.source.vocabulary), "target_vocabulary": len(INPUTS.target.vocabulary)}
    return kzoo.seq2seq(
        weights=str(weights), style=style, cell="gru", stack=1, width=256, units=256, reverse=False, **sizes
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path, help="checkpoint20.npz of g2p-en")
    parser.add_argument("words", nargs="+")
    parser.add_argument("--weights", type=Path, default=Path("g2p.safetensors"), help="is written")
    parser.add_argument("--export", type=Path, help="a folder: a SavedModel from strings to strings")
    given = parser.parse_args()
    model = network(converted(given.npz, given.weights))
    for word, found in zip(given.words, kzoo.generate(model, given.words, beams=1), strict=True):
        print(f"{word}: {found.text}")
    if given.export is not None:
        print(f"exported to {kzoo.export(model, given.export, beams=1).path}")


if __name__ == "__main__":
    main()

"""What keeping keys, values and states is worth: 256 tokens one after the other, beside the whole network again at each
token, both compiled, in turns.

    python examples/benchmark_generate.py [--rounds 3] [--tokens 256] [--batch 1]

Without what is kept a network reads a text of growing length anew for each token that it adds, which is how it would be
done by hand: `model(text)[:, -1]`. The first tokens of both ways are compared; later a rounding may decide between two
that a network which has learned nothing finds all but equally likely. The ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kzoo
from kzoo.models import decode

LONG = 1024  # places that a Transformer is built with
MODELS: dict[str, dict[str, Any]] = {
    "gpt_small": {"length": LONG, "dropout": 0.0},
    "lstm_language_model": {},
    "gru_language_model": {},
    "transformer_small": {"length": LONG, "source_vocabulary": 2000, "target_vocabulary": 2000},
    "seq2seq_luong": {"source_vocabulary": 2000, "target_vocabulary": 2000},
}
PROMPT = 16  # tokens that are given
COMPARED = 32


def ways(name: str, tokens: int, batch: int) -> dict[str, Callable[[], np.ndarray]]:
    """Both ways to say so many tokens, the likeliest each time."""
    keras.utils.set_random_seed(0)
    model = kzoo.create_model(name, style="subclass", **MODELS[name])
    given = tf.constant(np.random.default_rng(0).integers(4, 60, (batch, PROMPT)), tf.int32)
    translates = name.startswith(("transformer", "seq2seq"))
    anew = tf.function(model, reduce_retracing=True, autograph=False)
    if translates:
        said = tf.function(lambda source: decode(model, source, length=tokens, beams=1)["ids"], autograph=False)
        first, reserved = tf.fill([batch, 1], 2), 3
        asked = lambda text: anew({"source": given, "target": text})
    else:
        said = tf.function(
            lambda prompt: decode(model, prompt, length=tokens, reserved=2, end=None)["ids"], autograph=False
        )
        first, reserved = given, 2
        asked = anew

    def by_hand() -> np.ndarray:
        text = first
        for _ in range(tokens):
            logits = tf.cast(asked(text)[:, -1, reserved:], tf.float32)
            text = tf.concat([text, tf.argmax(logits, axis=-1, output_type=tf.int32)[:, None] + reserved], axis=1)
        return text.numpy()[:, first.shape[1] :]

    return {"kept": lambda: said(given).numpy(), "anew": by_hand}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    print("| model | tokens | kept, tokens/s | anew, tokens/s | ratio |\n|---|---:|---:|---:|---:|")
    for name in given.models:
        both, seconds = ways(name, given.tokens, given.batch), {"kept": [], "anew": []}
        found = {way: call() for way, call in both.items()}  # compiles
        said = int((found["kept"] != 0).all(axis=0).sum())  # a translator may have ended
        first = min(said, COMPARED)
        np.testing.assert_array_equal(found["kept"][:, :first], found["anew"][:, :first])
        for _ in range(given.rounds):
            for way, call in both.items():
                started = time.perf_counter()
                call()
                seconds[way].append(time.perf_counter() - started)
        many = given.batch * given.tokens
        rates = {way: many / statistics.median(times) for way, times in seconds.items()}
        ratio = statistics.median(a / k for a, k in zip(seconds["anew"], seconds["kept"], strict=True))
        print(f"| `{name}` | {said} | {rates['kept']:,.0f} | {rates['anew']:,.0f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()

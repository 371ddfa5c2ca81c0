"""How a text is said, searched for or drawn: what translators and language models take alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import tensorflow as tf

from kzoo.errors import KzooError
from kzoo.models import Decoding, model_info
from kzoo.records import Number, Options, Whole
from kzoo.tasks.task import Signature, of_raw
from kzoo.weights import copy_weights
from kzoo.zoo import twin


@dataclass(frozen=True)
class Saying(Options):
    beams: Annotated[
        int | None, Whole(),
        "Texts kept while the likeliest is searched for; 1 is no search. Translators that draw nothing keep 4.",
    ] = None  # fmt: skip
    length_penalty: Annotated[float, Number(at_least=0), "Of the search; 0 compares sums of log probabilities."] = (
        0.6  # Vaswani et al. 2017, section 6.1, as are four beams
    )
    temperature: Annotated[
        float | None, Number(at_least=0),
        "Above 0 tokens are drawn: below 1 is more predictable, above 1 wilder; 0: always the likeliest. Language"
        " models that search nothing have 1, translators 0.",
    ] = None  # fmt: skip
    top_k: Annotated[int | None, Whole(), "Draw from so many of the likeliest tokens only."] = None
    top_p: Annotated[
        float,
        Number(above=0, at_most=1),
        "Draw from the likeliest tokens only that have this probability together.",
    ] = 1.0
    repetition_penalty: Annotated[
        float, Number(above=0), "Above 1, tokens that stand there already become less likely."
    ] = 1.0


def manner(options: Mapping[str, Any], *, beams: int, temperature: float) -> dict[str, Any]:
    """What `decode` takes of a task's options, all of `Saying`; `beams` and `temperature` are the task's where none are
    given.

    >>> draws = manner({"temperature": 0.5, "seed": 3}, beams=4, temperature=0.0)
    >>> draws["beams"], draws["temperature"], draws["top_p"]
    (1, 0.5, 1.0)

    Raises:
        KzooError: A search and a draw at once, or a choice of what is drawn from where nothing is.
    """
    found = {name: options.get(name, default) for name, default in vars(Saying()).items()}
    several, heat = found["beams"], found["temperature"]
    if several is None:
        several = 1 if heat or (heat is None and temperature) else beams
    if heat is None:
        heat = temperature if several == 1 else 0.0
    if several > 1 and heat:
        raise KzooError(
            f"beams={several} search for the likeliest text, temperature={heat:g} draws one; give one of the two"
        )
    if not heat and (found["top_p"] != 1 or found["top_k"] not in (None, 1)):
        raise KzooError("top_k and top_p say what is drawn from, and nothing is drawn; give a temperature above 0")
    return {**found, "beams": several, "temperature": heat}


def uniform(rows: Any, length: Any, seed: Any, piece: int = 0, batch: int = 0) -> tf.Tensor:
    """float32 [rows, length] in 0 to below 1, by which a piece of each text is drawn: in run and export the same."""
    return tf.random.stateless_uniform([rows, length], [seed, piece + 1_000_000 * batch])


def serves_texts(
    serve: Callable[[tf.Tensor, tf.Tensor | None], tuple[dict[str, tf.Tensor], tf.Tensor]], draws: bool, **told: Any
) -> Signature:
    """`serve_text`: texts in, and where tokens are drawn the seed that `serve` is given; `told` goes to Signature."""
    takes = {"text": tf.TensorSpec([None], tf.string, name="text")}
    if not draws:
        return Signature(of_raw(lambda raw: serve(raw, None)), takes, **told)
    takes["seed"] = tf.TensorSpec([], tf.int32, name="seed")
    return Signature(lambda text, seed: of_raw(lambda raw: serve(raw, seed))(text), takes, **told)


def speaker(predictor: Any) -> Decoding:
    """The network in the style that decodes: the model itself, or a twin that is made once, with its weights."""
    model = predictor.model
    if isinstance(model, Decoding):
        return model
    info = model_info(model)
    if info is None or not issubclass(info.spec.definition, Decoding):
        raise KzooError(f"{model.name!r} is no network of kzoo that decodes; generate takes one")
    made = predictor.kept("speaker", lambda: twin(model, "subclass"))
    copy_weights(model, made)
    return made

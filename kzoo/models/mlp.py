"""The multi-layer perceptron: layers of units, each reading all of the layer before.

David Rumelhart, Geoffrey Hinton, Ronald Williams (1986), "Learning representations by back-propagating errors",
Nature 323. https://doi.org/10.1038/323533a0

    input -> flatten -> (dense + activation [-> dropout]) per hidden layer -> dense

The variants are the networks that courses draw; each row names where it is found.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from kzoo.models.arguments import Activation, Dropout
from kzoo.models.block import registering
from kzoo.models.styles import Definition
from kzoo.records import ImageInputs, ModelSpec, Recipe, from_config

COURSE = 2
register = registering("mlp")
PAPER = "Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors, https://doi.org/10.1038/323533a0"


@register
class MLP(Definition):
    """float32 [batch, ...] -> float32 [batch, classes]. `hidden` lists the units of each hidden layer."""

    @staticmethod
    def define(
        hidden: Sequence[int] = (128,),
        activation: Activation = "relu",
        dropout: Dropout = 0.0,
        include_top: bool = True,
        classes: int = 10,
        classifier_activation: Activation = "softmax",
    ) -> list[layers.Layer]:
        stages = [layers.Flatten(name="flatten")]
        for i, units in enumerate(hidden, start=1):
            stages.append(layers.Dense(units, activation=activation, name=f"hidden{i}"))
            if dropout:
                stages.append(layers.Dropout(dropout, name=f"dropout{i}"))
        if include_top:
            stages.append(layers.Dense(classes, activation=classifier_activation, name="output"))
        return stages


DIGITS = Recipe(loss="sparse_categorical_crossentropy", metrics=("accuracy",), batch_size=64, epochs=20)
YES_NO = Recipe(loss="binary_crossentropy", metrics=("binary_accuracy",), batch_size=32, epochs=60)
# A linear output trained on squared error, as in Goodfellow et al., section 6.1; "yes" is an output above one half.
XOR = Recipe(loss="mean_squared_error", metrics=("binary_accuracy",), learning_rate=0.02, batch_size=4, epochs=20)

# Of nine choices of units, activation, dropout, decay and epochs, the best on the validation parts of ionosphere's rows.
ROW_CLASSES = Recipe(
    loss="sparse_categorical_crossentropy", metrics=("accuracy",), optimizer="adamw:weight_decay=0.05",
    learning_rate=3e-3, schedule="cosine", batch_size=32, epochs=60,
)  # fmt: skip
ROW_NUMBERS = Recipe(
    loss="mean_squared_error", metrics=("mean_absolute_error",), optimizer="adamw:weight_decay=0.01",
    schedule="cosine", batch_size=32, epochs=60,
)  # fmt: skip

ROWS = (
    # name            hidden        dropout  input        classes  output     recipe  what it is
    ("mlp",           (128,),       0.2,     (28, 28, 1), 10,      "softmax", DIGITS, "784-128-dropout-10, the first network of TensorFlow's beginner tutorial"),
    ("mlp_16_16",     (16, 16),     0.0,     (28, 28, 1), 10,      "softmax", DIGITS, "784-16-16-10, the network of 3Blue1Brown's videos (with ReLU)"),
    ("mlp_16_16_16",  (16, 16, 16), 0.0,     (4, 4, 1),   1,       "sigmoid", YES_NO, "16-16-16-16-1: is it a 1 or a 7, on 4x4 patches"),
    ("mlp_xor",       (2,),         0.0,     (2,),        1,       "linear",  XOR,    "2-2-1 with a linear output: XOR (Goodfellow et al. 2016, Deep Learning, section 6.1)"),
)  # fmt: skip

TABLE = from_config({"kind": "table"})
# Rows of numbers in a file: as many inputs as it has columns, each brought to mean 0 and deviation 1.
OF_TABLES = tuple(
    ModelSpec(
        name=name,
        family="mlp",
        task=task,
        definition=MLP,
        summary=summary,
        input_shape=(8,),
        input_name="rows",
        config={"hidden": (units, units), "activation": activation, "dropout": dropout},
        inputs=TABLE,
        paper=PAPER,
        **more,
    )
    for name, task, units, activation, dropout, summary, more in (
        ("mlp_table", "tabular-classification", 128, "gelu", 0.5, "Rows of numbers to a class, two hidden layers of 128", {
            "classes": 2, "recipe": ROW_CLASSES,
        }),
        ("mlp_regressor", "tabular-regression", 64, "relu", 0.2, "Rows of numbers to a number, two hidden layers of 64", {
            "classes": 1, "fixed_classes": True, "classifier_activation": "linear", "recipe": ROW_NUMBERS,
            "targets": from_config({"kind": "measure"}),
        }),
    )
)  # fmt: skip

VARIANTS = (
    tuple(
        ModelSpec(
            name=name,
            family="mlp",
            task="image-classification" if len(shape) == 3 else "tabular-classification",
            definition=MLP,
            summary=summary,
            input_shape=shape,
            input_name="image" if len(shape) == 3 else "features",
            classes=classes,
            classifier_activation=output,
            config={"hidden": hidden, "dropout": dropout},
            inputs=ImageInputs(size=shape[:2], channels=shape[2]) if len(shape) == 3 else None,
            recipe=recipe,
            paper=PAPER,
        )
        for name, hidden, dropout, shape, classes, output, recipe, summary in ROWS
    )
    + OF_TABLES
)

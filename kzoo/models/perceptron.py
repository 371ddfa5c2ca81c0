"""The perceptron: one unit that draws one line.

Frank Rosenblatt (1958), "The perceptron: a probabilistic model for information storage and organization in the brain",
Psychological Review 65(6). https://doi.org/10.1037/h0042519

    input [n] -> weighted sum + bias -> step

Rosenblatt's step has no slope to follow, so here it is the logistic function: training descends its cross-entropy, and
rounding the output gives the step back. What one line cannot separate, such as XOR, it cannot learn (Minsky and Papert
1969, "Perceptrons").
"""

from __future__ import annotations

from keras import layers

from kzoo.models.arguments import Activation
from kzoo.models.block import registering
from kzoo.models.styles import Definition
from kzoo.records import ModelSpec, Recipe

COURSE = 1  # its place where a course goes from one family to the next
register = registering("perceptron")


@register
class Perceptron(Definition):
    """float32 [batch, n] -> the probability of "yes", float32 [batch, 1]."""

    @staticmethod
    def define(classifier_activation: Activation = "sigmoid") -> list[layers.Layer]:
        return [layers.Dense(1, activation=classifier_activation, name="output")]


VARIANTS = (
    ModelSpec(
        name="perceptron",
        family="perceptron",
        task="tabular-classification",
        definition=Perceptron,
        summary="One logistic unit: AND and OR, never XOR",
        input_shape=(2,),
        input_name="features",
        classes=1,
        fixed_classes=True,
        classifier_activation="sigmoid",
        recipe=Recipe(
            loss="binary_crossentropy", metrics=("binary_accuracy",), learning_rate=0.1, batch_size=4, epochs=10
        ),
        paper="Rosenblatt 1958, The perceptron, https://doi.org/10.1037/h0042519",
    ),
)

"""LeNet-5 by hand, three times, the way a course teaches Keras' three API styles; then the same network from kzoo.

Written as one would at a blackboard: Sequential (a list of layers), Functional (layers called on tensors), Subclassing
(layers made in `__init__`, called in `call`). With the weights copied by layer name, all three give the outputs of
kzoo's three, which come from a single definition.

    python examples/three_styles.py
"""

import keras
import numpy as np
from keras import layers

import kzoo


def sequential():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="tanh", name="c1"),
            layers.AveragePooling2D(2, name="s2"),
            layers.Conv2D(16, 5, activation="tanh", name="c3"),
            layers.AveragePooling2D(2, name="s4"),
            layers.Flatten(name="flatten"),
            layers.Dense(120, activation="tanh", name="c5"),
            layers.Dense(84, activation="tanh", name="f6"),
            layers.Dense(10, activation="softmax", name="output"),
        ]
    )


def functional():
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(6, 5, padding="same", activation="tanh", name="c1")(image)
    x = layers.AveragePooling2D(2, name="s2")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="c3")(x)
    x = layers.AveragePooling2D(2, name="s4")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(120, activation="tanh", name="c5")(x)
    x = layers.Dense(84, activation="tanh", name="f6")(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="output")(x))


class LeNet5(keras.Model):
    def __init__(self):
        super().__init__()
        self.c1 = layers.Conv2D(6, 5, padding="same", activation="tanh", name="c1")
        self.s2 = layers.AveragePooling2D(2, name="s2")
        self.c3 = layers.Conv2D(16, 5, activation="tanh", name="c3")
        self.s4 = layers.AveragePooling2D(2, name="s4")
        self.flatten = layers.Flatten(name="flatten")
        self.c5 = layers.Dense(120, activation="tanh", name="c5")
        self.f6 = layers.Dense(84, activation="tanh", name="f6")
        self.predictions = layers.Dense(10, activation="softmax", name="output")

    def call(self, image):
        x = self.s2(self.c1(image))
        x = self.s4(self.c3(x))
        x = self.f6(self.c5(self.flatten(x)))
        return self.predictions(x)


def subclass():
    model = LeNet5()
    model(keras.Input((28, 28, 1)))  # makes the weights
    return model


BY_HAND = {"sequential": sequential, "functional": functional, "subclass": subclass}


def main():
    """Print, for each style, the largest difference between the hand-written network and kzoo's; return the largest."""
    images = np.random.default_rng(0).random((16, 28, 28, 1), dtype="float32")
    largest = 0.0
    for style, build in BY_HAND.items():
        mine = build()
        theirs = kzoo.lenet5(style=style)
        kzoo.copy_weights(mine, theirs)
        difference = float(np.abs(mine.predict_on_batch(images) - theirs.predict_on_batch(images)).max())
        parameters = f"{mine.count_params():,} = {theirs.count_params():,} parameters"
        print(f"{style:12}{type(theirs).__name__:12}{parameters:28}largest difference {difference:.1e}")
        largest = max(largest, difference)
    return largest


if __name__ == "__main__":
    main()

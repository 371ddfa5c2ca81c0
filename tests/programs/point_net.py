"""Classes of clouds of points, turned by a learned transformation that a regulariser of activities keeps orthogonal."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class Orthogonal(keras.regularizers.Regularizer):
    """How far a matrix of each example is from an orthogonal one."""

    def __call__(self, x):
        x = ops.reshape(x, (-1, 3, 3))
        return 0.01 * ops.sum(ops.square(ops.matmul(x, ops.transpose(x, (0, 2, 1))) - ops.eye(3)))


def build():
    inputs = keras.Input((16, 3))
    x = layers.GlobalMaxPooling1D()(layers.Conv1D(8, 1, activation="relu")(inputs))
    eye = keras.initializers.Constant(np.eye(3).flatten())
    turned = layers.Dense(9, kernel_initializer="zeros", bias_initializer=eye, activity_regularizer=Orthogonal())(x)
    x = layers.Dot(axes=(2, 1))([inputs, layers.Reshape((3, 3))(turned)])
    x = layers.GlobalMaxPooling1D()(layers.Conv1D(8, 1, activation="relu")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(36)
    return batches(rng.normal(size=(21, 16, 3)).astype("float32"), rng.integers(0, 3, 21))


PROGRAM = Program(build, data)

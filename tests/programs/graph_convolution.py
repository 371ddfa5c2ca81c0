"""Classes of small graphs: convolutions along an adjacency that is an input, and a mean over the nodes."""

import keras
import numpy as np
from keras import layers, ops
from program import Program, batches


class GraphConvolution(layers.Layer):
    """The mean of the neighbours, through a dense layer."""

    def __init__(self, units):
        super().__init__()
        self.dense = layers.Dense(units, activation="relu")

    def call(self, nodes, adjacency):
        degree = ops.maximum(ops.sum(adjacency, axis=-1, keepdims=True), 1)
        return self.dense(ops.concatenate([nodes, ops.matmul(adjacency, nodes) / degree], axis=-1))


def build():
    nodes, adjacency = keras.Input((6, 4), name="nodes"), keras.Input((6, 6), name="adjacency")
    x = GraphConvolution(8)(nodes, adjacency)
    x = GraphConvolution(8)(x, adjacency)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling1D()(x))
    model = keras.Model({"nodes": nodes, "adjacency": adjacency}, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def data():
    rng = np.random.default_rng(15)
    adjacency = (rng.random((19, 6, 6)) < 0.4).astype("float32")
    graphs = {
        "nodes": rng.random((19, 6, 4), dtype="float32"),
        "adjacency": np.maximum(adjacency, np.eye(6, dtype="f")),
    }
    return batches(graphs, rng.integers(0, 3, 19))


PROGRAM = Program(build, data)

"""Faster kernels for stock Keras layers, in their place only while a step is traced.

Some Keras layers are slow on TensorFlow, or differ under XLA. While a step is traced, layers of exactly these types
get equal, faster code; the model, its files and its numbers stay as they are. By the name that the plan prints:

    fused batch norm      BatchNormalization as TensorFlow's one fused operation (XLA fuses by itself: left out there)
    average pooling       AveragePooling2D whose gradient is a copy, where windows do not overlap
    layer norm            LayerNormalization with its gradient written out (XLA fuses by itself)
    einsum as product     EinsumDense, where one matrix product does it
    attention products    MultiHeadAttention's two einsums as products of matrices; without dropout on the scores
    philox dropout        Dropout whose masks are the same with and without XLA: Keras' own in float32
    hoisted lstm, gru     the loop over time without what can stand outside of it: `recurrent`
    update by xla         the optimizer's update alone, where XLA saves passes over memory: a million weights and more
    synchronised batch norm   over the batch of all replicas; asked for, not faster
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kzoo.engine.losses import Share
from kzoo.engine.recurrent import under_xla, without_xla
from kzoo.keras_internals import attention_settings, layers_in, result_type, stock_attention

Kernel = Callable[..., Any]
MANY = 1_000_000  # weights; with fewer the update is not worth XLA's compilation
REPAYS = 40  # steps; in fewer it saves less than it takes (ResNet-50: 3 s, and 85 ms a step)
MASKED = -0.7 * 3.38953e38  # the score of a masked position; Keras' own, so that a row of nothing else is the same


class Kernels:
    """The kernels that fit the layers of these networks.

    Args:
        networks: Their layers are looked at now.
        xla: Whether the step is compiled by XLA.
        in_place: Whether variables are updated in place: then the update can be compiled by itself.
        steps: Of the whole training; None where that is not known.
        enabled: False keeps Keras' own code.
        sync_batch_norm: Synchronise every batch normalization over the replicas; otherwise those that ask for it
            (`synchronized=True`).

    Attributes:
        synchronised: Whether a layer sums over the replicas.
        update_by_xla: Whether the optimizer's update is compiled by XLA although the step is not.
        names: What was chosen, for the plan, such as `"fused batch norm (53)"`.
    """

    def __init__(
        self, networks: Sequence[keras.Model], *, xla: bool, enabled: bool = True, in_place: bool = False,
        steps: int | None = None, sync_batch_norm: bool | None = None,
    ) -> None:  # fmt: skip
        self._here = threading.local()  # each replica's thread has its share
        self._swaps: list[tuple[keras.layers.Layer, str, Kernel]] = []
        self._depth = 0
        counts: Counter[str] = Counter()
        layers_ = {id(y): y for network in networks for y in layers_in(network)}.values()
        found = [(y, self._synchronised(y, sync_batch_norm) or (_choice(y, xla) if enabled else None)) for y in layers_]
        for layer, choice in found:
            if choice is not None:
                name, attribute, kernel = choice
                counts[name] += 1
                if kernel is philox_dropout:
                    kernel = self._dropout
                self._swaps.append((layer, attribute, kernel))
        weights = sum(math.prod(v.shape) for network in networks for v in network.trainable_variables)
        repaid = weights >= MANY and (steps is None or steps >= REPAYS)
        self.update_by_xla = enabled and in_place and not xla and repaid
        self.synchronised = "synchronised batch norm" in counts
        self.names = tuple(f"{name} ({count})" for name, count in counts.items())
        self.names += ("update by xla",) * self.update_by_xla

    def _synchronised(self, layer: keras.layers.Layer, wanted: bool | None) -> tuple[str, str, Kernel] | None:
        if wanted is None or type(layer) is not layers.BatchNormalization or not (wanted or layer.synchronized):
            return None
        return "synchronised batch norm", "call", lambda y, *args, **kw: synchronised_batch_norm(self, y, *args, **kw)

    def _dropout(self, layer: layers.Dropout, inputs: Any, training: bool = False) -> Any:
        return philox_dropout(layer, inputs, training, self.share)

    @property
    def share(self) -> Share | None:
        """Of the batch that this thread's step was given."""
        return self._here.share

    @contextlib.contextmanager
    def swapped(self, share: Share | None = None) -> Iterator[None]:
        """The kernels in their layers' place. Replicas' threads that take turns in it count as one."""
        self._here.share = share
        if self._depth == 0:
            for layer, attribute, kernel in self._swaps:
                vars(layer)[attribute] = _bound(kernel, layer)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                for layer, attribute, _ in self._swaps:
                    vars(layer).pop(attribute)


def _bound(kernel: Kernel, layer: keras.layers.Layer) -> Kernel:
    return lambda *args, **kwargs: kernel(layer, *args, **kwargs)


def _choice(layer: keras.layers.Layer, xla: bool) -> tuple[str, str, Kernel] | None:
    """(name, method to replace, kernel) for a layer of exactly a known type."""
    kind = type(layer)
    if layer.compute_dtype == "float64":  # who asks for it wants Keras' own digits
        return None
    if kind is layers.BatchNormalization and not xla and not layer.synchronized and not getattr(layer, "renorm", False):
        return "fused batch norm", "call", fused_batch_norm
    if kind is layers.AveragePooling2D and not xla and _is_tiling(layer):
        return "average pooling", "call", average_pooling
    if kind is layers.LayerNormalization and not xla and _is_plain_norm(layer):
        return "layer norm", "call", layer_norm
    if kind is layers.EinsumDense and _kernel_splits(layer.equation) is not None and not layer.lora_enabled:
        return "einsum as product", "call", einsum_as_product
    if kind is layers.MultiHeadAttention and attention_settings(layer)[:2] == (0, False):
        return "attention products", "_compute_attention", attention_products
    if kind is layers.Dropout and layer.rate > 0:
        return "philox dropout", "call", philox_dropout
    if kind in (layers.LSTM, layers.GRU) and layer.cell.implementation == 2 and not _uses_cudnn(layer):
        return f"hoisted {kind.__name__.lower()}", "inner_loop", under_xla if xla else without_xla
    return None


def _uses_cudnn(layer: Any) -> bool:
    return layer.use_cudnn is True or (layer.use_cudnn == "auto" and bool(tf.config.list_physical_devices("GPU")))


# --- batch normalization --------------------------------------------------------------------------------------------


def fused_batch_norm(layer: layers.BatchNormalization, inputs: Any, training: Any = None, mask: Any = None) -> Any:
    """Rank 4, last axis, training without a mask; anything else is Keras' own."""
    learns = training and layer.trainable
    if not learns or mask is not None or len(inputs.shape) != 4 or layer.axis not in (-1, 3):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    channels = inputs.shape[-1]
    gamma = tf.cast(layer.gamma.value, tf.float32) if layer.scale else tf.ones([channels])
    beta = tf.cast(layer.beta.value, tf.float32) if layer.center else tf.zeros([channels])
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(  # tf.nn's wrapper would raise epsilon to 1.001e-5
        x=tf.cast(inputs, layer.compute_dtype), scale=gamma, offset=beta, mean=[], variance=[],
        epsilon=layer.epsilon, is_training=True,
    )  # fmt: skip
    count = tf.cast(tf.size(inputs) // channels, tf.float32)
    variance = variance * (count - 1) / count  # the operation returns the unbiased estimate, Keras keeps the biased one
    _note_statistics(layer, mean, variance)
    return outputs


def synchronised_batch_norm(
    kernels: Kernels, layer: layers.BatchNormalization, inputs: Any, training: Any = None, mask: Any = None
) -> Any:
    """Mean and variance of the batch of all replicas; one left empty counts nothing. Not inside compiled code."""
    if not (training and layer.trainable):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    x = tf.cast(inputs, result_type(inputs.dtype, "float32"))
    axis = layer.axis % len(x.shape)
    others = [i for i in range(len(x.shape)) if i != axis]
    real = tf.cast(kernels.share.real, x.dtype)
    valid, small = tf.ones_like(x), 0.0
    if mask is not None:  # over the last axis, with the small number in the denominators that Keras has there
        valid, small = tf.cast(tf.expand_dims(mask, -1), x.dtype) * valid, keras.config.epsilon()
    count = tf.reduce_sum(valid) / x.shape[axis]
    sums = _all_sum(tf.concat([tf.reduce_sum(x * valid, others) * real, [count * real]], 0))
    mean = sums[:-1] / (sums[-1] + small)
    shape = [1] * len(x.shape)
    shape[axis] = x.shape[axis]
    centred = x - tf.reshape(mean, shape)  # a second sum, since E[x²] - E[x]² would lose digits
    variance = _all_sum(tf.reduce_sum(tf.square(centred) * valid, others) * real) / (sums[-1] + small)
    _note_statistics(layer, mean, variance)
    scale = tf.math.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale *= tf.cast(layer.gamma.value, x.dtype)
    outputs = centred * tf.reshape(scale, shape)
    if layer.center:
        outputs += tf.reshape(tf.cast(layer.beta.value, x.dtype), shape)
    return tf.cast(outputs, layer.compute_dtype)


def _note_statistics(layer: layers.BatchNormalization, mean: tf.Tensor, variance: tf.Tensor) -> None:
    for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        old = tf.convert_to_tensor(moving.value)
        moving.assign(old * layer.momentum + tf.cast(new, old.dtype) * (1.0 - layer.momentum))


def _all_sum(tensor: tf.Tensor) -> tf.Tensor:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensor)


# --- pooling --------------------------------------------------------------------------------------------------------


def _is_tiling(layer: layers.AveragePooling2D) -> bool:
    return layer.data_format == "channels_last" and layer.padding == "valid" and layer.strides == layer.pool_size


def average_pooling(layer: layers.AveragePooling2D, inputs: Any) -> Any:
    """Windows that tile the image exactly: each pixel's gradient is its window's, divided by the window's size."""
    height, width = layer.pool_size
    rows, columns, channels = inputs.shape[1:]
    if rows is None or columns is None or rows % height or columns % width:
        return type(layer).call(layer, inputs)

    @tf.custom_gradient
    def pool(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(d: tf.Tensor) -> tf.Tensor:
            d = (d / tf.cast(height * width, d.dtype))[:, :, None, :, None, :]
            blocks = [tf.shape(d)[0], rows // height, height, columns // width, width, channels]
            return tf.reshape(tf.broadcast_to(d, blocks), tf.shape(x))

        return tf.nn.avg_pool2d(x, layer.pool_size, layer.strides, "VALID"), gradient

    return pool(tf.convert_to_tensor(inputs))


# --- layer normalization --------------------------------------------------------------------------------------------


def _is_plain_norm(layer: layers.LayerNormalization) -> bool:
    return layer.scale and layer.center and not layer.rms_scaling


def layer_norm(layer: layers.LayerNormalization, inputs: Any) -> Any:
    """Over the last axis; anything else is Keras' own."""
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if [axis % len(inputs.shape) for axis in axes] != [len(inputs.shape) - 1]:
        return type(layer).call(layer, inputs)
    dtype = result_type(inputs.dtype, "float32")

    @tf.custom_gradient
    def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + layer.epsilon)
        normal = centred * inverse
        others = list(range(len(x.shape) - 1))

        def gradient(d: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            scaled = d * gamma
            along = tf.reduce_mean(scaled * normal, -1, keepdims=True)
            dx = inverse * (scaled - tf.reduce_mean(scaled, -1, keepdims=True) - normal * along)
            return dx, tf.reduce_sum(d * normal, others), tf.reduce_sum(d, others)

        return normal * gamma + beta, gradient

    outputs = norm(tf.cast(inputs, dtype), tf.cast(layer.gamma.value, dtype), tf.cast(layer.beta.value, dtype))
    return tf.cast(outputs, layer.compute_dtype)


# --- attention ------------------------------------------------------------------------------------------------------


def _kernel_splits(equation: str) -> tuple[int, int] | None:
    """(axes summed over, axes of the output they make) where `equation` is one product of matrices."""
    parts = equation.replace(" ", "").replace("->", ",").split(",")
    if len(parts) != 3 or "." in equation:
        return None
    x, kernel, out = parts
    summed = next(
        (n for n in range(1, len(x)) if kernel.startswith(x[n:]) and out == x[:n] + kernel[len(x) - n :]), None
    )
    return None if summed is None else (len(x) - summed, len(kernel) - len(x) + summed)


def einsum_as_product(layer: layers.EinsumDense, inputs: Any, training: Any = None) -> Any:
    summed, made = _kernel_splits(layer.equation)
    kernel = tf.convert_to_tensor(layer.kernel)
    inside, outside = math.prod(kernel.shape[:summed]), list(kernel.shape[summed:])
    rows = tf.shape(inputs)[: len(inputs.shape) - summed]
    x = tf.matmul(tf.reshape(inputs, [-1, inside]), tf.reshape(kernel, [inside, math.prod(outside)]))
    x = tf.reshape(x, tf.concat([rows, outside], 0))
    x.set_shape([*inputs.shape[: len(inputs.shape) - summed], *outside])
    if layer.bias is not None:
        x = x + layer.bias
    return x if layer.activation is None else layer.activation(x)


def attention_products(
    layer: layers.MultiHeadAttention, query: Any, key: Any, value: Any, attention_mask: Any = None,
    training: Any = None, return_attention_scores: bool = False, use_causal_mask: bool = False,
) -> Any:  # fmt: skip
    """softmax(q kᵀ / √d) v on (batch, heads, time, d), as Keras computes it by einsum on (batch, time, heads, d)."""
    if return_attention_scores or len(query.shape) != 4:
        return stock_attention(
            layer, query, key, value, attention_mask, training, return_attention_scores, use_causal_mask
        )
    q, k, v = (tf.transpose(t, [0, 2, 1, 3]) for t in (query, key, value))
    scores = tf.matmul(q * tf.cast(attention_settings(layer)[2], q.dtype), k, transpose_b=True)  # (batch, heads, T, S)
    scores = tf.cast(scores, result_type(scores.dtype, "float32"))
    if attention_mask is not None:
        while len(attention_mask.shape) < 4:
            attention_mask = tf.expand_dims(attention_mask, 1)
        scores = tf.where(tf.cast(attention_mask, tf.bool), scores, MASKED)
    if use_causal_mask:
        shape = tf.shape(scores)
        earlier = tf.linalg.band_part(tf.ones([shape[2], shape[3]], tf.bool), -1, 0)
        scores = tf.where(earlier, scores, MASKED)
    mixed = tf.matmul(tf.cast(tf.nn.softmax(scores), v.dtype), v)
    return tf.transpose(mixed, [0, 2, 1, 3]), None


# --- dropout --------------------------------------------------------------------------------------------------------


def philox_dropout(layer: layers.Dropout, inputs: Any, training: bool = False, share: Share | None = None) -> Any:
    """Keras' dropout, with and without XLA the mask that Keras draws in float32 without it.

    XLA makes other floats of the same random bits, so whole numbers are compared: TensorFlow's float in [0, 1) is the
    lowest 23 bits over 2**23.

    Args:
        share: Of a batch of which the inputs are some rows; with its `first`, their mask is those rows of the batch's.
    """
    if not training:
        return inputs
    if layer.rate >= 1:
        return tf.zeros_like(inputs)
    shape = tf.shape(inputs)
    if layer.noise_shape is not None:
        shape = [shape[i] if n is None else n for i, n in enumerate(layer.noise_shape)]
    seed = tf.cast(tf.math.floormod(layer.seed_generator.next(), tf.int32.max - 1), tf.int32)  # as Keras casts it
    if share is None or share.first is None:
        bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox")
    else:
        known = math.prod(n or 1 for n in inputs.shape[1:])
        bits = _bits_from(share.first, shape, seed, fours=known % 4 == 0)
    keep = tf.bitwise.bitwise_and(bits, 2**23 - 1) >= math.ceil(np.float32(layer.rate) * 2**23)
    return tf.where(keep, inputs * tf.cast(1 / (1 - layer.rate), inputs.dtype), tf.zeros_like(inputs))


def _bits_from(first: tf.Tensor, shape: Any, seed: tf.Tensor, fours: bool) -> tf.Tensor:
    """uint32 [rows, …]: rows from `first` on of what `stateless_uniform` draws for more of them.

    Philox makes four numbers of each value of its counter, so it is begun at the row's, and up to three are left out;
    none where a row has a multiple of four (`fours`).
    """
    place = tf.cast(first, tf.int64) * tf.cast(tf.reduce_prod(shape[1:]), tf.int64)  # of the first row's first number
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    counter += tf.stack([tf.cast(place // 4, counter.dtype), tf.zeros([], counter.dtype)])
    draw = lambda shape: tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=key, counter=counter, alg=1, dtype=tf.uint32
    )  # of algorithm 1, Philox
    if fours:
        return draw(shape)
    size = tf.reduce_prod(shape)
    return tf.reshape(tf.slice(draw([size + 3]), [tf.cast(place % 4, tf.int32)], [size]), shape)

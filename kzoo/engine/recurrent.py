"""LSTM and GRU layers whose loop over time holds nothing that could stand outside of it.

The input's projections of all steps are one product before the loop. Where XLA does not compile the step, the loop's
gradient is written out as well: the forward loop keeps each step's states and products, the one backwards finds the
gradients of the products, and those of the recurrent weights are one product of all steps behind it. TensorFlow's own
gradient keeps every number of every operation, and adds up the weights' step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import layers

from kzoo.keras_internals import rnn


class Cell(NamedTuple):
    """What a step computes: `gates(x, states[0] @ recurrent + recurrent_bias, states)`.

    Attributes:
        bias: Of the input's projection, float [gates * units] or None.
        recurrent: float [units, gates * units].
        recurrent_bias: float [gates * units] or None.
        gates: (x [batch, gates * units], product [batch, gates * units], states) -> states; the first is the output.
        adds: Whether the gates read nothing but the sum of the two.
    """

    bias: Any
    recurrent: Any
    recurrent_bias: Any
    gates: Callable[[Any, Any, Sequence[Any]], list[Any]]
    adds: bool = True

    def product(self, h: Any) -> Any:
        product = tf.matmul(h, self.recurrent)
        return product if self.recurrent_bias is None else product + self.recurrent_bias

    def step(self, x: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        states = self.gates(x, self.product(states[0]), states)
        return states[0], states


def without_xla(
    layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
) -> tuple[Any, Any, Any]:
    """`inner_loop` of a layer in training, its gradient written out; otherwise as under XLA."""
    written = training and not layer.unroll and getattr(layer.cell, "reset_after", True)
    return _looped(layer, sequences, initial_state, mask, training, _written if written else _by_keras)


def under_xla(
    layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
) -> tuple[Any, Any, Any]:
    """`inner_loop` of a layer: Keras' loop on inputs that were projected before it."""
    return _looped(layer, sequences, initial_state, mask, training, _by_keras)


def _looped(
    layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool, loop: Callable[..., Any]
) -> tuple[Any, Any, Any]:
    """(the last output [batch, units], all outputs [batch, time, units], the last states)."""
    cell = layer.cell
    mask = mask[0] if isinstance(mask, list | tuple) else mask
    if training and 0 < cell.dropout < 1:
        sequences = sequences * tf.expand_dims(cell.get_dropout_mask(sequences[:, 0, :]), 1)
    parts = (_lstm if isinstance(cell, layers.LSTMCell) else _gru)(cell)
    projected = keras.ops.matmul(sequences, cell.kernel)  # [batch, time, gates * units]
    if parts.bias is not None:
        projected = projected + parts.bias
    return loop(layer, parts, projected, initial_state, mask)


def _by_keras(layer: Any, cell: Cell, projected: Any, initial_state: Any, mask: Any) -> tuple[Any, Any, Any]:
    return rnn(
        cell.step,
        projected,
        initial_state,
        go_backwards=layer.go_backwards,
        mask=mask,
        unroll=layer.unroll,
        input_length=projected.shape[1],
        zero_output_for_mask=layer.zero_output_for_mask,
        return_all_outputs=layer.return_sequences,
    )


def _written(layer: Any, cell: Cell, projected: Any, initial_state: Any, mask: Any) -> tuple[Any, Any, Any]:
    x = tf.transpose(projected, [1, 0, 2])  # [time, batch, gates * units]
    mask = None if mask is None else tf.transpose(tf.cast(mask, tf.bool))[..., None]  # [time, batch, 1]
    if layer.go_backwards:
        x = tf.reverse(x, [0])
        mask = None if mask is None else tf.reverse(mask, [0])
    outputs, states = _loop(cell, x, [tf.convert_to_tensor(s) for s in initial_state], mask, layer.return_sequences)
    if mask is not None:  # before the first real step Keras' output is zero, whatever the state
        told = mask if layer.zero_output_for_mask else tf.cumsum(tf.cast(mask, tf.int32)) > 0
        told = told if layer.return_sequences else told[-1:]
        outputs = tf.where(told, outputs, tf.zeros_like(outputs))
    outputs = tf.transpose(outputs, [1, 0, 2])
    return outputs[:, -1], outputs, states


def _loop(
    cell: Cell, x: tf.Tensor, states: list[tf.Tensor], mask: tf.Tensor | None, sequences: bool
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """(outputs of all steps, or of the last one alone, [time or 1, batch, units]; the states behind it)."""
    steps = tf.shape(x)[0]
    weights = [cell.recurrent, *([] if cell.recurrent_bias is None else [cell.recurrent_bias])]

    def taken(t: Any, x: Any, product: Any, states: Sequence[Any]) -> list[Any]:
        new = cell.gates(x, product, states)
        return new if mask is None else [tf.where(mask[t], a, b) for a, b in zip(new, states, strict=True)]

    def arrays(*shaped: tf.Tensor) -> list[tf.TensorArray]:
        return [tf.TensorArray(t.dtype, steps, element_shape=t.shape) for t in shaped]

    @tf.custom_gradient
    def run(x: tf.Tensor, *given: tf.Tensor) -> Any:
        recurrent, states = given[0], list(given[len(weights) :])

        def forwards(t: Any, states: Any, kept: Any, products: Any) -> Any:
            product = cell.product(states[0])
            kept = [array.write(t, state) for array, state in zip(kept, states, strict=True)]
            return t + 1, taken(t, x[t], product, states), kept, products.write(t, product)

        begun = [0, states, arrays(*states), arrays(x[0])[0]]
        _, last, kept, products = tf.while_loop(lambda t, *_: t < steps, forwards, begun, maximum_iterations=steps)
        before, products = [array.stack() for array in kept], products.stack()  # states that each step began from

        def backwards_from(d_outputs: tf.Tensor, *d_states: tf.Tensor) -> list[tf.Tensor]:
            turned = tf.transpose(recurrent)

            def backwards(t: Any, d_new: Any, d_x: Any, d_products: Any) -> Any:
                at, product, states = x[t], products[t], [kept[t] for kept in before]
                d_new = [d_new[0] + d_outputs[t], *d_new[1:]] if sequences else d_new
                with tf.GradientTape() as tape:
                    tape.watch([at, product, *states])
                    new = taken(t, at, product, states)
                d_at, d_product, *d_old = tape.gradient(
                    new, [at, product, *states], d_new, unconnected_gradients=tf.UnconnectedGradients.ZERO
                )
                d_old[0] += tf.matmul(d_product, turned)
                d_x = d_x if cell.adds else [d_x[0].write(t, d_at)]
                return t - 1, d_old, d_x, d_products.write(t, d_product)

            d_new = list(d_states) if sequences else [d_states[0] + d_outputs[0], *d_states[1:]]
            begun = [steps - 1, d_new, [] if cell.adds else arrays(x[0]), arrays(x[0])[0]]
            _, d_first, d_x, d_products = tf.while_loop(
                lambda t, *_: t >= 0, backwards, begun, maximum_iterations=steps
            )
            d_products = d_products.stack()
            d_inputs = d_products if cell.adds else d_x[0].stack()
            flat = tf.reshape(d_products, [-1, recurrent.shape[1]])
            d_weights = [tf.matmul(tf.reshape(before[0], [-1, recurrent.shape[0]]), flat, transpose_a=True)]
            if len(weights) > 1:
                d_weights.append(tf.reduce_sum(flat, 0))
            return [d_inputs, *d_weights, *d_first]

        outputs = tf.concat([before[0][1:], last[0][None]], 0) if sequences else last[0][None]
        return [outputs, *last], backwards_from

    outputs, *states = run(x, *weights, *states)
    return outputs, states


def _lstm(cell: layers.LSTMCell) -> Cell:
    def gates(x: Any, product: Any, states: Sequence[Any]) -> list[Any]:
        i, f, candidate, o = tf.split(x + product, 4, axis=1)
        c = cell.recurrent_activation(f) * states[1] + cell.recurrent_activation(i) * cell.activation(candidate)
        return [cell.recurrent_activation(o) * cell.activation(c), c]

    return Cell(cell.bias if cell.use_bias else None, tf.convert_to_tensor(cell.recurrent_kernel), None, gates)


def _gru(cell: layers.GRUCell) -> Cell:
    recurrent, units = tf.convert_to_tensor(cell.recurrent_kernel), cell.units
    bias, recurrent_bias = cell.bias if cell.use_bias else None, None
    if cell.use_bias and cell.reset_after:
        bias, recurrent_bias = tf.unstack(tf.convert_to_tensor(cell.bias))

    def mixed(x: Any, z_and_r: Any, h: Any, candidate: Callable[[Any], Any]) -> list[Any]:
        z, r = tf.split(cell.recurrent_activation(x[:, : 2 * units] + z_and_r), 2, axis=1)
        return [z * h + (1 - z) * cell.activation(x[:, 2 * units :] + candidate(r))]

    def after(x: Any, product: Any, states: Sequence[Any]) -> list[Any]:
        return mixed(x, product[:, : 2 * units], states[0], lambda r: r * product[:, 2 * units :])

    def before(x: Any, product: Any, states: Sequence[Any]) -> list[Any]:
        own = lambda r: tf.matmul(r * states[0], recurrent[:, 2 * units :])
        return mixed(x, product, states[0], own)

    if cell.reset_after:
        return Cell(bias, recurrent, recurrent_bias, after, adds=False)
    return Cell(bias, recurrent[:, : 2 * units], None, before, adds=False)

"""What the layers of a model cost and see: output shapes, multiply-accumulates, activations, receptive fields.

The model runs once on symbolic tensors, as a batch of one example. Then every layer is *opened*: its `call` runs on the
symbolic tensors that it was given, and what it is made of shows as operations of `keras.ops`. These have rules: so a
layer which someone wrote yesterday is counted as exactly as Conv2D. Where a layer cannot be opened, because its `call`
is TensorFlow's own code, its kind decides, or its numbers are None.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from kzoo.errors import KzooError
from kzoo.keras_internals import attention_kernels, first_shapes, input_structure, node_of
from kzoo.models import Block, Definition, inputs_of, model_info, networks_of, opened_blocks, tensors
from kzoo.report.receptive import ALL, Seen, look, merged, place, subscripts


@dataclass
class Cost:
    """Of one layer; of all its calls where it is called more than once, with the shape of the last."""

    output_shape: tuple[int | None, ...]
    macs: int | None
    values: int | None
    seen: Seen


@dataclass
class Costs:
    """{id of a layer: its Cost} in the order of the graph, the inputs by name, and what operations outside layers take.

    Attributes:
        unknown: Names of operations outside layers whose multiply-accumulates are not known.
    """

    layers: dict[int, Cost] = field(default_factory=dict)
    inputs: dict[str, Cost] = field(default_factory=dict)
    outside: int = 0
    unknown: list[str] = field(default_factory=list)


def costs_of(model: keras.Model, input_shape: Any = None) -> Costs:
    """Of every layer that a model's forward pass reaches; of several networks, of all.

    Args:
        model: Any Keras model. One that was never called, or whose `call` is TensorFlow's own code, gives nothing.
        input_shape: Compute at this shape, without the batch, and not at the model's own; a dict for several inputs.

    Raises:
        KzooError: The model does not run on `input_shape`.
    """
    networks = networks_of(model)
    if networks != [model]:
        if input_shape is not None:
            raise KzooError(f"{model.name!r} has several networks; give one of them with input_shape")
        whole = Costs()
        for network in networks:
            found = costs_of(network)
            whole.layers |= found.layers
            whole.inputs |= {f"{network.name}_{name}": cost for name, cost in found.inputs.items()}
            whole.outside += found.outside
            whole.unknown += found.unknown
        return whole
    walk = _Walk()
    inputs = _inputs(model, input_shape)
    if inputs is None:
        if input_shape is not None:
            raise KzooError(f"{model.name!r} was never called; call it on a batch before you ask for an input_shape")
        return walk.found
    named = inputs if isinstance(inputs, Mapping) else {x.name: x for x in keras.tree.flatten(inputs)}
    walk.seen |= {x: place(max(0, len(x.shape) - 2)) for x in named.values()}
    try:
        outputs = _call(model, (inputs,), {})
    except Exception as error:  # anything may stand in the `call` of somebody's model
        if input_shape is not None:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise KzooError(f"{model.name!r} does not run on input_shape={input_shape}: {reason}") from error
        return walk.found
    walk.found.inputs |= {name: Cost(_shown(x), 0, _values([x]), walk.seen[x]) for name, x in named.items()}
    walk.count(outputs)
    return walk.found


def _inputs(model: keras.Model, input_shape: Any) -> Any:
    """Symbolic tensors of one example, as the model takes them; None where nothing is known of them."""
    if isinstance(model, Definition):
        given = tensors(model.first_inputs) if hasattr(model, "first_inputs") else None
    elif isinstance(model, keras.Sequential):  # of several inputs Keras keeps nothing
        info = model_info(model)
        noted = inputs_of(info.spec, info.arguments["input_shape"]) if info else None
        given = next(iter(getattr(model, "inputs", None) or []), noted)
    elif isinstance(model, keras.Function):
        given = input_structure(model)
        given = given[0] if isinstance(given, list | tuple) and len(given) == 1 else given
    else:  # what `build` was called with
        shapes = first_shapes(model)
        given = keras.tree.map_shape_structure(keras.KerasTensor, shapes[0]) if len(shapes) == 1 else None
    if given is None:
        return None
    names = list(given) if isinstance(given, Mapping) else []
    if isinstance(input_shape, Mapping) and set(input_shape) != set(names):
        raise KzooError(f"{model.name!r} has the inputs {', '.join(names) or 'of no name'}; received {input_shape}")

    def one(x: Any, name: str) -> keras.KerasTensor:
        shape = input_shape[name] if isinstance(input_shape, Mapping) else input_shape
        if shape is not None and len(shape) != len(x.shape) - 1:
            raise KzooError(f"input_shape of {model.name!r} has {len(x.shape) - 1} numbers; received {tuple(shape)}")
        return keras.KerasTensor((1, *(x.shape[1:] if shape is None else shape)), dtype=x.dtype, name=name)

    if names:
        return {name: one(x, name) for name, x in given.items()}
    single = isinstance(given, keras.KerasTensor)
    name = lambda x: made.operation.name if (made := node_of(x)) is not None else x.name
    return keras.tree.map_structure(lambda x: one(x, "input" if single else name(x)), given)


class _Walk:
    """One pass over everything that is computed from the inputs.

    Attributes:
        seen: What the values of each tensor see; a tensor that is not here does not depend on the inputs.
        inside: How many layers, other than Blocks and models, are open just now.
    """

    def __init__(self) -> None:
        self.found = Costs()
        self.seen: dict[keras.KerasTensor, Seen] = {}
        self.done: set[Any] = set()
        self.inside = 0

    def count(self, outputs: Sequence[Any]) -> tuple[int | None, bool]:
        """Visit all that the outputs need: multiply-accumulates, and whether it computes or is only a view."""
        visits = [self.visit(node) for node in self.nodes(outputs)]
        return _sum([macs for macs, _ in visits]), any(computes for _, computes in visits)

    def nodes(self, outputs: Sequence[Any]) -> Iterator[Any]:
        """The calls that the outputs need and that were not visited yet, each after those that it needs itself."""
        stack = [(node_of(x), False) for x in reversed(outputs)]
        while stack:
            node, ready = stack.pop()
            if node is None or node in self.done:
                continue
            if ready:
                self.done.add(node)
                yield node
            else:
                stack.append((node, True))
                stack += [(node_of(x), False) for x in reversed(node.input_tensors) if x not in self.seen]

    def visit(self, node: Any) -> tuple[int | None, bool]:
        """Multiply-accumulates of one call, and whether it computes; what it sees and costs is noted."""
        operation, outputs = node.operation, node.output_tensors
        before = [self.seen[x] for x in node.input_tensors if x in self.seen]
        if not isinstance(operation, layers.Layer):
            macs, seen = _or_none(multiplied, node), _or_none(look, node, self.seen) if before else None
            self.seen |= dict.fromkeys(outputs if before else (), seen)
            if not self.inside:
                self.found.outside += macs or 0
                self.found.unknown += [operation.name] if macs is None else []
            return macs, type(operation).__name__ not in VIEWS

        if (kind := _or_none(by_kind, node, before)) is not None:
            macs, seen, computes = kind
            self.seen |= dict.fromkeys(outputs, seen)
        else:
            try:
                inner = _call(operation, node.arguments.args, node.arguments.kwargs)
            except Exception:  # anything may stand in the `call` of somebody's layer
                macs, computes = None, True
                self.seen |= dict.fromkeys(outputs, ALL if ALL in before else None)
            else:
                closed = not isinstance(operation, Block | keras.Model)
                self.inside += closed
                macs, computes = self.count(inner)
                self.inside -= closed
                pairs = [(x, y) for x, y in zip(outputs, inner, strict=False) if isinstance(y, keras.KerasTensor)]
                self.seen |= {x: self.seen[y] for x, y in pairs if y in self.seen}
                known = dict(pairs)  # EinsumDense says less of its output's shape than its product does
                outputs = [known.get(x, x) if None in x.shape else x for x in outputs]
        if not outputs:
            return macs, computes
        own = [x for x in outputs if x in self.seen] if computes else []  # not a table that travels along, or a mask
        cost = Cost(_shown(outputs[0]), macs, _values(own), self.seen.get(outputs[0]))
        if (earlier := self.found.layers.get(id(operation))) is not None:
            cost.macs, cost.values = _sum([cost.macs, earlier.macs]), _sum([cost.values, earlier.values])
            cost.seen = merged([cost.seen, earlier.seen])
        self.found.layers[id(operation)] = cost
        return macs, computes


def _call(layer: keras.layers.Layer, args: Any, kwargs: Mapping[str, Any]) -> list[Any]:
    """The outputs of its `call` on symbolic tensors, Blocks opened; seeds, statistics and losses stay as they are."""
    training = inspect.signature(layer.call).parameters.get("training")
    if training is not None and training.default is inspect.Parameter.empty:
        kwargs = {"training": False, **kwargs}
    stock = type(layer).__module__.startswith("keras.src.layers.")
    if stock and getattr(layer, "groups", 1) > 1 and hasattr(layer, "kernel"):  # a kernel reads its group's channels
        last = layer.data_format == "channels_last"
        args = (args[0][..., : layer.kernel.shape[-2]] if last else args[0][:, : layer.kernel.shape[-2]],)
    activation = getattr(layer, "activation", None) if stock else None
    try:
        if activation is not None:
            layer.activation = keras.activations.linear  # none is counted, and some are TensorFlow's own code
        with opened_blocks(), keras.StatelessScope():
            return keras.tree.flatten(layer.call(*args, **kwargs))
    finally:
        if activation is not None:
            layer.activation = activation


def _shown(x: Any) -> tuple[int | None, ...]:
    return (None, *x.shape[1:])


def _values(outputs: Sequence[Any]) -> int | None:
    return _sum([_product(x.shape) for x in outputs])


def _or_none(rule: Callable[..., Any], *arguments: Any) -> Any:
    """What a rule says; None where an operation is called in a way that the rule does not know."""
    try:
        return rule(*arguments)
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError):
        return None


def _product(shape: Sequence[int | None]) -> int | None:
    return None if None in shape else math.prod(shape)


def _sum(numbers: Sequence[int | None]) -> int | None:
    return None if None in numbers else sum(numbers)


# Kinds of layers that need no opening, or cannot be opened -----------------------------------------------------------


PLACE_BY_PLACE = {"activations", "normalization", "regularization", "preprocessing"}


def by_kind(node: Any, before: Sequence[Seen]) -> tuple[int | None, Seen, bool] | None:
    """(multiply-accumulates, what is seen, whether it computes) of Keras' own; None: open it.

    Dropout and noise do nothing at inference: views. A recurrent layer multiplies its kernels once a step.
    """
    layer = node.operation
    package = type(layer).__module__.removeprefix("keras.src.layers.").partition(".")[0]
    if isinstance(layer, layers.InputLayer):
        return 0, merged(before), False
    if package in PLACE_BY_PLACE and not isinstance(layer, layers.Wrapper):
        same = all(tuple(x.shape) == tuple(node.input_tensors[0].shape) for x in node.output_tensors)
        view = package == "regularization" or getattr(layer, "activation", None) is keras.activations.linear
        return 0, merged(before) if same else None, not view
    if isinstance(layer, layers.RNN | layers.Bidirectional):
        return _recurrent(layer, node), None, True
    if isinstance(layer, layers.MultiHeadAttention | layers.GroupQueryAttention):
        return _attention(layer, node), None, True
    return None


def _recurrent(layer: layers.Layer, node: Any) -> int | None:
    steps, out = node.input_tensors[0].shape[1], node.output_tensors[0].shape
    runs = [layer.forward_layer, layer.backward_layer] if isinstance(layer, layers.Bidirectional) else [layer]
    found = []
    for cell in (cell for run in runs for cell in getattr(run.cell, "cells", [run.cell])):
        if steps is None or not (hasattr(cell, "kernel") and hasattr(cell, "recurrent_kernel")):
            return None
        kernels = (cell.kernel, cell.recurrent_kernel)
        convolution = len(cell.kernel.shape) - 2  # its number of axes of places; 0 of an ordinary cell
        places = _product(_places((1, *out[-convolution - 1 :]), cell.data_format)) if convolution else 1
        found += [None if places is None else steps * places * math.prod(kernel.shape) for kernel in kernels]
    return _sum(found)


def _attention(layer: layers.Layer, node: Any) -> int | None:
    """Projections of queries, keys, values and outputs, and two products of all queries with all keys."""
    query, value = (node.input_tensors[k].shape for k in (0, min(1, len(node.input_tensors) - 1)))
    if len(query) != 3 or None in (query[1], value[1]):
        return None
    kernel = attention_kernels(layer)
    return (
        query[1] * (math.prod(kernel["query"]) + math.prod(kernel["output"]))
        + value[1] * (math.prod(kernel["key"]) + math.prod(kernel["value"]))
        + query[1] * value[1] * (math.prod(kernel["query"][1:]) + math.prod(kernel["output"][:-1]))
    )


# Operations -----------------------------------------------------------------------------------------------------------

VIEWS = {"Reshape", "Squeeze", "ExpandDims", "Ravel", "StopGradient"}
# Those whose multiplications have no rule here; beside them all of keras.ops.linalg.
UNKNOWN = {
    "Map", "Scan", "AssociativeScan", "WhileLoop", "ForiLoop", "VectorizedMap", "Cond", "Switch", "Correlate",
    "Corrcoef", "Kron", "Cross", "CDist", "FFT", "FFT2", "IFFT2", "RFFT", "IRFFT", "STFT", "ISTFT", "GaussianBlur",
    "SobelEdges", "ElasticTransform", "SSIM", "Function",
}  # fmt: skip


def multiplied(node: Any) -> int | None:
    """Multiply-accumulates of one operation; None where a size, or the operation, is not known."""
    operation, name = node.operation, type(node.operation).__name__
    shapes = [tuple(x.shape) for x in keras.tree.flatten(node.arguments.args) if hasattr(x, "shape")]
    out = tuple(node.output_tensors[0].shape) if node.output_tensors else ()
    match name:
        case "Conv" | "DepthwiseConv" | "SeparableConv":  # every kernel at every place of the output
            products = [(*kernel, *_places(out, operation.data_format)) for kernel in shapes[1:]]
        case "ConvTranspose":  # the kernel at every place of the input
            products = [(*shapes[1], *_places(shapes[0], operation.data_format))]
        case "Matmul":
            products = [(*out, shapes[0][-1])]
        case "Dot" | "Tensordot" | "Inner" | "Vdot" | "Outer":  # [m, k] by [k, n]: m k n, the root of mk kn mn
            size = _product([n for shape in (*shapes, out) for n in shape])
            return None if size is None else math.isqrt(size)
        case "Einsum":  # every index once; of one operand it is a sum or a transposition
            terms, _ = subscripts(operation)
            if len(terms) > 2 or "." in operation.subscripts:
                return None
            size = {
                label: n
                for term, shape in zip(terms, shapes, strict=True)
                for label, n in zip(term, shape, strict=True)
            }
            products = [tuple(size.values())] if len(terms) == 2 else []
        case "DotProductAttention":  # [1, queries, heads, width], [1, keys, heads, width], [1, keys, heads, width]
            products = [(*shapes[0], shapes[1][1]), (*shapes[0][:3], *shapes[2][1::2])]
        case _:
            module = type(operation).__module__
            return None if name in UNKNOWN or not module.startswith("keras.") or ".linalg" in module else 0
    return _sum([_product(product) for product in products])


def _places(shape: Sequence[int | None], data_format: str) -> Sequence[int | None]:
    return shape[2:] if data_format == "channels_first" else shape[1:-1]

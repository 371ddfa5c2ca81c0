"""Reading a weight file into a model of any style: kzoo's own, keras.applications', torchvision's and timm's.

Loading is total: missing, unexpected and mis-shaped names are an error that lists them. What a file may lack, or have
beyond the model, is in `_report`, and is said.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kzoo.errors import KzooError, listed, say, unknown
from kzoo.files import read_small
from kzoo.models import attach_info, model_info
from kzoo.records import Inputs, ModelInfo, from_config
from kzoo.weights import keras_files, torch_files
from kzoo.weights.cache import cache_folder
from kzoo.weights.files import read_metadata, read_tensors
from kzoo.weights.kinds import KINDS, kind_of, weight_file
from kzoo.weights.names import REMEDY, differing, shapes_that_differ, weights_by_name
from kzoo.weights.parts import Parts
from kzoo.weights.sources import Source

HEADS = ("load", "fit", "keep")


@dataclass(frozen=True)
class LoadReport:
    """What became of a weight file; names of layers.

    Attributes:
        kind: What the file is.
        loaded: In the file and in the model.
        adapted: Of those loaded, the ones that read the image and were made for another number of channels.
        skipped: In the file and not used.
        reinitialised: In the model and not taken from the file: they keep the values they had, fresh ones in a model
            that was just built.
    """

    kind: str
    loaded: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    reinitialised: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = [f"{len(self.loaded)} layers loaded"]
        if self.adapted:
            said.append(f"adapted to the image's channels: {listed(self.adapted)}")
        if self.skipped:
            said.append(f"skipped, in the file only: {listed(self.skipped)}")
        if self.reinitialised:
            said.append(f"not from the file: {listed(self.reinitialised)}")
        return f"{'; '.join(said)} ({self.kind})"


def load_weights(model: keras.Model, path: str | os.PathLike[str], *, head: str = "load") -> LoadReport:
    """Read a weight file into a model of any style. What kind of file it is, its content says:

    - kzoo's own `.safetensors`, of `save_weights`;
    - keras.applications' `.h5` and what `model.save_weights` writes, `.weights.h5`;
    - a state dict of torchvision or timm, of transformers' BERT and GPT, of PyTorch's recurrent networks:
      `.safetensors`, or `.pth` where PyTorch is installed; or a folder with a `model.safetensors`. A `vocab.txt` beside
      BERT's, or a `vocab.json` and a `merges.txt` beside GPT-2's, is the model's vocabulary then.

    Every weight of the model must be in the file and fit, and the file must hold nothing else, but for these, which are
    printed: top layers in a file for a model without top; auxiliary heads that only one of the two has; the head.

    Args:
        head: `"load"`: every layer must fit. `"fit"`: a head of another number of classes is left as it is, and so is
            a top whose dense layers read a flattened image of another size. `"keep"`: the head is left as it is,
            whether it fits or not. With the latter two, what reads images of another number of channels is adapted
            (`adapted_kernel`).

    Raises:
        KzooError: No such file, not a whole one, one of another model, names or shapes that differ, or weights that
            were learned on another vocabulary than the model's; the model is unchanged.
    """
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    path = weight_file(Path(path))
    return load_file(model, path, f"the file {str(path)!r}", head, channels=head != "load")


def load_source(
    model: keras.Model, source: Source, path: Path, head: str, *, channels: bool, quiet: bool = False
) -> LoadReport:
    """`load_file` of what `resolve` found; of a row of the table the model takes the inputs and the labels too."""
    known = source.inputs is not None
    report = load_file(model, path, source.label, head, channels=channels, prepare=not known, quiet=quiet)
    info = model_info(model)
    if known:
        info = replace(info, inputs=source.inputs.for_model(info.arguments["input_shape"], info.config))
    if source.classes and info.spec.head in report.loaded:
        info = replace(info, labels=source.classes)
    attach_info(model, info)
    return report


def load_file(
    model: keras.Model, path: Path, source: str, head: str, *, channels: bool, prepare: bool = True, quiet: bool = False
) -> LoadReport:
    """`load_weights`; `source` is what errors call the file; `channels`: adapt to the image's; `prepare`: the model
    takes the inputs that the file tells of; `quiet`: the caller says what became of it.
    """
    kind = kind_of(path, source)
    variables, info = weights_by_name(model), model_info(model)
    parts = Parts(info, variables) if info is not None else None
    if kind != "kzoo" and parts is None:
        raise KzooError(
            f"{source} is {KINDS[kind]}, which goes into models of kzoo's builders only; received {model.name!r}"
        )
    with _opened(path, source, kind, parts) as (values, metadata):
        mine = info.inputs.meaning if info is not None and info.inputs is not None else ""
        if mine and metadata.get("vocabulary", mine) != mine:
            raise KzooError(
                f"{source} has weights for another vocabulary: its token ids mean other words than those of"
                f" {model.name!r}; load it into a model of the run it came from"
            )
        report = _report(KINDS[kind], variables, values, parts, head, channels)
        used = _without(variables, report.reinitialised)
        values = _without(values, report.skipped)
        _check(model.name, _without(used, report.adapted), _without(values, report.adapted), source, parts, kind)
        if not report.loaded:
            raise KzooError(f"{source}: no layer of it fits the model {model.name!r}; it is another model's")
        arrays = {key: values[key][()] for key in used}  # all is read before anything changes
    check_numbers(arrays, source)
    try:
        theirs = _inputs_of(kind, metadata, parts, path)
    except KzooError as error:
        if cache_folder() not in path.parents:
            raise
        say(f"{source}: what its ids mean is not known: {error}")  # nobody put it there
        theirs = None
    adopted = None
    if prepare and theirs is not None and info is not None and info.inputs is not None:
        adopted = info.inputs.adopted(theirs)
        _check_vocabulary(source, model.name, info, adopted)
    if kind in ("torch", "pickle") and info.spec.foreign is not None:
        _check_config(path, info)
    for key in [key for key in used if key.split("/")[0] in report.adapted]:
        if arrays[key].ndim == 4:
            arrays[key] = adapted_kernel(arrays[key], used[key].shape[2], _order_of(kind, theirs, parts))
    for key, variable in used.items():
        variable.assign(arrays[key])
    if (report.skipped or report.reinitialised or report.adapted) and not quiet:
        say(f"{source}: {report}")
    if adopted is not None and adopted != info.inputs:
        attach_info(model, replace(info, inputs=adopted))
        if kind != "kzoo" and info.spec.foreign is not None:
            files = info.spec.foreign.vocabulary
            told = f"{' and '.join(files)} {'says' if len(files) == 1 else 'say'}"
            where = "its metadata says" if "inputs" in metadata else told
            say(f"{source}: what its ids mean, {where}: {adopted.describe()}")
        elif kind != "kzoo":
            lineage = "as torchvision's networks of this family"
            say(f"{source}: images are now prepared {lineage}: {adopted.describe()}")
    return report


def _check_vocabulary(source: str, name: str, info: ModelInfo, inputs: Inputs) -> None:
    """A vocabulary that comes with weights has room in the network, and its marks the ids that it was built for."""
    if not getattr(inputs, "known", False):
        return
    if (found := info.misfit(inputs)) is None:
        return
    key, built, value = found
    if key in inputs.equal:
        raise KzooError(f"{source}: its vocabulary needs {key}={value}, and {name} was built with {key}={built}")
    raise KzooError(f"{source}: its vocabulary has {value:,} entries, and {name} was built with {key}={built:,}")


# In a config.json of transformers: other names of one function, and what changes no number of the network.
ALIKE = {"gelu_pytorch_tanh": "gelu_new"}
NO_NUMBERS = ("architectures", "embd_pdrop", "resid_pdrop", "attn_pdrop", "hidden_dropout_prob", "vocab_size",
              "attention_probs_dropout_prob", "id2label", "label2id", "pad_token_id",
              "tie_word_embeddings")  # fmt: skip


def _check_config(path: Path, info: ModelInfo) -> None:
    """What a config.json beside the weights says of the network, weights alone do not: heads, activation, epsilon.

    Raises:
        KzooError: It is another network.
    """
    file, table = path.parent / "config.json", info.spec.foreign
    if table.config is None or not file.is_file():
        return
    try:
        said = json.loads(read_small(file))
        theirs = {key: said[key] for key in said if key not in NO_NUMBERS and said[key] is not None}
    except (ValueError, TypeError) as error:
        raise KzooError(f"{str(file)!r} is no config.json of transformers: {error}") from error
    plain = lambda value: ALIKE.get(value, value) if isinstance(value, str) else value
    for key, mine in table.config(info.settings).items():
        if key in theirs and plain(theirs[key]) != plain(mine):
            raise KzooError(
                f"{str(file)!r} says {key}={theirs[key]!r}, and {info.model} has {mine!r} as it is built; it is another"
                " network"
            )


def adapted_kernel(kernel: np.ndarray, channels: int, order: str = "RGB") -> np.ndarray:
    """A convolution [h, w, its channels, filters] for images of another number of channels.

    Grey: the sum over the channels, which says of a grey image what the kernel says of the three copies of it. More:
    its channels again and again (as RGB, where they are in the order BGR), scaled by their number over the new one, as
    timm's `adapt_input_conv` does.
    """
    theirs = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    if order == "BGR":
        kernel = kernel[:, :, ::-1]
    again = kernel[:, :, np.arange(channels) % theirs]
    return again * (theirs / channels)


def check_numbers(arrays: Mapping[str, np.ndarray], source: str) -> None:
    """What no training leaves behind: numbers that are not finite, variances below zero."""
    for key, array in arrays.items():
        if array.dtype.kind not in "biu" and not np.isfinite(array).all():
            raise KzooError(
                f"{source}: {key} holds numbers that are not finite; the file is damaged, or its training diverged"
            )
        if key.endswith("/moving_variance") and (array < 0).any():
            raise KzooError(f"{source}: {key} holds variances below zero; the file is damaged")


def _inputs_of(kind: str, metadata: Mapping[str, str], parts: Parts | None, path: Path) -> Inputs | None:
    """What the file's weights were learned with; None where nothing tells."""
    if saved := metadata.get("inputs"):
        return from_config(json.loads(saved))
    if kind in ("torch", "pickle") and parts.info.spec.classes == 1000:  # ImageNet's networks have their own there
        return parts.info.spec.torch_names.inputs
    table = parts.info.spec.foreign if parts is not None and kind != "kzoo" else None
    beside = [path.parent / name for name in table.vocabulary] if table is not None else []
    there = [file for file in beside if file.is_file()]
    if there and len(there) < len(beside):
        lacks = next(file.name for file in beside if file not in there)
        raise KzooError(f"{str(path.parent)!r} has {there[0].name} and no {lacks}; put it there, or take both away")
    if not there:
        return None  # a text's network reads what its run read
    try:
        texts = [read_small(file).decode("utf-8") for file in beside]
    except UnicodeDecodeError as error:
        raise KzooError(
            f"{' or '.join(table.vocabulary)} in {str(path.parent)!r} is no UTF-8: {error.reason}"
        ) from error
    return parts.info.inputs.of_files(*texts)


def _order_of(kind: str, theirs: Inputs | None, parts: Parts) -> str:
    """In which order the file's network reads colours."""
    if kind in ("torch", "pickle"):
        return parts.info.spec.torch_names.inputs.order
    return getattr(theirs or parts.info.spec.inputs, "order", "RGB")


def _without(named: Mapping[str, Any], layers: Sequence[str]) -> dict[str, Any]:
    left = set(layers)
    return {key: value for key, value in named.items() if key.split("/")[0] not in left}


@contextlib.contextmanager
def _opened(
    path: Path, source: str, kind: str, parts: Parts | None
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, str]]]:
    """({key: values}, what the file tells beside); each value has a shape, and is read by `[()]`."""
    if kind == "h5":
        with keras_files.opened(path, source, parts) as values:
            yield values, {}
    elif kind == "kzoo":
        yield read_tensors(path, source), read_metadata(path)
    else:
        tensors = torch_files.read_pickle(path, source) if kind == "pickle" else read_tensors(path, source)
        yield torch_files.converted(tensors, source, parts), {} if kind == "pickle" else read_metadata(path)


def _report(
    kind: str, variables: Mapping[str, Any], values: Mapping[str, Any], parts: Parts | None, head: str, channels: bool
) -> LoadReport:
    """Which layers are loaded, skipped and left; what is in none of the three is an error."""
    mine, theirs = _shapes(variables), _shapes(values)
    fits = lambda layer: mine[layer] == theirs.get(layer)
    if parts is None or (head != "keep" and mine == theirs):
        return LoadReport(kind, tuple(mine))
    left: set[str] = set()
    if head == "keep":
        left |= parts.heads
    misfits = {layer for layer in mine.keys() & theirs.keys() - left if not fits(layer)}
    adapted = {layer for layer in misfits if channels and _differ(mine[layer], theirs[layer]) == [(4, 2)]}
    if head != "load":
        left |= misfits & parts.heads
        resized = {layer for layer in misfits if _differ(mine[layer], theirs[layer]) == [(2, 0)]}
        for group in (parts.top, parts.auxiliary):  # what follows in the same head has learned from what is left
            resized |= group if resized & group else set()
        left |= resized
    if head != "load" and not parts.top & theirs.keys():
        left |= parts.top
    if not parts.auxiliary & theirs.keys():
        left |= parts.auxiliary
    skipped = [layer for layer in theirs if layer in left or (layer not in mine and layer in parts.beyond)]
    loaded = tuple(layer for layer in mine if layer in theirs and layer not in left)
    reinitialised = tuple(layer for layer in mine if layer in left)
    return LoadReport(kind, loaded, tuple(skipped), reinitialised, tuple(layer for layer in loaded if layer in adapted))


def _differ(mine: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]]) -> list[tuple[int, int]]:
    """[(rank, axis)] of each axis in which a layer's weights differ; [] where more than that differs."""
    if mine.keys() != theirs.keys() or any(len(mine[key]) != len(theirs[key]) for key in mine):
        return []
    return [
        (len(mine[key]), axis)
        for key in mine
        for axis, (one, other) in enumerate(zip(mine[key], theirs[key], strict=True))
        if one != other
    ]


def _shapes(named: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, ...]]]:
    """{layer: {key: shape}}"""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, value in named.items():
        found.setdefault(key.split("/")[0], {})[key] = tuple(value.shape)
    return found


def _check(
    name: str, variables: Mapping[str, Any], values: Mapping[str, Any], source: str, parts: Parts | None, kind: str
) -> None:
    """Equal names and shapes, or one line that says what differs and what would do."""
    differences = differing(variables, values)
    if not differences:
        return
    shapes = shapes_that_differ(variables, values)
    if parts is not None and (said := _known_reason(parts, variables, values, shapes)):
        first = [f"{key} is {there} there and {here} here" for key, (there, here) in shapes.items()][:1]
        raise KzooError(f"{source} does not fit the model {name!r}: {'; '.join([*first, said])}")
    remedy = REMEDY
    if kind in ("torch", "pickle"):
        remedy += f"; {(parts.info.spec.foreign or parts.info.spec.torch_names).remedy}"
    raise KzooError(
        f"{source} does not fit the model {name!r}: {remedy} (- missing there, + unknown here): {differences}"
    )


def _known_reason(
    parts: Parts, variables: Mapping[str, Any], values: Mapping[str, Any], shapes: Mapping[str, tuple[Any, Any]]
) -> str:
    """What would do, where the difference is one that is often met; else nothing."""
    missing, unexpected = variables.keys() - values.keys(), values.keys() - variables.keys()
    layers = {key.split("/")[0] for key in missing}
    if missing and not shapes and layers <= parts.top and not unexpected:
        return (
            f"it has no top ({listed(sorted(layers))}): give include_top=False, or for a fresh top classes=N"
            " (load_weights: head='fit')"
        )
    if missing or unexpected or not shapes:
        return ""
    if {key.split("/")[0] for key in shapes} <= parts.heads:
        there = next(iter(shapes.values()))[0][-1]
        return (
            f"it has {there} classes; give classes={there}, or for a fresh head the classes you want"
            " (load_weights: head='fit')"
        )
    if len(shapes) > 1:
        return ""
    ((there, here),) = shapes.values()
    given = tuple(parts.info.arguments.get("input_shape") or ())
    if len(there) == 4 and (there[:2], there[3:]) == (here[:2], here[3:]) and given[-1:] == here[2:3]:
        return f"it is for images of {there[2]} channels; give input_shape={(*given[:-1], there[2])}, or weights=None"
    ((key, _),) = shapes.items()
    if len(there) == 2 and there[1] == here[1] and key.endswith("/embeddings"):
        return f"it has {there[0]:,} tokens; build the model with a vocabulary of as many"
    if len(there) == 2 and there[1] == here[1]:
        return "it is for images of another size; give input_shape as it was trained with, or include_top=False"
    return ""

"""Weights by name.

The key of a weight is the unique name of its layer and its path inside that layer (`c1/kernel`,
`encoder_gru/forward_gru/gru_cell/kernel`). The keys are the same in every style, so a file written from one loads into
the others; Keras' own `.weights.h5` is keyed by attribute and class and does not. Loading is total: missing, unexpected
and mis-shaped names are an error that lists them. Seed states of random layers are not weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kzoo.errors import KzooError, unknown
from kzoo.models._block import Block
from kzoo.models._convnet import images
from kzoo.models._registry import attach_info, model_info, model_spec
from kzoo.spec import Preprocess, preprocess_config, preprocess_from_config
from kzoo.weights.kinds import KINDS, kind_of
from kzoo.weights.parts import Parts
from kzoo.weights.sources import Source


def weights_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """{key: variable} of every weight, trainable or not.

    Raises:
        KzooError: Two different weights have one key, since two layers have one name.
    """
    found: dict[str, keras.Variable] = {}

    def visit(layer: keras.layers.Layer) -> None:
        for child in layer._flatten_layers(include_self=False, recursive=False):
            if isinstance(child, Block | keras.Model):
                visit(child)
                continue
            for variable in child.weights:
                key = _key(child.name, variable.path)
                if found.setdefault(key, variable) is not variable:
                    raise KzooError(f"two weights are named {key!r}; layer names must be unique in {model.name!r}")

    visit(model)
    return found


def _key(layer: str, path: str) -> str:
    """`layer` and what follows its last occurrence among the parts of `path`.

    >>> _key("encoder_gru", "seq2seq/encoder/encoder_gru/forward_gru/gru_cell/kernel")
    'encoder_gru/forward_gru/gru_cell/kernel'

    A wrapper that Keras builds as it loads a file leaves its own name out of the path:

    >>> _key("encoder_gru", "forward_gru/gru_cell/kernel")
    'encoder_gru/forward_gru/gru_cell/kernel'
    """
    parts = path.split("/")
    inside = parts[len(parts) - parts[::-1].index(layer) :] if layer in parts else parts
    return "/".join([layer, *inside])


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give `target` the weights of `source`, by name, whatever their styles.

    Raises:
        KzooError: The names or shapes differ; nothing is copied.
    """
    values = {key: _numpy(variable) for key, variable in weights_by_name(source).items()}
    assign(target, values, f"the model {source.name!r}")


def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> Path:
    """Write all weights to one `.safetensors` file, keyed by name. The file appears whole or not at all.

    Returns:
        The path written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise KzooError(f"weights are kept in .safetensors files; received {str(path)!r}")
    if not path.parent.is_dir():
        raise KzooError(f"no folder {str(path.parent)!r} to write {path.name} into; make it first")
    metadata = {"format": "kzoo", "model": model.name, **_vocabulary(model)}
    preprocess = getattr(model_info(model), "preprocess", None)
    if isinstance(preprocess, Preprocess):
        metadata["preprocess"] = json.dumps(preprocess_config(preprocess))
    write_tensors(path, {k: _numpy(v) for k, v in weights_by_name(model).items()}, metadata)
    return path


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
            said.append(f"adapted to the image's channels: {_listed(self.adapted)}")
        if self.skipped:
            said.append(f"skipped, in the file only: {_listed(self.skipped)}")
        if self.reinitialised:
            said.append(f"not from the file: {_listed(self.reinitialised)}")
        return f"{'; '.join(said)} ({self.kind})"


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_weights(model: keras.Model, path: str | os.PathLike[str], *, head: str = "load") -> LoadReport:
    """Read a weight file into a model of any style. What kind of file it is, its content says:

    - kzoo's own `.safetensors`, of `save_weights`;
    - keras.applications' `.h5` and what `model.save_weights` writes, `.weights.h5`;
    - a state dict of torchvision or timm: `.safetensors`, or `.pth` where PyTorch is installed.

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
    return load(model, Path(path), f"the file {str(path)!r}", head, channels=head != "load")


def load_source(
    model: keras.Model, source: Source, path: Path, head: str, *, channels: bool, quiet: bool = False
) -> LoadReport:
    """`load` of what `resolve` found; of a row of the table the model takes the preprocessing and the labels too."""
    known = source.preprocess is not None
    report = load(model, path, source.label, head, channels=channels, prepare=not known, quiet=quiet)
    info = model_info(model)
    if known:
        config = {**model_spec(info.model).config, **info.arguments}
        info = replace(info, preprocess=source.preprocess.for_model(info.arguments["input_shape"], config))
    if source.classes and model_spec(info.model).head in report.loaded:
        info = replace(info, labels=source.classes)
    attach_info(model, info)
    return report


def load(
    model: keras.Model, path: Path, source: str, head: str, *, channels: bool, prepare: bool = True, quiet: bool = False
) -> LoadReport:
    """`load_weights`; `source` is what errors call the file; `channels`: adapt to the image's; `prepare`: the model
    takes the preprocessing that the file tells of; `quiet`: the caller says what became of it.
    """
    kind = kind_of(path, source)
    variables = weights_by_name(model)
    parts = _parts(model, variables)
    if kind != "kzoo" and parts is None:
        raise KzooError(
            f"{source} is {KINDS[kind]}, which goes into models of kzoo's builders only; received {model.name!r}"
        )
    with _opened(path, source, kind, parts) as values:
        if kind == "kzoo":
            theirs, mine = read_metadata(path).get("vocabulary"), _vocabulary(model).get("vocabulary")
            if theirs and mine and theirs != mine:
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
    order = _order_of(kind, path, parts) if report.adapted else "RGB"
    for key in [key for key in used if key.split("/")[0] in report.adapted]:
        if arrays[key].ndim == 4:
            arrays[key] = adapted_kernel(arrays[key], used[key].shape[2], order)
    for key, variable in used.items():
        variable.assign(arrays[key])
    if (report.skipped or report.reinitialised or report.adapted) and not quiet:
        print(f"{source}: {report}", file=sys.stderr)
    if kind == "kzoo" and prepare:
        _prepare_as_saved(model, path)
    if kind in ("torch", "pickle") and prepare:
        _prepare_as_torch(model, source, parts)
    return report


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


def _order_of(kind: str, path: Path, parts: Parts) -> str:
    """In which order the file's network reads colours."""
    if kind == "kzoo" and (saved := read_metadata(path).get("preprocess")):
        return json.loads(saved).get("order", "RGB")
    if kind in ("torch", "pickle"):
        return "RGB"
    return getattr(parts.spec.preprocess, "order", "RGB")


def check_numbers(arrays: Mapping[str, np.ndarray], source: str) -> None:
    """What no training leaves behind: numbers that are not finite, variances below zero."""
    for key, array in arrays.items():
        if array.dtype.kind not in "biu" and not np.isfinite(array).all():
            raise KzooError(
                f"{source}: {key} holds numbers that are not finite; the file is damaged, or its training diverged"
            )
        if key.endswith("/moving_variance") and (array < 0).any():
            raise KzooError(f"{source}: {key} holds variances below zero; the file is damaged")


def _prepare_as_saved(model: keras.Model, path: Path) -> None:
    """The scaling and means that the weights were saved with, at this model's size."""
    info, saved = model_info(model), read_metadata(path).get("preprocess")
    if info is None or not saved or not isinstance(info.preprocess, Preprocess):
        return
    shape = (*info.preprocess.size, info.preprocess.channels)
    theirs = preprocess_from_config(json.loads(saved)).for_model(shape, {})
    if theirs != info.preprocess:
        attach_info(model, replace(info, preprocess=theirs))


def _prepare_as_torch(model: keras.Model, source: str, parts: Parts) -> None:
    """ImageNet's networks there have a preprocessing of their own: the model takes it; said where it is new."""
    from kzoo.weights.torch_files import FAMILIES

    info = parts.info
    if parts.spec.classes != 1000 or not isinstance(info.preprocess, Preprocess):
        return
    shape = (*info.preprocess.size, info.preprocess.channels)
    theirs = images(FAMILIES[parts.spec.family].mode, shape[0]).for_model(shape, {})
    if theirs != info.preprocess:
        attach_info(model, replace(info, preprocess=theirs))
        lineage = "as torchvision's networks of this family"
        print(f"{source}: images are now prepared {lineage}: {theirs.describe()}", file=sys.stderr)


def _parts(model: keras.Model, variables: Mapping[str, keras.Variable]) -> Parts | None:
    """None of a model that no builder of kzoo's made, of one that is not registered here, and of several networks."""
    info = model_info(model)
    if info is None or hasattr(model, "players"):
        return None
    try:
        return Parts(model_spec(info.model), info, variables)
    except KzooError:
        return None


def _without(named: Mapping[str, Any], layers: Sequence[str]) -> dict[str, Any]:
    left = set(layers)
    return {key: value for key, value in named.items() if key.split("/")[0] not in left}


@contextlib.contextmanager
def _opened(path: Path, source: str, kind: str, parts: Parts | None) -> Iterator[Mapping[str, Any]]:
    """{key: values}; each has a shape, and is read by `[()]`."""
    if kind == "h5":
        from kzoo.weights import keras_files

        with keras_files.opened(path, source, parts) as values:
            yield values
        return
    if kind == "kzoo":
        yield read_tensors(path, source)
        return
    from kzoo.weights import torch_files

    tensors = torch_files.read_pickle(path, source) if kind == "pickle" else read_tensors(path, source)
    yield torch_files.converted(tensors, source, parts)


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


def _vocabulary(model: keras.Model) -> dict[str, str]:
    """{"vocabulary": sha256 of the tokens in the order of their ids}; empty where the model has none."""
    preprocess = getattr(model_info(model), "preprocess", None)
    sides = [getattr(preprocess, name, None) for name in ("source", "target")]
    tokens = [side.vocabulary for side in (sides if any(sides) else [preprocess]) if hasattr(side, "vocabulary")]
    if not any(tokens):
        return {}
    return {"vocabulary": hashlib.sha256(json.dumps(tokens, ensure_ascii=False).encode()).hexdigest()}


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """safetensors, written beside and renamed."""
    tensors = {key: np.array(value, order="C") for key, value in tensors.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        safetensors.numpy.save_file(tensors, temporary, metadata=dict(metadata or {}))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_tensors(path: Path, source: str = "") -> dict[str, np.ndarray]:
    source = source or repr(str(path))
    if not path.is_file():
        raise KzooError(f"{source}: no weight file there")
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise KzooError(
            f"{source} is not a whole .safetensors file: {str(error).splitlines()[0]}; fetch it again"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:  # how it says that NumPy has no such type
        raise KzooError(f"{source} has numbers of a type that NumPy lacks ({error}); save it in float32") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The text that was written beside the tensors."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def _numpy(variable: keras.Variable) -> np.ndarray:
    # Not np.array(variable), which raises NumPy 2's warning about `copy` inside Keras. bfloat16 has no NumPy type of
    # its own: safetensors knows ml_dtypes'.
    return keras.ops.convert_to_tensor(variable.value).numpy()


def _shapes(named: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, ...]]]:
    """{layer: {key: shape}}"""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, value in named.items():
        found.setdefault(key.split("/")[0], {})[key] = tuple(value.shape)
    return found


def assign(model: keras.Model, values: Mapping[str, np.ndarray], source: str) -> None:
    """Exactly these values into exactly these weights."""
    variables = weights_by_name(model)
    _check(model.name, variables, values, source)
    for key, variable in variables.items():
        variable.assign(values[key])


def _check(
    name: str,
    variables: Mapping[str, Any],
    values: Mapping[str, Any],
    source: str,
    parts: Parts | None = None,
    kind: str = "kzoo",
) -> None:
    """Equal names and shapes, or one line that says what differs and what would do."""
    missing = sorted(variables.keys() - values.keys())
    unexpected = sorted(values.keys() - variables.keys())
    shapes = {
        key: (tuple(values[key].shape), tuple(variables[key].shape))
        for key in variables.keys() & values.keys()
        if tuple(values[key].shape) != tuple(variables[key].shape)
    }
    if not (missing or unexpected or shapes):
        return
    differ = [f"{key} is {there} there and {here} here" for key, (there, here) in sorted(shapes.items())]
    if parts is not None and (said := _known_reason(parts, missing, unexpected, shapes)):
        raise KzooError(f"{source} does not fit the model {name!r}: {'; '.join([*differ[:1], said])}")
    most = 6
    differences = [
        *(f"- {key}" for key in missing[:most]),
        *([f"- ({len(missing) - most} more)"] if len(missing) > most else []),
        *(f"+ {key}" for key in unexpected[:most]),
        *([f"+ ({len(unexpected) - most} more)"] if len(unexpected) > most else []),
        *differ[:most],
        *([f"({len(differ) - most} more shapes)"] if len(differ) > most else []),
    ]
    remedy = "it is another model's, or this one's with other arguments"
    if kind in ("torch", "pickle"):
        from kzoo.weights.torch_files import FAMILIES

        remedy += f"; {FAMILIES[parts.spec.family].remedy}"
    raise KzooError(
        f"{source} does not fit the model {name!r}: {remedy} (- missing there, + unknown here):"
        f" {'; '.join(differences)}"
    )


def _known_reason(
    parts: Parts, missing: Sequence[str], unexpected: Sequence[str], shapes: Mapping[str, tuple[tuple, tuple]]
) -> str:
    """What would do, where the difference is one that is often met; else nothing."""
    layers = {key.split("/")[0] for key in missing}
    if missing and not shapes and layers <= parts.top and not unexpected:
        return (
            f"it has no top ({_listed(sorted(layers))}): give include_top=False, or for a fresh top classes=N"
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
    if len(there) == 2 and there[1] == here[1]:
        return "it is for images of another size; give input_shape as it was trained with, or include_top=False"
    return ""

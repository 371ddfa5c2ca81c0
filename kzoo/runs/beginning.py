"""The one road on which a training begins: anew, by another run's config.json, or where it was left (`resume`)."""

from __future__ import annotations

import os
import platform
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import kzoo
from kzoo.data import Data, read_again
from kzoo.errors import KzooError, unknown
from kzoo.inputs import saved
from kzoo.models import model_info
from kzoo.records import VERBS, DataOptions, Keeping, Options, options_of, same_plain
from kzoo.runs.folder import RunFolder, check_free
from kzoo.runs.places import CONFIG, config_at
from kzoo.signals import going_on
from kzoo.tasks import noted_dtypes

OF_THE_MODEL = ("style", "set", "loss", "metrics", "optimizer", "learning_rate")  # model.keras has what they made
WHERE = ("data_dir", "download")  # the same data from another place


@dataclass(frozen=True)
class Begun:
    """What a training begins with.

    Attributes:
        verb: `fit`, `fine_tune` or `tune`.
        options: Of the verb, checked: those of the run it goes on with, and before them those given.
        given: As they were given now.
        reading, keeping: How data is read, and where the run is written.
        model: As given, or as the config names or describes it; None where the run's own folder has it.
        data: As given, or {argument of `load_data`: value} as the config has them.
        folder: Of a run that is resumed.
        config: Of the run that is resumed or taken up; {} of a new one.
    """

    verb: str
    options: Any
    given: Mapping[str, Any]
    reading: DataOptions
    keeping: Keeping
    model: Any
    data: Any
    folder: RunFolder | None
    config: Mapping[str, Any]

    @property
    def resumed(self) -> bool:
        return self.folder is not None

    def check_folder(self, worker: int = 0) -> None:
        """A run folder that is given must be free; of several workers the first one makes it."""
        if self.keeping.run_dir is not None and worker == 0:
            check_free(Path(self.keeping.run_dir))


def begin(
    verb: str, given: Mapping[str, Any], model: Any, data: Any, changeable: Sequence[str] | None = None,
    once_finished: Sequence[str] | None = None,
) -> Begun:  # fmt: skip
    """What was given, with what a run has that goes on; everything is checked, nothing written.

    Args:
        changeable: The options that a resumed run may be given anew; None: any, and other data too.
        once_finished: The same of one that is finished.

    Raises:
        KzooError: Arguments that cannot hold.
    """
    if "augment" in given and verb != "tune":  # which takes names
        given = {**given, "augment": saved(given["augment"])}
    record, keeping, reading = VERBS[verb][0], Keeping.of(given), DataOptions.of(given)
    if keeping.resume is not None and keeping.config is not None:
        raise KzooError("give resume or config, not both: one goes on with a run, the other starts a new one")
    if keeping.resume is not None and keeping.run_dir is not None:
        raise KzooError("give run_dir or resume, not both: a resumed run writes into its own folder")
    folder, config, kept = None, {}, {}
    if keeping.resume is not None:
        folder = RunFolder.find(keeping.resume, verb)
        config = folder.read_config()
        _check_names(config, verb if config["verb"] == verb else None, str(folder / CONFIG))
        if verb == "fit" and (folder / "model.keras").is_file():
            model = _kept_model(model, config, folder)
        kept = {**config.get("trial" if config["verb"] != verb else "options", {}), **config.get("decided", {})}
        of_model = OF_THE_MODEL if (folder / "model.keras").is_file() else ("style", "set")
        kept = {k: v for k, v in kept.items() if verb != "fit" or k not in of_model}
        if "augment" in config["objects"] and "augment" not in given:
            raise KzooError(f"augment of {folder.path} was a function, which a file cannot hold; give it again")
    elif keeping.config is not None:
        config = _taken_up(keeping.config, verb)
        kept = config["options"]
        if lost := [name for name in config["objects"] if given.get(name) is None and name != "callbacks"]:
            raise KzooError(
                f"{keeping.config}: {', '.join(lost)} was given as an object, which a file cannot hold; give it again"
            )
    if given.get("strategy") is not None and given.get("devices") is None:  # those kept were for another
        kept = {k: v for k, v in kept.items() if k != "devices"}
    options = record.of(kept, given)
    if folder is not None:
        if verb == "fit" and options.style is not None and options.style != (config["model"] or {}).get("style"):
            raise KzooError(f"style={options.style!r} cannot be changed when a run is resumed; start a new one")
        if verb == "fit" and options.set and not same_plain(options.set, config["options"].get("set")):
            raise KzooError(f"set={options.set!r} cannot be changed when a run is resumed; start a new one")
        if changeable is not None:
            finished = config.get("finished") and once_finished is not None
            allowed = once_finished if finished else changeable
            _check_changes(folder, config, given, model, data, record, reading, allowed)
            data = None if config["data"] else data  # it is the same
    if model is None and config and not (folder is not None and verb == "fit"):  # a run's own folder has its model
        model = config["source"] or config.get("model")
    if data is None and config:
        if not config["data"]:
            raise KzooError(f"this run was trained on data that you gave as an object; give data=… to {verb} it again")
        data = read_again(folder.data_arguments(config) if folder is not None else config["data"], reading.given())
    return Begun(verb, options, given, reading, keeping, model, data, folder, config)


def _taken_up(source: str, verb: str) -> dict[str, Any]:
    """The config.json of a run, or a file that is one."""
    path = Path(source)
    folder = RunFolder(path.parent) if path.is_file() else RunFolder.find(source)
    config = config_at(path if path.is_file() else folder / CONFIG)
    if "verb" not in config:
        raise KzooError(f"config={source!r} is no config.json of a run: it names no verb")
    if config["verb"] != verb:
        raise KzooError(f"{source!r} was made by {config['verb']}; its config goes with kzoo.{config['verb']}")
    _check_names(config, verb, source)
    return {**config, "data": folder.data_arguments(config) or None}


def _check_names(config: Mapping[str, Any], verb: str | None, source: str) -> None:
    """Of config.json, which anybody may have written: options and data have names that are known. Callbacks are
    objects, which no file holds.
    """
    typed = {name for name, option in options_of(VERBS[verb][0]).items() if option.kind.typed} if verb else ()
    allowed = {verb: (config["options"] if verb else {}, typed),
               "load_data": (config.get("data") or {}, ("name", *options_of(DataOptions)))}  # fmt: skip
    for function, (names, known) in allowed.items():
        for name in names:
            if name == "callbacks":
                raise KzooError(f"{source}: callbacks are objects, which a file cannot hold; give them to kzoo.{verb}")
            if name not in known:
                raise unknown(f"argument of {function} in {source}:", name, known)


def _kept_model(model: Any, config: Mapping[str, Any], folder: RunFolder) -> Any:
    """None where the run's own model is named, which the folder has as it was made; another name is refused."""
    if not isinstance(model, str | os.PathLike):
        return model
    if source_of(model) != config["source"]:
        begun = f"{config['source']!r}" if config["source"] else "a model that was given as an object"
        raise KzooError(
            f"{folder.path} was begun with {begun}, not {str(model)!r}; a resumed run has its model already"
        )
    return None


def _check_changes(
    folder: RunFolder, config: Mapping[str, Any], given: Mapping[str, Any], model: Any, data: Any,
    record: type[Options], reading: DataOptions, allowed: Sequence[str],
) -> None:  # fmt: skip
    """Of a resumed run: what cannot be another now."""
    plain, before, known = record.of(given).given(), record.of(config["options"]), config["data"]
    differ = [name for name, value in plain.items() if not same_plain(value, getattr(before, name))]
    differ = [name for name in differ if name not in config["objects"]]  # of which nothing was kept
    if isinstance(model, str) and source_of(model) != config["source"]:
        differ.append("model")
    if known and data is not None:
        same = data.info.arguments == known if isinstance(data, Data) else source_of(data) == known["name"]
        differ += [] if same else ["data"]
    if known:
        asked = {k: v for k, v in reading.given().items() if k not in WHERE}
        differ += [name for name, value in asked.items() if not same_plain(value, known.get(name))]
    if other := [name for name in differ if name not in allowed]:
        can = f"only {', '.join(allowed)} can" if allowed else "it is finished"
        raise KzooError(
            f"{', '.join(other)} of {folder.path} cannot be changed when it is resumed ({can}); start a new one"
        )


def config_of(begun: Begun, data: Data, **values: Any) -> dict[str, Any]:
    """config.json: what it takes to begin the same again, with whatever else is known."""
    given = begun.options.given()
    plain = begun.options.to_config()
    return {
        "kzoo": kzoo.__version__,
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
        "id": secrets.token_hex(8),  # by which its checkpoints are known
        "verb": begun.verb,
        "source": source_of(begun.model),
        "options": plain,
        "objects": [name for name in given if name not in plain],
        "data": data.info.arguments or None,
        **values,
    }


def config_of_model(
    model: keras.Model, task: str, inputs: Any, targets: Any, labels: Sequence[str] | None
) -> dict[str, Any]:
    """Of config.json, what it takes to use the model."""
    info = model_info(model)
    return {
        "model": info.to_config() if info is not None else None,
        "task": task,
        "inputs": inputs.to_config() if inputs is not None else None,
        "targets": targets.to_config() if targets is not None else None,
        "labels": list(labels or ()),
        **({"dtypes": noted} if (noted := noted_dtypes(model)) else {}),
    }


def source_of(model: Any) -> str | None:
    """A name, or a path made whole; None of an object."""
    if not isinstance(model, str):
        return str(Path(model).absolute()) if hasattr(model, "__fspath__") else None
    return str(Path(model).absolute()) if Path(model).exists() else model


@contextmanager
def resumable(verb: str, path: Path, say: Callable[[str], Any]) -> Iterator[None]:
    """Whatever interrupts: say how to go on."""
    remedy = f"resume: kzoo {verb.replace('_', '-')} --resume {shlex.quote(str(path))}"
    with going_on(remedy):
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            say(remedy)
            raise

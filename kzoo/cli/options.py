"""Commands out of records: a verb's options are those of its Python function, with the same names and defaults."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.app import app, shown, start
from kzoo.data import EMBEDDED, builder_of, means_path
from kzoo.errors import KzooError
from kzoo.files import DiskError
from kzoo.records import VERBS, Option, options_of
from kzoo.runs import find_run
from kzoo.weights import resolve
from kzoo.zoo import index, model_spec, task_index

TRAINING = ("fit", "fine_tune", "tune")


def of_tasks(verb: str) -> dict[str, tuple[str, str]]:
    """{option of a task: (what the help shows for a value, "" of a flag; help)}; several tasks may have one of the same
    name.
    """
    said: dict[tuple[str, str, str], list[str]] = {}
    rows = dict(task_index())
    if (registry := sys.modules.get("kzoo.tasks.registry")) is not None:  # with those that an imported file registers
        for name in registry.task_names():
            rows[name] = registry.described(registry.find_task(name))
    for task, row in rows.items():
        for name, told in row.get(verb, {}).items():
            default, text = told["default"], told["help"]
            text += "" if default is None or default is False else f" Default {default}."
            said.setdefault((name, told["metavar"], text), []).append(task)
    found: dict[str, tuple[str, str]] = {}
    for (name, metavar, text), tasks in said.items():
        text = f"For {', '.join(tasks)}: {text}"
        found[name] = (metavar, f"{found[name][1]} {text}" if name in found else text)
    return found


def command(verb: str, *, examples: str, **own: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function `(given, as_json)` the command of a verb.

    Args:
        examples: A line each, shown in the help.
        **own: The verb's own arguments, {name: (annotation for typer, default)}.
    """
    records = VERBS[verb]
    known = {name: option for record in records for name, option in options_of(record).items() if option.kind.typed}
    others = of_tasks(verb)

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        def run(**typed: Any) -> None:
            as_json = typed.pop("json_")
            given = {name: value for name, value in typed.items() if value not in (None, [])}
            given = {name: known[name].kind.read(name, v) if name in known else v for name, v in given.items()}
            _check_first(verb, given, known)
            devices = {k: v for k, v in given.items() if k in ("strategy", "devices", "sweep")}
            start(devices, lambda: _kept(verb, given))
            if others:
                given = {name: _read(verb, name, value) if name in others else value for name, value in given.items()}
            try:
                body(given, as_json)
            except DiskError as error:
                if error.result is not None:  # what was computed is told, though it cannot be written
                    shown(error.result, as_json)
                raise

        parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=a, default=d)
                      for n, (a, d) in own.items()]  # fmt: skip
        parameters += [_parameter(option) for option in known.values()]
        parameters += [_named(name, Annotated[str | None, typer.Option(metavar=m, help=h)] if m else
                              Annotated[bool | None, typer.Option(help=h)])
                       for name, (m, h) in others.items() if name not in known]  # fmt: skip
        json_ = typer.Option("--json", help="Print the result as JSON.")
        parameters.append(_named("json_", Annotated[bool, json_], False))
        run.__signature__ = inspect.Signature(parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        lines = "\n".join(f"      {line.strip()}" for line in examples.strip().splitlines())
        run.__doc__ = f"{inspect.getdoc(body)}\n\n\b\n{lines}"
        app.command(verb.replace("_", "-"))(run)
        return run

    return decorate


def _parameter(option: Option) -> inspect.Parameter:
    kind, text = option.kind, option.help
    if option.default not in (None, False):
        text += f" Default {'on' if option.default is True and kind.flag else option.default}."
    if kind.flag:
        return _named(option.name, Annotated[bool | None, typer.Option(help=text)])
    if kind.many:
        told = typer.Option(metavar=kind.metavar, help=f"{text} May be repeated.")
        return _named(option.name, Annotated[list[str] | None, told])
    return _named(option.name, Annotated[str | None, typer.Option(metavar=kind.metavar, help=text)])


def _named(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=default)


def _check_first(verb: str, given: Mapping[str, Any], known: Mapping[str, Option]) -> None:
    """What needs no TensorFlow, which takes seconds to begin: values of options, the run, the model's name, the path,
    whether data and weights by name are there or can be fetched.

    Raises:
        KzooError: It cannot work.
    """
    for name in given.keys() & known.keys():
        if not isinstance(given[name], list):
            known[name].kind.check(name, given[name])
    for name in ("resume", "config") if not {"resume", "config"} <= given.keys() else ():
        if name in given and not (name == "config" and Path(given[name]).is_file()):
            find_run(given[name], verb if name == "resume" else None, quiet=True)
    model, data = given.get("model"), given.get("data")
    if isinstance(model, str) and _is_name(model) and model not in index():
        if verb in ("fit", "tune", "find_learning_rate", "bench"):
            model_spec(model)  # one that a file of the user's has registered, or an error
        elif verb in ("evaluate", "predict", "export"):
            find_run(model, quiet=True)
    if isinstance(model, str) and not Path(model).exists():
        name, _, weights = model.partition("@")
        weights = weights or given.get("weights")
        if "@" in model and name not in index() and os.sep not in name:
            model_spec(name)  # likewise
        if name in index() and isinstance(weights, str):
            resolve(name, weights).check_can_be_had()
    if not isinstance(data, str) or data in EMBEDDED:
        return
    if not means_path(data, given.get("data_dir")):
        builder_of(data, given.get("data_dir"), bool(given.get("download")))
    elif not Path(data).exists():
        raise KzooError(f"no file or folder {data!r}")


def _is_name(model: str) -> bool:
    """Whether it is neither a path nor published weights."""
    return "@" not in model and os.sep not in model and not Path(model).exists() and not Path(model).suffix


def _kept(verb: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the run that is resumed or taken up."""
    if verb not in TRAINING or not ("resume" in given or "config" in given):
        return {}
    from kzoo.runs import begin

    asked = ("resume", "config", "strategy", "devices")
    kept = begin(verb, {k: v for k, v in given.items() if k in asked}, None, None).options
    return {k: v for k, v in kept.given().items() if k in ("strategy", "devices")}


def _read(verb: str, name: str, text: str | bool) -> Any:
    """Of an option of a task's: by the first task that has it, whose kind all share; a flag is read."""
    if isinstance(text, bool):
        return text
    from kzoo.tasks import find_task, task_names

    options = (options_of(find_task(task).options(verb)) for task in task_names())
    return next(found[name].kind.read(name, text) for found in options if name in found)

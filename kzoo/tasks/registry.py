"""Tasks by their names: kzoo's own, found by their files, and those that users register."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path
from typing import Any

from kzoo.errors import KzooError, unknown
from kzoo.models import model_info
from kzoo.records import options_of, same_source
from kzoo.tasks.outputs import names_one_class
from kzoo.tasks.task import Task

NAME = re.compile(r"[a-z0-9-]+")
_tasks: dict[str, Task] = {}


def register_task(task: Task) -> Task:
    """Make a task known by its name, for models whose row names it. A name can be taken once.

    Raises:
        KzooError: The name is taken.
    """
    if not isinstance(task, Task) or not getattr(task, "name", ""):
        raise KzooError(f"a task is an instance of a subclass of kzoo.Task with a name; received {task!r}")
    taken = _tasks.get(task.name) or _own(task.name)
    kind, other = type(task), type(taken)
    if taken is not None and not same_source(kind, other):
        raise KzooError(f"a task named {task.name!r} is registered already, by {other.__module__}")
    _tasks[task.name] = task
    return task


def _own(name: str) -> Task | None:
    """Of kzoo's: the file is called as the task is."""
    module = f"kzoo.tasks.{name.replace('-', '_')}"
    if NAME.fullmatch(name) and importlib.util.find_spec(module) is not None:
        return getattr(importlib.import_module(module), "TASK", None)
    return None


def task_names() -> list[str]:
    own = (module.name.replace("_", "-") for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return [*(name for name in own if _own(name) is not None), *_tasks]


def find_task(name: str) -> Task:
    """
    Raises:
        KzooError: No task of that name.
    """
    task = _tasks.get(name) or _own(name)
    if task is None:
        raise unknown("task", name, task_names(), "Import what registers it first (kzoo --import FILE)")
    return task


def task_of_data(holds: str) -> Task:
    """Of a model of the user's own, which does not say what it does."""
    tasks = [*_tasks.values(), *(find_task(name) for name in task_names())]
    return next((t for t in tasks if t.is_default and t.holds == holds), find_task("tabular-classification"))


def task_of(model: Any, holds: str = "rows") -> Task:
    """Of one of kzoo's models its own; of any other by what its data holds, where it can name a class of that."""
    info = model_info(model)
    if info is not None:
        return find_task(info.task)
    found = task_of_data(holds)
    return found if found.name in _tasks or names_one_class(model) else find_task("own-model")


def described(task: Task) -> dict[str, Any]:
    """{verb: its options}: a row of the index, by which the command line tells of it without TensorFlow."""
    told = lambda o: {"help": o.help, "default": o.default, "metavar": "" if o.kind.flag else o.kind.metavar}
    verbs = (task.verb, "evaluate", "export")
    known = {verb: options_of(task.options(verb)).values() for verb in verbs}
    return {verb: {o.name: told(o) for o in options if o.kind.typed} for verb, options in known.items()}

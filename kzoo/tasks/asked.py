"""What a verb is asked beyond its own options: those of the model's task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kzoo.errors import KzooError, unknown
from kzoo.records import Options, options_of
from kzoo.tasks.registry import find_task, task_names
from kzoo.tasks.task import Task


def asked(verb: str, task: Task, given: Mapping[str, Any], *records: type[Options]) -> dict[str, Any]:
    """The task's options, checked, all of them.

    Raises:
        KzooError: One that is neither the verb's nor the task's, or that cannot hold.
    """
    known = [name for record in records for name in options_of(record)]
    record = task.options(verb)
    own = options_of(record)
    for name in given:
        if name in known or name in own:
            continue
        others = [other for other in task_names() if name in options_of(find_task(other).options(verb))]
        if others:
            raise KzooError(f"{name} goes with {' and '.join(others)}; this model's task is {task.name}")
        raise unknown(f"argument of {verb}", name, [*known, *own])
    options = record.of({name: value for name, value in given.items() if name in own})
    return {name: getattr(options, name) for name in own}

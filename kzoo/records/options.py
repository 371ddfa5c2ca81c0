"""Options: what a verb takes beyond its model and its data, said once, as the fields of a frozen record.

    epochs: Annotated[int | None, Whole(), "How often the training split is seen; default the model's recipe."] = None

Signature, documentation and checks of the Python function come from it, and so do the command line's options, their
help and `config.json`. A new option is a field here and the code that uses it.
"""

from __future__ import annotations

import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from kzoo.errors import KzooError, unknown
from kzoo.records.arguments import Kind, kind_of
from kzoo.records.plain import to_json


@dataclass(frozen=True)
class Option:
    """A field of a record of options."""

    name: str
    kind: Kind
    default: Any
    help: str
    type: Any


class Options:
    """A subclass is a frozen dataclass whose fields are `Annotated[type, kind, "help"] = default`. None: not given."""

    @classmethod
    def of(cls, *given: Mapping[str, Any]) -> Any:
        """The record with what was given, checked; later ones go first, None gives nothing, and what is no option of
        this record is left to others.

        Raises:
            KzooError: A value that cannot hold.
        """
        known = options_of(cls)
        values = {k: v for part in given for k, v in part.items() if k in known and v is not None}
        return cls(**{name: known[name].kind.check(name, value) for name, value in values.items()})

    def given(self) -> dict[str, Any]:
        """{name: value} of those that are not the default."""
        return {o.name: value for o in options_of(type(self)).values() if (value := getattr(self, o.name)) != o.default}

    def to_config(self) -> dict[str, Any]:
        """Those of `given` that JSON holds and `of` reads back."""
        return {name: value for name, value in self.given().items() if is_plain(value)}


@functools.cache
def options_of(record: type[Options]) -> dict[str, Option]:
    """{name: Option}, in the order of the fields."""
    hints = typing.get_type_hints(record, include_extras=True)
    found = {}
    for field in fields(record):
        hint = hints[field.name]
        said = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, str)]
        default = None if field.default is MISSING else field.default
        found[field.name] = Option(field.name, kind_of(hint), default, said[0] if said else "", hint.__origin__)
    return found


def is_plain(value: Any) -> bool:
    """Whether JSON gives it back as it is, lists for tuples and texts for the keys of a table."""
    try:
        return _listed(json.loads(json.dumps(value))) == _listed(value)
    except (TypeError, ValueError):
        return False


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _listed(v) for k, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, list | tuple) else value


def same_plain(one: Any, other: Any) -> bool:
    """Whether two values are written alike."""
    return to_json(_listed(one)) == to_json(_listed(other))


def takes(*records: type[Options], words: Iterable[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a function `(model, data, **given)` the options of records as its keywords.

    It is called with those that were given only, by name and not yet checked. Its signature names them all, and its
    documentation says each; a function with a variable keyword `options` lets others through, for a task to look at.
    `words` are let through too, and said nowhere.
    """
    known = {name: option for record in records for name, option in options_of(record).items()}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(function)
        fixed = [p for p in own.parameters.values() if p.kind != p.VAR_KEYWORD]
        rest = [p for p in own.parameters.values() if p.kind == p.VAR_KEYWORD]
        open_ended = bool(rest) and rest[0].name == "options"
        made = [
            inspect.Parameter(o.name, inspect.Parameter.KEYWORD_ONLY, default=o.default, annotation=o.type)
            for o in known.values()
        ]
        allowed = [*(p.name for p in fixed), *known]
        by_place = [p.name for p in fixed if p.kind == p.POSITIONAL_OR_KEYWORD]

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            if len(args) > len(by_place):
                raise KzooError(
                    f"{function.__name__} takes {' and '.join(by_place)} by place; received {len(args)}; arrays go"
                    " together, as data=(x, y[, weight])"
                )
            for name in given:
                if name not in allowed and name not in words and not open_ended:
                    raise unknown(f"argument of {function.__name__}", name, allowed)
            return function(*args, **{k: v for k, v in given.items() if v is not None})

        call.__signature__ = own.replace(parameters=[*fixed, *made, *(rest if open_ended else ())])
        call.__doc__ = documented(function.__doc__ or "", known.values())
        call.takes = records
        return call

    return decorate


def documented(text: str, options: Iterable[Option]) -> str:
    """The documentation, with the options after the arguments that it has."""
    lines = [f"        {option.name}: {option.help}" for option in options]
    head, found, tail = text.partition("\n\n    Returns:")
    head = head if "\n    Args:\n" in head else f"{head}\n\n    Args:"
    return "\n".join([head.rstrip(), *lines]) + found + tail

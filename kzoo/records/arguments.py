"""Kinds of arguments: what a value may be, said once beside its name, as an annotation.

    width: Annotated[float, Number(above=0, at_most=16)] = 1.0

The builders check the arguments of `define` by it, the verbs their options; the command line reads text by it, and its
help says it. Each mistake is one line: what, received, allowed.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from kzoo.errors import KzooError, unknown


class Kind:
    """A kind of argument.

    Attributes:
        metavar: What the command line's help shows for a value.
        many: Whether the option may be repeated there; `read` is then given a list of texts.
        flag: Whether it is on or off there.
        typed: Whether it can be typed at all.
    """

    metavar = "TEXT"
    many = flag = False
    typed = True

    def check(self, name: str, value: Any) -> Any:
        """`value` in its plain form.

        Raises:
            KzooError: It cannot hold.
        """
        return value

    def read(self, name: str, text: Any) -> Any:
        """Of what was typed."""
        return text


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number, NumPy's too."""

    at_least: int = 1
    below: int | None = None
    metavar = "N"

    def check(self, name: str, value: Any) -> int:
        if not _is_whole(value) or value < self.at_least or (self.below is not None and value >= self.below):
            to = f"of at least {self.at_least}" if self.below is None else f"from {self.at_least} to {self.below - 1}"
            raise KzooError(f"{name} must be a whole number {to}; received {value!r}")
        return int(value)

    def read(self, name: str, text: str) -> Any:
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else text


@dataclass(frozen=True)
class Number(Kind):
    """A finite number, NumPy's too."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    metavar = "X"

    @property
    def said(self) -> str:
        low = f"above {self.above:g}" if self.above is not None else ""
        low = f"from {self.at_least:g}" if self.at_least is not None else low
        high = f"below {self.below:g}" if self.below is not None else ""
        high = f"{self.at_most:g}" if self.at_most is not None else high
        if low and high:
            return f" {low} to {high}" if low.startswith("from") else f" {low} and up to {high}"
        return f" of at least {self.at_least:g}" if low.startswith("from") else f" {low or high}".rstrip()

    def check(self, name: str, value: Any) -> float:
        holds = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        holds = (
            holds and (self.above is None or value > self.above) and (self.at_least is None or value >= self.at_least)
        )
        if (
            not holds
            or (self.below is not None and value >= self.below)
            or (self.at_most is not None and value > self.at_most)
        ):
            raise KzooError(f"{name} must be a number{self.said}; received {value!r}")
        return value if isinstance(value, int) else float(value)

    def read(self, name: str, text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text


class Flag(Kind):
    """True or False."""

    flag = True

    def check(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise KzooError(f"{name} must be True or False; received {value!r}")
        return value

    def read(self, name: str, text: Any) -> Any:
        return {"true": True, "false": False}.get(text.lower(), text) if isinstance(text, str) else text


class OneOf(Kind):
    """One of some values; `also` maps others, that mean the same, to them."""

    def __init__(self, *values: Any, also: Mapping[Any, Any] | None = None) -> None:
        self.values, self.also = values, dict(also or {})
        self.metavar = "|".join(map(str, values))

    def read(self, name: str, text: str) -> Any:
        return next((value for value in self.values if str(value).lower() == text.lower()), text)

    def check(self, name: str, value: Any) -> Any:
        with contextlib.suppress(TypeError):  # not hashable, and so none of them
            value = self.also.get(value, value)
        if value not in self.values:
            raise unknown(name, value, self.values)
        return value


class Text(Kind):
    """A string that is not empty; `what` it says."""

    def __init__(self, what: str = "text") -> None:
        self.what = what

    def check(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise KzooError(f"{name} must be {self.what}; received {value!r}")
        return value


class Names(Kind):
    """Names, one or several: a list of strings, of numbers too where they name something."""

    many = True

    def __init__(self, what: str = "names", numbers: bool = False, among: Sequence[str] = ()) -> None:
        self.what, self.numbers, self.among = what, numbers, among

    def check(self, name: str, value: Any) -> list[str]:
        found = [value] if isinstance(value, str) else value
        fits = lambda n: (isinstance(n, str) and n) or (self.numbers and _is_whole(n))
        if not isinstance(found, list | tuple) or not all(map(fits, found)):
            raise KzooError(f"{name} must be {self.what}; received {value!r}")
        for one in found if self.among else ():
            if one not in self.among:
                raise unknown(name, one, self.among)
        return [n if isinstance(n, str) else int(n) for n in found]


class Wholes(Kind):
    """Whole numbers of at least `at_least`, in a sequence; on the command line with commas."""

    metavar = "N,N,…"

    def __init__(self, example: str = "(3, 4, 6, 3)", at_least: int = 1) -> None:
        self.example, self.at_least = example, at_least

    def check(self, name: str, value: Any) -> tuple[int, ...]:
        if isinstance(value, str) or not isinstance(value, Iterable) or not (found := list(value)):
            received = "none" if not isinstance(value, str) and isinstance(value, Iterable) else repr(value)
            raise KzooError(f"{name} must be whole numbers such as {self.example}; received {received}")
        return tuple(Whole(self.at_least).check(f"each number of {name}", number) for number in found)

    def read(self, name: str, text: str) -> Any:
        parts = text.strip("()[] ").replace("x", ",").split(",")
        return [int(n) for n in parts] if all(n.strip().isdecimal() for n in parts) else text


class Anything(Kind):
    """Not looked at here: what takes it does that."""


FLAG, TEXT, ANYTHING = Flag(), Text(), Anything()
_PLAIN: dict[Any, Kind] = {bool: FLAG, int: Whole(), float: Number(), str: TEXT, Any: ANYTHING}


class Optional(Kind):
    """Another kind, or None."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.metavar, self.many = kind, kind.metavar, kind.many
        self.flag, self.typed = kind.flag, kind.typed

    def check(self, name: str, value: Any) -> Any:
        return None if value is None else self.kind.check(name, value)

    def read(self, name: str, text: Any) -> Any:
        return None if text == "None" else self.kind.read(name, text)


def kind_of(annotation: Any) -> Kind:
    """The kind that an annotation says: one inside `Annotated`, else that of its type.

    Raises:
        TypeError: It says none: no argument goes unchecked because nobody saw that its type is not known.

    >>> kind_of(int).check("units", 3)
    3
    """
    if typing.get_origin(annotation) is typing.Annotated:
        kinds = [extra for extra in annotation.__metadata__ if isinstance(extra, Kind)]
        if kinds:
            return Optional(kinds[0]) if _allows_none(annotation.__origin__) else kinds[0]
        return kind_of(annotation.__origin__)
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        others = [part for part in inside if part is not type(None)]
        if len(others) == 1 < len(inside):
            return Optional(kind_of(others[0]))
    if origin is Literal:
        return OneOf(*inside)
    if inside == (int,) or (inside[:1] == (int,) and set(inside) <= {int, Ellipsis}):
        return Wholes()
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    raise TypeError(
        f"no kind of argument is known for {annotation!r}; annotate it: Annotated[{annotation!r}, Whole(1)]"
    )


def _allows_none(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def kinds_of(function: Callable[..., Any]) -> dict[str, Kind]:
    """{argument: its kind} of a function, in order."""
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    return {name: kind_of(hint) for name, hint in hints.items()}

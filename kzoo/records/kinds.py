"""Kinds of options that trainings have: rates, weights of classes, devices, settings by name, places of files."""

from __future__ import annotations

import ast
import math
import numbers
import os
from collections.abc import Mapping
from typing import Any

from kzoo.errors import KzooError
from kzoo.records.arguments import Kind, Names, Number


class Place(Kind):
    """A path, or what stands for one: the number of a run."""

    metavar = "PATH"

    def __init__(self, what: str = "a path", number: bool = False) -> None:
        self.what, self.number = f"{what}, a number or last" if number else what, number

    def check(self, name: str, value: Any) -> str:
        if self.number and isinstance(getattr(value, "path", None), os.PathLike):  # a Run
            value = value.path
        if self.number and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            raise KzooError(f"{name} must be {self.what}; received {value!r}")
        return os.fspath(value)


class Moments(Kind):
    """`"epoch"`, or after each so many batches or seconds too: `"steps=100"`, `"seconds=30"`."""

    metavar = "epoch|steps=N|seconds=X"

    def check(self, name: str, value: Any) -> str:
        unit, _, number = str(value).partition("=")
        try:
            if isinstance(value, str) and (value == "epoch" or (unit in ("steps", "seconds") and float(number) > 0)):
                return value if unit != "steps" else f"steps={int(number)}"
        except ValueError:
            pass
        raise KzooError(f"{name} must be 'epoch', 'steps=N' or 'seconds=X'; received {value!r}")

    @staticmethod
    def parsed(value: str) -> dict[str, float]:
        """{"steps" or "seconds": number}; {} of epochs alone."""
        unit, _, number = value.partition("=")
        return {unit: int(number) if unit == "steps" else float(number)} if number else {}


class ShareOrData(Kind):
    """A share from 0 to below 1, or data, at which the verb looks that takes it."""

    metavar = "X"

    def check(self, name: str, value: Any) -> Any:
        if isinstance(value, numbers.Number | str):
            return Number(at_least=0, below=1).check(name, value)
        return value

    def read(self, name: str, text: str) -> Any:
        return Number().read(name, text)


class Rate(Kind):
    """A learning rate, or `"find"`."""

    metavar = "X|find"

    def check(self, name: str, value: Any) -> float | str:
        if isinstance(value, str) and value != "find":
            raise KzooError(f"{name} must be a number above 0 or 'find'; received {value!r}")
        return value if value == "find" else float(Number(above=0).check(name, value))

    def read(self, name: str, text: str) -> Any:
        return text if text == "find" else Number().read(name, text)


class Devices(Kind):
    """How many, or names."""

    metavar = "N|GPU:0,GPU:1"

    def read(self, name: str, text: str) -> Any:
        return int(text) if text.isdecimal() else text.split(",")


class Table(Kind):
    """{name: value}; on the command line NAME=VALUE, repeated. Values are read as Python writes them, else as text."""

    metavar = "NAME=VALUE"
    many = True
    said = "{name: value}"

    def check(self, name: str, value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise KzooError(f"{name} must be {self.said}; received {value!r}")
        return {key: self.value(name, key, one) for key, one in value.items()}

    def value(self, name: str, key: Any, value: Any) -> Any:
        if not isinstance(key, str) or not key:
            raise KzooError(f"{name} must be {self.said}; received the name {key!r}")
        return tuple(value) if isinstance(value, list) else value

    def read(self, name: str, text: list[str]) -> Any:
        found = {}
        for one in text:
            key, equals, value = one.partition("=")
            if not equals or not key:
                raise KzooError(f"{name} is written NAME=VALUE; received {one!r}")
            found[key.strip()] = _literal(value.strip())
        return found


class Factors(Table):
    """{how names of layers begin: factor above 0}."""

    metavar = "NAME=X"
    said = "{how names of layers begin: factor}"

    def value(self, name: str, key: Any, value: Any) -> float:
        factor = super().value(name, key, value)
        try:
            return float(Number(above=0).check(f"the factor of {key!r} in {name}", factor))
        except KzooError as error:
            raise KzooError(f"{error} (freeze stops it)") from None


class ClassWeight(Table):
    """`"balanced"`, or a weight of 0 or more for each class number, as NumPy's and config.json's numbers too."""

    metavar = "balanced|CLASS=X"

    def check(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            if value != "balanced":
                raise KzooError(f"{name} must be 'balanced' or {{class number: weight}}; received {value!r}")
            return value
        try:
            found = {int(k): float(v) for k, v in value.items()}
        except (AttributeError, ValueError, TypeError):
            found = {}
        if not found or not all(math.isfinite(v) and v >= 0 for v in found.values()):
            raise KzooError(f"{name} must be {{class number: weight of 0 or more}}; received {value!r}")
        return found

    def read(self, name: str, text: list[str]) -> Any:
        return text[0] if len(text) == 1 and "=" not in text[0] else super().read(name, text)


class Augmenting(Names):
    """Names, Keras layers, functions of images, one or several; of layers also what config.json has of them."""

    def check(self, name: str, value: Any) -> list[Any]:
        found = list(value) if isinstance(value, list | tuple) else [value]
        found = [item for item in found if not isinstance(item, str) or item != "none"]
        own = lambda item: callable(item) or (isinstance(item, Mapping) and "class_name" in item)
        names = [item for item in found if not own(item)]
        super().check(name, value if names and not isinstance(value, list | tuple) else names)
        return found


class Objects(Kind):
    """Names of Keras', or Keras' objects: whoever compiles looks at them."""

    many = True


class Callbacks(Kind):
    """Objects, which no command line can give."""

    typed = False


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text

"""Which part of a cross of models and styles the default suite walks; `--slow` walks the whole."""

from collections.abc import Sequence

import pytest

from kzoo.records import STYLES


def in_turn(names: Sequence[str], whole: Sequence[str] = ()) -> list:
    """(name, style): each model in one style, in turn, those of `whole` in all; the rest is slow. That the styles are
    equal in all that they give tests/test_contract.py says of each.
    """
    return [
        pytest.param(name, style, marks=() if name in whole or style == STYLES[k % 3] else pytest.mark.slow)
        for k, name in enumerate(names)
        for style in STYLES
    ]


def one_style() -> list:
    """The functional style; the others are slow."""
    return [pytest.param(style, marks=() if style == "functional" else pytest.mark.slow) for style in STYLES]

"""The one error a user sees: a single line that says what, received, allowed, remedy."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

# Lines of TensorFlow's and Keras' errors that frame what happened.
FRAMES = ("Exception encountered", "Graph execution error", "Detected at node", "<stack traces", 'File "', "Traceback")
OF_TENSORFLOW = "tensorflow.python.framework.errors_impl"  # where its errors come from
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def say(text: str) -> None:
    """A line on stderr. Where nobody can read it any more, or its disk is full, nothing is lost but the line."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:  # print would take stdout
            print(printable_lines(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""A name, or a line with names in it, that can be written down: what would end the line, move the cursor or turn
    the direction of writing becomes escapes, and so do bytes of a file's name that are no UTF-8.

    >>> printable("a" + chr(10) + "b")
    'a\\nb'
    """

    def escaped(found: re.Match[str]) -> str:
        byte = ord(found[0]) - 0xDC00  # as Python holds a byte that is no UTF-8
        return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else repr(found[0])[1:-1]

    return CONTROLS.sub(escaped, text)


def printable_lines(text: str) -> str:
    """The same of a text whose own line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def cell(text: object) -> str:
    """A name in a table that a spreadsheet may open: one that would be taken for a formula begins with an apostrophe,
    which spreadsheets do not show.

    >>> cell("=1+1"), cell("cat"), cell("-0.5")
    ("'=1+1", 'cat', '-0.5')
    """
    text = printable(str(text))
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return text


class KzooError(ValueError):
    """A user's mistake. The command line prints its one line and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def first_line(error: BaseException) -> str:
    """What an error of Keras' or TensorFlow's says, in a line."""
    text = re.sub(r"\x1b\[\d*m|\{\{.*?\}\} ?| ?\[Op:.*|\.\s+Label values:.*", "", str(error).strip())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and lines[0] == "in user code:":  # of AutoGraph, which shows the code first
        return lines[-1]
    useful = [line for line in lines if not line.startswith(FRAMES) and "root error(s) found" not in line]
    return re.sub(r"^\(\d\) [A-Z_ ]+: ", "", (useful or lines or [type(error).__name__])[0])


@contextlib.contextmanager
def in_a_line(says: str, end: str = "") -> Iterator[None]:
    """An error inside is a KzooError: `says`, the error's own first line, `end`. Its kind is named where it is of
    a line of the user's.
    """
    try:
        yield
    except KzooError:
        raise
    except Exception as error:
        said = isinstance(error, ValueError | TypeError) or type(error).__module__ == OF_TENSORFLOW
        kind = "" if said or not str(error) else f"{type(error).__name__}: "
        raise KzooError(f"{says}: {kind}{first_line(error)}{end}") from error


def unknown(what: str, received: object, allowed: Iterable[object], remedy: str = "") -> KzooError:
    """The error for a name that is not among `allowed`, with the nearest matches.

    >>> print(unknown("model", "lenet", ["lenet5", "mlp"], "See kzoo list"))
    unknown model 'lenet'; did you mean 'lenet5'? See kzoo list
    >>> print(unknown("style", "eager", ["functional", "subclass"]))
    unknown style 'eager'; allowed: functional, subclass
    >>> print(unknown("model", "rnn", ["lenet5", "mlp"], "See kzoo list"))
    unknown model 'rnn'; see kzoo list
    """
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(received), names, n=3, cutoff=0.5)
    likeness = [difflib.SequenceMatcher(None, name, str(received)).ratio() for name in near]
    near = [name for name, ratio in zip(near, likeness, strict=True) if ratio > likeness[0] - 0.25]  # far behind: noise
    if near:
        end = f"did you mean {' or '.join(map(repr, near))}? {remedy}"
    elif remedy:
        end = remedy[0].lower() + remedy[1:]
    else:
        end = f"allowed: {', '.join(names)}"
    return KzooError(f"unknown {what} {received!r}; {end}".rstrip())


def listed(names: Sequence[object], most: int = 8) -> str:
    """The first of some names, and how many more there are.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most:,} more" if len(names) > most else "")

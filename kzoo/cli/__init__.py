"""The command line: `kzoo VERB`. Options are spelled as the Python arguments.

TensorFlow and Keras are imported inside the verbs that need them, so that `kzoo --help` and `kzoo list` answer at once.
Results go to stdout, plans, progress and warnings to stderr. A user's mistake is one line and exit status 2; anything
else keeps its traceback in a log and exits with 1.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import tempfile
import traceback
from typing import Any, NoReturn

import typer

from kzoo import signals
from kzoo.cli.app import app, import_files
from kzoo.errors import KzooError, say, unknown

ANYWHERE = {"--debug": 0, "--import": 1}  # options of all verbs, taken anywhere on the line: how many values each has


def _taken(arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
    """(options for all verbs, files to import, what is left for the verb)."""
    common, files, rest = [], [f for f in os.environ.get("KZOO_IMPORT", "").split(os.pathsep) if f], []
    left = list(arguments)
    while left:
        one = left.pop(0)
        name, equals, value = one.partition("=")
        if name not in ANYWHERE:
            rest.append(one)
            continue
        common.append(one)
        if ANYWHERE[name]:
            if not equals and not left:
                raise KzooError(f"{name} needs a file; see kzoo -h")
            files.append(value if equals else left[0])
            common += [] if equals else [left.pop(0)]
    return common, files, rest


def main() -> None:
    """The one handler of errors."""
    from typer.exceptions import Abort, TyperException

    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (closed before Python began)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # of another encoding: what it cannot write is written as escapes
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments, command = sys.argv[1:], None
    debug = "--debug" in arguments
    try:
        common, files, rest = _taken(arguments)
        import_files(files)  # before the verbs: what they take depends on the tasks that there are
        for group in ("models", "train", "use"):
            importlib.import_module(f"kzoo.cli.{group}")
        command, arguments = typer.main.get_command(app), common + rest
        status = command.main(arguments, prog_name="kzoo", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)
    except KzooError as error:
        _fail(str(error), debug)
    except TyperException as error:
        _fail(_usage(error, command), debug)
    except (KeyboardInterrupt, Abort):
        signals.leave(130)
    except SystemExit as error:
        if isinstance(error.code, int) and error.code > 128:  # by a signal
            signals.leave(error.code)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _fail(f"no file system has so long a name: {str(error.filename)[:40]!r}…", debug)
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT) or error.filename is not None:
            _unexpected(error, arguments, debug)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries once more as it ends
        _fail(f"cannot write the result: {error.strerror}", debug)
    except Exception as error:
        _unexpected(error, arguments, debug)


def _unexpected(error: Exception, arguments: list[str], debug: bool) -> NoReturn:
    """Its traceback into a log, and exit status 1."""
    handle, path = tempfile.mkstemp(prefix="kzoo-", suffix=".log")
    with os.fdopen(handle, "w") as log:
        log.write(f"kzoo {' '.join(arguments)}\n\n{traceback.format_exc()}")
    if debug:
        traceback.print_exc()
    first = (str(error).strip().splitlines() or [""])[0]
    say(f"kzoo: {type(error).__name__}: {first} (traceback in {path}; --debug shows it)")
    sys.exit(1)


def _usage(error: Any, command: Any) -> str:
    """typer's complaint about the line typed, as one of ours."""
    context = getattr(error, "ctx", None)
    verb = f"{context.info_name} " if context is not None and context.parent is not None else ""
    if (option := getattr(error, "option_name", None)) and type(error).__name__ == "NoSuchOption":
        options = [o for p in context.command.params for o in p.opts if o.startswith("--")]
        return str(unknown("option", option, options, f"See kzoo {verb}-h"))
    text = error.format_message()
    if text.startswith("No such command"):
        return str(unknown("verb", text.split("'")[1], command.commands, "See kzoo -h"))
    return f"{text.rstrip('.')}; see kzoo {verb}-h"


def _fail(text: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    say(f"kzoo: {text}")
    sys.exit(2)

"""The command line: `kzoo VERB`. Options are spelled as the Python arguments.

TensorFlow and Keras are imported inside the verbs that need them, so that `kzoo --help` and `kzoo list` answer at once.
Results go to stdout, plans, progress and warnings to stderr. A user's mistake is one line and exit status 2; anything
else keeps its traceback in a log and exits with 1.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import Annotated, Any

import typer

from kzoo.cli.app import AUGMENT, HELP, Debug, app
from kzoo.cli.models import checks, info, list_
from kzoo.cli.train import bench, fine_tune, fit, tune
from kzoo.cli.use import evaluate, export, generate, predict
from kzoo.errors import KzooError, unknown

__all__ = [
    "AUGMENT", "app", "bench", "checks", "evaluate", "export", "fine_tune", "fit", "generate", "info", "list_", "main",
    "predict", "tune",
]  # fmt: skip


@app.callback(invoke_without_command=True, help=HELP)
def _main(
    context: typer.Context,
    debug: Annotated[bool, Debug] = False,
    version: Annotated[bool, typer.Option("--version", help="Print kzoo's version.")] = False,
) -> None:
    if version:
        import kzoo

        print(kzoo.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """The one handler of errors."""
    from typer.exceptions import Abort, TyperException

    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # --debug is taken anywhere on the line, not only before the verb.
    arguments = (["--debug"] if debug else []) + [a for a in arguments if a != "--debug"]
    command = typer.main.get_command(app)
    try:
        status = command.main(arguments, prog_name="kzoo", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except KzooError as error:
        _fail(str(error), debug)
    except TyperException as error:
        _fail(_usage(error, command), debug)
    except (KeyboardInterrupt, Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except Exception as error:
        handle, path = tempfile.mkstemp(prefix="kzoo-", suffix=".log")
        with os.fdopen(handle, "w") as log:
            log.write(f"kzoo {' '.join(arguments)}\n\n{traceback.format_exc()}")
        if debug:
            traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        print(f"kzoo: {type(error).__name__}: {first} (traceback in {path}; --debug shows it)", file=sys.stderr)
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
    print(f"kzoo: {text}", file=sys.stderr)
    sys.exit(2)

"""What the verbs share: the application, TensorFlow without its start-up lines, files of the user's that are
imported.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.errors import KzooError, printable_lines
from kzoo.records import to_json

HELP = """kzoo: a Keras / TensorFlow model zoo, from raw data to a served model.

\b
  kzoo list                                   the models
  kzoo fit lenet5 --data digits               train one; writes runs/0001-lenet5-digits
  kzoo tune lenet5 --data digits              search for a better recipe
  kzoo fine-tune resnet20@cifar10 --data photos/   tune one that has learned elsewhere
  kzoo runs                                   what was trained, and how good it is
  kzoo evaluate last                          how good it is, class by class
  kzoo predict last image.png                 classify an image
  kzoo generate last "a small dog"            translate, write on, or make images
  kzoo export last saved_models/digits        a SavedModel, ready to serve

`kzoo VERB -h` explains a verb."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback(invoke_without_command=True, help=HELP)
def _main(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and TensorFlow's own messages.")] = False,
    import_: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="FILE", help="Run this Python file first: models, tasks and layers of yours."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print kzoo's version.")] = False,
) -> None:
    if version:
        import kzoo

        print(kzoo.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def shown(result: Any, as_json: bool) -> bool:
    """Print a result; whether more may be said, which JSON leaves no room for."""
    if isinstance(result, list):
        plain = [one.to_config() for one in result]
    else:
        plain = result.to_config() if hasattr(result, "to_config") else result
    if as_json:
        print(to_json(plain))
        return False
    for one in result if isinstance(result, list) else [result]:
        print(printable_lines(str(one)))
    return True


def import_files(paths: list[str]) -> None:
    """Run files of the user's: what they register is there then."""
    for text in paths:
        path = Path(text)
        if not path.is_file():
            raise KzooError(f"--import: no file {text!r}")
        if path.suffix != ".py":
            raise KzooError(f"--import takes files of Python; received {text!r}")
        sys.path.append(str(path.absolute().parent))  # behind all else: its neighbours stand in for nothing
        if _is_taken(path):
            raise KzooError(f"--import: {text!r} has the name of a module that Python has already; rename the file")
        if path.stem in sys.modules:  # a file before it has imported it
            continue
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        try:
            with quiet_start():
                spec.loader.exec_module(module)
        except KzooError:
            raise
        except (Exception, SystemExit) as error:
            raise KzooError(f"--import: {text!r} cannot be run: {type(error).__name__}: {error}") from error


def _is_taken(path: Path) -> bool:
    """Whether Python finds another file, or something of its own, under a file's name."""
    if not path.stem.isidentifier():
        return False
    if (module := sys.modules.get(path.stem)) is not None:
        origin = getattr(module, "__file__", None)
    else:
        spec = importlib.util.find_spec(path.stem)
        origin = spec.origin if spec is not None else str(path)
    return Path(origin or "").resolve() != path.resolve()


def start(given: Mapping[str, Any], kept: Callable[[], Mapping[str, Any]] = dict) -> None:
    """TensorFlow, with the strategy that the options name: it must be there before TensorFlow looks at its devices.

    `kept` gives the options of a run that is resumed; what is given goes before them.
    """

    def first() -> None:
        options = {**kept(), **given}
        if "strategy" in options or "devices" in options or os.environ.get("TF_CONFIG"):
            from kzoo.engine import strategy

            strategy(options.get("strategy", "auto"), options.get("devices"))
        elif options.get("sweep") == "replicas":
            from kzoo.engine import most_replicas, strategy

            strategy("mirrored", most_replicas())

    start_tensorflow(first)


def start_tensorflow(first: Callable[[], Any] = lambda: None) -> None:
    """Import TensorFlow without its start-up lines. `first` is called before TensorFlow looks at its devices."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise KzooError(
            f"kzoo's command line runs on Keras' TensorFlow backend; KERAS_BACKEND is {backend!r}: unset it"
        )
    with quiet_start():
        gc.disable()  # nothing is garbage of what imports make: looking for it takes a fifth of their time
        try:
            import keras
            import tensorflow as tf
        finally:
            gc.freeze()
            gc.enable()
        first()
        tf.config.list_logical_devices()
        tf.zeros([1])
        keras.ops.zeros((1,))
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """No environment variable silences TensorFlow's first lines: stderr is held, and shown only if the block fails."""
    if "--debug" in sys.argv or os.environ.get("KZOO_DEBUG"):
        yield
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="__array__ implementation")  # NumPy 2 about Keras' own code
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except KzooError:
            raise
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)

"""What the verbs share: the application, their options, TensorFlow without its start-up lines."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from kzoo.errors import KzooError

HELP = """kzoo: a Keras / TensorFlow model zoo, from raw data to a served model.

\b
  kzoo list                                   the models
  kzoo fit lenet5 --data digits               train one; writes runs/0001-lenet5-digits
  kzoo tune lenet5 --data digits              search for a better recipe
  kzoo fine-tune resnet20@cifar10 --data photos/   tune one that has learned elsewhere
  kzoo evaluate last                          how good it is, class by class
  kzoo predict last image.png                 classify an image
  kzoo generate last "a small dog"            translate, or make images
  kzoo export last saved_models/digits        a SavedModel, ready to serve

`kzoo VERB -h` explains a verb."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run (path, number or 'last'), an export, a .keras file, or a published model such as lenet5@mnist.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Checkpoint = Annotated[str, typer.Option(help="Of a run: last or best.")]
Style = Annotated[str | None, typer.Option(help="sequential, functional or subclass.")]
Strategy = Annotated[
    str | None, typer.Option(help="auto, default, one, mirrored, central, multiworker, parameter_server or tpu.")
]
Devices = Annotated[str | None, typer.Option(help="How many, or names: 2, or GPU:0,GPU:1.")]
Xla = Annotated[str | None, typer.Option(help="auto, on or off.")]
Precision = Annotated[str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")]
Deterministic = Annotated[bool | None, typer.Option("--deterministic", help="Deterministic operations (slower).")]
LimitTrain = Annotated[int | None, typer.Option(help="Only so many batches an epoch.")]
LimitValidation = Annotated[int | None, typer.Option(help="Only so many validation batches.")]
Download = Annotated[bool, typer.Option("--download", help="Let TensorFlow Datasets fetch the data.")]
RunDir = Annotated[str | None, typer.Option(help="The run folder; default the next number in runs/.")]
DataDir = Annotated[str | None, typer.Option(help="Folder of prepared TensorFlow Datasets; default TFDS_DATA_DIR.")]
Languages = Annotated[str | None, typer.Option(help="Of pairs, from-to: en-de.")]
Beams = Annotated[int, typer.Option(help="Of a translator's beam search; 1 is greedy.", min=1)]
LengthPenalty = Annotated[float, typer.Option(help="Of the beam search; 0 compares sums of log probabilities.")]
Only = Annotated[list[str] | None, typer.Option(help="Only this class of the data, by name; may be repeated.")]
Validation = Annotated[
    float | None, typer.Option(help="Share of train held back where the data has no validation split.")
]
Test = Annotated[float | None, typer.Option(help="Share of train for test where the data has no test split.")]
PerClass = Annotated[int | None, typer.Option(help="Train on only so many examples of each class.", min=1)]
SplitSeed = Annotated[int | None, typer.Option(help="Another one draws other examples for these parts.", min=0)]
Balanced = Annotated[bool, typer.Option("--balanced", help="Each class counts the same in the loss.")]
Freeze = Annotated[list[str] | None, typer.Option(help="Layers whose names begin so do not learn; may be repeated.")]
AUGMENT = "shift, flip, flip-vertical, flips, crop-flip, rotate90, rotate, zoom, color or cutout"
Debug = typer.Option("--debug", help="Show tracebacks and TensorFlow's own messages.")


def sizes_of(text: str) -> list[int]:
    """Of `96x96x3`."""
    sizes = text.split("x")
    if not all(n.isdecimal() and int(n) for n in sizes):
        raise KzooError(f"input_shape is whole numbers of at least 1 with x between them; received {text!r}")
    return [int(n) for n in sizes]


def rate_of(text: str | None) -> float | str | None:
    """A number where it is one; what is none, whoever takes it looks at."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return text


def devices_of(text: str | None) -> int | list[str] | None:
    return None if text is None else int(text) if text.isdigit() else text.split(",")


def draw_data(arguments: dict[str, Any], task: str, default: str | None = None) -> None:
    """Where options draw a part of the data, puts that in the place of its name; for a model of that task."""
    drawn = {name: arguments.pop(name, None) for name in ("only", "validation", "test", "per_class", "split_seed")}
    drawn = {name: value for name, value in drawn.items() if value not in (None, [])}
    if not drawn:
        return
    data = arguments.get("data") or default
    if data is None:
        raise KzooError(f"{', '.join(drawn)} goes with --data")
    from kzoo.data.load import load_for

    drawn["languages"] = arguments.pop("languages", None)
    options = {name: arguments[name] for name in ("data_dir", "download") if name in arguments}
    arguments["data"] = load_for(task, data, **options, **drawn)


def print_json(value: Any) -> None:
    from kzoo.spec import to_json

    print(to_json(value))


def start(given: Mapping[str, Any], kept: Callable[[], Mapping[str, Any]] = dict) -> None:
    """TensorFlow, with the strategy that the options name: it must be there before TensorFlow looks at its devices.

    `kept` gives the options of a run that is resumed; what is given goes before them.
    """

    def first() -> None:
        from kzoo.engine.strategies import strategy as make

        options = {**kept(), **{key: value for key, value in given.items() if value is not None}}
        make(options.get("strategy") or "auto", options.get("devices"))

    start_tensorflow(first)


def start_tensorflow(first: Callable[[], Any] = lambda: None) -> None:
    """Import TensorFlow without its start-up lines, which no environment variable silences: stderr is held.

    `first` is called before TensorFlow looks at its devices.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise KzooError(
            f"kzoo's command line runs on Keras' TensorFlow backend; KERAS_BACKEND is {backend!r}: unset it"
        )
    if "--debug" in sys.argv or os.environ.get("KZOO_DEBUG"):
        import tensorflow as tf

        first()
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.filterwarnings("ignore", message="__array__ implementation")  # NumPy 2 about Keras' own code
        with _held_stderr():
            import keras
            import tensorflow as tf

            first()
            tf.config.list_logical_devices()
            tf.zeros([1])
            keras.ops.zeros((1,))
    tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _held_stderr() -> Iterator[None]:
    """File descriptor 2 goes to a file, which is shown only if the block fails."""
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

"""The command line: `kzoo VERB`. Options are spelled as the Python arguments.

TensorFlow and Keras are imported inside the verbs that need them, so that `kzoo --help` and `kzoo list` answer at once.
Results go to stdout, plans, progress and warnings to stderr. A user's mistake is one line and exit status 2; anything
else keeps its traceback in a log and exits with 1.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.errors import KzooError, unknown
from kzoo.spec import BEAMS, LENGTH_PENALTY

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
DataDir = Annotated[str | None, typer.Option(help="Folder of prepared TensorFlow Datasets; default TFDS_DATA_DIR.")]
Languages = Annotated[str | None, typer.Option(help="Of pairs, from-to: en-de.")]
Beams = Annotated[int, typer.Option(help="Of a translator's beam search; 1 is greedy.", min=1)]
LengthPenalty = Annotated[float, typer.Option(help="Of the beam search; 0 compares sums of log probabilities.")]
AUGMENT = "shift, flip, flip-vertical, flips, crop-flip, rotate90, rotate, zoom, color or cutout"
Debug = typer.Option("--debug", help="Show tracebacks and TensorFlow's own messages.")


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


@app.command("list")
def list_(
    pattern: Annotated[str, typer.Argument(help="A glob: 'lenet*'.")] = "*",
    task: Annotated[str | None, typer.Option(help="Only models for this task.")] = None,
    weights: Annotated[
        bool | None, typer.Option("--weights/--no-weights", help="Only models with, or without, published weights.")
    ] = None,
    json_: Json = False,
) -> None:
    """The models: task, input, parameters, published weights.

    \b
      kzoo list 'lenet*'
      kzoo list --task image-classification --weights
    """
    import kzoo
    from kzoo.models._registry import described_shape, index

    names = kzoo.list_models(pattern, task=task, weights=weights)
    if json_:
        _print_json({name: index()[name] for name in names})
        return
    if not names:
        raise KzooError(f"no model fits {pattern!r} with these filters; see kzoo list")
    width = max(16, *(len(name) + 2 for name in names))
    print(f"{'name':{width}}{'task':22}{'input':>18}{'classes':>9}{'parameters':>13}  weights")
    for name in names:
        row = index()[name]
        shape, classes = described_shape(row["input_shape"]), row["classes"] or ""
        line = f"{name:{width}}{row['task']:22}{shape:>18}{classes:>9}{row['parameters']:>13,}"
        print(f"{line}  {', '.join(row['weights'])}".rstrip())


@app.command()
def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from kzoo list, or lenet5@mnist.")],
    layers: Annotated[bool, typer.Option("--layers", help="Also its layers: what each costs and sees.")] = False,
    style: Annotated[str, typer.Option(help="For --layers: sequential, functional or subclass.")] = "functional",
    input_shape: Annotated[
        str | None, typer.Option(help="For --layers: 96x96x3; of texts their length. Default the model's own.")
    ] = None,
    csv: Annotated[str | None, typer.Option(help="Write the table of layers to this CSV file.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw the table of layers into this PNG file.")] = None,
    json_: Json = False,
) -> None:
    """A model's card: paper, input, parameters, published weights; its layers.

    \b
      kzoo info lenet5 --layers
      kzoo info vgg16 --layers --csv vgg16.csv --plot vgg16.png
      kzoo info transformer --layers --input-shape 30
    """
    from kzoo.inspection.card import model_card
    from kzoo.models._registry import row_of

    name, card = model.partition("@")[0], model_card(model)
    if not layers and csv is None and plot is None:
        if input_shape is not None:
            raise KzooError("input_shape goes with --layers, --csv or --plot")
        if json_:
            _print_json({"name": name, **row_of(name)})
        else:
            print(card, end="")
        return
    sizes = None if input_shape is None else _sizes(input_shape)
    _start_tensorflow()
    import kzoo
    from kzoo.inspection.summary import writable

    files = {kind: writable(path, f".{kind}") for kind, path in (("csv", csv), ("png", plot)) if path is not None}
    shape = None if sizes is None else tuple(sizes)
    table = kzoo.summary(name, style=style, input_shape=shape)
    if "csv" in files:
        table.to_csv(files["csv"])
    if "png" in files:
        table.plot(files["png"])
    if json_:
        _print_json({"name": name, **row_of(name), "layers": table.to_config()})
        return
    print(card)
    print(table)
    for kind, path in files.items():
        print(f"{kind:13} {path}")


@app.command()
def fit(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A name from kzoo list, or a .keras file. Not needed with --resume."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, a TensorFlow Datasets name, a folder, a .npz, .tsv or .csv. Default digits."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Default the model's recipe.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Global; default the model's recipe.")] = None,
    style: Annotated[str | None, typer.Option(help="sequential, functional or subclass.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="auto, default, one, mirrored, central, multiworker, parameter_server or tpu.")
    ] = None,
    devices: Annotated[str | None, typer.Option(help="How many, or names: 2, or GPU:0,GPU:1.")] = None,
    xla: Annotated[str | None, typer.Option(help="auto, on or off.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = None,
    kernels: Annotated[bool | None, typer.Option(help="kzoo's faster kernels. Default on.")] = None,
    sync_batch_norm: Annotated[
        bool | None, typer.Option("--sync-batch-norm", help="Over the batch of all replicas.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Any Keras optimizer: adamw, or sgd:momentum=0.9,clipnorm=1,use_ema=true.")
    ] = None,
    learning_rate: Annotated[
        str | None, typer.Option(metavar="RATE", help="Of the optimizer: a number, or find.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, cosine or inverse-sqrt.")] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps over which the learning rate first rises.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Each class counts the same in the loss.")] = False,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop so many epochs after the best one, and give the model its weights."),
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="Layers whose names begin so do not learn; may be repeated.")
    ] = None,
    augment: Annotated[list[str] | None, typer.Option(help=f"{AUGMENT}; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, shuffling and random layers.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="Deterministic operations (slower).")
    ] = None,
    limit_train_batches: Annotated[int | None, typer.Option(help="Only so many batches an epoch.")] = None,
    limit_validation_batches: Annotated[int | None, typer.Option(help="Only so many validation batches.")] = None,
    max_time: Annotated[float | None, typer.Option(help="Minutes after which no further epoch begins.")] = None,
    data_dir: DataDir = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this class of the data, by name; may be repeated.")
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of train held back where the data has no validation split.")
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Share of train for test where the data has no test split.")
    ] = None,
    per_class: Annotated[int | None, typer.Option(help="Train on only so many examples of each class.", min=1)] = None,
    split_seed: Annotated[int | None, typer.Option(help="Another one draws other examples for them.", min=0)] = None,
    download: Annotated[bool, typer.Option("--download", help="Let TensorFlow Datasets fetch the data.")] = False,
    languages: Languages = None,
    run_dir: Annotated[str | None, typer.Option(help="The run folder; default the next number in runs/.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Continue this run (path, number or 'last') at its last whole epoch.")
    ] = None,
    json_: Json = False,
) -> None:
    """Train a model; writes a run folder with plan, metrics, checkpoints and curves.

    \b
      kzoo fit lenet5 --data digits --epochs 20
      kzoo fit lenet5 --data mnist --data-dir ~/tensorflow_datasets --augment shift
      kzoo fit mlp --data photos/ --style subclass
      kzoo fit mlp_16_16_16 --data digits --only 1 --only 7
      kzoo fit resnet20 --data photos/ --test 0.2 --augment flips --augment rotate90
      kzoo fit --resume last --epochs 40
    """
    arguments = {k: v for k, v in locals().items() if k not in ("json_", "balanced")}
    if balanced:
        arguments["class_weight"] = "balanced"
    arguments["devices"] = _devices(devices)
    with contextlib.suppress(ValueError, TypeError):  # what is no number, fit looks at
        arguments["learning_rate"] = float(learning_rate)

    def make_strategy() -> None:
        from kzoo.training.strategies import strategy as make

        options = arguments
        if resume is not None:
            from kzoo.runs._folder import RunFolder

            given = {k: v for k, v in arguments.items() if v is not None}
            options = {**RunFolder.find(resume).read_json("config.json")["options"], **given}
        named = options.get("strategy")
        make("auto" if named is None else named, options.get("devices"))

    _start_tensorflow(make_strategy)
    import kzoo

    drawn = {name: arguments.pop(name) for name in ("only", "validation", "test", "per_class", "split_seed")}
    drawn = {name: value for name, value in drawn.items() if value not in (None, [])}
    if drawn:
        from kzoo.data._sources import load_for
        from kzoo.runs._given import task_of

        task = "" if model is None or model.endswith(".keras") else task_of(model)
        arguments["data"] = load_for(task, data or "digits", data_dir=data_dir, download=download, **drawn)
    run = kzoo.fit(**arguments)
    if run.worker:
        print(f"worker {run.worker} is done; worker 0 has the run")
        return
    epoch = -1 if run.weights_of is None else run.weights_of - 1
    last = {name: values[epoch] for name, values in run.history.items() if values}
    files = {
        name: str(run.path / name)
        for name in (
            "learning_rate.png",
            "curves.png",
            "batch.png",
            "batch.txt",
            "predictions.png",
            "predictions.txt",
            "samples.png",
        )  # fmt: skip
        if (run.path / name).is_file()
    }
    if json_:
        _print_json(
            {"run": str(run.path), "seconds": run.seconds, "metrics": last, "history": run.history, "files": files}
        )
        return
    print(f"{'run':13} {run.path}")
    print(f"{'time':13} {run.seconds:.1f} s")
    if run.stopped:
        print(f"{'stopped':13} {run.stopped.removeprefix('stopped ')}")
    if run.weights_of is not None:
        print(f"{'weights':13} of epoch {run.weights_of}, whose numbers follow")
    for name, value in last.items():
        print(f"{name:13} {value:.4f}")
    for name, path in files.items():
        print(f"{Path(name).stem:13} {path}")
    split = "" if " test" in run.plan.data else " --split validation"  # a single file has no test split
    print(f"next          kzoo evaluate {shlex.quote(str(run.path))}{split}")


@app.command("fine-tune")
def fine_tune(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A name with --weights, resnet20@cifar10, a run, or a .keras file. Not needed with --resume.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="As for fit.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of a name: imagenet, timm, …; a path, https://… or hf://owner/name.")
    ] = None,
    input_shape: Annotated[str | None, typer.Option(help="Another image size or channels: 96x96x3.")] = None,
    depth: Annotated[
        int | None, typer.Option(help="Groups of layers to thaw below the head; 0: none. Default all.", min=0)
    ] = None,
    head_epochs: Annotated[int | None, typer.Option(help="At most, for the head alone. Default 10.")] = None,
    epochs: Annotated[int | None, typer.Option(help="At most, for each stage after that. Default 10.")] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(help="Of the head (alone, ten times that); below it less. A number or find. Default 0.001."),
    ] = None,
    decay: Annotated[float | None, typer.Option(help="From a group's rate to the next lower one's.")] = None,
    batch_norm: Annotated[str | None, typer.Option(help="Below the head: frozen or adapt. Default frozen.")] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="Layers whose names begin so never learn; may be repeated.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without a better score that end a stage.")] = None,
    cache: Annotated[
        bool | None, typer.Option(help="Compute the frozen part's features once. Default where nothing is augmented.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="As for fit. Default adam.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Of each stage. Default cosine.")] = None,
    augment: Annotated[list[str] | None, typer.Option(help="As for fit; may be repeated.")] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Each class counts the same in the loss.")] = False,
    batch_size: Annotated[int | None, typer.Option(help="Global.")] = None,
    style: Annotated[str | None, typer.Option(help="sequential, functional or subclass.")] = None,
    strategy: Annotated[str | None, typer.Option(help="As for fit.")] = None,
    devices: Annotated[str | None, typer.Option(help="How many, or names: 2, or GPU:0,GPU:1.")] = None,
    xla: Annotated[str | None, typer.Option(help="auto, on or off.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the head, shuffling and random layers.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="Deterministic operations (slower).")
    ] = None,
    limit_train_batches: Annotated[int | None, typer.Option(help="Only so many batches an epoch.")] = None,
    limit_validation_batches: Annotated[int | None, typer.Option(help="Only so many validation batches.")] = None,
    data_dir: DataDir = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this class of the data; may be repeated.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of train for validation, as for fit.")] = None,
    test: Annotated[float | None, typer.Option(help="Share of train for test, as for fit.")] = None,
    per_class: Annotated[int | None, typer.Option(help="Only so many training examples of each class.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Of these parts, as for fit.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Let TensorFlow Datasets fetch the data.")] = False,
    run_dir: Annotated[str | None, typer.Option(help="The run folder; default the next number in runs/.")] = None,
    resume: Annotated[str | None, typer.Option(help="Continue this run (path, number or 'last').")] = None,
    json_: Json = False,
) -> None:
    """Tune a model that has learned elsewhere to your data: its head first, then more and more below it.

    \b
      kzoo fine-tune resnet50 --weights imagenet --data photos/
      kzoo fine-tune resnet20@cifar10 --data photos/ --test 0.2 --augment flip
      kzoo fine-tune resnet18 --weights hf://timm/resnet18.a1_in1k --data photos/ --depth 1 --learning-rate find
      kzoo fine-tune --resume last
    """
    arguments = {k: v for k, v in locals().items() if k not in ("json_", "balanced") and v not in (None, [])}
    if devices is not None:
        arguments["devices"] = _devices(devices)
    if balanced:
        arguments["class_weight"] = "balanced"
    if learning_rate not in (None, "find"):
        try:
            arguments["learning_rate"] = float(learning_rate)
        except ValueError:
            raise KzooError(f"learning_rate must be a number or 'find'; received {learning_rate!r}") from None
    if input_shape is not None:
        arguments["input_shape"] = tuple(_sizes(input_shape))

    def make_strategy() -> None:
        from kzoo.training.strategies import strategy as make

        options = arguments
        if resume is not None:
            from kzoo.transfer import find_tuning

            options = {**find_tuning(resume)[1]["options"], **arguments}
        make(options.get("strategy") or "auto", options.get("devices"))

    _start_tensorflow(make_strategy)
    import kzoo

    drawn = {n: arguments.pop(n) for n in ("only", "validation", "test", "per_class", "split_seed") if n in arguments}
    if drawn:
        from kzoo.data._sources import load_for
        from kzoo.runs._given import task_of

        if data is None:
            raise KzooError(f"{', '.join(drawn)} goes with --data")
        name = (model or "").partition("@")[0]
        task = task_of(name) if name in kzoo.list_models(hidden=True) else ""
        arguments["data"] = load_for(task, data, data_dir=data_dir, download=download, **drawn)
    run = kzoo.fine_tune(**arguments)
    if run.worker:
        print(f"worker {run.worker} is done; worker 0 has the run")
        return
    from kzoo.transfer import find_tuning

    kept = {key: find_tuning(run.path)[1][key] for key in ("before", "after", "done", "learning_rate")}
    if json_:
        _print_json({"run": str(run.path), "seconds": run.seconds, **kept, "history": run.history})
        return
    split = kept["after"]["split"]
    print(f"{'run':13} {run.path}")
    print(f"{'time':13} {run.seconds:.1f} s")
    print(f"{'baseline':13} {kept['after']['baseline']:.4f} (always {kept['after']['baseline_class']!r}, {split})")
    print(f"{'before':13} {kept['before']['accuracy']:.4f}")
    chose = ", which also chose the epoch" if split == "validation" else ""
    print(f"{'after':13} {kept['after']['accuracy']:.4f} ({split}{chose})")
    for path in sorted(run.path.glob("*.png")):
        print(f"{path.stem.split('-')[0]:13} {path}")
    print(f"next          kzoo predict {shlex.quote(str(run.path))} photo.jpg")


@app.command()
def tune(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A name from kzoo list, or resnet20@cifar10. Not needed with --resume."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="As for fit; default digits.")] = None,
    weights: Annotated[str | None, typer.Option(help="Fine-tune from these: a tag, path or address.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="random, hyperband or bayesian. Default random.")] = None,
    trials: Annotated[int | None, typer.Option(help="How many. Default 8.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of a trial, of Hyperband of the longest; default the model's recipe.")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="What trials are scored by: val_accuracy, val_loss, … Default the recipe's metric."),
    ] = None,
    compare_seeds: Annotated[
        int | None, typer.Option(help="Seeds on which default and best are compared on test. Default 3; 0 for none.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Given, it is not searched; so the next ones.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Global.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="As for fit.")] = None,
    dropout_rate: Annotated[float | None, typer.Option(help="Of a model that has dropout.")] = None,
    depth: Annotated[int | None, typer.Option(help="Of fine-tuning: groups of layers to thaw.")] = None,
    augment: Annotated[list[str] | None, typer.Option(help="none, shift, flip or crop-flip; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the values and of every trial's training.")] = None,
    style: Annotated[str | None, typer.Option(help="sequential, functional or subclass.")] = None,
    strategy: Annotated[str | None, typer.Option(help="As for fit, of one process.")] = None,
    devices: Annotated[str | None, typer.Option(help="How many, or names: 2, or GPU:0,GPU:1.")] = None,
    xla: Annotated[str | None, typer.Option(help="auto, on or off.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="Deterministic operations (slower).")
    ] = None,
    limit_train_batches: Annotated[int | None, typer.Option(help="Only so many batches an epoch.")] = None,
    limit_validation_batches: Annotated[int | None, typer.Option(help="Only so many validation batches.")] = None,
    data_dir: DataDir = None,
    download: Annotated[bool, typer.Option("--download", help="Let TensorFlow Datasets fetch the data.")] = False,
    languages: Languages = None,
    run_dir: Annotated[str | None, typer.Option(help="The folder; default the next number in runs/.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this search (path, number or 'last'): no trial is repeated.")
    ] = None,
    json_: Json = False,
) -> None:
    """Search for a better recipe by keras-tuner; the best trial is a run like any other.

    \b
      kzoo tune lenet5 --data digits --trials 8
      kzoo tune mlp --data digits --algorithm hyperband --trials 18 --batch-size 64
      kzoo tune resnet20@cifar10 --data photos/ --trials 8
      kzoo tune --resume last --trials 16
    """
    arguments = {k: v for k, v in locals().items() if k != "json_"}
    arguments["devices"] = _devices(devices)

    def make_strategy() -> None:
        from kzoo.training.strategies import strategy as make

        options = arguments
        if resume is not None:
            from kzoo.tuning import find_search

            given = {k: v for k, v in arguments.items() if v is not None}
            options = {**find_search(resume).read_json("search.json"), **given}
        make(options.get("strategy") or "auto", options.get("devices"))

    _start_tensorflow(make_strategy)
    import kzoo

    found = kzoo.tune(**arguments)
    if json_:
        _print_json(found.to_config())
        return
    print(found)
    split = "" if found.comparison is not None else " --split validation"
    print(f"next          kzoo evaluate {shlex.quote(str(found.path))}{split}")


@app.command()
def evaluate(
    model: Model = "last",
    data: Annotated[str | None, typer.Option(help="As for fit; default the data of the run.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    batch_size: Annotated[int, typer.Option(help="Of the forward passes.", min=1)] = 256,
    checkpoint: Checkpoint = "last",
    data_dir: DataDir = None,
    languages: Languages = None,
    output_dir: Annotated[
        str | None, typer.Option(help="For the figures and the picture; default the run folder.")
    ] = None,
    beams: Beams = BEAMS,
    length_penalty: LengthPenalty = LENGTH_PENALTY,
    json_: Json = False,
) -> None:
    """Accuracy beside the majority-class baseline, precision and recall of each class, confusion matrix;
    of a translator BLEU, of two players their losses.

    \b
      kzoo evaluate last
      kzoo evaluate lenet5@mnist --data mnist
      kzoo evaluate saved_models/digits --data digits --json
    """
    _start_tensorflow()
    import kzoo

    found = kzoo.evaluate(
        model,
        data,
        split=split,
        batch_size=batch_size,
        checkpoint=checkpoint,
        data_dir=data_dir,
        languages=languages,
        output_dir=output_dir,
        beams=beams,
        length_penalty=length_penalty,
    )
    if json_:
        _print_json(found.to_config())
        return
    print(found)
    for name, path in found.files.items():
        print(f"{name:13} {path}")
    print(
        f"next          kzoo export {shlex.quote(model)} saved_models/{found.name.split('-', 1)[-1].replace('@', '-')}"
    )


@app.command()
def predict(
    model: Model,
    inputs: Annotated[
        list[str], typer.Argument(help="Image files or folders of them; texts, or a .txt file with one a line.")
    ],
    top: Annotated[int, typer.Option(help="How many classes to give.", min=1)] = 3,
    csv: Annotated[str | None, typer.Option(help="Write the predictions to this CSV file.")] = None,
    checkpoint: Checkpoint = "last",
    json_: Json = False,
) -> None:
    """The likeliest classes of images or texts, with probabilities.

    \b
      kzoo predict last image.png
      kzoo predict last "a wonderful film" "far too long"
      kzoo predict saved_models/lenet5_mnist photos/ --csv predictions.csv
    """
    if csv is not None and Path(csv).is_dir():
        raise KzooError(f"{csv!r} is a folder; give the name of a CSV file")
    if csv is not None and not Path(csv).absolute().parent.is_dir():
        raise KzooError(f"no folder {str(Path(csv).parent)!r} to write {Path(csv).name} into")
    _start_tensorflow()
    import kzoo

    found = kzoo.predict(model, inputs, top=top, checkpoint=checkpoint)
    if csv is not None:
        _write_csv(Path(csv), found)
    if json_:
        _print_json([p.__dict__ for p in found])
        return
    for prediction in found:
        print(prediction)
    if csv is not None:
        print(f"csv           {csv}")


@app.command()
def generate(
    model: Model,
    inputs: Annotated[
        list[str] | None, typer.Argument(help="For a translator: texts, or a .txt file with one a line.")
    ] = None,
    beams: Beams = BEAMS,
    length_penalty: LengthPenalty = LENGTH_PENALTY,
    count: Annotated[int, typer.Option(help="Images to make.", min=1)] = 16,
    seed: Annotated[int, typer.Option(help="Of the noise that images are made of.")] = 0,
    output: Annotated[str, typer.Option(help="PNG for the images.")] = "generated.png",
    checkpoint: Checkpoint = "last",
    json_: Json = False,
) -> None:
    """Translations of texts, or images out of noise.

    \b
      kzoo generate last "a man in a blue shirt"
      kzoo generate saved_models/translator lines.txt
      kzoo generate runs/0004-dcgan-mnist --count 64 --output digits.png
    """
    if not Path(output).absolute().parent.is_dir():
        raise KzooError(f"no folder {str(Path(output).parent)!r} to write {Path(output).name} into")
    if Path(output).suffix != ".png" or Path(output).is_dir():
        raise KzooError(f"output is a .png file; received {output!r}")
    _start_tensorflow()
    import kzoo

    found = kzoo.generate(
        model, inputs or None, beams=beams, length_penalty=length_penalty, count=count, seed=seed, checkpoint=checkpoint
    )
    if isinstance(found, list):
        if json_:
            _print_json([{"input": t.input, "text": t.text, "score": t.score} for t in found])
            return
        for translation in found:
            print(translation)
        return
    from kzoo.inspection import pictures

    pictures.sample_grid(found, Path(output))
    if json_:
        _print_json({"images": len(found), "output": output})
    else:
        print(f"{'images':13} {len(found)}")
        print(f"{'output':13} {output}")
        print(f"next          kzoo export {shlex.quote(model)} saved_models/{Path(output).stem}")


@app.command()
def export(
    model: Model,
    path: Annotated[str, typer.Argument(help="Folder of the export; the version is the next number in it.")],
    checkpoint: Checkpoint = "last",
    beams: Beams = BEAMS,
    length_penalty: LengthPenalty = LENGTH_PENALTY,
    json_: Json = False,
) -> None:
    """A SavedModel with named signatures and the preprocessing inside, checked against the model.

    \b
      kzoo export last saved_models/digits
      kzoo export lenet5@mnist saved_models/lenet5_mnist
    """
    _start_tensorflow()
    import kzoo

    found = kzoo.export(model, path, checkpoint=checkpoint, beams=beams, length_penalty=length_penalty)
    if json_:
        _print_json({"path": str(found.path), "signatures": found.signatures, "difference": found.difference})
        return
    print(f"export        {found}")
    print(f"next          {_next_of(found.signatures, shlex.quote(path))}")


@app.command()
def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from kzoo list.")],
    batch_size: Annotated[int, typer.Option(help="Global.")] = 32,
    against: Annotated[str | None, typer.Option(help="keras: time Model.fit in the same run.")] = None,
    style: Annotated[str, typer.Option(help="sequential, functional or subclass.")] = "functional",
    strategy: Annotated[str, typer.Option(help="As for kzoo fit.")] = "auto",
    devices: Annotated[str | None, typer.Option(help="How many, or names: 2, or GPU:0,GPU:1.")] = None,
    xla: Annotated[str, typer.Option(help="auto, on or off.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="float32, mixed_bfloat16 or mixed_float16.")] = None,
    kernels: Annotated[bool, typer.Option(help="kzoo's faster kernels.")] = True,
    seconds: Annotated[float, typer.Option(help="Roughly, of each measurement.")] = 2.0,
    rounds: Annotated[int, typer.Option(help="Measurements of each.")] = 5,
    json_: Json = False,
) -> None:
    """Time training and inference on random data; let nothing else run meanwhile.

    \b
      kzoo bench lenet5 --batch-size 128 --against keras
      kzoo bench mlp --strategy mirrored --devices 2 --xla on
    """
    numbered = _devices(devices)

    def make_strategy() -> None:
        from kzoo.training.strategies import strategy as make

        make(strategy, numbered)

    _start_tensorflow(make_strategy)
    import kzoo

    found = kzoo.bench(
        model, batch_size=batch_size, against=against, style=style, strategy=strategy, devices=numbered, xla=xla,
        precision=precision, kernels=kernels, seconds=seconds, rounds=rounds,
    )  # fmt: skip
    if json_:
        _print_json(found.to_config())
    else:
        print(found)


def _next_of(signatures: dict[str, str], path: str) -> str:
    """What to try on an export."""
    if "serve_text" in signatures:
        return f"kzoo {'predict' if 'labels' in signatures['serve_text'] else 'generate'} {path} 'a text'"
    return f"kzoo generate {path}" if "generate" in signatures else f"kzoo predict {path} image.png"


def _sizes(text: str) -> list[int]:
    """Of `96x96x3`."""
    sizes = text.split("x")
    if not all(n.isdecimal() and int(n) for n in sizes):
        raise KzooError(f"input_shape is whole numbers of at least 1 with x between them; received {text!r}")
    return [int(n) for n in sizes]


def _devices(text: str | None) -> int | list[str] | None:
    return None if text is None else int(text) if text.isdigit() else text.split(",")


@app.command()
def checks(json_: Json = False) -> None:
    """Versions, devices, folders and free disk: for a bug report.

    \b
      kzoo checks
    """
    _start_tensorflow()
    import platform
    import shutil
    from importlib import metadata

    import keras
    import tensorflow as tf

    import kzoo
    from kzoo.training.strategies import logical_devices
    from kzoo.weights.cache import cache_folder

    free = shutil.disk_usage(".").free / 2**30
    rows = {
        "kzoo": kzoo.__version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "tensorflow": tf.__version__,
        "keras": f"{keras.__version__}, backend {keras.backend.backend()}",
        **{name: metadata.version(name) for name in ("numpy", "tensorflow-datasets", "keras-tuner", "matplotlib")},
        "devices": ", ".join(logical_devices()),
        "cores": os.cpu_count(),
        "TFDS_DATA_DIR": os.environ.get("TFDS_DATA_DIR", "not set"),
        "weights": f"{cache_folder()}" + " (KZOO_OFFLINE)" * (os.environ.get("KZOO_OFFLINE", "0") not in ("", "0")),
        "runs": str(Path("runs").absolute()),
        "free disk": f"{free:.1f} GiB here",
    }
    if json_:
        _print_json(rows)
        return
    for name, value in rows.items():
        print(f"{name:20} {value}")


# ----------------------------------------------------------------------------------------------------------------------


def _print_json(value: Any) -> None:
    from kzoo.spec import to_json

    print(to_json(value))


def _write_csv(path: Path, predictions: list[Any]) -> None:
    import csv

    from kzoo.runs._folder import atomic

    top = max(len(p.labels) for p in predictions)
    with atomic(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(f"{column}{k + 1}" for k in range(top) for column in ("label", "score"))])
        for p in predictions:
            pairs = zip(p.labels, p.scores, strict=True)
            writer.writerow([p.input, *(x for label, score in pairs for x in (label, f"{score:.6f}"))])


def _start_tensorflow(first: Callable[[], Any] = lambda: None) -> None:
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


if __name__ == "__main__":
    main()

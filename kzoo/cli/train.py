"""What trains: `fit`, `fine-tune`, `tune`; and `bench`, which times it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.app import (
    AUGMENT,
    Balanced,
    DataDir,
    Deterministic,
    Devices,
    Download,
    Freeze,
    Json,
    Languages,
    LimitTrain,
    LimitValidation,
    Only,
    PerClass,
    Precision,
    RunDir,
    SplitSeed,
    Strategy,
    Style,
    Test,
    Validation,
    Xla,
    app,
    devices_of,
    draw_data,
    print_json,
    rate_of,
    sizes_of,
    start,
)


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
    style: Style = None,
    strategy: Strategy = None,
    devices: Devices = None,
    xla: Xla = None,
    precision: Precision = None,
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
    balanced: Balanced = False,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop so many epochs after the best one, and give the model its weights."),
    ] = None,
    freeze: Freeze = None,
    augment: Annotated[list[str] | None, typer.Option(help=f"{AUGMENT}; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, shuffling and random layers.")] = None,
    deterministic: Deterministic = None,
    limit_train_batches: LimitTrain = None,
    limit_validation_batches: LimitValidation = None,
    max_time: Annotated[float | None, typer.Option(help="Minutes after which no further epoch begins.")] = None,
    data_dir: DataDir = None,
    only: Only = None,
    validation: Validation = None,
    test: Test = None,
    per_class: PerClass = None,
    split_seed: SplitSeed = None,
    download: Download = False,
    languages: Languages = None,
    run_dir: RunDir = None,
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
    arguments["devices"] = devices_of(devices)
    arguments["learning_rate"] = rate_of(learning_rate)

    def kept() -> dict[str, Any]:
        from kzoo.runs.folder import RunFolder

        return {} if resume is None else RunFolder.find(resume).read_json("config.json")["options"]

    start(arguments, kept)
    import kzoo
    from kzoo.verbs.given import task_of

    draw_data(arguments, task_of(model) if model else "", default=None if resume else "digits")
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
        print_json(
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
    freeze: Freeze = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without a better score that end a stage.")] = None,
    cache: Annotated[
        bool | None, typer.Option(help="Compute the frozen part's features once. Default where nothing is augmented.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="As for fit. Default adam.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Of each stage. Default cosine.")] = None,
    augment: Annotated[list[str] | None, typer.Option(help="As for fit; may be repeated.")] = None,
    balanced: Balanced = False,
    batch_size: Annotated[int | None, typer.Option(help="Global.")] = None,
    style: Style = None,
    strategy: Strategy = None,
    devices: Devices = None,
    xla: Xla = None,
    precision: Precision = None,
    seed: Annotated[int | None, typer.Option(help="Of the head, shuffling and random layers.")] = None,
    deterministic: Deterministic = None,
    limit_train_batches: LimitTrain = None,
    limit_validation_batches: LimitValidation = None,
    data_dir: DataDir = None,
    only: Only = None,
    validation: Validation = None,
    test: Test = None,
    per_class: PerClass = None,
    split_seed: SplitSeed = None,
    download: Download = False,
    run_dir: RunDir = None,
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
        arguments["devices"] = devices_of(devices)
    if balanced:
        arguments["class_weight"] = "balanced"
    if learning_rate is not None:
        arguments["learning_rate"] = rate_of(learning_rate)
    if input_shape is not None:
        arguments["input_shape"] = tuple(sizes_of(input_shape))

    def kept() -> dict[str, Any]:
        from kzoo.finetuning import find_tuning

        return {} if resume is None else find_tuning(resume)[1]["options"]

    start(arguments, kept)
    import kzoo
    from kzoo.zoo import index
    from kzoo.verbs.given import task_of
    from kzoo.finetuning import find_tuning

    name = (model or "").partition("@")[0]
    draw_data(arguments, task_of(name) if name in index() else "")
    run = kzoo.fine_tune(**arguments)
    if run.worker:
        print(f"worker {run.worker} is done; worker 0 has the run")
        return
    whole = find_tuning(run.path)[1]
    figures = {key: whole[key] for key in ("before", "after", "done", "learning_rate")}
    if json_:
        print_json({"run": str(run.path), "seconds": run.seconds, **figures, "history": run.history})
        return
    before, after = figures["before"], figures["after"]
    split = after["split"]
    print(f"{'run':13} {run.path}")
    print(f"{'time':13} {run.seconds:.1f} s")
    print(f"{'baseline':13} {after['baseline']:.4f} (always {after['baseline_class']!r}, {split})")
    print(f"{'before':13} {before['accuracy']:.4f}")
    chose = ", which also chose the epoch" if split == "validation" else ""
    print(f"{'after':13} {after['accuracy']:.4f} ({split}{chose})")
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
    style: Style = None,
    strategy: Strategy = None,
    devices: Devices = None,
    xla: Xla = None,
    precision: Precision = None,
    deterministic: Deterministic = None,
    limit_train_batches: LimitTrain = None,
    limit_validation_batches: LimitValidation = None,
    data_dir: DataDir = None,
    download: Download = False,
    languages: Languages = None,
    run_dir: RunDir = None,
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
    arguments["devices"] = devices_of(devices)

    def kept() -> dict[str, Any]:
        from kzoo.search import find_search

        return {} if resume is None else find_search(resume).read_json("search.json")

    start(arguments, kept)
    import kzoo

    found = kzoo.tune(**arguments)
    if json_:
        print_json(found.to_config())
        return
    print(found)
    split = "" if found.comparison is not None else " --split validation"
    print(f"next          kzoo evaluate {shlex.quote(str(found.path))}{split}")


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
    numbered = devices_of(devices)

    start({"strategy": strategy, "devices": numbered})
    import kzoo

    found = kzoo.bench(
        model, batch_size=batch_size, against=against, style=style, strategy=strategy, devices=numbered, xla=xla,
        precision=precision, kernels=kernels, seconds=seconds, rounds=rounds,
    )  # fmt: skip
    if json_:
        print_json(found.to_config())
    else:
        print(found)

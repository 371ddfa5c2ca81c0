"""What trains: `fit`, `fine-tune`, `tune`; `find-learning-rate`; and `bench`, which times it."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from kzoo.cli.app import shown
from kzoo.cli.options import command
from kzoo.errors import KzooError
from kzoo.files import computed

Data = Annotated[
    str | None, typer.Option(help="digits, a TensorFlow Datasets name, a folder, a .npz, .tsv or .csv. Of a new run.")
]


def model(text: str) -> Any:
    return Annotated[str | None, typer.Argument(metavar="MODEL", help=text)], None


@command(
    "fit",
    model=model("A name from kzoo list, or a .keras file. Not needed with --resume or --config."),
    data=(Data, None),
    examples="""
        kzoo fit lenet5 --data digits --epochs 20
        kzoo fit lenet5 --data mnist --data-dir ~/tensorflow_datasets --augment shift
        kzoo fit mlp --data photos/ --style subclass
        kzoo fit resnet20 --data photos/ --test 0.2 --set residual=False --set depths=3,3,3
        kzoo fit --resume last --epochs 40
        kzoo fit --config last --seed 1
    """,
)
def fit(given: dict[str, Any], as_json: bool) -> None:
    """Train a model; writes a run folder with plan, metrics, checkpoints and curves."""
    import kzoo

    run = kzoo.fit(**given)
    if run.worker:
        print(f"worker {run.worker} is done; worker 0 has the run")
    elif shown(run, as_json):
        # A single file has no test split, and a small one nothing for validation.
        parts = [part for part in ("test", "validation") if f" {part}" in run.plan.data]
        split = {"test": "", "validation": " --split validation"}.get((*parts, "")[0], " --split train")
        print(f"next          kzoo evaluate {shlex.quote(str(run.path))}{split}")


@command(
    "fine_tune",
    model=model("A name with --weights, resnet20@cifar10, a run, or a .keras file. Not needed with --resume."),
    data=(Data, None),
    examples="""
        kzoo fine-tune resnet50 --weights imagenet --data photos/
        kzoo fine-tune resnet20@cifar10 --data photos/ --test 0.2 --augment flip
        kzoo fine-tune resnet18 --weights hf://timm/resnet18.a1_in1k --data photos/ --depth 1 --learning-rate find
        kzoo fine-tune --resume last
    """,
)
def fine_tune(given: dict[str, Any], as_json: bool) -> None:
    """Tune a model that has learned elsewhere to your data: its head first, then more and more below it."""
    import kzoo

    run = kzoo.fine_tune(**given)
    if run.worker:
        print(f"worker {run.worker} is done; worker 0 has the run")
    elif shown(run, as_json):
        example = "'a text'" if "; texts" in run.plan.data else "photo.jpg"
        print(f"next          kzoo predict {shlex.quote(str(run.path))} {example}")


@command(
    "tune",
    model=model("A name from kzoo list, or resnet20@cifar10. Not needed with --resume."),
    data=(Data, None),
    examples="""
        kzoo tune lenet5 --data digits --trials 8
        kzoo tune mlp --data digits --algorithm hyperband --trials 18 --batch-size 64
        kzoo tune resnet20@cifar10 --data photos/ --compare-seeds 3
        kzoo tune --resume last --trials 16
    """,
)
def tune(given: dict[str, Any], as_json: bool) -> None:
    """Search for a better recipe by keras-tuner; the best trial is a run like any other."""
    import kzoo

    found = kzoo.tune(**given)
    if shown(found, as_json):
        split = "" if found.has_test else " --split validation"
        print(f"next          kzoo evaluate {shlex.quote(str(found.path))}{split}")


@command(
    "find_learning_rate",
    model=(Annotated[str, typer.Argument(metavar="MODEL", help="A name from kzoo list, or a .keras file.")], ...),
    data=(Annotated[str, typer.Option(help="As for fit.")], ...),
    plot=(Annotated[str | None, typer.Option(metavar="PATH", help="Draw the curve into this PNG file.")], None),
    examples="""
        kzoo find-learning-rate lenet5 --data digits
        kzoo find-learning-rate resnet20 --data photos/ --optimizer sgd:momentum=0.9 --plot rates.png
    """,
)
def find_learning_rate(given: dict[str, Any], as_json: bool) -> None:
    """Try rising learning rates, one a step, and suggest one to train with."""
    import kzoo
    from kzoo.report import writable

    path = writable(given.pop("plot"), ".png") if "plot" in given else None
    found = kzoo.find_learning_rate(**given)
    if path is not None:
        with computed(found):
            found.plot(path)
    if shown(found, as_json):
        model, data = shlex.quote(given["model"]), shlex.quote(given["data"])
        print(f"next          kzoo fit {model} --data {data} --learning-rate {found.suggestion:g}")


@command(
    "bench",
    model=(Annotated[str, typer.Argument(metavar="MODEL", help="A name from kzoo list.")], ...),
    examples="""
        kzoo bench lenet5 --batch-size 128 --against keras
        kzoo bench resnet18 --size 96 --batch-size 16 --against torch
        kzoo bench mlp --strategy mirrored --devices 2 --xla on
        kzoo bench resnet20 --sweep batch --plot batches.png
    """,
    plot=(Annotated[str | None, typer.Option(metavar="FILE.png", help="Draw the sweep.")], None),
)
def bench(given: dict[str, Any], as_json: bool) -> None:
    """Time training and answers on random data; let nothing else run meanwhile."""
    import kzoo
    from kzoo.report import writable

    if "plot" in given and "sweep" not in given:
        raise KzooError("--plot draws a sweep; give --sweep batch, size, tokens or replicas")
    path = writable(given.pop("plot"), ".png") if "plot" in given else None
    found = kzoo.bench(**given)
    if path is not None:
        with computed(found):
            found.plot(path)
    shown(found, as_json)

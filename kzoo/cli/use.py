"""What is done with a trained model: `evaluate`, `predict`, `generate`, `export`."""

from __future__ import annotations

import contextlib
import csv
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.app import shown
from kzoo.cli.options import command
from kzoo.errors import KzooError, cell, printable_lines
from kzoo.files import atomic, computed
from kzoo.records import options_of

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run (path, number or 'last'), an export, a .keras file, or a published model such as lenet5@mnist.",
    ),
]


@command(
    "evaluate",
    model=(Model, "last"),
    data=(Annotated[str | None, typer.Option(help="As for fit; default the data of the run.")], None),
    examples="""
        kzoo evaluate last
        kzoo evaluate lenet5@mnist --data mnist
        kzoo evaluate saved_models/digits --data digits --json
    """,
)
def evaluate(given: dict[str, Any], as_json: bool) -> None:
    """Accuracy beside the majority-class baseline, precision and recall of each class, confusion matrix;
    of a translator BLEU, of networks that make images their losses.
    """
    import kzoo

    found = kzoo.evaluate(**given)
    if shown(found, as_json):
        for name, path in found.files.items():
            print(f"{name:13} {path}")
        _then_export(given["model"], found.name.split("-", 1)[-1].replace("@", "-"))


@command(
    "predict",
    model=(Model, ...),
    inputs=(
        Annotated[
            list[str],
            typer.Argument(
                help="Image files, folders of them, patterns, a .txt file that names some, or - for stdin; texts, or a"
                " .txt file or - with one a line; a .csv file of rows of numbers, or of a series."
            ),
        ], ...,
    ),
    csv=(Annotated[str | None, typer.Option(metavar="PATH", help="Write the predictions to this CSV file.")], None),
    examples="""
        kzoo predict last image.png
        kzoo predict last "a wonderful film" "far too long"
        kzoo predict last "the film was [MASK]"
        kzoo predict saved_models/lenet5_mnist photos/ --csv predictions.csv
    """,
)  # fmt: skip
def predict(given: dict[str, Any], as_json: bool) -> None:
    """What a model says of what it is given: the likeliest classes of images, texts or rows, with probabilities;
    numbers, what comes next in a series, what stands in the gaps of a text, the neighbours of a word.
    """
    import kzoo

    table = given.pop("csv", None)
    if table is not None:
        _check_place(table, ".csv")
    found = kzoo.predict(**given)
    if table is not None:
        with computed(found):
            _write_csv(Path(table), found)
    if shown(found, as_json) and table is not None:
        print(f"csv           {table}")
    _told(found)


@command(
    "generate",
    model=(Model, ...),
    inputs=(
        Annotated[
            list[str] | None, typer.Argument(help="Texts to translate or to write on, a .txt file, or - for stdin.")
        ], None,
    ),
    output=(
        Annotated[str | None, typer.Option(metavar="PATH", help="PNG for images. Default generated.png.")], None,
    ),
    examples="""
        kzoo generate last "a man in a blue shirt"
        kzoo generate saved_models/translator lines.txt
        kzoo generate runs/0004-dcgan-mnist --count 64 --output digits.png
    """,
)  # fmt: skip
def generate(given: dict[str, Any], as_json: bool) -> None:
    """Translations of texts, texts that go on, or images out of noise."""
    import kzoo
    from kzoo.inputs import has_lines
    from kzoo.runs import load

    output = given.pop("output", "generated.png")
    _check_place(output, ".png")
    model = given["model"]
    predictor = load(model, checkpoint=given.get("checkpoint", "last"))
    texts, streams = given.get("inputs") or [], "stream" in options_of(predictor.task.options("generate"))
    if streams and len(texts) == 1 and not has_lines(texts[0]) and sys.stdout.isatty() and not as_json:
        print(printable_lines(texts[0]), end="", flush=True)
        given["stream"] = lambda piece: print(printable_lines(piece), end="", flush=True)
        found = kzoo.generate(**{**given, "model": predictor})
        print()
        _told(found)
        return
    found = kzoo.generate(**{**given, "model": predictor})
    picture = predictor.task.picture(found)
    if picture is None:
        shown(found, as_json)
        _told(found)
        return
    with atomic(Path(output)) as beside:
        picture.write(beside)
    if as_json:
        shown({"results": len(found), "output": output}, True)
        return
    print(f"{'results':13} {len(found)}")
    print(f"{'output':13} {output}")
    _then_export(model, Path(output).stem)


@command(
    "export",
    model=(Model, ...),
    path=(Annotated[str, typer.Argument(help="Folder of the export; the version is the next number in it.")], ...),
    examples="""
        kzoo export last saved_models/digits
        kzoo export lenet5@mnist saved_models/lenet5_mnist
    """,
)
def export(given: dict[str, Any], as_json: bool) -> None:
    """A SavedModel with named signatures and the preprocessing inside, checked against the model."""
    import kzoo

    found = kzoo.export(**given)
    if shown(found, as_json):
        from kzoo.tasks import find_task

        if asked := find_task(found.task).asks_export.format(shlex.quote(given["path"])):
            print(f"next          kzoo {asked}")


def _then_export(model: str, place: str) -> None:
    """What comes next; of an export nothing does."""
    from kzoo.runs import newest_version

    if not (Path(model).is_dir() and newest_version(Path(model))):
        print(f"next          kzoo export {shlex.quote(model)} saved_models/{place}")


def _told(answers: Any) -> None:
    """The exit status says that something was left out; what, stderr has said."""
    if answers.left_out:
        raise typer.Exit(1)


def _check_place(path: str, suffix: str) -> None:
    if _is_device(Path(path)):
        return
    if Path(path).suffix != suffix or Path(path).is_dir():
        raise KzooError(f"the file must end in {suffix}; received {path!r}")
    if not Path(path).absolute().parent.is_dir():
        raise KzooError(f"no folder {str(Path(path).parent)!r} to write {Path(path).name} into")


def _is_device(path: Path) -> bool:
    """A pipe or a device, which is written to and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_csv(path: Path, predictions: list[Any]) -> None:
    rows = [row for answer in predictions for row in answer.rows()]
    place = contextlib.nullcontext(path) if _is_device(path) else atomic(path.resolve())  # a link stays one
    with place as beside, open(beside, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(map(cell, rows[0]))
        for row in rows:
            writer.writerow([f"{x:.6f}" if isinstance(x, float) else cell(x) for x in row.values()])

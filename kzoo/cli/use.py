"""What is done with a trained model: `evaluate`, `predict`, `generate`, `export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from kzoo.cli.app import (
    Beams,
    Checkpoint,
    DataDir,
    Json,
    Languages,
    LengthPenalty,
    Model,
    app,
    print_json,
    start_tensorflow,
)
from kzoo.errors import KzooError
from kzoo.spec import BEAMS, LENGTH_PENALTY


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
    start_tensorflow()
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
        print_json(found.to_config())
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
    start_tensorflow()
    import kzoo

    found = kzoo.predict(model, inputs, top=top, checkpoint=checkpoint)
    if csv is not None:
        _write_csv(Path(csv), found)
    if json_:
        print_json([p.__dict__ for p in found])
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
    start_tensorflow()
    import kzoo

    found = kzoo.generate(
        model, inputs or None, beams=beams, length_penalty=length_penalty, count=count, seed=seed, checkpoint=checkpoint
    )
    if isinstance(found, list):
        if json_:
            print_json([{"input": t.input, "text": t.text, "score": t.score} for t in found])
            return
        for translation in found:
            print(translation)
        return
    from kzoo.report import pictures

    pictures.sample_grid(found, Path(output))
    if json_:
        print_json({"images": len(found), "output": output})
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
    start_tensorflow()
    import kzoo

    found = kzoo.export(model, path, checkpoint=checkpoint, beams=beams, length_penalty=length_penalty)
    if json_:
        print_json({"path": str(found.path), "signatures": found.signatures, "difference": found.difference})
        return
    print(f"export        {found}")
    print(f"next          {_next_of(found.signatures, shlex.quote(path))}")


def _next_of(signatures: dict[str, str], path: str) -> str:
    """What to try on an export."""
    if "serve_text" in signatures:
        return f"kzoo {'predict' if 'labels' in signatures['serve_text'] else 'generate'} {path} 'a text'"
    return f"kzoo generate {path}" if "generate" in signatures else f"kzoo predict {path} image.png"


def _write_csv(path: Path, predictions: list[Any]) -> None:
    import csv

    from kzoo.runs.folder import atomic

    top = max(len(p.labels) for p in predictions)
    with atomic(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(f"{column}{k + 1}" for k in range(top) for column in ("label", "score"))])
        for p in predictions:
            pairs = zip(p.labels, p.scores, strict=True)
            writer.writerow([p.input, *(x for label, score in pairs for x in (label, f"{score:.6f}"))])

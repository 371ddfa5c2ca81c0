"""What there is: `list`, `info`, `runs`, `checks`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kzoo.cli.app import Json, app, shown, start_tensorflow
from kzoo.errors import KzooError
from kzoo.records import Wholes


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
    from kzoo.zoo import described_shape, row_of

    names = kzoo.list_models(pattern, task=task, weights=weights)
    if json_:
        shown({name: row_of(name) for name in names}, True)
        return
    if not names:
        raise KzooError(f"no model fits {pattern!r} with these filters; see kzoo list")
    width = max(16, *(len(name) + 2 for name in names))
    print(f"{'name':{width}}{'task':22}{'input':>18}{'classes':>9}{'parameters':>13}  weights")
    for name in names:
        row = row_of(name)
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
    from kzoo.report import model_card
    from kzoo.zoo import row_of

    name, card = model.partition("@")[0], model_card(model)
    if not layers and csv is None and plot is None:
        if input_shape is not None:
            raise KzooError("input_shape goes with --layers, --csv or --plot")
        if json_:
            shown({"name": name, **row_of(name)}, True)
        else:
            print(card, end="")
        return
    kind = Wholes("96x96x3")
    shape = None if input_shape is None else kind.check("input_shape", kind.read("input_shape", input_shape))
    start_tensorflow()
    import kzoo
    from kzoo.report import writable

    files = {kind: writable(path, f".{kind}") for kind, path in (("csv", csv), ("png", plot)) if path is not None}
    table = kzoo.summary(name, style=style, input_shape=shape)
    if "csv" in files:
        table.to_csv(files["csv"])
    if "png" in files:
        table.plot(files["png"])
    if json_:
        shown({"name": name, **row_of(name), "layers": table.to_config()}, True)
        return
    print(card)
    print(table)
    for kind, path in files.items():
        print(f"{kind:13} {path}")


@app.command()
def runs(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="Those to compare: paths, numbers or 'last'. Default all."),
    ] = None,
    json_: Json = False,
) -> None:
    """The runs in runs/: model, data, score of the best epoch; of some, what they were given that differs.

    \b
      kzoo runs
      kzoo runs 3 7 last
    """
    start_tensorflow()
    import kzoo
    from kzoo.runs import comparison_of, table_of

    found = kzoo.list_runs(*(names or ()))
    if json_:
        shown([one for one in found], True)
    else:
        print(comparison_of(found) if names else table_of(found))


@app.command()
def checks(json_: Json = False) -> None:
    """Versions, devices, folders and free disk: for a bug report.

    \b
      kzoo checks
    """
    start_tensorflow()
    import platform
    import shutil
    from importlib import metadata

    import keras
    import tensorflow as tf

    import kzoo
    from kzoo.engine import logical_devices
    from kzoo.weights import cache_folder

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
        shown(rows, True)
        return
    for name, value in rows.items():
        print(f"{name:20} {value}")

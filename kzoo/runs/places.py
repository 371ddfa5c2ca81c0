"""Which run is meant, and whether it is whole and free: seen without TensorFlow, so that it is said at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kzoo.data import SPLITS_FILE
from kzoo.errors import KzooError, first_line, say
from kzoo.files import Manifest, check_unlocked, read_json, read_small

ROOT = Path("runs")
CONFIG, MODEL = "config.json", "model.keras"
# {part of config.json: what it may be, lists of names}; what is inside of others is looked at where it is used.
PARTS: dict[str, Any] = {
    "id": str, "verb": str, "source": str | None, "options": dict, "objects": list, "data": dict | None,
    "decided": dict, "trial": dict, "stopped": str, "finished": bool, "weights_of": int | None, "model": dict | None,
    "task": str, "inputs": dict | None, "targets": dict | None, "labels": list, "dtypes": dict,
}  # fmt: skip
# {verb: what it makes}; the command line goes on with `kzoo VERB --resume`.
MAKES = {"fit": "a run", "fine_tune": "a fine-tuning", "tune": "a search"}


def find_run(run: str | os.PathLike[str] | int, verb: str | None = None, quiet: bool = False) -> Path:
    """The folder of a run by path, by number (`7` or `0007`), or `last`, whose files are what was written.

    Args:
        verb: What made it, to go on with it; None: anything that has a trained model. Of that those files must be
            whole that say what it is; another one that is damaged is named on stderr.
        quiet: Without that: it will be looked for again.

    Raises:
        KzooError: None of that name, one of another verb, one that is not finished, damaged, or, to go on with, being
            written.
    """
    what = MAKES[verb or "fit"]
    if isinstance(run, bool) or not isinstance(run, int | str | os.PathLike):
        raise KzooError(f"{what} is named by a path, a number or 'last'; received {run!r}")
    text, runs = str(run), [(number, path) for number, path in numbered() if (path / CONFIG).is_file()]
    if verb in ("fine_tune", "tune"):
        runs = [(number, path) for number, path in runs if _verb_of(path) == verb]
    found = Path(text) if text and Path(text).is_dir() else None
    if found is None or not (found / CONFIG).is_file():
        if text == "last" and runs:
            found = runs[-1][1]
        elif text.isdecimal():
            found = next((path for number, path in runs if number == int(text)), found)
    if found is None or not (found / CONFIG).is_file():
        have = f"runs/ has {', '.join(p.name for _, p in runs[-5:])}" if runs else "runs/ has none yet"
        why = f"is not {what}: it has no {CONFIG}" if found is not None else f"is no {what.split(' ', 1)[1]}"
        raise KzooError(f"{text!r} {why}; give a path, a number or 'last'; {have}")
    if verb is not None:
        check_unlocked(found)
    manifest, go_on = Manifest(found), "kzoo {} --resume"
    if manifest.path.exists():
        _check_files(manifest, verb, quiet)
    config = config_in(found)
    if config.get("verb") not in MAKES or "id" not in config:
        raise KzooError(f"{str(found)!r} was written by another version of kzoo ({config.get('kzoo')}); train it anew")
    is_whole, made = "labels" in config, config["verb"]
    if verb is None and not is_whole:
        go_on = go_on.format(made.replace("_", "-"))
        raise KzooError(f"{text!r} is {MAKES[made]} that is not finished: go on with {go_on} {found}")
    if verb is not None and made != verb and not (verb == "fit" and "trial" in config):
        go_on = go_on.format(made.replace("_", "-"))
        other = f"{go_on} goes on with it" + (", and its model starts another run" if is_whole else "")
        raise KzooError(f"{text!r} is {MAKES[made]}, not {what}: {other}")
    manifest.read()  # or an error: it is gone
    return found


def _check_files(manifest: Manifest, verb: str | None, quiet: bool) -> None:
    """
    Raises:
        KzooError: One of those is damaged that are needed.
    """
    needed = (CONFIG, SPLITS_FILE)
    manifest.check(*needed)
    others = [name for name in manifest.read() if name not in needed]
    if verb is not None and others:
        manifest.remedy = (
            "put it back from a copy, or start a new run from its weights: kzoo.fit(kzoo.load_model(…), …)"
        )
        manifest.check(*others)
    elif not quiet and (others := [name for name in others if name != MODEL]):  # who reads that one looks at it
        for why in manifest.damages(*others).values():
            say(f"{str(manifest.folder)!r} is damaged: {why}; it is not needed here")


def config_in(folder: Path) -> dict[str, Any]:
    """config.json, whose parts are what they must be.

    Raises:
        KzooError: They are not: somebody else has written it.
    """
    return config_at(folder / CONFIG)


def config_at(path: Path) -> dict[str, Any]:
    """The same of a file of another name."""
    config = read_json_file(path)
    if not isinstance(config, dict):
        raise KzooError(f"{str(path)!r} is no config of a run: it holds {config!r:.60}")
    for name, kinds in PARTS.items():
        value = config.get(name)
        names = not isinstance(value, list) or all(isinstance(v, str) for v in value)
        if name in config and not (isinstance(value, kinds) and names):
            raise KzooError(f"{str(path)!r} is no config of a run: its {name} is {value!r:.60}")
    return {"options": {}, "data": None, "model": None, "source": None, "objects": [], **config}


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Inside, what a file says is taken for what kzoo writes there.

    Raises:
        KzooError: It is not: somebody else has written it.
    """
    try:
        yield
    except KzooError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise KzooError(f"{str(path)!r} is not as kzoo writes it ({said}); put it back from a copy") from error


def read_json_file(path: Path) -> Any:
    try:
        return read_json(read_small(path), path)
    except KzooError:
        raise
    except (ValueError, OSError, RecursionError) as error:
        raise KzooError(f"{str(path)!r} cannot be read: {error}") from error


def numbered() -> list[tuple[int, Path]]:
    """(number, path) of the folders in `runs/`, in order."""
    if not ROOT.is_dir():
        return []
    names = ((re.match(r"(\d{4,})-", p.name), p) for p in ROOT.iterdir() if p.is_dir())
    return sorted((int(match[1]), path) for match, path in names if match)


def _verb_of(path: Path) -> str | None:
    try:
        return json.loads(read_small(path / CONFIG)).get("verb")
    except (OSError, ValueError):
        return None

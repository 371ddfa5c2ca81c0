"""Files that have rotted, were cut, swapped or deleted: named in a line before anything is loaded."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import kzoo
from kzoo.runs import RunFolder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two runs of the same network on the same data, with other weights; and an export of the first."""
    folder = tmp_path_factory.mktemp("two")
    runs = [
        kzoo.fit("mlp_16_16", "digits", epochs=2, seed=seed, run_dir=folder / f"run{seed}", verbose=False)
        for seed in (0, 1)
    ]
    export = kzoo.export(runs[0], folder / "export")
    return [run.path for run in runs], export.path.parent


def sealed_files(folder):
    """What is read again of a run: those of its manifest, of its checkpoints, and the manifests themselves."""
    names = [*RunFolder(folder).manifest.read(), "manifest.json", "checkpoints/marks.json"]
    names += [str(p.relative_to(folder)) for p in sorted(folder.glob("checkpoints/0*/*"))]
    return sorted(names)


def flip(path, rng):
    found = bytearray(path.read_bytes())
    found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    path.write_bytes(found)


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def zeros(path, rng):
    found = bytearray(path.read_bytes())
    start = rng.randrange(len(found))
    end = min(start + 1 + rng.randrange(4096), len(found))
    if not any(found[start:end]):  # it is zero already
        return flip(path, rng)
    found[start:end] = bytes(end - start)
    path.write_bytes(found)


def delete(path, rng):
    path.unlink()


def grow(path, rng):
    path.write_bytes(path.read_bytes() + rng.randbytes(1 + rng.randrange(100)))


DAMAGES = {f.__name__: f for f in (flip, cut, zeros, delete, grow)}


def verbs(folder):
    """Each reads the run in its own way; none writes into it."""
    return {
        "load": lambda: kzoo.load_model(folder),
        "best": lambda: kzoo.load_model(folder, checkpoint="best"),
        "evaluate": lambda: kzoo.evaluate(folder, output_dir="figures"),
        "predict": lambda: kzoo.predict(folder, np.zeros((1, 8, 8, 1), "uint8")),
        "export": lambda: kzoo.export(folder, "out"),
        "resume": lambda: kzoo.fit(resume=folder, verbose=False),
        "config": lambda: kzoo.fit(config=folder, run_dir="new", verbose=False),
        "tune": lambda: kzoo.fine_tune(folder, "digits", run_dir="tuned", head_epochs=1, epochs=1, verbose=False),
    }


def detected(folder, name, verb, capsys):
    """Whether the damage to a file is named: as an error of one line, or, where another whole checkpoint is taken, as a
    line on stderr.
    """
    capsys.readouterr()
    told = Path(name).name if not name.startswith("checkpoints/0") else name.split("/")[1]
    try:
        verbs(folder)[verb]()
    except kzoo.KzooError as error:
        said = str(error)
        assert "\n" not in said
        return told in said or (name == "manifest.json" and "is damaged" in said)  # one of another run fits no file
    finally:
        for made in ("out", "new", "tuned", "figures"):
            shutil.rmtree(made, ignore_errors=True)
    said = capsys.readouterr().err
    return told in said and ("is damaged" in said or "is missing" in said)


def needed(name, verb, folder):
    """Whether the verb reads that file: of the checkpoints those that go on or take the best one, which they read; a
    finished run's last weights are in model.keras.
    """
    if name.startswith("checkpoints/") and verb not in ("best", "resume"):
        return False
    if not name.startswith("checkpoints/0"):
        return not (name == "model.keras" and verb == "config")
    checkpoints, which = RunFolder(folder).checkpoints, name.split("/")[1]
    return which == (checkpoints.best if verb == "best" else checkpoints.find("last"))


def tried(two, tmp_path, capsys, count, seed):
    rng, wrong, done = random.Random(seed), [], 0
    (first, second), _ = two
    while done < count:
        folder = Path(shutil.copytree(first, tmp_path / str(done)))
        name = rng.choice(sealed_files(folder))
        verb = rng.choice([v for v in verbs(folder) if v != "tune" or done % 10 == 0])
        if not needed(name, verb, folder):
            shutil.rmtree(folder)
            continue
        how = rng.choice([*DAMAGES, "swap"])
        if how == "swap":
            if not (second / name).is_file() or (second / name).read_bytes() == (folder / name).read_bytes():
                shutil.rmtree(folder)
                continue
            shutil.copyfile(second / name, folder / name)
        else:
            DAMAGES[how](folder / name, rng)
        done += 1
        if not detected(folder, name, verb, capsys):
            wrong.append((how, name, verb))
        shutil.rmtree(folder)
    assert not wrong


def test_whatever_happens_to_a_file_it_is_named(two, tmp_path, capsys):
    tried(two, tmp_path, capsys, 15, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_of_a_thousand_none_is_missed(seed, two, tmp_path, capsys):
    tried(two, tmp_path, capsys, 250, seed)


def test_a_whole_run_is_said_nothing_of(two, capsys, tmp_path):
    folder = Path(shutil.copytree(two[0][0], tmp_path / "whole"))
    for verb, call in verbs(folder).items():
        if verb in ("load", "best", "predict", "resume"):
            call()
    assert "damaged" not in capsys.readouterr().err


def weights_of(*given, **more):
    return [w.numpy() for w in kzoo.load_model(*given, **more).weights]


def test_what_is_lost_but_the_weights_costs_no_weights(two, tmp_path, capsys):
    """Rows of a table and the plan are needed to go on, not to answer; a model of kzoo's is built anew."""
    before = weights_of(two[0][0])
    for name, told in (("metrics.csv", "not needed here"), ("plan.json", "not needed here"),
                       ("model.keras", "built anew")):  # fmt: skip
        folder = Path(shutil.copytree(two[0][0], tmp_path / name))
        (folder / name).write_bytes(b"rotten")
        found = weights_of(folder)
        said = capsys.readouterr().err
        assert all((a == b).all() for a, b in zip(found, before, strict=True))
        assert told in said and name in said and said.count("\n") == 1, said
        with pytest.raises(kzoo.KzooError, match="start a new run from its weights"):
            kzoo.fit(resume=folder, epochs=3, verbose=False)


def test_the_model_of_a_run_by_its_own_path(two, tmp_path):
    folder = Path(shutil.copytree(two[0][0], tmp_path / "mine"))
    kzoo.load_model(folder / "model.keras")
    shutil.copyfile(two[0][1] / "model.keras", folder / "model.keras")
    with pytest.raises(kzoo.KzooError, match="model.keras is not what was written"):
        kzoo.load_model(folder / "model.keras")


def test_the_last_weights_of_a_finished_run_need_no_checkpoint(two, tmp_path, capsys):
    folder = Path(shutil.copytree(two[0][0], tmp_path / "mine"))
    shutil.rmtree(folder / "checkpoints")
    assert all((a == b).all() for a, b in zip(weights_of(folder), weights_of(two[0][0]), strict=True))
    assert not capsys.readouterr().err


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def huge(path):
    with path.open("r+b") as file:
        file.truncate(4 << 30)


@pytest.mark.parametrize("become", [pipe, huge])
def test_what_says_what_is_there_is_not_waited_for_nor_read_without_end(become, two, tmp_path, capsys):
    folder, export = (Path(shutil.copytree(path, tmp_path / path.name)) for path in (two[0][0], two[1]))
    RunFolder(folder).update_config(finished=False)
    (of_export,) = export.rglob("manifest.json")
    become(of_export)
    with pytest.raises(kzoo.KzooError, match="is damaged: manifest.json"):
        kzoo.predict(export, np.zeros((1, 8, 8, 1), "uint8"))
    newest = RunFolder(folder).checkpoints.newest
    for name in ("checkpoints/marks.json", f"checkpoints/{newest}/manifest.json"):
        become(folder / name)
    kzoo.load_model(folder)
    said = capsys.readouterr().err
    assert "marks.json is damaged" in said and f"{newest} is damaged" in said
    become(folder / "manifest.json")
    with pytest.raises(kzoo.KzooError, match="is damaged: manifest.json"):
        kzoo.load_model(folder)


def test_data_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(kzoo.KzooError, match="neither a file nor a folder"):
        kzoo.load_data(tmp_path / "t.csv")


def test_others_of_the_same_machine_may_read_all_of_a_run(two):
    modes = {p.stat().st_mode & 0o777 for p in two[0][0].rglob("*") if p.is_file()}
    assert len(modes) == 1


def test_a_checkpoint_of_another_run_is_not_taken(two, tmp_path, capsys):
    """Whole as it is; of a run that is not finished."""
    folder = Path(shutil.copytree(two[0][0], tmp_path / "mine"))
    name = RunFolder(folder).checkpoints.newest
    RunFolder(folder).update_config(finished=False)
    before = [w.numpy() for w in kzoo.load_model(folder).weights]
    shutil.rmtree(folder / "checkpoints" / name)
    shutil.copytree(two[0][1] / "checkpoints" / name, folder / "checkpoints" / name)
    found = [w.numpy() for w in kzoo.load_model(folder).weights]
    assert "of another run" in capsys.readouterr().err
    assert any((a != b).any() for a, b in zip(found, before, strict=True))  # of the checkpoint before it


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_an_export_every_file_is_looked_at(damage, two, tmp_path):
    export = two[1]
    files = [p.relative_to(export) for p in sorted(export.rglob("*")) if p.is_file() and p.name != "card.md"]
    assert len(files) >= 5
    for number, name in enumerate(files):
        copy = Path(shutil.copytree(export, tmp_path / str(number)))
        if damage != "delete" and not (copy / name).stat().st_size:
            continue
        DAMAGES[damage](copy / name, random.Random(number))
        with pytest.raises(kzoo.KzooError, match=r"is damaged: |has no config.json|not one of kzoo's") as error:
            kzoo.predict(copy, np.zeros((1, 8, 8, 1), "uint8"))
        assert "\n" not in str(error.value)

"""Classes go by their names: of a run, an export, other data, a model that learns on."""

import keras
import numpy as np
import pytest
from PIL import Image

import kzoo

SHADES = {"cow": 230, "bee": 20, "ant": 120}


def pictures(root, names, count=8, spelled=str):
    """Folders of images, each class of its own shade."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / spelled(name)).mkdir(parents=True)
        for k in range(count):
            pixels = np.clip(rng.normal(SHADES[name], 8, (12, 12)), 0, 255).astype("uint8")
            Image.fromarray(pixels).save(root / spelled(name) / f"{k}.png")
    return root


def split(root, names, spelled=str):
    """Nothing to train on but what is evaluated: the same in all three parts."""
    for part in ("train", "val", "test"):
        pictures(root / part, names, spelled=spelled)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Knows ant, bee and cow apart."""
    folder = tmp_path_factory.mktemp("classes")
    keras.utils.set_random_seed(0)
    data = split(folder / "data", SHADES)
    found = kzoo.fit("lenet5", data, epochs=30, batch_size=8, verbose=False, run_dir=folder / "run")
    assert kzoo.evaluate(found).accuracy == 1
    return found


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    return kzoo.export(run, tmp_path_factory.mktemp("export") / "out").path


@pytest.mark.parametrize(
    ("of", "names"),
    [
        *(
            pytest.param("run", names, marks=pytest.mark.slow)
            for names in (("cow", "bee"), ("cow", "ant"), ("ant", "bee"))
        ),
        ("export", ("cow", "bee")),
    ],
)
def test_some_of_the_classes_under_other_numbers(of, names, request, tmp_path):
    model = request.getfixturevalue(of)
    found = kzoo.evaluate(model if of == "export" else model.path, split(tmp_path / "some", names))
    assert found.accuracy == 1 and found.labels == ("ant", "bee", "cow")
    assert {name: row["support"] for name, row in found.per_class.items() if row["support"]} == dict.fromkeys(names, 8)


def test_names_that_are_written_otherwise(run, tmp_path):
    found = kzoo.evaluate(run, split(tmp_path / "upper", ("cow", "bee"), spelled=str.upper))
    assert found.accuracy == 1
    assert found.notes[0] == "classes that are written otherwise are taken for the same: BEE as bee, COW as cow"


def test_a_class_that_the_model_does_not_know(run, tmp_path):
    odd = split(tmp_path / "odd", ("cow", "bee"), spelled=lambda name: {"bee": "wasp"}.get(name, name))
    with pytest.raises(kzoo.KzooError, match="has examples of 'wasp', which .* does not know; it knows ant, bee, cow"):
        kzoo.evaluate(run, odd)
    (tmp_path / "more").mkdir()
    more = split(tmp_path / "more", SHADES, spelled=lambda name: {"ant": "wasp"}.get(name, name))
    found = kzoo.evaluate(run, kzoo.load_data(more, only=["cow", "bee"]))
    assert found.accuracy == 1


def test_where_no_name_is_shared_numbers_are_said_first(run, tmp_path):
    other = split(tmp_path / "other", SHADES, spelled=lambda name: f"{name}_adult")
    found = kzoo.evaluate(run, other)
    assert found.accuracy == 1
    assert found.notes[0].startswith("no class has the same name: ant_adult, bee_adult, cow_adult are taken for ant,")
    with pytest.raises(kzoo.KzooError, match="knows 3 classes and two has 2, of other names"):
        kzoo.evaluate(run, split(tmp_path / "two", ("cow", "bee"), spelled=lambda name: f"{name}_adult"))


def test_a_model_that_learns_on_keeps_its_numbers(run, tmp_path):
    """Where cow was number 2 it would be number 1 of two."""
    two = split(tmp_path / "two", ("cow", "bee"))
    with pytest.raises(
        kzoo.KzooError, match="'lenet5' learned the classes ant, bee, cow; two has bee, cow; start with"
    ):
        kzoo.fit(kzoo.load_model(run), two, epochs=1, run_dir=tmp_path / "on")
    assert not (tmp_path / "on").exists()
    same = kzoo.fit(kzoo.load_model(run), run.path.parent / "data", epochs=1, verbose=False, run_dir=tmp_path / "same")
    assert kzoo.evaluate(same).accuracy == 1


@pytest.mark.slow
def test_texts(tmp_path):
    rows = [
        "text\tlabel",
        *(f"the {w} {k}\t{label}" for k in range(20) for w, label in (("sun", "good"), ("rain", "bad"))),
    ]
    (tmp_path / "all.tsv").write_text("\n".join(rows) + "\n")
    run = kzoo.fit(
        "lstm_classifier", tmp_path / "all.tsv", epochs=10, batch_size=8, verbose=False, run_dir=tmp_path / "r"
    )
    (tmp_path / "good").mkdir()
    for part in ("train", "test"):
        kept = [r for r in rows if not r.endswith("bad")] + ["the rain\tbad"] * (part == "train")
        (tmp_path / "good" / f"{part}.tsv").write_text("\n".join(kept) + "\n")
    found = kzoo.evaluate(run, tmp_path / "good")
    assert found.accuracy == 1 and found.per_class["good"]["support"] == 20

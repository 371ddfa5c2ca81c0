"""Weights that nobody here made, of packages that have them: what their own code says of them stands in
tests/golden/trained.json (by tests/golden/language_values.py --trained).
"""

import json
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from serving import served

import kzoo
from kzoo.models import model_info
from kzoo.records import STYLES

pytestmark = pytest.mark.network
ROOT = Path(__file__).parents[2]
RULE = runpy.run_path(str(ROOT / "tests" / "golden" / "language_values.py"))
SAID = json.loads((ROOT / "tests" / "golden" / "trained.json").read_text(encoding="utf-8"))
PHONEMES = SAID["phonemes"]


def fetched(package, file, folder):
    """A file of a package that is fetched and not installed."""
    name = f"{package}=={SAID['made with'][package]}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), name]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as whole:
        return Path(whole.extract(file, folder))


@pytest.fixture(scope="module")
def spelling(tmp_path_factory):
    """The example's namespace, and the weights in kzoo's reach."""
    folder = tmp_path_factory.mktemp("g2p")
    example = runpy.run_path(str(ROOT / "examples" / "grapheme_to_phoneme.py"))
    npz = fetched("g2p-en", "g2p_en/checkpoint20.npz", folder)
    return example, example["converted"](npz, folder / "g2p.safetensors")


@pytest.mark.parametrize("style", STYLES)
def test_words_are_spoken_as_their_own_code_speaks_them(spelling, style):
    example, weights = spelling
    assert (*example["MARKS"], *example["PHONEMES"].split())[4:] == tuple(SAID["phoneme table"])[4:]
    words = list(PHONEMES)
    found = kzoo.generate(example["network"](weights, style), words, beams=1)
    assert {word: said.text for word, said in zip(words, found, strict=True)} == PHONEMES


def test_the_export_says_the_same_without_kzoo(spelling, tmp_path):
    example, weights = spelling
    words = list(PHONEMES)
    export = kzoo.export(example["network"](weights), tmp_path / "g2p", beams=1)
    said = served(export.path, "serve_text", text=words)["text"]
    assert said == [PHONEMES[word] for word in words]


def test_in_pytorchs_names_again_it_knows_its_letters(spelling, tmp_path):
    example, weights = spelling
    model = example["network"](weights)
    again = example["network"](kzoo.save_weights(model, tmp_path / "again.safetensors", names="torch"))
    assert model_info(again).inputs == model_info(model).inputs == example["INPUTS"]
    assert kzoo.generate(again, ["kzoo"], beams=1)[0].text == PHONEMES["kzoo"]


@pytest.mark.parametrize("style", STYLES)
def test_a_voice_is_embedded_as_by_pytorch(style, tmp_path):
    """Resemblyzer's three LSTMs and its dense layer, as a language model whose "tokens" are the frames of a voice."""
    torch = pytest.importorskip("torch")
    path = fetched("Resemblyzer", "resemblyzer/pretrained.pt", tmp_path)
    tensors = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    tensors = {name: np.ascontiguousarray(value.numpy()) for name, value in tensors.items()}
    frames = RULE["frames"]()
    tensors["embedding.weight"] = np.zeros((256, 40), "float32")
    tensors["embedding.weight"][1 : 1 + len(frames)] = frames
    renamed = {k.replace("linear.", "output."): v for k, v in tensors.items() if not k.startswith("similarity")}
    safetensors.numpy.save_file(renamed, tmp_path / "voice.safetensors", metadata={"format": "pt"})
    model = kzoo.lstm_language_model(
        vocabulary=256, width=40, units=256, stack=3, style=style, weights=str(tmp_path / "voice.safetensors")
    )
    last = np.asarray(model(np.arange(1, 1 + len(frames))[None]))[0, -1]
    raw = np.maximum(last, 0)
    np.testing.assert_allclose(raw / np.linalg.norm(raw), SAID["embedding"], atol=1e-5)

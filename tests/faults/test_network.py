"""Without a network: what cannot work is said before TensorFlow is imported, which takes seconds."""

import subprocess
import sys
import time

import pytest

WEIGHTS, DATA = "cannot be fetched: no such host is known", "is not on this machine"
LINES = {
    "fit lenet5 --data mnist": DATA,
    "fit lenet5 --data mnist --download": "no network to fetch 'mnist'",
    "fit lenet5 --data mnist:3.0.1 --data-dir sets": DATA,
    "fit lenet5 --data nosuchset": "unknown data set 'nosuchset'",
    "fit lenet5 --data https://example.org/x.zip": "no file or folder",
    "fit seq2seq_luong --data wmt14_translate/de-en": DATA,
    "tune lenet5 --data fashion_mnist": DATA,
    "tune resnet50 --data digits --weights imagenet": WEIGHTS,
    "find-learning-rate lenet5 --data mnist": DATA,
    "fine-tune resnet50 --data digits --weights imagenet": WEIGHTS,
    "fine-tune resnet18 --data digits --weights hf://timm/resnet18.a1_in1k": WEIGHTS,
    "fine-tune resnet18 --data digits --weights https://example.org/a.safetensors": WEIGHTS,
    "fine-tune lenet5@mnist --data kmnist --download": "no network to fetch 'kmnist'",
    "evaluate lenet5@mnist --data cifar10": DATA,
    "evaluate resnet50@imagenet --data digits": WEIGHTS,
    "predict vgg16@imagenet photo.png": WEIGHTS,
    "predict resnet18@hf://timm/resnet18.a1_in1k photo.png": WEIGHTS,
    "export inception_v3@imagenet out": WEIGHTS,
    "export resnet50@imagenet out": WEIGHTS,
    "evaluate densenet@imagenet --data digits": "",
}
CODE = """
import socket, sys, time
def nobody(*address, **more):
    raise socket.gaierror(-2, "Name or service not known")
socket.getaddrinfo = nobody
from kzoo.cli import main
sys.argv = ["kzoo", *sys.argv[1:]]
try:
    main()
finally:
    assert not {"tensorflow", "keras"} & set(sys.modules), "it was imported"
"""


@pytest.mark.slow
def test_twenty_lines(tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "KERAS_HOME", "TFDS_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "KZOO_OFFLINE", "KZOO_WEIGHTS_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    took = {}
    for line, message in LINES.items():
        begun = time.monotonic()
        found = subprocess.run([sys.executable, "-c", CODE, *line.split()], capture_output=True, text=True)
        took[line] = time.monotonic() - begun
        assert found.returncode == 2, (line, found.stderr)
        assert found.stderr.startswith("kzoo: ") and message in found.stderr and found.stderr.count("\n") == 1
    assert len(took) == 20
    print(f"the slowest took {max(took.values()):.1f} s", max(took, key=took.get))

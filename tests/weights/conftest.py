"""A cache of the test's own, and a server that stands in for the sources."""

import pytest
from file_server import Server


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache folder, empty; no variable of the environment reaches in from outside."""
    from kzoo.weights import download

    for name in ("KZOO_WEIGHTS_URL", "KZOO_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "WAIT", 0)
    return tmp_path / "cache" / "kzoo" / "weights"


@pytest.fixture
def server():
    found = Server()
    yield found
    found.stop()

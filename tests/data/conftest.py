"""What the tests of data share."""

import io
import struct
import warnings
import zlib
from pathlib import PurePosixPath

import pytest


class Downloads:
    """In place of TensorFlow Datasets' own: small files in a folder."""

    downloaded_size = 0

    def __init__(self, folder):
        self.folder = folder

    def download(self, url):
        if isinstance(url, dict):
            return {key: str(self.folder / PurePosixPath(address).name) for key, address in url.items()}
        return str(self.folder)

    download_and_extract = download

    def iter_archive(self, path):
        for file in sorted(self.folder.rglob("*.txt")):
            yield str(file.relative_to(self.folder)), io.BytesIO(file.read_bytes())


@pytest.fixture
def prepared():
    """A set of TensorFlow Datasets, written by its own builder from files of ours; what load_data is given for it."""

    def prepare(name, files, data_dir):
        import tensorflow_datasets as tfds

        tfds.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            builder = tfds.builder(name, data_dir=data_dir)
            builder._make_download_manager = lambda **_: Downloads(files)
            builder.download_and_prepare()
        return {"name": name, "data_dir": data_dir}

    return prepare


@pytest.fixture
def claim_png():
    """Writes a grey PNG whose header says that size; its pixels are not there."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def write(path, width, height):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b""))

    return write

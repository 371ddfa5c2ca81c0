"""Who serves an export has TensorFlow alone: one process of a session, which can import neither kzoo nor Keras."""

import functools
import json
import subprocess
import sys

SERVE = """
import json, sys
sys.modules["kzoo"] = sys.modules["keras"] = None  # importing them fails from here on
import tensorflow as tf

def answer(export, signature, inputs):
    serve = tf.saved_model.load(export).signatures[signature]
    takes = serve.structured_input_signature[1]
    found = serve(**{name: tf.constant(whole(value), takes[name].dtype) for name, value in inputs.items()})
    return {name: plain(tensor.numpy().tolist()) for name, tensor in found.items()}

def whole(value):
    if isinstance(value, list):
        return [whole(v) for v in value]
    return open(value["file"], "rb").read() if isinstance(value, dict) else value

def plain(value):
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.decode() if isinstance(value, bytes) else value

for line in sys.stdin:
    try:
        said = {"found": answer(*json.loads(line))}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
"""


@functools.cache
def _process():
    return subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, cwd="/",
    )  # fmt: skip


def served(export, signature, **inputs):
    """{output: nested lists} that a signature of an export gives for numbers, texts or files, {"file": path}."""
    server = _process()
    print(json.dumps([str(export), signature, inputs]), file=server.stdin, flush=True)
    said = json.loads(server.stdout.readline())
    assert "found" in said, said["error"]
    return said["found"]


def stop():
    if _process.cache_info().currsize:
        server = _process()
        server.stdin.close()
        server.stdout.close()
        server.wait(60)

"""What Keras' own `Model.fit` and `kzoo.fit` do under each tf.distribute strategy, XLA off and on.

    python examples/strategies.py            # the table, in about six minutes
    python examples/strategies.py mirrored   # one strategy

Each cell is a process (or a cluster of them) that trains the same small network with batch normalization twice over
72 examples in batches of 23: 12 and 11 on two replicas, and 2 and 1 of the last batch.
`right` means: the second epoch's loss is that of one device to 1e-5. Batch normalization is in inference mode, so that
replicas and one device should agree exactly; its presence alone is what some strategies cannot take.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

STRATEGIES = {  # name: the jobs of its cluster
    "default": {},
    "one": {},
    "mirrored": {},
    "central": {},
    "multiworker": {"worker": 2},
    "parameter_server": {"chief": 1, "worker": 2, "ps": 1},
}


def train(who: str, name: str, xla: bool) -> float:
    """The loss of the second epoch."""
    import kzoo

    devices = 2 if name in ("mirrored", "central") else None
    strategy = kzoo.strategy(name, devices)  # a worker or a server of parameters stays in here

    import keras
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x, y = rng.random((72, 8, 8, 1), dtype="float32"), rng.integers(0, 3, 72)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(23)

    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        layers = [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(trainable=False),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
        model = keras.Sequential(layers)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, jit_compile=xla)
        return model

    if who == "kzoo":
        run = kzoo.fit(build(), data, epochs=2, strategy=strategy, xla=xla, run_dir=tempfile.mkdtemp(), verbose=False)
        return run.history["loss"][-1]
    with strategy.scope():
        model = build()
    return model.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"][-1]


def cell(who: str, name: str, xla: bool) -> float | str:
    """The loss, or the error's first words."""
    jobs = STRATEGIES[name]
    sockets = {job: [socket.create_server(("127.0.0.1", 0)) for _ in range(n)] for job, n in jobs.items()}
    cluster = {job: [f"127.0.0.1:{s.getsockname()[1]}" for s in group] for job, group in sockets.items()}
    for group in sockets.values():
        for s in group:
            s.close()
    tasks = [(job, i) for job, addresses in cluster.items() for i in range(len(addresses))] or [None]
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for number, task in enumerate(tasks):
            env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KZOO_CELL": f"{folder}/{number}.json"}
            if task:
                env["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": task[0], "index": task[1]}})
            command = [sys.executable, __file__, "--cell", who, name, str(int(xla))]
            processes.append(subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.DEVNULL))
        try:
            processes[0].wait(120)
        except subprocess.TimeoutExpired:
            return "hangs (120 s)"
        finally:
            for process in processes:
                process.kill()
                process.wait()
        result = Path(folder, "0.json")
        return json.loads(result.read_text()) if result.is_file() else f"dies ({processes[0].returncode})"


def run_cell(who: str, name: str, xla: bool) -> None:
    try:
        result: float | str = train(who, name, xla)
    except Exception as error:  # whatever a strategy may raise is what the table is about
        text = re.sub(r"\{\{.*?\}\} ?|\[\[.*?\]\]|[|`]", "", str(error))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        first = next((line for line in lines if not line.startswith(("Exception", "Detected", "in user"))), "")
        result = f"{type(error).__name__}: {first[:100]}"
    Path(os.environ["KZOO_CELL"]).write_text(json.dumps(result))
    os._exit(0)  # the threads of a cluster would wait for the other processes


def judged(result: float | str, expected: float, name: str) -> str:
    if isinstance(result, str):
        return result
    if name == "parameter_server":
        return f"learns ({result:.6f})"
    return f"right ({result:.6f})" if abs(result / expected - 1) < 1e-5 else f"wrong ({result:.6f})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cell"]:
        run_cell(sys.argv[2], sys.argv[3], sys.argv[4] == "1")
    expected = cell("fit", "default", False)
    print(f"Loss of Model.fit on one device without XLA: {expected:.6f}\n")
    print("| strategy | XLA | Model.fit | kzoo.fit |\n|---|---|---|---|")
    for name in sys.argv[1:] or STRATEGIES:
        for xla in (False, True):
            found = [judged(cell(who, name, xla), expected, name) for who in ("fit", "kzoo")]
            print(f"| {name} | {'on' if xla else 'off'} | {' | '.join(found)} |", flush=True)

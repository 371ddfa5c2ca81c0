"""A process of a cluster, for the tests: `run` starts the cluster, each process calls the named function below."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def run(function, jobs, folder, timeout=400):
    """What the first process's function returned. `jobs`: {"worker": 2} or {"chief": 1, "worker": 2, "ps": 1}."""
    sockets = {job: [socket.create_server(("127.0.0.1", 0)) for _ in range(n)] for job, n in jobs.items()}
    spec = {job: [f"127.0.0.1:{s.getsockname()[1]}" for s in group] for job, group in sockets.items()}
    for group in sockets.values():
        for s in group:
            s.close()
    processes = []
    for job, addresses in spec.items():
        for index in range(len(addresses)):
            task = {"cluster": spec, "task": {"type": job, "index": index}}
            with open(folder / f"{job}{index}.log", "w") as log:
                process = subprocess.Popen(
                    [sys.executable, __file__, function, str(folder / f"{job}{index}.json")],
                    env={**os.environ, "TF_CONFIG": json.dumps(task), "PYTHONPATH": str(FOLDER)},
                    cwd=folder,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            processes.append(process)
    first = next(iter(spec))
    waited = processes if first == "worker" else processes[:1]  # servers and their workers serve until they are stopped
    try:
        for process in waited:
            process.wait(timeout)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = "\n".join((folder / f"{first}{i}.log").read_text()[-3000:] for i in range(len(waited)))
    assert not any(process.returncode for process in waited), logs
    return [json.loads((folder / f"{first}{i}.json").read_text()) for i in range(len(waited))]


def trajectories():
    """{style and XLA: 20 losses and weights}, as every worker sees them."""
    import kzoo

    strategy = kzoo.strategy("multiworker")
    import nets

    return {
        f"{style} {xla}": nets.trajectory(style, strategy, xla)
        for style in nets.STYLES
        for xla in (False, True)
    }  # fmt: skip


def mobilenet():
    """Losses and a weight of keras.applications' MobileNetV2 and of a two-input, two-output subclass model."""
    import kzoo

    strategy = kzoo.strategy("multiworker")
    import nets

    found = {
        "mobilenet": nets.mobilenet(strategy, False),
        "subclass": nets.trajectory("subclass", strategy, True),
    }
    try:  # each worker in an order of its own
        data = nets.data("sequential").unbatch().shuffle(70, seed=strategy.extended._id_in_cluster).batch(nets.BATCH)
        kzoo.fit(nets.sequential(), data, epochs=1, strategy=strategy, verbose=False)
    except kzoo.KzooError as error:
        found["other order"] = str(error)
    return found


def servers():
    """{XLA: (loss of each epoch, steps counted by the optimizer)}"""
    import kzoo

    strategy = kzoo.strategy("parameter_server")
    found = {}
    for xla in (False, True):
        run = kzoo.fit("lenet5", "digits", epochs=3, batch_size=32, strategy=strategy, xla=xla, verbose=False)
        found[str(xla)] = (run.history["loss"], int(run.model.optimizer.iterations), run.plan.steps_per_epoch)
    return found


def adversarial():
    """{how: (results after each step, weights)} of two players, as every worker sees them."""
    import kzoo

    strategy = kzoo.strategy("multiworker")
    import test_adversarial as two

    return {
        "own": two.played(strategy),
        "own, xla": two.played(strategy, xla=True),
        "synchronised": two.played(strategy, sync=True),
    }


def kinds():
    """{model and XLA: losses after every step, weights} of models of texts, as every worker sees them."""
    import kinds

    return kinds.trajectories()


def freezing():
    """What moved of a model with a frozen part, and changes of one step with factors on rates, on every worker."""
    import kzoo

    kzoo.strategy("multiworker")  # before any operation
    import test_freezing

    return test_freezing.in_processes()


def tuned():
    """Losses of a fine-tuning, what moved, and where its run is, on every worker; then resumed, when it is done."""
    import kzoo

    kzoo.strategy("multiworker")
    sys.path.insert(0, str(FOLDER.parent / "transfer"))
    import test_fine_tune

    return test_fine_tune.in_processes()


def scaled_on_servers():
    """{weight: its change in one step} with factors on rates."""
    import kzoo

    strategy = kzoo.strategy("parameter_server")
    import test_freezing

    changes = test_freezing.stepped("functional", strategy, rates=test_freezing.RATES)
    return {key: change.tolist() for key, change in changes.items()}


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    result = globals()[sys.argv[1]]()
    Path(sys.argv[2]).write_text(json.dumps(result))
    os._exit(0)  # TensorFlow's cluster threads would wait for the other processes

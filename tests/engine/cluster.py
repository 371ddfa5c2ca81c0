"""Clusters of processes on this machine, for the tests. A cluster starts when it is first asked something and answers
all tests of the session: each of its processes calls the function that is asked for.

A function is named `module.function`, the modules being those in the folders of these tests.
"""

import atexit
import functools
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

FOLDER = Path(__file__).parent
PLACES = [str(FOLDER), str(FOLDER.parent / "finetuning")]
STRATEGIES = {"worker": "multiworker", "chief": "parameter_server"}  # by the first job


def run(function, jobs, folder, arguments=(), timeout=400):
    """What `function(*arguments)` returns in each of the first job's processes, which run in `folder`.

    `jobs`: {"worker": 2} or {"chief": 1, "worker": 2, "ps": 1}.
    """
    return _started(tuple(jobs.items())).call(function, folder, list(arguments), timeout)


class Cluster:
    """Requests are files beside each other: `3.json` asks all processes that answer; `3-worker1.json` is an answer."""

    def __init__(self, jobs):
        self.folder = Path(tempfile.mkdtemp(prefix="kzoo-cluster-"))
        sockets = {job: [socket.create_server(("127.0.0.1", 0)) for _ in range(n)] for job, n in jobs}
        spec = {job: [f"127.0.0.1:{s.getsockname()[1]}" for s in group] for job, group in sockets.items()}
        for group in sockets.values():
            for s in group:
                s.close()
        self.first, self.count, self.asked = jobs[0][0], jobs[0][1], 0
        self.processes = []
        for job, addresses in spec.items():
            for index in range(len(addresses)):
                task = {"cluster": spec, "task": {"type": job, "index": index}}
                settings = {
                    "TF_CONFIG": json.dumps(task), "PYTHONPATH": os.pathsep.join(PLACES), "CUDA_VISIBLE_DEVICES": "-1",
                    "TF_NUM_INTRAOP_THREADS": "1",
                }  # fmt: skip
                with open(self.folder / f"{job}{index}.log", "w") as log:
                    process = subprocess.Popen(
                        [sys.executable, __file__, str(self.folder), f"{job}{index}", STRATEGIES[self.first]],
                        env={**os.environ, **settings}, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT,
                    )  # fmt: skip
                self.processes.append(process)

    def call(self, function, folder, arguments, timeout):
        self.asked += 1
        asked = {"function": function, "folder": str(folder), "arguments": arguments}
        _write(self.folder / f"{self.asked}.json", asked)
        names = [f"{self.first}{index}" for index in range(self.count)]
        answers = [self.folder / f"{self.asked}-{name}.json" for name in names]
        until = time.monotonic() + timeout
        while not all(answer.exists() for answer in answers):
            gone = [p.poll() for p in self.processes if p.poll() is not None]
            failed = any("failed" in json.loads(a.read_text()) for a in answers if a.exists())
            if gone or failed or time.monotonic() > until:
                break
            time.sleep(0.02)
        found = [json.loads(answer.read_text()) if answer.exists() else {} for answer in answers]
        if not all("result" in one for one in found):  # the others may wait for one that is gone
            logs = [
                one.get("failed") or (self.folder / f"{n}.log").read_text() for one, n in zip(found, names, strict=True)
            ]
            _started.cache_clear()
            self.stop()
            raise AssertionError(f"{function} in {', '.join(names)}:\n" + "\n".join(log[-3000:] for log in logs))
        return [one["result"] for one in found]

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@functools.cache
def _started(jobs):
    cluster = Cluster(jobs)
    atexit.register(cluster.stop)
    return cluster


def _write(path, value):
    """Whole or not at all."""
    path.with_suffix(".part").write_text(json.dumps(value))
    path.with_suffix(".part").rename(path)


# --- in a process of a cluster --------------------------------------------------------------------------------------


def serve(folder, name, strategy):
    import kzoo

    kzoo.strategy(strategy)  # before any operation; a worker or a server of parameter servers stays here
    number = 1
    while True:
        while not (folder / f"{number}.json").exists():
            time.sleep(0.02)
        asked = json.loads((folder / f"{number}.json").read_text())
        module, _, function = asked["function"].rpartition(".")
        try:
            os.chdir(asked["folder"])
            answer = {"result": getattr(importlib.import_module(module), function)(*asked["arguments"])}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        _write(folder / f"{number}-{name}.json", answer)
        number += 1


def _end_with(parent):
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3])

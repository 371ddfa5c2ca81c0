"""One start of each cluster for a whole session: its processes do everything that tests ask of them, in turn."""

import json

import cluster
import pytest
from filelock import FileLock

WORKERS = ["trajectories", "other_order", "adversarial", "kinds", "freezing", "runs"]
SERVERS = ["servers", "scaled_on_servers"]


def once(tmp_path_factory, name, functions, jobs):
    """Of several processes of pytest the first one starts the cluster, the others read what it found."""
    shared = tmp_path_factory.getbasetemp().parent
    with FileLock(shared / f"{name}.lock"):
        path = shared / f"{name}.json"
        if not path.is_file():
            path.write_text(json.dumps(cluster.run(functions, jobs, tmp_path_factory.mktemp(name))))
        return json.loads(path.read_text())


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory):
    """[{function of cluster.py: what it gave}] of two workers in sync."""
    return once(tmp_path_factory, "two_workers", WORKERS, {"worker": 2})


@pytest.fixture(scope="session")
def servers_found(tmp_path_factory):
    """{function of cluster.py: what it gave} of the chief of two workers and a parameter server."""
    return once(tmp_path_factory, "servers", SERVERS, {"chief": 1, "worker": 2, "ps": 1})[0]

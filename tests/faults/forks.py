"""A process that has imported everything and forks a child for each job: it arms the faults and trains.

A job is a line of JSON: {"program", "folder", "resume", "fault": [at, number, lasting] or null, "signal": [number,
seconds] or null, "log"}; the answer {"status", "calls", "seconds"}: calls that were counted below the folder.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback

import keras  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import programs
import tensorflow as tf

import kzoo
from kzoo.errors import KzooError
from kzoo.verbs import fit  # noqa: F401


def counted():
    return ctypes.CDLL(os.environ["LD_PRELOAD"])


def child(job):
    with open(job["log"], "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if job.get("devices", 2) > 1:
        cpu = tf.config.list_physical_devices("CPU")[:1]
        tf.config.set_logical_device_configuration(cpu[0], [tf.config.LogicalDeviceConfiguration()] * job["devices"])
    faults = counted()
    if job.get("fault"):
        faults.faults_arm(job["below"].encode(), *job["fault"])
    if job.get("signal"):
        number, seconds = job["signal"]
        threading.Thread(target=later, args=(number, seconds), daemon=True).start()
    status = 1
    try:
        programs.run(job["program"], job["folder"], job["resume"])
        status = 0
    except KzooError as error:
        print(f"kzoo: {error}")
        status = 2
    except KeyboardInterrupt:
        status = 130
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    with open(job["log"] + ".calls", "w") as file:
        file.write(str(faults.faults_count()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def later(number, seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), number)


def main():
    kzoo.fine_tune, kzoo.tune, kzoo.fit  # noqa: B018  (imported now)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("ready", flush=True)
    for line in sys.stdin:
        job, started = json.loads(line), time.perf_counter()
        pid = os.fork()
        if not pid:
            child(job)
        _, how = os.waitpid(pid, 0)
        status = os.waitstatus_to_exitcode(how)
        calls = None
        if os.path.exists(job["log"] + ".calls"):
            with open(job["log"] + ".calls") as file:
                calls = int(file.read())
            os.unlink(job["log"] + ".calls")
        print(json.dumps({"status": status, "calls": calls, "seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()

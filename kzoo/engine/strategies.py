"""Names to tf.distribute strategies."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import tensorflow as tf

from kzoo.errors import KzooError, unknown
from kzoo.tensorflow_internals import servers_of, workers_of

NAMES = ("auto", "default", "one", "mirrored", "central", "multiworker", "parameter_server", "tpu")
CLUSTERS = ("multiworker", "parameter_server")
_joined: dict[str, tf.distribute.Strategy] = {}  # a process joins its cluster once


def strategy(
    name: str | tf.distribute.Strategy = "auto", devices: Sequence[str] | int | None = None
) -> tf.distribute.Strategy:
    """The strategy of that name. Call it before anything else of TensorFlow where devices are to be made of one CPU, or
    other processes joined.

    Args:
        name: `"default"`: TensorFlow's own, on its default device. `"one"`: OneDeviceStrategy. `"mirrored"`,
            `"central"`: a replica on each device of this machine. `"multiworker"`: a replica on each device of each
            process that TF_CONFIG names. `"parameter_server"`: variables on servers, workers that do not wait for each
            other; a worker or server process stays in this call and serves. `"tpu"`: the TPU that TensorFlow finds.
            `"auto"`: the one in whose scope it is called, else what TF_CONFIG says, else `"mirrored"` on several GPUs,
            else `"default"`. An instance is passed through.
        devices: Such as `["GPU:0", "GPU:1"]`, or how many: of GPUs, or, where there is none, of parts of the CPU.

    Raises:
        KzooError: An unknown name, a device that this machine does not have, or a call that comes too late.
    """
    if isinstance(name, tf.distribute.Strategy):
        if devices is not None:
            raise KzooError(f"devices={devices!r} goes with a strategy's name; {type(name).__name__} has its own")
        return name
    if name not in NAMES:
        raise unknown("strategy", name, NAMES)
    if name == "auto":
        if devices is None and tf.distribute.has_strategy():  # called in its scope
            return tf.distribute.get_strategy()
        name = _automatic()
    if devices is not None and name not in ("one", "mirrored", "central"):
        raise KzooError(
            f"devices={devices!r} goes with strategy 'one', 'mirrored' or 'central'; received strategy={name!r}"
        )
    if name == "default":
        return tf.distribute.get_strategy()
    if name in CLUSTERS:
        if name not in _joined:
            _joined[name] = _multiworker() if name == "multiworker" else _parameter_server()
        return _joined[name]
    if name == "tpu":
        return _tpu()
    names = _devices(devices)
    if name == "one":
        if devices and len(names) != 1:
            raise KzooError(f"strategy='one' takes one device; received {devices!r}")
        return tf.distribute.OneDeviceStrategy(names[0])
    if name == "central":
        return tf.distribute.experimental.CentralStorageStrategy(names, "CPU:0")
    return tf.distribute.MirroredStrategy(names, _reduction(names))


def _cluster() -> dict[str, list[str]]:
    """{job: addresses} of TF_CONFIG."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        return dict(json.loads(text).get("cluster") or {})
    except (ValueError, TypeError, AttributeError) as error:
        raise KzooError(f"TF_CONFIG must be JSON with a cluster and a task; received {text[:80]!r}") from error


def _automatic() -> str:
    cluster = _cluster()
    if cluster.get("ps"):
        return "parameter_server"
    if len(cluster.get("worker", [])) + len(cluster.get("chief", [])) > 1:
        return "multiworker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "default"


def _devices(wanted: Sequence[str] | int | None) -> list[str]:
    """Names such as `CPU:0`; the CPU is cut into as many as are asked for, where that is still possible."""
    gpus = bool(tf.config.list_physical_devices("GPU"))
    if isinstance(wanted, int):
        if isinstance(wanted, bool) or wanted < 1:
            raise KzooError(f"devices must be a number of at least 1 or names such as 'GPU:0'; received {wanted!r}")
        wanted = [f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(wanted)]
    if wanted is None:
        return [d for d in logical_devices() if d.startswith("GPU")] or ["CPU:0"]
    wanted = [wanted] if isinstance(wanted, str) else [str(device) for device in wanted]
    if not wanted:
        raise KzooError("devices is empty; give names such as 'GPU:0', or how many")
    if len(set(wanted)) != len(wanted):
        raise KzooError(f"devices={wanted} names a device twice")
    cpus = [int(d[4:]) for d in wanted if d.startswith("CPU:") and d[4:].isdecimal()]
    too_late = ""
    if cpus and max(cpus) > 0:
        parts = [tf.config.LogicalDeviceConfiguration()] * (max(cpus) + 1)
        try:
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        except RuntimeError:
            too_late = "; a CPU can be cut into devices only before TensorFlow starts: call kzoo.strategy first"
    present = logical_devices()
    for device in wanted:
        if device not in present:
            hint = too_late if device.startswith("CPU") else ""
            raise KzooError(f"no device {device!r}; this machine has {', '.join(present)}{hint}")
    return wanted


def _reduction(names: Sequence[str]) -> tf.distribute.CrossDeviceOps | None:
    """TensorFlow's own choice (NCCL) for GPUs; not for parts of one CPU or card, which it cannot serve."""
    cards = len(tf.config.list_physical_devices("GPU"))
    if len(names) < 2 or (names[0].startswith("GPU") and len(names) <= cards):
        return None
    return tf.distribute.ReductionToOneDevice()


def _multiworker() -> tf.distribute.Strategy:
    if not _cluster():
        raise KzooError(
            "strategy='multiworker' reads its workers from TF_CONFIG, which is not set; on one machine use 'mirrored'"
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError) as error:
        raise KzooError(_late("multiworker", error)) from error


def _parameter_server() -> tf.distribute.Strategy:
    missing = [job for job in ("chief", "worker", "ps") if job not in _cluster()]
    if missing:
        raise KzooError(
            "strategy='parameter_server' reads a cluster of chief, worker and ps from TF_CONFIG;"
            f" {missing[0]!r} is missing"
        )
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if resolver.task_type in ("worker", "ps"):
        server = tf.distribute.Server(
            resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id, protocol="grpc"
        )
        server.join()  # until it is stopped from outside
    try:
        return tf.distribute.ParameterServerStrategy(resolver)
    except (RuntimeError, ValueError) as error:
        raise KzooError(_late("parameter_server", error)) from error


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # each kind of machine without one fails in its own way
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise KzooError(f"strategy='tpu': no TPU that TensorFlow could use ({first[:120]})") from error


def _late(name: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0]
    if "startup" in first or "initialized" in first:
        return f"strategy={name!r} must exist before TensorFlow starts: call kzoo.strategy({name!r}) first"
    return f"strategy={name!r} cannot be made: {first}"


def most_replicas() -> int:
    """GPUs of this machine, else its cores."""
    return len(tf.config.list_physical_devices("GPU")) or os.cpu_count() or 1


def logical_devices() -> list[str]:
    return [":".join(device.name.split(":")[-2:]) for device in tf.config.list_logical_devices()]


def device_names(strategy: tf.distribute.Strategy) -> list[str]:
    """The devices of this process that compute."""
    if strategy.num_replicas_in_sync > 1 or isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return [":".join(device.split("/")[-1].split(":")[-2:]) for device in strategy.extended.worker_devices]
    names = logical_devices()
    return [n for n in names if not n.startswith("CPU")] or names[:1]


def strategy_name(strategy: tf.distribute.Strategy) -> str:
    """For the plan; with what is peculiar to it."""
    name = type(strategy).__name__
    if name == "_DefaultDistributionStrategy":
        return "default"
    if name == "CentralStorageStrategy":
        return f"{name} (weights kept once, on CPU:0)"
    if name in ("CollectiveAllReduceStrategy", "MultiWorkerMirroredStrategy"):
        return f"MultiWorkerMirroredStrategy ({workers_of(strategy)[0]} processes)"
    if name.startswith("ParameterServerStrategy"):
        workers, servers = servers_of(strategy)
        return f"{name} ({workers} workers, {servers} servers)"
    return name

"""Names to tf.distribute strategies."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from kzoo.errors import KzooError, unknown

NAMES = ("auto", "default", "one")


def strategy(
    name: str | tf.distribute.Strategy = "auto", devices: Sequence[str] | None = None
) -> tf.distribute.Strategy:
    """The strategy of that name.

    Args:
        name: `"auto"` and `"default"`: TensorFlow's default, on its default device. `"one"`: OneDeviceStrategy on the
            device given, or the first GPU, or the CPU. A strategy instance is passed through.
        devices: Such as `["GPU:0"]`, for `"one"`.

    Raises:
        KzooError: An unknown name, or a device that this machine does not have.
    """
    if isinstance(name, tf.distribute.Strategy):
        if name.num_replicas_in_sync != 1:
            raise KzooError(
                f"{type(name).__name__} has {name.num_replicas_in_sync} replicas; allowed: strategies with one"
            )
        return name
    if name not in NAMES:
        raise unknown("strategy", name, NAMES)
    present = [":".join(device.name.split(":")[-2:]) for device in tf.config.list_logical_devices()]
    for device in devices or ():
        if device not in present:
            raise KzooError(f"no device {device!r}; this machine has {', '.join(present)}")
    if name != "one":
        if devices:
            raise KzooError(f"devices={list(devices)} goes with strategy='one'; received strategy={name!r}")
        return tf.distribute.get_strategy()
    if devices and len(devices) != 1:
        raise KzooError(f"strategy='one' takes one device; received {list(devices)}")
    return tf.distribute.OneDeviceStrategy(devices[0] if devices else next((d for d in present if "GPU" in d), "CPU:0"))


def device_names() -> list[str]:
    """The devices that compute: every GPU or TPU, otherwise the CPU."""
    names = [":".join(device.name.split(":")[-2:]) for device in tf.config.list_logical_devices()]
    return [n for n in names if not n.startswith("CPU")] or names

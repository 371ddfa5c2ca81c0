"""Which engine trains under a strategy."""

from __future__ import annotations

import keras
import tensorflow as tf

from kzoo.engine.halves import InHalves, pays
from kzoo.engine.kernels import Kernels
from kzoo.engine.objective import Objective
from kzoo.engine.parameter_server import Servers
from kzoo.engine.replicas import InSync
from kzoo.engine.step import Engine, InPlace
from kzoo.engine.xla import accelerated
from kzoo.errors import KzooError
from kzoo.keras_internals import layers_in, made_in


def make_engine(
    objective: Objective,
    strategy: tf.distribute.Strategy,
    *,
    xla: bool = False,
    kernels: bool = True,
    sync_batch_norm: bool = False,
    slices: bool = False,
    steps: int | None = None,
) -> Engine:
    """The objective has seen a batch (`prepare`); its optimizers are built. `slices`: see `InPlace`; `steps`: of the
    whole training, None where that is not known.
    """
    in_sync = strategy.num_replicas_in_sync > 1
    servers = isinstance(strategy, tf.distribute.ParameterServerStrategy)
    elsewhere = any(made_in(phase.optimizer).num_replicas_in_sync > 1 for phase in objective.phases)
    in_place = not (servers or in_sync or elsewhere)  # variables made in the scope of replicas are not
    chosen = Kernels(
        objective.networks, xla=xla, enabled=kernels, in_place=in_place and not slices, steps=steps,
        sync_batch_norm=sync_batch_norm if in_sync else None,
    )  # fmt: skip
    if slices and not in_place:
        raise KzooError(
            "repeated_rows='keras' goes with one device, where Keras' optimizers get each row's gradients; replicas add"
            " them first: use strategy='one', or leave repeated_rows out"
        )
    if servers:
        return Servers(objective, strategy, xla, chosen)
    if not in_place:
        engine = InSync(objective, strategy, xla, chosen)
        layers = [y for network in objective.networks for y in layers_in(network)]
        normalised = [y for y in layers if isinstance(y, keras.layers.BatchNormalization) and y.trainable]
        if in_sync and not all(sync_batch_norm or y.synchronized for y in normalised):
            engine.notes.append(
                "batch normalization uses the statistics of each replica's part of a batch; sync_batch_norm=True, those"
                " of the whole"
            )
        return engine
    one = isinstance(strategy, tf.distribute.OneDeviceStrategy)
    if xla and not (one or slices or accelerated()) and pays(objective, kernels):
        return InHalves(objective, strategy, chosen)
    return InPlace(objective, xla, chosen, strategy.extended.worker_devices[0] if one else None, slices)

"""Which engine trains under a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import keras
import tensorflow as tf

from kzoo.models._registry import auxiliary_outputs
from kzoo.training.adversarial import Adversarial
from kzoo.training.freezing import factors_of
from kzoo.training.kernels import Kernels
from kzoo.training.objectives import Objective, Supervised
from kzoo.training.optimizers import made_in
from kzoo.training.precision import scaled
from kzoo.training.replicas import InSync
from kzoo.training.servers import Servers
from kzoo.training.step import Engine, InPlace


def make_engine(
    objective: Objective,
    strategy: tf.distribute.Strategy,
    *,
    xla: bool = False,
    kernels: bool = True,
    sync_batch_norm: bool = False,
) -> Engine:
    """The objective has seen a batch (`prepare`); its optimizers are built."""
    in_sync = strategy.num_replicas_in_sync > 1
    servers = isinstance(strategy, tf.distribute.ParameterServerStrategy)
    elsewhere = any(made_in(phase.optimizer).num_replicas_in_sync > 1 for phase in objective.phases)
    in_place = not (servers or in_sync or elsewhere)  # variables made in the scope of replicas are not
    chosen = Kernels(
        objective.networks, xla=xla, enabled=kernels, in_place=in_place,
        sync_batch_norm=sync_batch_norm if in_sync else None,
    )  # fmt: skip
    if servers:
        return Servers(objective, strategy, xla, chosen)
    if not in_place:
        return InSync(objective, strategy, xla, chosen)
    one = isinstance(strategy, tf.distribute.OneDeviceStrategy)
    return InPlace(objective, xla, chosen, strategy.extended.worker_devices[0] if one else None)


def objective_of(model: keras.Model, precision: str | None, rates: Mapping[str, float] | None = None) -> Objective:
    """What trains the compiled `model`; a holder of several networks names its objective.

    Args:
        rates: {how names of layers begin: factor on their learning rate}.
    """
    if getattr(model, "objective", None) == "adversarial":
        players = {name: scaled(p.optimizer, precision) for name, p in model.players.items()}
        objective: Objective = Adversarial(model, players)
    else:
        objective = Supervised(model, scaled(model.optimizer, precision), auxiliary_outputs(model))
    if rates:
        factors = factors_of(model, rates)
        objective.phases = [replace(phase, factors=factors) for phase in objective.phases]
    return objective

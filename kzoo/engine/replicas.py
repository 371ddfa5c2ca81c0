"""Replicas in sync: one pure step under every tf.distribute strategy, XLA on or off.

    each replica    compiled     weights, its part of the batch -> [gradients | statistics], its metrics
    all replicas    collective   one SUM over that flat buffer (outside the compiled parts: XLA cannot hold it)
    each replica    compiled     weights, slots, buffer -> weights, slots

Nothing in the compiled parts touches a tf.Variable. The state lives in ON_READ variables: each replica holds its copy
and makes the same update, as PyTorch's DistributedDataParallel does. `push` fills the copies from the
model, the optimizers and the metrics; `pull` brings replica 0's back, metrics added over all replicas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.engine.divisible import check_stateless
from kzoo.engine.kernels import Kernels
from kzoo.engine.losses import Share
from kzoo.engine.objective import Objective, Phase
from kzoo.engine.optimizers import pure, stepper, variables_of, without_frozen
from kzoo.engine.step import Engine, paced
from kzoo.errors import KzooError
from kzoo.inputs import Batches, as_it_is
from kzoo.keras_internals import StatelessScope, global_seed_generator, is_seed, keep_generator
from kzoo.tensorflow_internals import ends_with_owner, replica_here, workers_of

Values = list[tf.Tensor]  # of every variable of the state, in its order


class State:
    """Every Keras variable that the objective touches, and a copy of each on each replica."""

    def __init__(self, strategy: tf.distribute.Strategy, objective: Objective) -> None:
        self.strategy = strategy
        self.variables = state_variables(objective)
        self.places = {id(v): i for i, v in enumerate(self.variables)}
        added = {id(v) for metric in objective.metrics for v in metric.variables}
        self.is_metric = [id(v) in added for v in self.variables]
        self.workers, self.worker = workers_of(strategy)
        self.first = self.worker * (strategy.num_replicas_in_sync // self.workers)  # number of the first replica here
        with strategy.scope():
            self.copies = [self._copy(v) for v in self.variables]
        replicas = strategy.num_replicas_in_sync
        if replicas > 1 and self._local(self.copies[0])[0] is self.copies[0]:  # CentralStorage: one for all replicas
            for i, variable in enumerate(self.variables):
                if self.is_metric[i] or not tf.as_dtype(variable.dtype).is_floating:
                    self.copies[i] = OwnCopies(variable, strategy.extended.worker_devices)
        self._share_metrics = ends_with_owner(tf.function(self._summed_metrics, autograph=False))
        self._broadcast = ends_with_owner(tf.function(self._from_first_replica, autograph=False))
        self._sum_of_workers = ends_with_owner(tf.function(self._summed_over_workers, autograph=False))
        self._shared_once = False
        self.counted: dict[int, Sequence[Any]] = {}  # {id of a metric's variable: each replica's, for the next push}

    @staticmethod
    def _copy(variable: keras.Variable) -> tf.Variable:
        return tf.Variable(
            tf.zeros(variable.shape, variable.dtype),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def _local(self, copy: Any) -> Sequence[tf.Variable]:
        """Those of the replicas of this process."""
        return copy.variables if isinstance(copy, OwnCopies) else self.strategy.experimental_local_results(copy)

    def read(self) -> Values:
        """This replica's values; in replica context."""
        return [copy.read_value() for copy in self.copies]

    def write(self, new: dict[int, tf.Tensor]) -> None:
        for i, value in new.items():
            self.copies[i].assign(value)

    def at(self, variables: Iterable[keras.Variable]) -> list[int]:
        """Their places in the state."""
        return [self.places[id(v)] for v in variables]

    def push(self) -> None:
        for variable, copy, metric in zip(self.variables, self.copies, self.is_metric, strict=True):
            value = tf.convert_to_tensor(variable.value)
            for replica, local in enumerate(self._local(copy), self.first):
                if id(variable) in self.counted:
                    local.assign(self.counted[id(variable)][replica - self.first])
                elif replica and metric:  # metrics are added over the replicas when they are read
                    local.assign(tf.zeros_like(value))
                elif replica and is_seed(variable):  # other dropout masks on each replica, from the same seed
                    local.assign(tf.stack([value[0] + tf.cast(replica, value.dtype), value[1]]))
                else:
                    local.assign(value)
        self.counted = {}
        if self.workers > 1 and not self._shared_once:
            self._broadcast()
            self._shared_once = True

    def shares(self, variable: keras.Variable) -> list[Any]:
        """Of a metric's number, what each replica here has counted."""
        return [local.numpy() for local in self._local(self.copies[self.places[id(variable)]])]

    def pull(self) -> None:
        sums = self._share_metrics() if self.workers > 1 else None
        for i, (variable, copy) in enumerate(zip(self.variables, self.copies, strict=True)):
            local = self._local(copy)
            if not self.is_metric[i]:
                value = local[0].read_value()
                variable.assign(tf.stack([value[0] - self.first, value[1]]) if is_seed(variable) else value)
            elif sums is None:
                variable.assign(tf.add_n([v.read_value() for v in local]))
            else:
                variable.assign(tf.cast(sums[i], variable.dtype))

    # --- several workers ---------------------------------------------------------------------------------------------

    def _summed_metrics(self) -> dict[int, tf.Tensor]:
        """{place: sum over the replicas of all workers}."""
        places = [i for i, metric in enumerate(self.is_metric) if metric]

        def replica() -> tf.Tensor:
            flat = [tf.reshape(tf.cast(self.copies[i].read_value(), tf.float64), [-1]) for i in places]
            return all_sum(tf.concat(flat, 0))

        total = self.strategy.experimental_local_results(self.strategy.run(replica))[0]
        shapes = [self.variables[i].shape for i in places]
        pieces = tf.split(total, [math.prod(shape) for shape in shapes])
        return {i: tf.reshape(p, shape) for i, p, shape in zip(places, pieces, shapes, strict=True)}

    def of_workers(self, *values: float) -> np.ndarray:
        """Each worker's values [workers, values]; to be called in each."""
        mine = np.zeros((self.workers, len(values)))
        mine[self.worker] = values
        summed = self._sum_of_workers(tf.constant(mine))
        return self.strategy.experimental_local_results(summed)[0].numpy()

    def _summed_over_workers(self, mine: tf.Tensor) -> tf.Tensor:
        def replica() -> tf.Tensor:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return all_sum(mine * tf.cast(tf.equal(number, self.first), mine.dtype))  # once a worker

        return self.strategy.run(replica)

    def _from_first_replica(self) -> None:
        """Weights and slots of worker 0 on every worker, whatever they were initialised with."""
        places = [i for i, v in enumerate(self.variables) if not self.is_metric[i] and not is_seed(v)]

        def replica() -> None:
            context = tf.distribute.get_replica_context()
            mine = tf.cast(tf.equal(context.replica_id_in_sync_group, 0), tf.float64)
            flat = [tf.reshape(tf.cast(self.copies[i].read_value(), tf.float64), [-1]) for i in places]
            pieces = tf.split(all_sum(tf.concat(flat, 0) * mine), [int(f.shape[0]) for f in flat])
            for i, piece in zip(places, pieces, strict=True):
                variable = self.variables[i]
                self.copies[i].assign(tf.cast(tf.reshape(piece, variable.shape), variable.dtype))

        self.strategy.run(replica)


def state_variables(objective: Objective) -> list[keras.Variable]:
    """Of networks, optimizers and metrics, each once."""
    weights = [v for network in objective.networks for v in network.variables]
    weights += [v for phase in objective.phases for v in variables_of(phase)]  # some may be of no layer any more
    slots = [v for phase in objective.phases for v in phase.optimizer.variables]
    metrics = [v for metric in objective.metrics for v in metric.variables]
    unseeded = global_seed_generator().state  # of random operations outside of layers
    return list({id(v): v for v in [*weights, *slots, *metrics, unseeded]}.values())


class OwnCopies:
    """A variable on each replica, under a strategy that has one for all."""

    def __init__(self, variable: keras.Variable, devices: Sequence[str]) -> None:
        self.variables = []
        for device in devices:
            with tf.device(device):
                self.variables.append(tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False))

    def read_value(self) -> tf.Tensor:
        return self._mine.read_value()

    def assign(self, value: tf.Tensor) -> None:
        self._mine.assign(value)

    @property
    def _mine(self) -> tf.Variable:
        return self.variables[replica_here()]


class InSync(Engine):
    """Trains an objective on the replicas of a strategy that keeps them in sync."""

    def __init__(self, objective: Objective, strategy: tf.distribute.Strategy, xla: bool, kernels: Kernels) -> None:
        super().__init__(objective, kernels)
        self.strategy = strategy
        for network in objective.networks:
            check_stateless(network)
        self.state, self._unseeded = State(strategy, objective), global_seed_generator()
        wide = any(v.dtype == "float64" for v in self.state.variables)
        self.dtype = tf.float64 if wide else tf.float32  # of sums, in mixed precision too
        self.xla = xla
        self._phases = [_Parts(self, phase) for phase in objective.phases]
        self._denominators = self.as_graph(self._own_denominators, xla)
        self._tested: list[int] = []
        self._test = self.as_graph(self._own_test, xla)
        steps = [self._step_of(group) for _, group in paced(objective.phases)]
        self._train_loop = self._loop(self._in_turn(steps))
        self._test_loop = self._loop(lambda parts: self._on_replicas(self._test_step, parts))

    @property
    def workers(self) -> int:
        return self.state.workers

    def decided(self, value: bool) -> bool:
        return value if self.workers == 1 else bool(self.state.of_workers(float(value))[0, 0] > 0)

    def agreed(self, clock: float, *flags: float) -> tuple[float, ...]:
        if self.workers == 1:
            return clock, *flags
        found = self.state.of_workers(clock, *flags)
        return float(found[0, 0]), *map(float, found[:, 1:].max(axis=0))

    def check_same(self, value: float, what: str) -> None:
        """Raises where workers hold different values."""
        found = self.state.of_workers(value)[:, 0].tolist() if self.workers > 1 else [value]
        if not np.allclose(found, found[0], rtol=1e-6):
            raise KzooError(f"{what} differs between the workers ({', '.join(f'{v:g}' for v in found)})")

    def push(self) -> None:
        self.state.push()

    def pull(self) -> None:
        self.state.pull()

    def shares(self, variable: keras.Variable) -> list[Any]:
        return self.state.shares(variable)

    def share_out(self, shares: Sequence[tuple[keras.Variable, Sequence[Any]]]) -> None:
        self.state.counted = {id(variable): parts for variable, parts in shares}

    def dataset(self, batches: Batches, epoch: int, start: int = 0, then: str | None = None) -> tf.data.Dataset:
        """For each replica of this process (its part of a global batch, its Share)."""
        replicas = self.strategy.num_replicas_in_sync
        first, local = self.state.first, replicas // self.state.workers

        def mine(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            start, end = part(rows, first, replicas)[0], sum(part(rows, first + local - 1, replicas))
            return _at_least_one(start, end - start)

        def parts(rows: tf.Tensor, batch: Any) -> Any:
            offset = mine(rows)[0]
            return tuple(share_of(batch, rows, offset, first + r, replicas) for r in range(local))

        return (
            batches.epoch(epoch, mine, start, then)
            .map(as_it_is(parts), num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(2)
        )

    def _on_replicas(self, step: Any, parts: Any) -> None:
        mine = lambda context: parts[context.replica_id_in_sync_group - self.state.first]
        self.strategy.run(step, args=(self.strategy.experimental_distribute_values_from_function(mine),))

    # --- in replica context ------------------------------------------------------------------------------------------

    def _step_of(self, group: Sequence[int]) -> Any:
        """(the parts of a batch) -> nothing: the step of some phases on every replica."""

        def step(batch_and_share: Any) -> None:
            batch, share = batch_and_share
            share = Share(*share)
            for parts in (self._phases[k] for k in group):
                values = self.state.read()
                denominators = self._whole_denominators(values, batch, share)
                buffer, own = parts.gradients(values, batch, share, denominators)
                new = parts.update(values, self._sum(buffer))
                self.state.write(dict(zip([*parts.kept, *parts.written], [*own, *new], strict=True)))

        return lambda parts: self._on_replicas(step, parts)

    def _test_step(self, batch_and_share: Any) -> None:
        batch, share = batch_and_share
        share, values = Share(*share), self.state.read()
        own = self._test(values, batch, share, self._whole_denominators(values, batch, share))
        self.state.write(dict(zip(self._tested, own, strict=True)))

    def _whole_denominators(self, values: Values, batch: Any, share: Share) -> tf.Tensor | None:
        if not self.objective.needs_denominators:
            return None
        return self._sum(self._denominators(values, batch, share))

    def _sum(self, tensor: tf.Tensor) -> tf.Tensor:
        return all_sum(tensor) if self.strategy.num_replicas_in_sync > 1 else tensor

    # --- compiled ----------------------------------------------------------------------------------------------------

    def sent(self, pieces: Sequence[Any]) -> tf.Tensor:
        """Gradients and statistics as one flat buffer, which one collective adds up."""
        flat = [tf.convert_to_tensor(piece) for piece in pieces]  # the gradient of an Embedding is IndexedSlices
        return tf.concat([tf.reshape(tf.cast(piece, self.dtype), [-1]) for piece in flat], 0)

    def received(self, buffer: tf.Tensor, shapes: Sequence[tf.TensorShape]) -> list[tf.Tensor]:
        """The pieces of the summed buffer."""
        pieces = tf.split(buffer, [math.prod(shape) for shape in shapes])
        return [tf.reshape(piece, shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def scope(self, values: Values) -> StatelessScope:
        keep_generator(self._unseeded)
        return StatelessScope(list(zip(self.state.variables, values, strict=True)), collect_losses=True)

    def changed(self, scope: StatelessScope, values: Values, share: Share) -> tuple[dict, dict]:
        """{place: value} of what a pass assigned: (statistics, to be averaged; metrics and states, each replica's own).

        What was not assigned is left alone: averaging equal copies would add rounding to frozen weights.
        """
        if any(key not in self.state.places for key in scope.state_mapping):
            raise KzooError(
                "the model assigns a variable that neither it nor a layer of it holds as an attribute,"
                " which replicas cannot share; make it an attribute of a layer"
            )
        statistics, own = {}, {}
        for i, (variable, old) in enumerate(zip(self.state.variables, values, strict=True)):
            new = scope.get_current_value(variable)
            if new is None or new is old:
                continue
            new = tf.cast(tf.convert_to_tensor(new), old.dtype)
            if self.state.is_metric[i] or not old.dtype.is_floating:
                own[i] = tf.where(share.examples > 0, new, old)
            else:
                statistics[i] = new
        return statistics, own

    def _own_denominators(self, values: Values, batch: Any, share: Share) -> tf.Tensor:
        with self.scope(values):
            return self.objective.denominators(batch, share)

    def _own_test(self, values: Values, batch: Any, share: Share, denominators: Any) -> Values:
        with self.scope(values) as scope, self.kernels.swapped(share):
            self.objective.test(batch, share, denominators)
        own = self.changed(scope, values, share)[1]
        self._tested = list(own)
        return list(own.values())


class _Parts:
    """The two compiled parts of a phase, and what the first, while it is traced, finds out about its outputs.

    Attributes:
        moved: Places of the variables that the optimizer knows; `has_gradient` says which of them are trainable now
            and have the loss depend on them.
        averaged: Places of the statistics that the forward pass assigns.
        kept: Places of the metrics and states that it assigns, each replica its own.
        written: Places of what `update` returns.
    """

    def __init__(self, engine: InSync, phase: Phase) -> None:
        self.engine, self.phase, self.optimizer = engine, phase, pure(stepper(phase))
        self.moved = engine.state.at(variables_of(phase))
        self.slots = engine.state.at(phase.optimizer.variables)
        self.has_gradient: list[bool] = []
        self.averaged: list[int] = []
        self.kept: list[int] = []
        self.gradients = (
            self._gradients
        )  # sums over replicas inside the network cannot stand in a function of their own
        if not engine.kernels.synchronised:
            self.gradients = engine.as_graph(self._gradients, engine.xla)
        self.update = engine.as_graph(self._update, engine.xla)

    @property
    def written(self) -> list[int]:
        return [*self.moved, *self.slots, *self.averaged]

    def _gradients(self, values: Values, batch: Any, share: Share, denominators: Any) -> tuple[Any, Values]:
        found, statistics, own = self._found(values, batch, share, denominators)
        return self.engine.sent([*found, *statistics]), own

    def _found(
        self, values: Values, batch: Any, share: Share, denominators: Any
    ) -> tuple[list[Any], list[Any], Values]:
        """(gradients, this replica's part of the statistics, metrics and states)."""
        engine = self.engine
        weights = [values[i] for i in self.moved]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            with engine.scope(values) as scope, engine.kernels.swapped(share):
                loss = self.phase.loss(batch, share, denominators)
                scaled = self.phase.optimizer.scale_loss(loss)
        found = without_frozen(tape.gradient(scaled, weights), self.phase)
        statistics, own = engine.changed(scope, values, share)
        self.has_gradient = [g is not None for g in found]
        self.averaged, self.kept = list(statistics), list(own)
        averaged = [tf.cast(s, engine.dtype) * tf.cast(share.part, engine.dtype) for s in statistics.values()]
        return [g for g in found if g is not None], averaged, list(own.values())

    def _update(self, values: Values, sent: Any) -> Values:
        weights, slots = [values[i] for i in self.moved], [values[i] for i in self.slots]
        inside = [i for i, has in zip(self.moved, self.has_gradient, strict=True) if has] + self.averaged
        pieces = self.engine.received(sent, [values[i].shape for i in inside])
        pieces = iter(tf.cast(p, values[i].dtype) for i, p in zip(inside, pieces, strict=True))
        gradients = [next(pieces) if has else None for has in self.has_gradient]
        statistics = list(pieces)
        weights, slots = self.optimizer.stateless_apply(slots, gradients, weights)
        return [*weights, *slots, *statistics]


def part(rows: tf.Tensor, replica: int, replicas: int) -> tuple[tf.Tensor, tf.Tensor]:
    """(first row, how many) of a replica: a batch is cut into near-equal parts, a ragged one into smaller ones."""
    size, more = rows // replicas, rows % replicas
    return replica * size + tf.minimum(tf.constant(replica, tf.int64), more), size + tf.cast(replica < more, tf.int64)


def _at_least_one(start: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first row of the batch where there is none."""
    return tf.where(count > 0, start, 0), tf.maximum(count, 1)


def share_of(batch: Any, rows: tf.Tensor, offset: tf.Tensor, replica: int, replicas: int) -> tuple[Any, Share]:
    """A replica's part of a batch, and its Share. One left without examples takes a row that counts nothing.

    `batch` holds the rows from `offset` on of a global batch of `rows`.
    """
    start, count = part(rows, replica, replicas)
    first, taken = _at_least_one(start - offset, count)
    cut = tf.nest.map_structure(lambda t: t[first : first + taken], batch)
    return cut, Share(tf.cast(count, tf.float32), tf.cast(rows, tf.float32))


def all_sum(tensor: tf.Tensor) -> tf.Tensor:
    """Over all replicas; in replica context."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensor)

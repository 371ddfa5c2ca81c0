"""keras-tuner's oracles, which choose the values of the next trial, made fit for a search that is killed and resumed.

Begin with the default recipe; write every file whole; after a kill run again what was running, and nothing that was
done. Stock ones begin with random values, write in place, and drop or repeat a trial where the kill falls between two
of their files. This leans on keras-tuner's internals (1.4.8): tests hold it to them.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import oracles
from sklearn.exceptions import ConvergenceWarning

from kzoo.files import Manifest


class _Resumable:
    """Between an oracle of keras-tuner's and its class."""

    def _random_values(self) -> dict[str, Any] | None:
        values = {hp.name: hp.default for hp in self.hyperparameters.space}
        for _ in range(self._max_collisions):
            if values is None or not self._duplicate(values):
                return values
            values = _rounded(super()._random_values())
        return None

    def save(self) -> None:
        path = Path(self._get_oracle_fname())
        with Manifest(path.parent).writing(path.name) as beside:
            beside.write_text(json.dumps(self.get_state()), encoding="utf-8")

    def _save_trial(self, trial: Any) -> None:
        folder = Path(self._get_trial_dir(trial.trial_id))
        with Manifest(folder.parent).writing(f"{folder.name}/trial.json") as beside:
            trial.save(str(beside))

    def reload(self) -> None:
        super().reload()  # what was running is in the queue now
        for trial in [t for t in self.trials.values() if t.status == "RUNNING"]:
            if trial.trial_id not in self._retry_queue:  # never began, and oracle.json will choose it again
                del self.trials[trial.trial_id]
        self._retry_queue = [i for i in self._retry_queue if self.trials[i].status == "RUNNING"]
        for i in sorted(self.trials, key=int):  # done, and oracle.json was not written any more
            if self.trials[i].status in ("COMPLETED", "FAILED") and i not in self.end_order:
                self.end_order.append(i)
                self._run_times[i] = 1
        for i in self._retry_queue:  # a second result would be averaged with the first
            self.trials[i].metrics = type(self.trials[i].metrics)()


def _rounded(values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Numbers to three digits: what is printed of a trial is what it had."""
    return values and {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in values.items()}


class Random(_Resumable, oracles.RandomSearchOracle):
    """Values drawn at random."""


class Bayesian(_Resumable, oracles.BayesianOptimizationOracle):
    """Values where a Gaussian process fitted to the trials so far expects the most, after some random ones.

    The stock one keeps no state of its random numbers, and may choose the same values twice.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # length scales at their bounds
            found = super().populate_space(trial_id)
        values = _rounded(found["values"])  # the last digits of the optimum are those of the machine
        if values and self._duplicate(values):
            return self._random_populate_space()
        return {**found, "values": values}


class Hyperband(_Resumable, oracles.HyperbandOracle):
    """Many trials of few epochs; the best of them go on (Li et al. 2018, https://jmlr.org/papers/v18/16-558.html).

    Every trial that goes on is a trial of its own to keras-tuner. It begins with the bracket of the most trials that
    `trials` allows whole, so that something does go on.
    """

    def __init__(self, trials: int, **options: Any) -> None:
        self.budget = trials
        super().__init__(hyperband_iterations=0, **options)  # as many as the trials allow
        self.max_trials = trials

    def _get_num_brackets(self) -> int:
        brackets = super()._get_num_brackets()
        while brackets > 1 and self._trials_of(brackets - 1) > self.budget:
            brackets -= 1
        return brackets

    def _trials_of(self, bracket: int) -> int:
        return sum(self._get_size(bracket, number) for number in range(bracket + 1))


def make_oracle(
    algorithm: str,
    space: keras_tuner.HyperParameters,
    objective: keras_tuner.Objective,
    trials: int,
    epochs: int,
    seed: int,
) -> Any:
    options = {
        "objective": objective,
        "hyperparameters": space,
        "seed": 1 + seed % (2**32 - 1),  # to keras-tuner 0 is none
        "max_consecutive_failed_trials": sys.maxsize,  # a search goes on, and says at its end that all failed
    }
    if algorithm == "hyperband":
        return Hyperband(trials, max_epochs=epochs, **options)
    if algorithm == "bayesian":  # stock: three random ones for every dimension, more than a short search has
        dimensions = len([hp for hp in space.space if not isinstance(hp, keras_tuner.engine.hyperparameters.Fixed)])
        few = max(3, min(3 * dimensions, trials // 3))
        return Bayesian(max_trials=trials, num_initial_points=few, **options)
    return Random(max_trials=trials, **options)

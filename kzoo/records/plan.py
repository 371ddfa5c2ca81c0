"""The plan: everything about a training run that is decided before it starts, and who decided it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """Printed before training and kept in the run folder. `sources` says where loss, optimizer, … come from."""

    model: str
    style: str
    parameters: int
    trainable: int
    data: str
    input: str
    objective: str
    loss: str
    optimizer: str
    metrics: str
    strategy: str
    replicas: int
    devices: tuple[str, ...]
    xla: bool
    xla_reason: str
    precision: str
    batch_size: int | None
    epochs: int
    steps_per_epoch: int | None
    seed: int
    deterministic: bool
    kernels: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    frozen: str = ""
    rates: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_config(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Plan:
        """Of plan.json, which may hold more beside."""
        known = {key: value for key, value in config.items() if key in cls.__dataclass_fields__}
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in known.items()})

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) pairs, in reading order."""
        source = lambda key: f" ({self.sources[key]})" if key in self.sources else ""
        per_replica = f", {self.batch_size // self.replicas} a replica" if self.batch_size and self.replicas > 1 else ""
        steps = f", {self.steps_per_epoch:,} steps each" if self.steps_per_epoch else ""
        rows = [
            ("model", f"{self.model}, {self.style}, {self.parameters:,} parameters, {self.trainable:,} trainable"),
            *[("frozen", self.frozen)] * bool(self.frozen),
            ("data", self.data),
            ("input", self.input),
            ("augment", ", ".join(self.augment) or "none"),
            ("objective", self.objective),
            ("loss", self.loss + source("loss")),
            ("optimizer", self.optimizer + source("optimizer")),
            *[("rates", self.rates)] * bool(self.rates),
            ("metrics", (self.metrics or "none") + source("metrics")),
            (
                "strategy",
                f"{self.strategy}, {self.replicas} replica{'s' * (self.replicas > 1)} on {', '.join(self.devices)}",
            ),
            ("xla", f"{'on' if self.xla else 'off'} ({self.xla_reason})"),
            ("precision", self.precision),
            ("kernels", ", ".join(self.kernels) or "Keras' own"),
            (
                "batch",
                f"{self.batch_size}{per_replica}{source('batch_size')}" if self.batch_size else "as the data gives it",
            ),
            ("epochs", f"{self.epochs}{steps}{source('epochs')}"),
            ("seed", f"{self.seed}{', deterministic operations' if self.deterministic else ''}"),
        ]
        return rows + [("note", note) for note in self.notes]

"""kzoo beside PyTorch, eager and compiled: the networks of benchmark_fit.py, the same shapes, batches and optimizer.

    pip install torch==2.13.0                       # PyTorch's CPU build; torch.compile needs a C++ compiler as well
    python examples/benchmark_torch.py              # all rows, about a quarter of an hour; let nothing else run
    python examples/benchmark_torch.py lenet lstm   # some of them

kzoo and PyTorch take turns, each in a process of its own, three times; a row has the median rate of each and the median
of the three ratios to the better of PyTorch's two.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, SECONDS = 3, 1.5
SIDES = ("kzoo", "eager", "compile")


def measure(side: str, row: str) -> float:
    """Examples a second."""
    return kzoo_rate(row) if side == "kzoo" else torch_rate(row, compiled=side == "compile")


def kzoo_rate(row: str) -> float:
    from benchmark_fit import ROWS

    import kzoo

    build, batch, precision = ROWS[row]
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    found = kzoo.bench(model, batch_size=batch, precision=precision, seconds=SECONDS, rounds=3)
    length = model.inputs[0].shape[1] if found.unit == "tokens" else 1
    return found.training / length


def torch_rate(row: str, compiled: bool) -> float:
    import torch

    build, batch, inputs, classes = networks()[row.removesuffix("-bf16")]
    torch.manual_seed(0)
    model = build().train()
    images = len(inputs) == 3
    if images:
        model = model.to(memory_format=torch.channels_last)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters())
    batches = []
    for _ in range(4):
        x = torch.rand(batch, *inputs) if images else torch.randint(0, 10_000, (batch, *inputs))
        x = x.to(memory_format=torch.channels_last) if images else x
        batches.append((x, torch.randint(0, classes, (batch,))))

    def steps(count: int) -> float:
        started = time.perf_counter()
        for i in range(count):
            x, y = batches[i % len(batches)]
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=row.endswith("-bf16")):
                loss = torch.nn.functional.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
        return time.perf_counter() - started

    steps(3)
    count = max(1, int(SECONDS / (steps(5) / 5)))
    return batch / statistics.median(steps(count) / count for _ in range(3))


def networks() -> dict:
    """{name: (builder, batch, input shape, classes)} of benchmark_fit.py's networks in PyTorch."""
    from torch import nn

    def lenet() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip

    def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias), nn.BatchNorm2d(outputs)]

    class Residual(nn.Module):
        def __init__(self, branch: list[nn.Module], shortcut: list[nn.Module]) -> None:
            super().__init__()
            self.branch, self.shortcut, self.relu = nn.Sequential(*branch), nn.Sequential(*shortcut), nn.ReLU()

        def forward(self, x):
            return self.relu(self.branch(x) + self.shortcut(x))

    def bottleneck(inputs: int, width: int, stride: int) -> nn.Module:
        branch = [
            *conv_norm(inputs, width, 1, stride, True),
            nn.ReLU(),
            *conv_norm(width, width, 3, 1, True),
            nn.ReLU(),
        ]
        shortcut = conv_norm(inputs, 4 * width, 1, stride, True) if stride > 1 or inputs != 4 * width else []
        return Residual([*branch, *conv_norm(width, 4 * width, 1, 1, True)], shortcut)

    def resnet50() -> nn.Module:
        layers: list[nn.Module] = [*conv_norm(3, 64, 7, 2, True), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        inputs = 64
        for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for block in range(depth):
                layers.append(bottleneck(inputs, width, 1 if block else stride))
                inputs = 4 * width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 10))

    def resnet20() -> nn.Module:
        layers: list[nn.Module] = [*conv_norm(3, 16, 3), nn.ReLU()]
        inputs = 16
        for width in (16, 32, 64):
            for _ in range(3):
                stride = width // inputs
                branch = [*conv_norm(inputs, width, 3, stride), nn.ReLU(), *conv_norm(width, width, 3)]
                layers.append(Residual(branch, conv_norm(inputs, width, 1, stride) if stride > 1 else []))
                inputs = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    class LSTM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(10_000, 64), nn.LSTM(64, 64, batch_first=True)
            self.head = nn.Linear(64, 2)

        def forward(self, x):
            return self.head(self.lstm(self.embed(x))[0][:, -1])

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(10_000, 128), nn.Linear(128, 2)
            layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 4)

        def forward(self, x):
            return self.head(self.encoder(self.embed(x)).mean(1))

    return {
        "lenet": (lenet, 128, (1, 28, 28), 10),
        "resnet50": (resnet50, 16, (3, 96, 96), 10),
        "resnet20": (resnet20, 128, (3, 32, 32), 10),
        "lstm": (LSTM, 64, (80,), 2),
        "transformer": (Transformer, 64, (64,), 2),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(measure(*sys.argv[2:]))
        sys.exit()
    from benchmark_fit import ROWS

    print("| net | kzoo | PyTorch eager | PyTorch compile | ratio |\n|---|---:|---:|---:|---:|")
    for row in sys.argv[1:] or ROWS:
        rates: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(ROUNDS):
            for side in SIDES:
                command = [sys.executable, __file__, "--measure", side, row]
                done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
                if done.returncode:
                    sys.exit(f"{side} {row}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
                rates[side].append(float(done.stdout.split()[-1]))
        ratios = [k / max(e, c) for k, e, c in zip(*rates.values(), strict=True)]
        cells = " | ".join(f"{statistics.median(rates[side]):,.0f}" for side in SIDES)
        print(f"| {row} | {cells} | {statistics.median(ratios):.2f} |", flush=True)

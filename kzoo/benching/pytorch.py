"""Beside PyTorch: torchvision's network of the same name, in turn, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from kzoo.errors import KzooError, say
from kzoo.weights import rows_of
from kzoo.zoo import index

SIDE = Path(__file__).with_name("torch_side.py")
WAYS = ("eager", "compile")


def namesake(model: str) -> str:
    """The function of torchvision.models whose network this is, by the file of its weights.

    Raises:
        KzooError: torchvision has none, or is not installed.
    """
    rows = rows_of(model)
    if "torchvision" not in rows:
        known = sorted(name for name, told in index().items() if "torchvision" in told["weights"])
        raise KzooError(
            f"torchvision has no {model}; against='torch' goes with {', '.join(known)}. examples/benchmark_torch.py"
            " has others, written out"
        )
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
        raise KzooError("against='torch' needs PyTorch and torchvision; install them: pip install torch torchvision")
    return re.match(r"[a-z0-9_]+", rows["torchvision"].url.rpartition("/")[2])[0]


@contextlib.contextmanager
def beside_torch(
    function: str, batch: int, side: int, classes: int, precision: str | None
) -> Iterator[dict[str, Callable[[int], None]]]:
    """{way: take so many steps}; one that PyTorch cannot take here is said and left out."""
    if precision == "mixed_float16":
        raise KzooError("PyTorch's CPU build trains in float32 and bfloat16; leave mixed_float16 out")
    command = [sys.executable, str(SIDE), function, str(batch), str(side), str(classes), precision or "float32"]
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile("w+"))
        pipe = subprocess.PIPE
        process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, text=True))
        stack.callback(process.kill)

        def last_line() -> str:
            said.seek(0)
            return (said.read().strip().splitlines() or ["it ended without a word"])[-1]

        def run(way: str, steps: int) -> None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{way} {steps}\n")
                process.stdin.flush()
            answer = process.stdout.readline()
            if not answer or answer.startswith("error"):
                raise KzooError(f"PyTorch, {way}: {answer.removeprefix('error: ').strip() or last_line()}")

        if process.stdout.readline() != "ready\n":
            raise KzooError(f"cannot train torchvision's {function}: {last_line()}")
        found = {}
        for way in WAYS:
            try:
                run(way, 2)
            except KzooError as error:
                say(f"{error}; left out")
                continue
            found[f"PyTorch {way}"] = lambda steps, way=way: run(way, steps)
        yield found

"""What the README says is true: its table is the registry's, its Python runs."""

import re
import subprocess
import sys
from pathlib import Path

from kzoo.zoo import described_shape, index

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table():
    rows = ["| model | task | input | parameters | weights | what it is |", "|---|---|---|---:|---|---|"]
    for name, row in index().items():
        if row["hidden"]:
            continue
        shape = re.sub(r"(?<=\d)x(?=\d)", "×", described_shape(row["input_shape"]))
        weights = ", ".join(f"`{tag}`" for tag in row["weights"])
        rows.append(f"| `{name}` | {row['task']} | {shape} | {row['parameters']:,} | {weights} | {row['summary']} |")
    return "\n".join(rows)


def test_the_model_table_is_the_registrys():
    found = re.search(r"<!-- models -->\n(.*?)\n<!-- /models -->", README, re.S)[1]
    assert found == table(), f"put this between the README's markers:\n{table()}"


def test_the_python_tour_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_test_command_is_cis():
    assert "bash .ci/run" in README

"""Who may import whom, what imports cost, and that the index is true."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kzoo
from kzoo.zoo import index

ROOT = Path(kzoo.__file__).parent
# Part of the package -> parts of kzoo it may import. Arrows never go back.
BELOW = {
    "errors": set(),
    "spec": {"errors"},
    "text": {"errors", "spec"},
    "preprocess": {"errors", "spec", "text"},
    "weights": {"errors", "spec", "models"},
    "models": {"errors", "spec", "weights"},
    "data": {"errors", "spec", "preprocess", "text"},
    "training": {"errors", "spec", "data", "models"},
    "inspection": {"errors", "spec", "models", "weights"},
    "runs": {"errors", "spec", "preprocess", "text", "data", "models", "weights", "training", "inspection"},
    "benchmark": {"errors", "data", "models", "training"},
    "transfer": {"errors", "spec", "preprocess", "data", "models", "weights", "training", "inspection", "runs"},
    "tuning": {"errors", "spec", "data", "models", "training", "runs", "transfer"},
    "exporting": {
        "errors",
        "spec",
        "preprocess",
        "text",
        "data",
        "models",
        "weights",
        "training",
        "inspection",
        "runs",
    },
}
ANY = {"cli", "__init__"}  # joins them all; nothing imports it


def imports(path):
    """(line, dotted name) of every import in a file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


def test_imports_go_down_only():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part in ANY:
            continue
        for line, name in imports(path):
            if not name.startswith("kzoo."):
                continue
            target = name.split(".")[1]
            if target != part and target not in BELOW[part]:
                wrong.append(f"{path}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_models_never_import_tensorflow():
    wrong = [
        f"{path}:{line} imports {name}"
        for path in sorted((ROOT / "models").rglob("*.py"))
        for line, name in imports(path)
        if name.split(".")[0] in ("tensorflow", "torch", "jax")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_model_is_named_where_all_are_trained():
    """Kinds differ by objective, data and task: no branch on a model in the engine, the run folder or the verbs."""
    names = set(kzoo.list_models(hidden=True)) | {index()[name]["family"] for name in index()}
    wrong = []
    for path in [*(ROOT / "training").glob("*.py"), *(ROOT / "runs").glob("*.py"), *(ROOT / "cli").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.Match | ast.Dict):
                parts = [n for n in ast.walk(node) if isinstance(n, ast.Constant) and n.value in names]
                wrong += [f"{path}:{part.lineno} {part.value!r}" for part in parts]
    assert not wrong, "\n".join(wrong)


def test_spec_and_errors_are_on_the_standard_library():
    for part in ("spec.py", "errors.py"):
        outside = [name for _, name in imports(ROOT / part) if name.split(".")[0] not in sys.stdlib_module_names]
        assert [n for n in outside if not n.startswith("kzoo")] == []


def run(code):
    started = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip(), time.perf_counter() - started


def test_import_loads_neither_tensorflow_nor_keras():
    heavy = "{'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)"
    out, _ = run(f"import sys, kzoo; kzoo.list_models(); dir(kzoo); print({heavy})")
    assert out == "set()"


def test_every_public_name_exists():
    missing = [name for name in kzoo._PUBLIC if not hasattr(kzoo, name)]
    assert not missing
    assert callable(kzoo.lenet5)
    assert callable(kzoo.export), "the function, not a package of that name"
    with pytest.raises(AttributeError, match="lenet7"):
        kzoo.lenet7  # noqa: B018


def test_index_is_what_the_registry_says():
    from kzoo.zoo import INDEX
    from kzoo.index import build_index

    assert json.loads(INDEX.read_text(encoding="utf-8")) == json.loads(json.dumps(build_index())), (
        "kzoo/models/index.json is stale: python -m kzoo.index"
    )


def test_importing_draws_no_random_number():
    """The first model of a process is that of its seed, as any later one: nothing is drawn in between."""
    out, _ = run("""if True:
        import importlib, pkgutil, random
        import keras, numpy as np
        from keras.src.random.seed_generator import global_seed_generator
        import kzoo
        keras.utils.set_random_seed(3)
        unseeded = global_seed_generator().state  # made from a number drawn
        state = lambda: (random.getstate(), np.random.get_state()[2], unseeded.numpy().tolist())
        before = state()
        for module in pkgutil.walk_packages(kzoo.__path__, "kzoo."):
            if module.name.endswith("__main__"):  # would run the command line
                continue
            importlib.import_module(module.name)
            if state() != before:
                print(module.name)
                break
    """)
    assert out == ""

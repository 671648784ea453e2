"""Arrows between the floors of the house point down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN = {"tuner", "methods", "search_spaces", "cluster"}
ALLOWED_IN_METHODS = {"torch", "numpy", "kornia", "scipy", "methods"}
STANDARD_IN_METHODS = {
    "__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "difflib", "enum",
    "functools", "inspect", "itertools", "math", "threading", "types", "typing", "warnings",
}  # fmt: skip


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full dotted names of everything that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


# The one place below `methods` that reads files: weights that a package ships or a site keeps.
READS_WEIGHTS = {
    "methods/backbones/weights.py": {"hashlib", "importlib", "io", "pathlib", "pickle"},
    "methods/backbones/table.py": {"hashlib"},
    "methods/backbones/timm_features.py": {"timm", "hashlib"},
}


@pytest.mark.parametrize("path", modules("methods"), ids=lambda p: str(p.relative_to(ROOT)))
def test_methods_are_plain_torch(path: Path) -> None:
    more = READS_WEIGHTS.get(str(path.relative_to(ROOT)), set())
    assert tops(path) <= ALLOWED_IN_METHODS | STANDARD_IN_METHODS | more


def test_search_spaces_know_no_other_floor() -> None:
    for path in modules("search_spaces"):
        assert not tops(path) & (OWN - {"search_spaces"})
        assert not tops(path) & {"torch", "ray", "optuna", "mlflow"}


def test_cluster_knows_nothing_of_training() -> None:
    for path in modules("cluster"):
        assert not tops(path) & (OWN - {"cluster"})
        assert "torch" not in tops(path)


def test_only_the_command_line_prints_and_nothing_imports_it() -> None:
    for path in modules("tuner"):
        if "cli" not in path.parts:
            assert not any(name.startswith("tuner.cli") for name in imports(path)), path


def test_only_evaluation_and_report_open_labels() -> None:
    for folder in ("tuner", "methods", "search_spaces", "cluster"):
        for path in modules(folder):
            if any("labels" in name and name.startswith("tuner.data") for name in imports(path)):
                assert path.parts[-2] in ("evaluation", "report") or path.name == "labels.py", path


def test_study_does_not_know_evaluation() -> None:
    for path in modules("tuner/study"):
        names = imports(path)
        assert not any(name.startswith(("tuner.evaluation", "tuner.report")) for name in names)


def test_only_the_ledger_speaks_optuna_and_only_the_engine_speaks_ray() -> None:
    for path in modules("tuner"):
        if "optuna" in tops(path):
            assert path.name in ("ledger.py", "store.py", "importance.py"), path
        if "ray" in tops(path):
            assert path.name in ("engine_ray.py", "group.py", "worker.py"), path

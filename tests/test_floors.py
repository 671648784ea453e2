"""Arrows between the floors of the house point down only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from methods.registry import METHODS

ROOT = Path(__file__).parent.parent
OWN = {"tuner", "methods", "search_spaces", "cluster"}
ALLOWED_IN_METHODS = {"torch", "numpy", "kornia", "scipy", "methods"}
STANDARD_IN_METHODS = {
    "__future__", "abc", "collections", "contextlib", "contextvars", "copy", "dataclasses",
    "difflib", "enum", "functools", "inspect", "itertools", "math", "threading", "types", "typing",
    "warnings",
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
# And the one that imports by name.
BY_NAME = {"methods/plugins.py": {"importlib", "pkgutil", "sys"}}


@pytest.mark.parametrize("path", modules("methods"), ids=lambda p: str(p.relative_to(ROOT)))
def test_methods_are_plain_torch(path: Path) -> None:
    more = {**READS_WEIGHTS, **BY_NAME}.get(str(path.relative_to(ROOT)), set())
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


def test_only_the_report_sees_which_files_a_batch_came_from() -> None:
    for folder in ("tuner", "methods", "search_spaces", "cluster"):
        for path in modules(folder):
            if any(name.startswith("tuner.data.originals") for name in imports(path)):
                assert path.parts[-2:] == ("story", "images.py"), path


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


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All but what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield node
            yield from nodes(node)


def named(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """What an import, or an entry `module:object` of a table, names: the first that is a module."""
    if isinstance(node, ast.Import):
        yield from ((alias.name,) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from ((f"{node.module}.{alias.name}", node.module) for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield from ((found,) for found in re.findall(r"^([a-z_.]+):\w+$", node.value))


@cache
def arrows() -> dict[str, set[str]]:
    """Which modules of ours each module imports, inside functions and by tables of names too."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for folder in (*sorted(OWN), "tests", "benchmarks")
        for path in modules(folder)
    }
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        meant = (each for node in nodes(ast.parse(path.read_text())) for each in named(node))
        ours = (next((module for module in each if module in paths), name) for each in meant)
        found[name] = set(ours) - {name}
    return found


def test_nothing_is_imported_in_a_circle() -> None:
    # Raises CycleError, which names the modules.
    TopologicalSorter(arrows()).prepare()


def test_a_family_of_methods_imports_no_other() -> None:
    families = {place.partition(":")[0].rpartition(".")[0] for place in METHODS.builtin.values()}
    assert len(families) == 7 and "methods.self_tuning" in families

    def family(module: str) -> str | None:
        return next((each for each in families if f"{module}.".startswith(f"{each}.")), None)

    below = {name: others for name, others in arrows().items() if name.startswith("methods.")}
    # Its table names them all.
    del below["methods.registry"]
    for name, others in below.items():
        assert {family(other) for other in others} <= {None, family(name)}, name

"""ST-SSAD's tables as numbers and as text: means, deviations, one-sided Wilcoxon tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from st_ssad_columns import OURS

Aucs = Mapping[str, Mapping[str, Sequence[float | None]]]
_HERE = Path(__file__).parent


def summarise(aucs: Aucs) -> dict[str, Any]:
    """`aucs` holds by task and column one AUC for each seed (None where there is none).

    Tasks with mean and deviation over seeds, columns with their mean over tasks, and the p-value of
    the paired one-sided Wilcoxon signed-rank test, over all tasks and seeds, that ST-SSAD is the
    better one.
    """
    columns = list(next(iter(aucs.values())))
    tasks = {
        task: {column: _spread(row[column]) for column in columns} for task, row in aucs.items()
    }
    means = {column: _mean([tasks[task][column]["mean"] for task in tasks]) for column in columns}
    tests = {
        column: wilcoxon(
            [v for row in aucs.values() for v in row[OURS]],
            [v for row in aucs.values() for v in row[column]],
        )
        for column in columns
        if column != OURS and OURS in columns
    }
    return {"tasks": tasks, "mean": means, "p_of_st_ssad_being_better": tests}


def wilcoxon(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """The p-value of ours being greater than theirs; None where no pair differs."""
    from scipy.stats import wilcoxon as test

    pairs = [(o, t) for o, t in zip(ours, theirs, strict=True) if o is not None and t is not None]
    if not any(o != t for o, t in pairs):
        return None
    return float(test(*zip(*pairs, strict=True), alternative="greater").pvalue)


def published(number: int, kinds: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """The paper's figures by task and column, for objects whose kinds of anomalies are exactly the
    paper's: another data set may have an object of the same name."""
    table = json.loads((_HERE / f"paper_table{number}.json").read_text())
    return {
        f"{name}/{kind}": dict(zip(table["columns"], figures, strict=True))
        for name, rows in table["rows"].items()
        if set(kinds.get(name, ())) == set(rows)
        for kind, figures in rows.items()
    }


def text(summary: Mapping[str, Any], paper: Mapping[str, Mapping[str, float]], note: str) -> str:
    """The table for a terminal; under a task that the paper reports stand its figures."""
    columns = list(summary["mean"])
    width = max(len(task) for task in (*summary["tasks"], "p (ST-SSAD better)")) + 1

    def line(label: str, cells: Sequence[str]) -> str:
        return label.ljust(width) + "".join(cell.rjust(11) for cell in cells)

    lines = [line("", columns)]
    for task, row in summary["tasks"].items():
        lines.append(line(task, [_with_deviation(row[column]) for column in columns]))
        if task in paper:
            figures = [_figure(paper[task][column]) + "    " for column in columns]
            lines.append(line(f"  {note}", figures))
    lines.append(line("mean", [_figure(summary["mean"][c]) + "    " for c in columns]))
    tests = summary["p_of_st_ssad_being_better"]
    lines.append(line("p (ST-SSAD better)", [_figure(tests.get(c), 4) for c in columns]))
    return "\n".join(lines)


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    found = [v for v in values if v is not None]
    return {
        "mean": _mean(found),
        "std": float(np.std(found, ddof=1)) if len(found) > 1 else None,
        "auc": list(values),
    }


def _with_deviation(cell: Mapping[str, Any]) -> str:
    return f"{_figure(cell['mean'])}±{_figure(cell['std'], 2).removeprefix('0')}"


def _mean(values: Sequence[float | None]) -> float | None:
    found = [v for v in values if v is not None]
    return float(np.mean(found)) if found else None


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

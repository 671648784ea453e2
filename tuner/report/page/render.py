"""From a story to one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from tuner.report.page.story import Story
from tuner.report.page.wording import metric, words

BINS = 48


def render(story: Story) -> str:
    """The whole page: style, pictures, charts and script inside."""
    rows, ends = histogram(story)
    return str(_template().render(story=story, scores=_scores(story, ends), rows=rows, ends=ends))


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined, select_autoescape

    folder = files("tuner.report.page")
    environment = Environment(
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "words": words, "metric": metric}
    environment.globals |= {
        "style": (folder / "page.css").read_text(),
        "script": (folder / "page.js").read_text(),
    }
    return environment.from_string((folder / "page.html").read_text())


def number(value: float | None, digits: int = 4) -> str:
    """A number to read; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}g}"


@dataclass(frozen=True)
class Bars:
    """A row of the histogram: heights in percent of its highest bin."""

    name: str
    count: int
    heights: Sequence[float]


def histogram(story: Story) -> tuple[list[Bars], tuple[float, float]]:
    """Scores of held-out, unlabelled and pasted images, in the same bins; and where these begin and
    end. The last bin holds whatever is beyond it. After an audit the unlabelled ones are told
    apart."""
    test = np.asarray(story.test_scores, dtype=float)
    rows = {"held-out normal": np.asarray(story.held_out_scores, dtype=float)}
    if story.audit is not None and len(story.audit.truth) == len(test):
        truth = np.asarray(story.audit.truth, dtype=bool)
        rows |= {"unlabelled, good by label": test[~truth]}
        rows |= {"unlabelled, defective by label": test[truth]}
    else:
        rows |= {"unlabelled": test}
    pasted = [score for scores in story.pasted_scores.values() for score in scores]
    rows |= {"with a pasted defect": np.asarray(pasted, dtype=float)}
    known = np.concatenate([*rows.values(), [story.threshold]])
    known = known[np.isfinite(known)]
    low, high = float(known.min()), float(known.max())
    # A few far scores would press all others, and the threshold, into the first bins.
    high = min(high, max(float(np.quantile(known, 0.95)), 2 * story.threshold - low))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    found = []
    for name, values in rows.items():
        counts, _ = np.histogram(np.minimum(values[np.isfinite(values)], high), BINS, (low, high))
        heights = 100 * counts / max(1, counts.max())
        if len(values):
            found.append(Bars(name, len(values), [round(float(h), 1) for h in heights]))
    return found, (low, high)


def _scores(story: Story, ends: tuple[float, float]) -> str:
    """What the script needs to try another threshold. No `<` can end the script early."""
    content = {
        "test": [_short(score) for score in story.test_scores],
        "truth": [] if story.audit is None else list(story.audit.truth),
        "held_out": [_short(score) for score in sorted(story.held_out_scores)],
        "pasted": {
            words(kind): [_short(score) for score in scores]
            for kind, scores in story.pasted_scores.items()
        },
        "threshold": story.threshold,
        "low": ends[0],
        "high": ends[1],
    }
    return json.dumps(content).replace("<", "\\u003c")


def _short(score: float) -> float:
    return float(f"{score:.6g}")

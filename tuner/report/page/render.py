"""From a story to one HTML file that needs no network."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from tuner.report.page.story import Story
from tuner.report.page.wording import metric, words


def render(story: Story) -> str:
    """The whole page: style, pictures, charts and script inside."""
    return str(_template().render(story=story, scores=_scores(story)))


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


def _scores(story: Story) -> str:
    """What the script needs to try another threshold. No `<` can end the script early."""
    content = {
        "test": [float(f"{s:.6g}") for s in sorted(story.test_scores)],
        "held_out": [float(f"{s:.6g}") for s in sorted(story.held_out_scores)],
        "threshold": story.threshold,
    }
    return json.dumps(content).replace("<", "\\u003c")

"""The report: whole in one file, sound for every reader, and alive in a browser."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.stories import CRITERION, story, suspects, trials
from tuner.report.page import render
from tuner.report.page.charts import (
    Axis,
    Point,
    by_rung,
    by_trial,
    parallel,
    slices,
    timeline,
)
from tuner.report.page.render import histogram
from tuner.report.page.thumbnails import heat_map, photograph

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
VOID = {"meta", "link", "img", "input", "use", "br"}


class Page(HTMLParser):
    """Every opening tag with its attributes; raises where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return render(story())


def test_the_page_needs_no_network(page: str) -> None:
    found = Page(page)
    addresses = [a for _, attrs in found.tags for n, a in attrs.items() if n in ("src", "href")]
    assert all(a is None or a.startswith(("data:", "#")) for a in addresses)
    assert not re.search(r"@import|url\((?!#|data:)", page)


def test_what_a_screen_reader_needs_is_there(page: str) -> None:
    found = Page(page)
    assert found.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in found.all("img"))
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    labelled = {attrs["for"] for attrs in found.all("label") if "for" in attrs}
    assert {"rate"} <= labelled
    for _, attrs in found.tags:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
    drawings = [a for _, a in found.tags if a.get("role") == "img"]
    assert drawings and all(a["aria-label"] for a in drawings)
    links = [a["href"] for a in found.all("a")]
    assert all(link is not None and link[1:] in ids for link in links)


def test_what_users_wrote_is_text_and_never_markup(page: str) -> None:
    assert "lids <b>" not in page and html.escape("lids <b>") in page
    assert "saw <nothing>" not in page


def test_the_page_says_what_is_known_and_what_is_not(page: str) -> None:
    for text in ("no better than random", "criteria disagree", "the loss is not finite",
                 "overlooked: crack", "Not MVTec AD", "broken edge", "image AUROC"):  # fmt: skip
        assert text in page
    sealed = render(story(audited=False))
    assert "No labels were opened" in sealed and "ROC of" not in sealed


def test_charts_take_their_colours_from_the_page(page: str) -> None:
    assert "var(--accent)" in page
    assert not re.search(r"#0[1-7]0[1-7]0[1-7]", page)


def test_a_study_in_which_nothing_was_judged_has_a_chart_still() -> None:
    failed = [trial for trial in trials() if trial.state == "failed"]
    assert by_trial(failed, CRITERION, "maximize", 0).text == "No trial was judged."


def test_what_is_no_photograph_and_no_map_is_refused() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="a map is"):
        heat_map(image, np.zeros((1, 4, 4)), "a", (0.0, 1.0))
    with pytest.raises(ValueError, match="a photograph is"):
        photograph(image[..., 0], "a")


def test_a_hot_region_is_outlined_where_it_lies_in_the_photograph() -> None:
    image, heat = np.full((768, 384, 3), 90, np.uint8), np.zeros((8, 4), np.float32)
    heat[2, 1] = 1.0
    address = photograph(image, "a", heat, 0.9).address
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
    assert shown.shape == (384, 192, 3)
    red = np.argwhere((shown[..., 0] > 150) & (shown[..., 1] < 130))
    assert (red.min(0) >= (96 - 3, 48 - 3)).all() and (red.max(0) <= (144 + 3, 96 + 3)).all()


def test_the_histogram_counts_every_score_and_tells_labels_apart_after_an_audit() -> None:
    rows, ends = histogram(story())
    assert [(row.name, row.count) for row in rows] == [
        ("held-out normal", 4),
        ("unlabelled, good by label", 2),
        ("unlabelled, defective by label", 2),
        ("with a pasted defect", 2),
    ]
    assert ends == (0.5, 4.0) and all(max(row.heights) == 100 for row in rows)
    sealed, _ = histogram(story(audited=False))
    assert [row.name for row in sealed][1:] == ["unlabelled", "with a pasted defect"]


def test_a_page_of_three_hundred_trials_stays_small() -> None:
    rows = [replace(trials()[i % 3], number=i, rungs=[0.1 * i, 0.2 * i]) for i in range(300)]
    names = [f"parameter_{i}" for i in range(8)]
    points = [Point(dict.fromkeys(names, i / 300), i / 300, i - 1) for i in range(300)]
    axes = dict.fromkeys(names, Axis())
    charts = [
        by_trial(rows, CRITERION, "maximize", 2),
        by_rung(rows, CRITERION, 2),
        slices(points, axes, CRITERION),
        parallel(points, axes, CRITERION),
        timeline([(i, "finished", i, i + 1.0) for i in range(300)]),
    ]
    pictured = suspects(18) + suspects(18)
    assert len(render(replace(story(), trials=rows, charts=charts, most=pictured))) < 3_000_000


def test_places_on_an_axis_go_by_its_range_or_its_choices() -> None:
    axis = Axis(0.01, 1.0, log=True)
    assert [axis.place(v) for v in (0.01, 0.1, 1.0)] == pytest.approx([0.0, 0.5, 1.0])
    assert Axis(choices=["a", "b", "c"]).place("b") == 0.5
    assert Axis(2.0, 2.0).place(2.0) == 0.5


ACTIONS = """
const said = [];
const rate = document.getElementById("rate");
rate.value = "50"; rate.dispatchEvent(new Event("input"));
said.push(document.getElementById("rate-said").textContent);
said.push(document.querySelectorAll("#verdict li.above-threshold").length);
document.querySelectorAll(".zoom")[1].click();
const large = document.getElementById("large");
said.push(large.open && large.querySelector("img").alt);
large.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
said.push(large.querySelector("p").textContent);
document.getElementById("close").click();
said.push(large.open);
const rows = (table) => [...document.querySelectorAll(`#${table} tbody tr`)];
const first = () => rows("all-trials").map((r) => r.cells[0].textContent).join();
const heads = [...document.querySelectorAll("#all-trials th button")];
heads[0].click(); heads[0].click(); said.push(first());
heads[5].click(); said.push(first());
const state = document.getElementById("state");
state.value = "failed"; state.dispatchEvent(new Event("change"));
said.push(document.getElementById("shown").textContent);
const seen = (row) => getComputedStyle(row).display !== "none";
const shown = () => rows("hyperparameters").filter(seen).length;
said.push(shown());
document.getElementById("changed-only").click();
said.push(shown());
said.push(document.documentElement.scrollWidth <= window.innerWidth);
document.title = said.join("|");
"""
# A window is 500 pixels wide at least; a frame may be as narrow as a telephone.
FRAME = """<!doctype html><title>none</title>
<iframe width="{width}" height="900" srcdoc="{page}"
onload="document.title = this.contentDocument.title"></iframe>"""


@pytest.mark.heavy
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed on this machine")
@pytest.mark.parametrize("width", [360, 1600])
def test_it_works_in_a_browser(page: str, tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None
    file = tmp_path / "page.html"
    acted = page.replace("</body>", f"<script>{ACTIONS}</script></body>")
    file.write_text(FRAME.format(width=width, page=html.escape(acted)))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=1700,900", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    assert html.unescape(title[1]).split("|") == [
        "At 50 %: threshold 1.5; 3 of 4 unlabelled images and 2 of 4 held-out normal ones lie "
        "above it. Pasted defects caught: line cut 2 of 2. By the labels: 2 of 2 defective images "
        "caught, 1 of 2 good ones flagged.",
        "4",
        "heat of 0",
        "truth of 0",
        "false",
        "10,2,1,0",
        "1,0,2,10",
        "1 of 4 trials",
        "1",
        "2",
        "true",
    ]

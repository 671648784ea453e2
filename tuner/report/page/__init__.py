"""The report of a study: one page that needs no network."""

from tuner.report.page.render import render
from tuner.report.page.story import (
    Audited,
    Chart,
    Confusion,
    CriterionRow,
    DefectRow,
    Figure,
    HyperparameterRow,
    Picture,
    Story,
    Suspect,
    TrialRow,
)

__all__ = [
    "Audited",
    "Chart",
    "Confusion",
    "CriterionRow",
    "DefectRow",
    "Figure",
    "HyperparameterRow",
    "Picture",
    "Story",
    "Suspect",
    "TrialRow",
    "render",
]

"""Names as people write them."""

from __future__ import annotations

_SHORT = {"auroc": "AUROC", "ap": "AP", "aupro": "AUPRO", "f1": "F1"}


def words(name: str) -> str:
    """Without underscores."""
    return name.replace("_", " ")


def metric(name: str) -> str:
    """A metric, its abbreviations in capitals."""
    return " ".join(_SHORT.get(word, word) for word in name.split("_"))

"""The audit on small made-up labels."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.evaluation.oracles import brute_aupro, random_batch
from tuner.evaluation import Contender, audit_contenders, open_labels, rank_trials
from tuner.evaluation.audit import METRICS


def labels_of(masks: np.ndarray | None, anomalous, known=None, defects=None):
    anomalous = np.asarray(anomalous, bool)
    known = np.ones(len(anomalous), bool) if known is None else np.asarray(known, bool)
    return SimpleNamespace(
        anomalous=anomalous,
        defects=tuple(defects or ("crack" if a else "" for a in anomalous)),
        masks=masks,
        mask_known=known,
        missing_masks=int((~known & anomalous).sum()),
        warnings=(),
    )


@pytest.fixture
def batch():
    maps, masks = random_batch(4, images=8)
    masks[:3] = False
    return maps, masks, masks.any(axis=(1, 2))


def test_figures_counts_and_kinds(batch):
    maps, masks, anomalous = batch
    kinds = ["" if not a else ("crack" if i % 2 else "stain") for i, a in enumerate(anomalous)]
    labels = labels_of(masks, anomalous, defects=kinds)
    scores = maps.max(axis=(1, 2)).astype(np.float64)
    found = audit_contenders(
        labels,
        {"winner": Contender(scores, lambda: iter(maps)), "default": Contender(-scores)},
    )
    assert set(found["winner"]) == set(METRICS)
    assert found["winner"]["aupro"] == pytest.approx(brute_aupro(maps, masks, 0.3), abs=1e-12)
    assert found["default"]["image_auroc"] == pytest.approx(1 - found["winner"]["image_auroc"])
    assert found["default"]["aupro"] is None and found["undefined"]["aupro"] == 1
    assert found["counts"]["images"] == 8 and found["counts"]["anomalous"] == anomalous.sum()
    assert {k: v["images"] for k, v in found["defects"].items()} == {
        "crack": kinds.count("crack"),
        "stain": kinds.count("stain"),
    }
    json.dumps(found)


def test_images_without_a_mask_count_for_images_only(batch):
    maps, masks, anomalous = batch
    known = np.ones(8, bool)
    known[np.flatnonzero(anomalous)[0]] = False
    masks = masks & known[:, None, None]
    found = audit_contenders(
        labels_of(masks, anomalous, known),
        {"winner": Contender(maps.mean(axis=(1, 2)), lambda: iter(maps))},
    )
    assert found["counts"]["masks_missing"] == 1
    expected = brute_aupro(maps[known], masks[known], 0.3)
    assert found["winner"]["aupro"] == pytest.approx(expected, abs=1e-12)


def test_no_masks_at_all_leaves_image_metrics(batch):
    maps, _, anomalous = batch
    found = audit_contenders(
        labels_of(None, anomalous),
        {"winner": Contender(maps.mean(axis=(1, 2)), lambda: iter(maps))},
    )
    assert found["winner"]["pixel_auroc"] is None and found["winner"]["image_auroc"] is not None
    assert found["counts"]["regions"] == 0


def test_one_class_and_broken_scores_are_counted_not_guessed():
    found = audit_contenders(
        labels_of(None, [False, False, False]), {"winner": Contender(np.arange(3.0))}
    )
    assert found["winner"]["image_auroc"] is None and found["undefined"]["image_f1_max"] == 1
    broken = Contender(np.array([0.0, math.nan, 1.0]))
    found = audit_contenders(labels_of(None, [False, True, True]), {"winner": broken})
    assert found["winner"]["image_ap"] is None
    assert found["defects"]["crack"]["image_auroc"] is None


def test_trials_are_ranked_and_broken_ones_come_last():
    labels = labels_of(None, [False, False, True, True])
    ranked = rank_trials(
        labels,
        {
            3: np.array([0.0, 1.0, 0.5, 2.0]),
            5: np.array([math.nan, 1.0, 1.0, 2.0]),
            7: np.array([0.0, 1.0, 2.0, 3.0]),
        },
    )
    assert list(ranked) == [7, 3, 5]
    assert ranked[7] == 1.0 and ranked[3] == 0.75 and math.isnan(ranked[5])


def test_wrong_numbers_of_scores_and_maps(batch):
    maps, masks, anomalous = batch
    labels = labels_of(masks, anomalous)
    with pytest.raises(ValueError, match="scores are"):
        audit_contenders(labels, {"winner": Contender(np.zeros(7))})
    with pytest.raises(ValueError, match="maps are 7"):
        audit_contenders(labels, {"winner": Contender(np.zeros(8), lambda: iter(maps[:7]))})
    with pytest.raises(ValueError, match="more maps"):
        audit_contenders(
            labels, {"winner": Contender(np.zeros(8), lambda: iter(np.tile(maps, (2, 1, 1))))}
        )


def test_data_without_labels_has_nothing_to_open(tmp_path):
    from PIL import Image

    for folder in ("normal", "unlabelled"):
        (tmp_path / "part" / folder).mkdir(parents=True)
        for index in range(4):
            pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "part" / folder / f"{index}.png")
    assert open_labels(str(tmp_path), "part", (32, 32), []) is None


def test_contenders_of_one_key_are_measured_once(batch):
    maps, masks, anomalous = batch
    passes = []

    def drawn():
        passes.append(1)
        return iter(maps)

    scores = maps.max(axis=(1, 2)).astype(np.float64)
    twins = {name: Contender(scores, drawn, key="same") for name in ("winner", "best")}
    once = {"winner": Contender(scores, drawn)}
    measured = {}
    found = audit_contenders(labels_of(masks, anomalous), twins, measured=measured)
    assert len(passes) == 1 and found["best"] == found["winner"]
    assert found["winner"]["aupro"] == measured["same"]["aupro"]
    assert audit_contenders(labels_of(masks, anomalous), once)["winner"] == found["winner"]

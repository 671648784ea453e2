"""Changes of champion: promote, roll back, retire."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.promotion import gates
from tuner.promotion.gates import Gate
from tuner.promotion.rematch import Batch, Rematch, gather, rematch, scores_of
from tuner.registry.export import ONNX_FILE, Parity, parity, read_export
from tuner.registry.history import Event, changing, events, move_champion, previous
from tuner.registry.package import STUDY_FILE, PackagedDetector, load_package
from tuner.registry.register import CHALLENGER, model_name
from tuner.registry.versions import (
    CHAMPION,
    RETIRED_TAG,
    Version,
    by_alias,
    by_number,
    demanded,
    fetch,
    speaking_to,
)
from tuner.study.config import StudyConfig, read_config
from tuner.study.home import Home, private
from tuner.tracking.values import clean_tags

_PARITY_IMAGES = 32


class PromotionRefused(RuntimeError):
    """A gate did not open, or another promotion came first; the champion is what it was."""

    def __init__(self, text: str, found: Sequence[Gate] = ()) -> None:
        super().__init__(text)
        self.gates = tuple(found)


@dataclass(frozen=True)
class Terms:
    """What a promotion is asked to do beside its gates; see `promote`."""

    accept_data: bool = False
    require: Sequence[str] = ()
    require_card: bool = False
    force: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Promotion:
    """What came of it: the event, and every gate's verdict."""

    category: str
    event: Event
    gates: tuple[Gate, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "category": self.category,
            "event": vars(self.event),
            "gates": [vars(gate) for gate in self.gates],
        }


@private()
def promote(
    category: str, number: int | None, uri: str, home: Home, terms: Terms | None = None
) -> Promotion:
    """Make a version, by default the challenger, the champion, if every gate opens.

    The gates are judged first, without any lock, against the champion of that moment; then, under
    the lock, the champion is read again. Raises PromotionRefused where a gate is shut (but with
    `force`, which is recorded) or where another became champion meanwhile, PackageError for a
    package that cannot be loaded (which no force helps), RegistryError for a registry that is
    away, LookupError for an unknown category or version, ValueError for wrong terms.
    """
    terms = terms or Terms()
    if terms.force and not terms.reason.strip():
        raise ValueError("--force needs a reason; give it by --reason, it goes into the history")
    with speaking_to(uri) as client:
        version = (
            demanded(client, category, CHALLENGER)
            if number is None
            else by_number(client, category, number)
        )
        champion = by_alias(client, category, CHAMPION)
        if champion is not None and champion.number == version.number:
            raise PromotionRefused(
                f"version {version.number} is the champion of {category} already"
            )
        if version.retired is not None and not terms.force:
            raise PromotionRefused(
                f"version {version.number} was retired: {version.retired}; if it shall come back "
                "all the same, give --force and --reason"
            )
        challenger = fetch(client, uri, version, home.models)
        reigning = None if champion is None else fetch(client, uri, champion, home.models)
        found = _judge(home, version, challenger, reigning, terms)
        shut = [gate for gate in found if not gate.passed]
        _write_down(client, version, found, terms, refused=bool(shut) and not terms.force)
        if shut and not terms.force:
            raise PromotionRefused(_in_words(category, version, shut), found)
        event = Event(
            "forced" if shut or version.retired is not None else "promoted",
            version.number,
            champion.number if champion else 0,
            version.study,
            terms.reason or "all gates passed",
        )
        with changing(uri, category, home.path):
            _unchanged(client, category, champion)
            written = move_champion(client, category, event)
        _drop_challenger(client, category, version.number)
    return Promotion(category, written, tuple(found))


@private()
def roll_back(category: str, uri: str, home: Home, reason: str = "") -> Promotion:
    """Make the previous champion champion again.

    Its package is loaded first: what cannot be loaded cannot take over. Raises PromotionRefused
    where there is none to return to, or it was retired; else as `promote`.
    """
    with speaking_to(uri) as client, changing(uri, category, home.path):
        champion = by_alias(client, category, CHAMPION)
        before = previous(events(client, category))
        if not before:
            raise PromotionRefused(f"{category} has no earlier champion to return to")
        version = by_number(client, category, before)
        if version.retired is not None:
            raise PromotionRefused(
                f"the previous champion, version {before}, was retired: {version.retired}; promote "
                f"another by: tuner promote {category} --version N"
            )
        load_package(fetch(client, uri, version, home.models), "cpu")
        event = Event(
            "rolled back", before, champion.number if champion else 0, version.study, reason
        )
        return Promotion(category, move_champion(client, category, event))


@private()
def retire(
    category: str, number: int, uri: str, home: Home, *, reason: str, force: bool = False
) -> Version:
    """Withdraw a version: it loses its aliases and cannot be promoted or returned to.

    Raises PromotionRefused for the champion, which leaves the line without a model, unless
    `force` is set; ValueError without a reason; else as `promote`.
    """
    if not reason.strip():
        raise ValueError("retiring a version needs a reason; give it by --reason")
    with speaking_to(uri) as client, changing(uri, category, home.path):
        version = by_number(client, category, number)
        champion = by_alias(client, category, CHAMPION)
        reigns = champion is not None and champion.number == number
        if reigns and not force:
            raise PromotionRefused(
                f"version {number} is the champion of {category}; promote another one first, roll "
                "back, or give --force to leave the category without one"
            )
        client.set_model_version_tag(version.name, str(number), RETIRED_TAG, reason)
        if reigns:
            move_champion(client, category, Event("retired", 0, number, version.study, reason))
        _drop_challenger(client, category, number)
    return version


@private()
def history(category: str, uri: str) -> list[Event]:
    """Who was champion when, oldest first. Raises LookupError, RegistryError."""
    with speaking_to(uri) as client:
        return events(client, category)


def _judge(
    home: Home, version: Version, folder: Path, reigning_folder: Path | None, terms: Terms
) -> list[Gate]:
    """Every gate, whether earlier ones are shut or not: a refusal should say all that is wrong."""
    challenger = load_package(folder)
    reigning = None if reigning_folder is None else load_package(reigning_folder)
    own, rival = challenger.package, None if reigning is None else reigning.package
    study = home.study(own.study)
    card, audit = _card(_json(study.summary), version.tags), _json(study.audit)
    found = _measure(home, folder, challenger, reigning, card if isinstance(card, Mapping) else {})
    return [
        gates.same_data(own, rival, terms.accept_data),
        gates.better(found.match, rival, found.why_not),
        gates.false_positives(own, found.held_out, found.why_not),
        gates.export_parity(read_export(folder), found.export, found.why_not),
        gates.reliability(card, terms.require_card),
        *(
            gates.required(text, audit, version.tags.get("tuner.trial", "?"), own.study)
            for text in terms.require
        ),
    ]


@dataclass(frozen=True)
class _Measured:
    """What needs the images of the challenger's study; where they cannot be had, why."""

    match: Rematch | None = None
    held_out: NDArray[np.float64] | None = None
    export: Parity | None = None
    why_not: str = ""


def _measure(
    home: Home,
    folder: Path,
    challenger: PackagedDetector,
    champion: PackagedDetector | None,
    card: Mapping[str, Any],
) -> _Measured:
    try:
        config = _config(challenger.package.study, home, folder)
        batch = gather(
            config, home, challenger.package, None if champion is None else champion.package
        )
        own = scores_of(challenger, batch)
        match = None
        if champion is not None:
            match = rematch(batch, own, scores_of(champion, batch), config, card)
    except (ValueError, OSError) as error:
        return _Measured(
            why_not=f"cannot be judged here: {error}; promote where its images can be read"
        )
    try:
        return _Measured(match, own[0], _export_of(folder, challenger, batch))
    except OSError as error:
        return _Measured(match, own[0], why_not=str(error))


def _config(study: str, home: Home, folder: Path) -> StudyConfig:
    """What was asked of a study: as it lies here, or as its package carries it elsewhere."""
    carried = folder / STUDY_FILE
    if home.study(study).config.is_file() or not carried.is_file():
        return read_config(study, home)
    return StudyConfig.read(carried)


def _card(summary: Mapping[str, Any] | None, tags: Mapping[str, str]) -> Any:
    """The reliability card; its verdict and reasons, where the study ran on another machine."""
    if summary is not None:
        return summary.get("reliability")
    if "tuner.reliability" not in tags:
        return None
    reasons = tags.get("tuner.reliability_reasons", "")
    return {"verdict": tags["tuner.reliability"], "reason": reasons}


def _export_of(folder: Path, challenger: PackagedDetector, batch: Batch) -> Parity | None:
    if not (folder / ONNX_FILE).is_file():
        return None
    from tuner.registry.intake import batches

    images = batch.test[:_PARITY_IMAGES].transpose(0, 2, 3, 1)
    (prepared,) = batches(images, challenger.package.intake, _PARITY_IMAGES)
    return parity(challenger, folder / ONNX_FILE, prepared.pixels)


def _write_down(
    client: Any, version: Version, found: Sequence[Gate], terms: Terms, refused: bool
) -> None:
    """Each gate's figure and reason as tags on the version, and how it ended."""
    outcome = "refused" if refused else "forced" if terms.force else "passed"
    marks = {"outcome": outcome, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    if terms.reason:
        marks["reason"] = terms.reason
    tags = dict(gate.as_tag() for gate in found)
    tags |= {f"tuner.promotion.{name}": value for name, value in marks.items()}
    for key, value in clean_tags(tags).items():
        client.set_model_version_tag(version.name, str(version.number), key, value)


def _unchanged(client: Any, category: str, judged_against: Version | None) -> None:
    """Compare before setting: the champion must be the one that the gates compared with."""
    now = by_alias(client, category, CHAMPION)
    expected = judged_against.number if judged_against else 0
    present = now.number if now else 0
    if present != expected:
        raise PromotionRefused(
            f"another promotion came first: the champion of {category} was {_said(expected)} when "
            f"the gates were judged and is now {_said(present)}; promote again to be judged anew"
        )


def _said(number: int) -> str:
    return f"version {number}" if number else "none"


def _drop_challenger(client: Any, category: str, number: int) -> None:
    challenger = by_alias(client, category, CHALLENGER)
    if challenger is not None and challenger.number == number:
        client.delete_registered_model_alias(model_name(category), CHALLENGER)


def _in_words(category: str, version: Version, shut: Sequence[Gate]) -> str:
    reasons = "; ".join(f"{gate.name}: {gate.reason}" for gate in shut)
    return f"version {version.number} of {category} is not promoted: {reasons}"


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None

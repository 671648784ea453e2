"""What was learned by gradient re-enters the search.

A self-tuning trial ends with an augmentation that it learned. As a point of its own search space
it is where a further trial may begin; translated by a method that adopts such augmentations (the
corruption of an autoencoder), it is a point of that method's space. Either is enqueued in front of
the sampler's next draw: the trial that tries it takes a draw's place in the budget, and its result
teaches the sampler. Adding the point as a finished trial instead would cost nothing, but claim a
result that nobody measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from methods.contract import AdoptingMethod, TuningMethod
from methods.criteria.contract import Criterion
from methods.hyperparameter import Value
from methods.registry import get_method
from tuner.study.ledger import Entry
from tuner.study.selection import rank
from tuner.study.space import MethodSpace


@dataclass(frozen=True)
class Offer:
    """A point for one method to try."""

    method: str
    point: Mapping[str, Value]


def learned_point(entry: Entry, space: MethodSpace) -> dict[str, Value]:
    """What a trial learned as a point of its own space; empty where it learned nothing."""
    method, tuned = _tuning(entry)
    if method is None:
        return {}
    return space.nearest(method.learned(space.complete(entry.point), tuned))


def offers(
    entry: Entry, entries: Sequence[Entry], spaces: Iterable[MethodSpace], objective: Criterion
) -> list[Offer]:
    """What a trial that comes to its end offers to every method of the study, its own included.

    Only the best trial of its method so far offers anything, lest a study spend its budget on what
    its weak trials learned. A trial that began where another ended offers nothing to its own
    method: it would go on for ever in small steps. A point that was tried already is not offered.
    """
    method, tuned = _tuning(entry)
    if method is None or not _leads(entry, entries, objective):
        return []
    known = {space.method: space for space in spaces}
    own = known[entry.method].complete(entry.point)
    found = []
    for name, space in known.items():
        values: Mapping[str, Value] = {}
        receiver = get_method(name)
        if name == entry.method:
            values = {} if entry.kind == "learned" else method.learned(own, tuned)
        elif isinstance(receiver, AdoptingMethod):
            adopted = receiver.adopt(method.augmentation(own), tuned)
            values = {**_best(space, entries, objective), **adopted} if adopted else {}
        point = space.nearest(values)
        tried = [e.point for e in entries if e.method == name]
        if values and not any(space.alike(point, other) for other in tried):
            found.append(Offer(name, point))
    return found


def _tuning(entry: Entry) -> tuple[TuningMethod | None, Mapping[str, float]]:
    tuned = entry.last.get("tuned") or {}
    method = get_method(entry.method) if tuned else None
    return (method if isinstance(method, TuningMethod) else None), tuned


def _leads(entry: Entry, entries: Sequence[Entry], objective: Criterion) -> bool:
    others = [e for e in entries if e.method == entry.method and e.number != entry.number]
    ranked = rank([*others, replace(entry, state="finished")], objective)
    return bool(ranked) and ranked[0].number == entry.number


def _best(
    space: MethodSpace, entries: Sequence[Entry], objective: Criterion
) -> Mapping[str, Value]:
    """Hyperparameters of a method's best trial so far, or its defaults."""
    ranked = rank([e for e in entries if e.method == space.method], objective)
    return space.complete(ranked[0].point if ranked else space.defaults)

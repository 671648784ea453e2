"""Augmentations that another method learned by gradient, as corruptions of this one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from methods.hyperparameter import Hyperparameter, Value, by_name

# A learned patch becomes every second corruption: the others keep the recipe's variety.
_SHARE = ("cutdiff_share", 0.5)
# By augmentation: what is learned there, and what it is called here, in the same units. Depth and
# colour are not taken over, since textures fill a region here.
_PATCH = {"size": "cutdiff_size", "ratio": "cutdiff_ratio", "angle": "cutdiff_angle"}
TRANSLATIONS: Mapping[str, Mapping[str, str]] = {
    "cutdiff": _PATCH,
    "cutdiff-signed": _PATCH,
    "cutdiff-coloured": _PATCH,
}


def translated(
    augmentation: str, tuned: Mapping[str, float], declared: Iterable[Hyperparameter]
) -> dict[str, Value]:
    """Learned values under the names that `declared` has for them, moved into its bounds.

    Empty for an augmentation without a translation, and where the corruption it would need is not
    declared.
    """
    names, known = TRANSLATIONS.get(augmentation), by_name(declared)
    if names is None or _SHARE[0] not in known:
        return {}
    found: dict[str, Value] = dict([_SHARE])
    for learned, name in names.items():
        parameter = known[name]
        assert parameter.low is not None and parameter.high is not None
        found[name] = min(max(tuned[learned], parameter.low), parameter.high)
    return found

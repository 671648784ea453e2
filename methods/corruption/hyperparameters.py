"""Declarations of the corruption recipe's hyperparameters.

The papers say what a corruption must be like (coherent, elastically deformed, thin shapes among
them, textures from elsewhere, opacities between 0 and 1) but publish no numbers, so every default
here is our choice. Shares are weights: only their ratios count. The default is what the papers of
this family train on, occlusions alone; the other kinds are those of related work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.corruption.cutdiff import PREFIX
from methods.corruption.masks import KINDS
from methods.corruption.recipe import CorruptionRecipe
from methods.corruption.textures import SOURCES
from methods.hyperparameter import Condition, Hyperparameter, at

_RECIPE = CorruptionRecipe()
_FAE = "ours; property from FAE (arXiv 2511.07233), no number published"
_PAE = "ours; property from Bauer et al., PAE, section 2.1, no number published"
_SIDE = "of the shorter side"

_KINDS = (
    ("occlusion", "regions covered by foreign textures", _PAE),
    ("cutdiff", "smooth dark or bright patches", "ST-SSAD, Algorithm 2; in this family ours"),
    ("cutpaste", "boxes of the image pasted elsewhere", "CutPaste (Li et al., 2021)"),
    ("scar", "thin turned strips of the image pasted elsewhere", "CutPaste (Li et al., 2021)"),
    ("perlin", "torn regions of Perlin noise, filled like occlusions", "DRAEM (Zavrtanik, 2021)"),
    ("seamless", "pieces of the image blended in elsewhere", "NSA (Schlueter et al., 2022)"),
    ("blocks", "a third of all blocks set to 0", "RIAD (Zavrtanik et al., 2021)"),
)

# A weight beside which all others are 0 means nothing: only ratios count.
_NO_REGIONS: tuple[Condition, ...] = (at(occlusion_share=0.0),)
_NO_TEXTURES: tuple[Condition, ...] = (at(occlusion_share=0.0, perlin_share=0.0),)
_TEXTURES = tuple(f"texture_{source}" for source in SOURCES)


def _alone(name: str, names: Iterable[str]) -> Condition:
    """The condition that all weights but this one are 0."""
    return at(**{f"{other}_share": 0.0 for other in names if other != name})


def _share(name: str, what: str, source: str) -> Hyperparameter:
    return Hyperparameter(
        f"{name}_share",
        _RECIPE.kind_share(name),
        f"weight of {name} among the kinds of corruption: {what}",
        low=0.0,
        high=1.0,
        source=source,
        unless=(_alone(name, (kind for kind, *_ in _KINDS)),),
    )


def _cutdiff(declared: Hyperparameter) -> Hyperparameter:
    """A parameter of CutDiff in natural units, with the bounds that it has where it is learned."""
    assert declared.low is not None and declared.high is not None
    logarithmic = declared.name.startswith("log_")
    name = PREFIX + declared.name.removeprefix("log_")
    low, high = (
        float(f"{math.exp(bound):.10g}") if logarithmic else bound
        for bound in (declared.low, declared.high)
    )
    return replace(
        declared,
        name=name,
        default=getattr(_RECIPE, name),
        help=_CUTDIFF_HELP.get(declared.name, declared.help),
        low=low,
        high=high,
        log=logarithmic,
        unless=(at(cutdiff_share=0.0),),
    )


_CUTDIFF_HELP = {
    "log_size": "size of a CutDiff patch as a share of the image's area; half of its depth is"
    " reached on pi ln 2 = 2.18 times that area",
    "log_ratio": "square root of a CutDiff patch's aspect: 1 is a circle, above 1 is wide",
}

CORRUPTION: tuple[Hyperparameter, ...] = (
    *(_share(*kind) for kind in _KINDS),
    *(_cutdiff(declared) for declared in CUTDIFF_SIGNED.hyperparameters),
    Hyperparameter(
        "blob_share",
        _RECIPE.blob_share,
        "weight of elastically deformed ellipses among the corrupted regions",
        low=0.0,
        high=1.0,
        source=_FAE,
        unless=(*_NO_REGIONS, _alone("blob", KINDS)),
    ),
    Hyperparameter(
        "stroke_share",
        _RECIPE.stroke_share,
        "weight of thin curves, like scratches, among the corrupted regions",
        low=0.0,
        high=1.0,
        source=_FAE,
        unless=(*_NO_REGIONS, _alone("stroke", KINDS)),
    ),
    Hyperparameter(
        "dots_share",
        _RECIPE.dots_share,
        "weight of groups of 5 to 30 dots among the corrupted regions",
        low=0.0,
        high=1.0,
        unless=(*_NO_REGIONS, _alone("dots", KINDS)),
    ),
    Hyperparameter(
        "components",
        _RECIPE.components,
        "largest number of regions in one image; 1 to this many, equally likely",
        low=1,
        high=8,
        unless=_NO_REGIONS,
    ),
    Hyperparameter(
        "blob_size",
        _RECIPE.blob_size,
        "largest half-axis of a blob; drawn log-uniformly from a tenth of it",
        low=0.03,
        high=0.4,
        log=True,
        unit=_SIDE,
        unless=(*_NO_REGIONS, at(blob_share=0.0)),
    ),
    Hyperparameter(
        "blob_deformation",
        _RECIPE.blob_deformation,
        "largest elastic displacement of a blob's outline; drawn from a quarter of it",
        low=0.0,
        high=1.0,
        unit="half-axes",
        source=_FAE,
        unless=(*_NO_REGIONS, at(blob_share=0.0)),
    ),
    Hyperparameter(
        "stroke_width",
        _RECIPE.stroke_width,
        "largest width of a stroke; drawn log-uniformly from a sixth of it, dots alike",
        low=0.004,
        high=0.1,
        log=True,
        unit=_SIDE,
        source=_FAE,
        unless=(*_NO_REGIONS, at(stroke_share=0.0, dots_share=0.0)),
    ),
    Hyperparameter(
        "stroke_length",
        _RECIPE.stroke_length,
        "largest length of a stroke along its curve; drawn log-uniformly from a sixth of it",
        low=0.05,
        high=1.5,
        log=True,
        unit=_SIDE,
        unless=(*_NO_REGIONS, at(stroke_share=0.0)),
    ),
    Hyperparameter(
        "edge_blur",
        _RECIPE.edge_blur,
        "largest width of a mask's edge; drawn from zero, one pixel at least",
        low=0.0,
        high=0.1,
        unit=_SIDE,
        source=_PAE,
        unless=_NO_REGIONS,
    ),
    Hyperparameter(
        "opaque_share",
        _RECIPE.opaque_share,
        "probability that a corruption is opaque; otherwise its opacity is U(0, 1)",
        low=0.0,
        high=1.0,
        source=_PAE,
    ),
    Hyperparameter(
        "clean_share",
        _RECIPE.clean_share,
        "probability that an image stays clean",
        low=0.0,
        high=0.9,
    ),
    Hyperparameter(
        "texture_pool_share",
        _RECIPE.texture_pool_share,
        "weight of foreign images as texture; falls to formulas where there are none",
        low=0.0,
        high=1.0,
        source=_PAE,
        unless=(*_NO_TEXTURES, _alone("texture_pool", _TEXTURES)),
    ),
    Hyperparameter(
        "texture_self_share",
        _RECIPE.texture_self_share,
        "weight of other normal images, warped and recoloured, as texture",
        low=0.0,
        high=1.0,
        unless=(*_NO_TEXTURES, _alone("texture_self", _TEXTURES)),
    ),
    Hyperparameter(
        "texture_procedural_share",
        _RECIPE.texture_procedural_share,
        "weight of formulas (Perlin noise, stripes, checkers, noise) as texture",
        low=0.0,
        high=1.0,
        unless=(*_NO_TEXTURES, _alone("texture_procedural", _TEXTURES)),
    ),
    Hyperparameter(
        "texture_constant_share",
        _RECIPE.texture_constant_share,
        "weight of a single random colour as texture",
        low=0.0,
        high=1.0,
        unless=(*_NO_TEXTURES, _alone("texture_constant", _TEXTURES)),
    ),
    Hyperparameter(
        "texture_saturation",
        _RECIPE.texture_saturation,
        "how much colour textures keep: 0 grey, 1 as they are",
        low=0.0,
        high=1.0,
        unless=_NO_TEXTURES,
    ),
)

"""Which patches are worth an exact run: those with the largest first-order estimates.

One backward pass a prompt estimates every patch (`nashlens.engine.gradients`). Where a model is
large, only the patches that are estimated to do the most are patched exactly. How well the
estimates rank is then known of patches that were chosen for being large; so a few others, drawn at
random, are patched exactly as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nashlens.circuits.patching import Patch

EVERY, LARGEST, RANDOM, REFERENCE = "all", "screen", "random", "embedding"
REASONS = {
    EVERY: "it was not screened: nothing was, or it is a path",
    LARGEST: "its estimate is one of the largest",
    RANDOM: "drawn from those whose estimate is not",
    REFERENCE: "the embedding of tokens whose later residual was chosen: M11 holds it against them",
}
"""Why a patch is exact."""
OTHERS = 8
"""Patches that are drawn at random from those with smaller estimates, at most."""


def choose_patches(
    sizes: Sequence[Mapping[Patch, float]], count: int, rng: np.random.Generator
) -> dict[Patch, str]:
    """Choose the patches that are exact, the same ones for pairs of all kinds and directions.

    Parameters
    ----------
    sizes : sequence of mapping of Patch to float
        For each kind and direction the size of each patch's estimated effect. The largest of each
        are taken in turn, so that one kind with large effects does not take all places.
    count : int
        Patches that are chosen by their size.
    rng : numpy.random.Generator
        Draws the others.

    Returns
    -------
    dict of Patch to str
        Patch -> why, see `REASONS`.
    """
    ranked = [sorted(of_arm, key=lambda patch: -of_arm[patch]) for of_arm in sizes]
    in_turn = chain.from_iterable(zip_longest(*ranked))
    order = list(dict.fromkeys(patch for patch in in_turn if patch is not None))
    why = dict.fromkeys(order[:count], LARGEST)
    rest = order[count:]
    drawn = sorted(rng.permutation(len(rest))[:OTHERS].tolist())
    why |= {rest[k]: RANDOM for k in drawn}
    known = set(order)
    for patch in list(why):
        embedding = patch._replace(layer=0)
        if patch.site == "residual" and embedding in known:
            why.setdefault(embedding, REFERENCE)
    return why

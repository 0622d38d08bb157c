"""Choir or soloist: over how many components an effect is spread.

Components are ablated one after another, the one that writes the most against the Nash action
first. They were put in order on other histories than those on which the curve is measured, so that
luck in the order does not steepen it. Random orders of the same components are the control: a choir
needs about as many in any order, a soloist one where a random order needs half of them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nashlens.circuits.readings import Ablations
from nashlens.contrasts import Array
from nashlens.estimates import Bootstrap, collect, frame

SHARES = (0.5, 0.8, 0.95)
"""Shares of the whole effect of which it is said how many components carry them."""
LEAST_EFFECT = 0.2
"""Whole effect, in logits, from which on it is counted who carries it (P from 0.50 to 0.55)."""
_KEYS = {"model": "str", "quantity": "str", "order": "str", "size": "Int64", "share": "float64"}


def needed(curve: ArrayLike, share: float) -> Array:
    """Return how many components carry a share of the whole effect.

    Parameters
    ----------
    curve : array_like, shape (..., k)
        Effect of the first 1, 2, ..., k components together; the last is the whole effect.
    share : float

    Returns
    -------
    numpy.ndarray, shape (...)
        The smallest number whose effect is at least the share; NaN where the whole effect is not
        above 0.

    Examples
    --------
    >>> needed([1.0, 3.0, 4.0], 0.5)
    array(2.)
    """
    values = np.asarray(curve, dtype=np.float64)
    whole = values[..., -1:]
    first = 1.0 + np.argmax(values >= share * whole, axis=-1)
    return np.where(whole[..., 0] > 0, first, np.nan)


def gini(values: ArrayLike) -> Array:
    """Return the Gini coefficient of k shares, none of them counted as less than 0.

    Parameters
    ----------
    values : array_like, shape (..., k)

    Returns
    -------
    numpy.ndarray, shape (...)
        0 where all are equal, (k - 1) / k where one has everything; NaN where none is above 0.

    Examples
    --------
    >>> gini([1.0, 1.0, 1.0, 1.0]), gini([0.0, 0.0, 0.0, 4.0])
    (array(0.), array(0.75))
    """
    shares = np.sort(np.maximum(np.asarray(values, dtype=np.float64), 0.0), axis=-1)
    k, total = shares.shape[-1], shares.sum(axis=-1)
    ranks = 2.0 * np.arange(1, k + 1) - k - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(total > 0, shares @ ranks / (k * total), np.nan))


def concentration_estimates(override: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return the curve of joint ablations, and how many components carry its shares.

    Parameters
    ----------
    override : pandas.DataFrame
        Of `nashlens.circuits.override.override_table`, one model.
    model : str
    how : Bootstrap

    Returns
    -------
    pandas.DataFrame
        `model`, `quantity`, `order` (`chosen`, or `random`: the mean over random orders), `size`,
        `share`, `estimates.COLUMNS`. `curve`: by how many logits the first `size` components
        together, when ablated, bring the Nash action back (action part), bounds for all sizes at
        once; `needed`: how many carry a `share` of the whole; `gini`: of what each late
        component adds to the curve, nothing if it is no candidate. The last two are missing where
        the whole effect is not above `LEAST_EFFECT` with its interval.
        Without a late component that writes against the Nash action the table is empty.
    """
    chosen, random = Ablations(override, "first"), Ablations(override, "order")
    if not len(chosen.blocks):
        return collect([], _KEYS)
    size, blocks = len(chosen.names), chosen.blocks
    of = int(override["late_components"].iloc[0])
    # Columns: the chosen order's curve, then each random order's.
    orders = [-chosen.parts["action"]]
    if random.names:
        orders += np.split(-random.parts["action"], len(random.names) // size, axis=1)
    found = blocks.estimate(np.hstack(orders))
    counts = found.n, found.n_clusters
    rng = how.rng("concentration")
    draws = found.draws(how.resamples, rng).reshape(how.resamples, len(orders), size)
    means = found.estimate.reshape(len(orders), size)
    tables = []
    for name, some in (("chosen", slice(0, 1)), ("random", slice(1, None))):
        if not len(means[some]):
            continue
        curve = blocks.estimate(np.mean(orders[some], axis=0))
        low, high, _ = curve.simultaneous(how.confidence, how.resamples, how.rng("choir"))
        numbers = frame(curve.estimate, low, high, "student, all at once", *counts)
        tables.append(numbers.assign(quantity="curve", order=name, size=range(1, size + 1)))
        # The whole effect is the same in every order.
        if not blocks.estimate(orders[0][:, -1:]).interval(how.confidence)[0][0] > LEAST_EFFECT:
            continue
        for quantity, share, values in _spread(means[some], draws[:, some], of):
            ends = [(1.0 - how.confidence) / 2.0, (1.0 + how.confidence) / 2.0]
            low, high = np.nanquantile(values[1], ends)
            numbers = frame(values[0], low, high, "draws", *counts)
            tables.append(numbers.assign(quantity=quantity, order=name, share=share))
    return collect([table.assign(model=model) for table in tables], _KEYS)


def _spread(means: Array, draws: Array, of: int) -> list[tuple[str, float, tuple[float, Array]]]:
    """Return quantities with share, estimate and draws, averaged over orders.

    `of` is the number of late components.
    """

    def steps(curve: Array) -> Array:
        # Late components that are no candidates add nothing.
        others = [(0, 0)] * (curve.ndim - 1) + [(0, of - curve.shape[-1])]
        return np.pad(np.diff(curve, axis=-1, prepend=0.0), others)

    found = [
        ("needed", share, (float(needed(means, share).mean()), needed(draws, share).mean(axis=-1)))
        for share in SHARES
    ]
    of_steps = float(gini(steps(means)).mean()), gini(steps(draws)).mean(axis=-1)
    return [*found, ("gini", float("nan"), of_steps)]

"""Choir or soloist: over how many components an effect is spread.

Components are ablated one after another, the one that writes the most against the Nash action
first. They were put in order on other histories than those on which the curve is measured, so that
luck in the order does not steepen it. Random orders of the same components are the control: a choir
needs about as many in any order, a soloist one where a random order needs half of them.

The whole effect is that of all late components that write against the Nash action, of which those
that are put in order write nearly all: it is the last of every curve. Of many components only some
numbers are tried (`nashlens.circuits.override.sizes_tried`); what carries a share is the smallest
number that was tried and does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from nashlens.circuits.readings import Ablations
from nashlens.contrasts import Array
from nashlens.estimates import Bootstrap, collect, frame

SHARES = (0.5, 0.8, 0.95)
"""Shares of the whole effect of which it is said how many components carry them."""
LEAST_EFFECT = 0.2
"""Logits from which an effect counts, and it is counted who carries it (P from 0.50 to 0.55)."""
_KEYS = {"model": "str", "quantity": "str", "order": "str", "size": "Int64", "share": "float64"}


class Curves:
    """What components bring back together, in the chosen order and in random ones.

    Parameters
    ----------
    override : pandas.DataFrame
        Of `nashlens.circuits.override.override_table`, one model.

    Attributes
    ----------
    chosen : Ablations
        Those of the chosen order.
    sizes : numpy.ndarray, shape (k,)
        How many components are ablated together; the last is all that write against the Nash
        action.
    candidates : int
        How many are put in order.
    values : list of numpy.ndarray
        `(blocks, k)` logits that the Nash action gains (action part), in the chosen order, then in
        each random one.
    """

    def __init__(self, override: pd.DataFrame):
        self.chosen, orders = Ablations(override, "first"), Ablations(override, "order")
        every = Ablations(override, "all")
        named = override.drop_duplicates("ablation").set_index("ablation")["size"]
        sizes = named[[*self.chosen.names, *every.names]].to_numpy(dtype=int)
        k = len(self.chosen.names)
        self.candidates = int(sizes[:k].max(initial=0))
        self.values: list[Array] = [-self.chosen.parts["action"]]
        if orders.names:
            self.values += np.split(-orders.parts["action"], len(orders.names) // k, axis=1)
        # Where all are candidates, the curves end with them.
        more = sizes[-1:] > self.candidates
        self.sizes = np.concatenate([sizes[:k], sizes[-1:][more]])
        if more.any():
            self.values = [np.hstack([one, -every.parts["action"]]) for one in self.values]

    @property
    def widths(self) -> NDArray[np.intp]:
        """How many components each step of a curve adds, (k,)."""
        return np.diff(self.sizes, prepend=0)


def needed(curve: ArrayLike, share: float, sizes: ArrayLike | None = None) -> Array:
    """Return how many components carry a share of the whole effect.

    Parameters
    ----------
    curve : array_like, shape (..., k)
        Effect of so many components together; the last is the whole effect.
    share : float
    sizes : array_like, shape (k,), optional
        How many; 1, 2, ..., k if it is not given.

    Returns
    -------
    numpy.ndarray, shape (...)
        The smallest of these numbers whose effect is at least the share; NaN where the whole effect
        is not above 0.

    Examples
    --------
    >>> needed([1.0, 3.0, 4.0], 0.5), needed([1.0, 3.0, 4.0], 0.5, sizes=[1, 10, 100])
    (array(2.), array(10.))
    """
    values = np.asarray(curve, dtype=np.float64)
    numbers = np.arange(values.shape[-1]) + 1 if sizes is None else np.asarray(sizes)
    whole = values[..., -1:]
    first = numbers[np.argmax(values >= share * whole, axis=-1)]
    return np.where(whole[..., 0] > 0, first, np.nan)


def added(curve: Array, widths: NDArray[np.intp], of: int) -> Array:
    """Return what each late component adds to a curve, from one component on.

    Parameters
    ----------
    curve : numpy.ndarray, shape (..., k)
    widths : numpy.ndarray of int, shape (k,)
        How many components each step adds: they share it in equal parts.
    of : int
        Number of all late components: others add nothing.

    Returns
    -------
    numpy.ndarray, shape (..., of)
    """
    steps = np.diff(curve, axis=-1, prepend=0.0) / widths
    each = np.repeat(steps, widths, axis=-1)
    return np.pad(each, [(0, 0)] * (curve.ndim - 1) + [(0, of - each.shape[-1])])


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
        `share`, `estimates.COLUMNS`. `curve`: by how many logits `size` components together, when
        ablated, bring the Nash action back (action part), for each number that was tried, bounds
        for all of them at once; the last is all that write against it, and has the whole effect.
        `needed`: how many of these numbers is the smallest that carries a `share` of the whole;
        `gini`: of what each late component adds to the curve, those of a step in equal parts, and
        nothing if it does not write against the Nash action. The last two are missing where the
        whole effect is not above `LEAST_EFFECT` with its interval.
        Without a late component that writes against the Nash action the table is empty.
    """
    curves = Curves(override)
    blocks, size, orders = curves.chosen.blocks, len(curves.sizes), curves.values
    if not len(blocks):
        return collect([], _KEYS)
    of = int(override["late_components"].iloc[0])
    # Columns: the chosen order's curve, then each random order's.
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
        tables.append(numbers.assign(quantity="curve", order=name, size=curves.sizes))
        # The whole effect is the same in every order.
        if not blocks.estimate(orders[0][:, -1:]).interval(how.confidence)[0][0] > LEAST_EFFECT:
            continue
        for quantity, share, values in _spread(means[some], draws[:, some], curves, of):
            ends = [(1.0 - how.confidence) / 2.0, (1.0 + how.confidence) / 2.0]
            low, high = np.nanquantile(values[1], ends)
            numbers = frame(values[0], low, high, "draws", *counts)
            tables.append(numbers.assign(quantity=quantity, order=name, share=share))
    return collect([table.assign(model=model) for table in tables], _KEYS)


def _spread(
    means: Array, draws: Array, curves: Curves, of: int
) -> list[tuple[str, float, tuple[float, Array]]]:
    """Return quantities with share, estimate and draws, averaged over orders.

    `of` is the number of late components.
    """

    def counted(of_curves: Array, share: float) -> Array:
        return np.asarray(needed(of_curves, share, curves.sizes).mean(axis=-1))

    def unequal(of_curves: Array) -> Array:
        # One order at a time: each draw is as wide as the late components are many.
        one = [gini(added(of_curves[..., k, :], curves.widths, of)) for k in range(len(means))]
        return np.asarray(np.mean(one, axis=0))

    found = [
        ("needed", share, (float(counted(means, share)), counted(draws, share))) for share in SHARES
    ]
    return [*found, ("gini", float("nan"), (float(unequal(means)), unequal(draws)))]

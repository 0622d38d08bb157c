"""A lens in a few numbers, each with its interval: which action, from where, action or token.

All are averages over label maps and option orders of equal weight (`readings`), and their
intervals resample whole matches. `DESCRIPTIONS` says what each quantity is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.contrasts import percentile_interval, simultaneous_interval
from nashlens.kept import kept, neutral
from nashlens.lens.readings import FAVOURED, Array, Readings, conflicting, defined
from nashlens.seeds import stream

DESCRIPTIONS = {
    "nash_favoured": f"share of layers where P(Nash action) exceeds {FAVOURED}",
    "nash_from": "first layer from which the Nash action is favoured, at all levels at once",
    "flip_layer": "first layer of the last run of layers that favour the prosocial action over a"
    " conflicting Nash action, where an earlier layer favoured the Nash action",
    "peak_layer": "layer with the largest P(prosocial action) against a conflicting Nash action",
    "peak_height": "P(prosocial action) there",
    "action_part": "logit of the prosocial over a conflicting Nash action at the last layer",
    "token_part": "logit of the pair's first over its second label on the same prompts and layer",
    "follows_action": "size of the action part over the sizes of both parts: 1 follows the action,"
    " 0 the token",
}
"""Quantity -> what it is."""


class _Quantity(NamedTuple):
    estimate: float
    low: float
    high: float
    reason: str = ""


def summarise_lens(
    lens: pd.DataFrame,
    prompts: pd.DataFrame,
    *,
    model: str,
    confidence: float,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Summarise one lens of one model.

    Parameters
    ----------
    lens : DataFrame
        The table of `lens_table`.
    prompts : DataFrame
        The prompts table.
    model : str
        Name for the table, and for the random streams.
    confidence : float
        Coverage of the intervals.
    resamples : int
        Number of resamples of matches.
    seed : int
        The experiment's seed.

    Returns
    -------
    DataFrame
        One row per quantity: `model`, `quantity`, `estimate`, `ci_low`, `ci_high`, `n` (prompts),
        `n_matches`, `reason` (why there is no estimate, or what the answer follows) and
        `description`.
    """
    used = neutral(kept(prompts))
    rng = stream(seed, "lens summary", model)
    about_nash = [name for name in DESCRIPTIONS if name.startswith("nash")]
    others = [name for name in DESCRIPTIONS if name not in about_nash]
    rows = []
    for names, some, what, estimate in (
        (about_nash, defined(used, "nash_action"), "a Nash action", _nash),
        (others, conflicting(used), "a prosocial action other than its Nash action", _conflict),
    ):
        readings = Readings(lens, some)
        problem = readings.problem(what)
        if problem is None:
            found = estimate(readings, confidence, resamples, rng)
        else:
            found = dict.fromkeys(names, _missing(problem))
        rows += [
            {
                "model": model,
                "quantity": name,
                "estimate": float(found[name].estimate),
                "ci_low": float(found[name].low),
                "ci_high": float(found[name].high),
                "n": len(readings),
                "n_matches": len(set(readings.matches)),
                "reason": found[name].reason,
                "description": DESCRIPTIONS[name],
            }
            for name in names
        ]
    return pd.DataFrame(rows)


def _missing(reason: str) -> _Quantity:
    return _Quantity(np.nan, np.nan, np.nan, reason)


def _interval(estimate: float, draws: Array, confidence: float) -> _Quantity:
    low, high = percentile_interval(draws[:, None], confidence)
    return _Quantity(estimate, float(low[0]), float(high[0]))


def _nash(
    readings: Readings, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, _Quantity]:
    towards, size = readings.towards("nash_action"), len(readings.layers)
    values = np.hstack([readings.probability(towards), towards * readings.odds])
    mean, draws = readings.cell_means(values, resamples, rng)
    p, p_draws = mean[:size], draws[:, :size]
    favoured = _interval(
        float((p > FAVOURED).mean()), (p_draws > FAVOURED).mean(axis=1), confidence
    )
    low, _ = simultaneous_interval(mean[size:], draws[:, size:], confidence)
    sure = (low > 0) & (p > FAVOURED)
    if not sure.any():
        first = _missing("no layer favours the Nash action beyond doubt")
    else:
        layers = readings.layers.astype(float)
        # The first layer by the same rule in each resample, with the same margin for chance.
        margin = mean[size:] - low
        drawn = (draws[:, size:] > margin) & (p_draws > FAVOURED)
        starts = np.where(drawn.any(axis=1), layers[drawn.argmax(axis=1)], np.nan)
        first = _interval(float(layers[sure.argmax()]), starts, confidence)
    return {"nash_favoured": favoured, "nash_from": first}


def _conflict(
    readings: Readings, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, _Quantity]:
    towards, layers = readings.towards("prosocial_action"), readings.layers.astype(float)
    values = np.hstack(
        [
            towards * readings.odds,
            readings.first_is_1 * readings.odds,
            readings.probability(towards),
        ]
    )
    mean, draws = readings.cell_means(values, resamples, rng)
    action, token, p = np.split(mean, 3)
    action_draws, token_draws, p_draws = np.split(draws, 3, axis=1)
    peak = int(p.argmax())
    share = float(_share(action[-1], token[-1]))
    follows = _interval(share, _share(action_draws[:, -1], token_draws[:, -1]), confidence)
    return {
        "flip_layer": _flip(layers, action, action_draws, confidence),
        "peak_layer": _interval(float(layers[peak]), layers[p_draws.argmax(axis=1)], confidence),
        "peak_height": _interval(float(p[peak]), p_draws[:, peak], confidence),
        "action_part": _interval(float(action[-1]), action_draws[:, -1], confidence),
        "token_part": _interval(float(token[-1]), token_draws[:, -1], confidence),
        "follows_action": follows._replace(reason=_decision(follows.low, follows.high)),
    }


def _share(action: Any, token: Any) -> Any:
    """Return the size of the action part over the sizes of both parts."""
    return np.abs(action) / np.maximum(np.abs(action) + np.abs(token), 1e-12)


def _decision(low: float, high: float) -> str:
    if low > 0.5:
        return "follows the action"
    return "follows the token" if high < 0.5 else "undecided"


def _flip(layers: Array, action: Array, draws: Array, confidence: float) -> _Quantity:
    low, high = simultaneous_interval(action, draws, confidence)
    if not low[-1] > 0:
        return _missing("the last layer does not favour the prosocial action")
    start = _run_start(action[None] > 0)[0]
    if not (high[:start] < 0).any():
        return _missing("no layer before favours the Nash action")
    positive = draws > 0
    starts = np.where(positive[:, -1], layers[_run_start(positive)], np.nan)
    return _interval(float(layers[start]), starts, confidence)


def _run_start(positive: np.ndarray) -> np.ndarray:
    """Return where the run of true values at the end of each row starts, (rows,)."""
    # The length of the run is where the reversed row turns false.
    turned = positive[:, ::-1]
    run = np.where(turned.all(axis=1), turned.shape[1], (~turned).argmax(axis=1))
    start: np.ndarray = np.minimum(positive.shape[1] - run, positive.shape[1] - 1)
    return start

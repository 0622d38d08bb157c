"""A lens in a few numbers, each with its interval: which action, from where, action or token.

All are averages over label maps and option orders of equal weight (`readings`), and their
intervals resample whole matches. `DESCRIPTIONS` says what each quantity is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nashlens.contrasts import cell_mean_draws, percentile_interval, simultaneous_interval
from nashlens.kept import kept
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


@dataclass(frozen=True)
class _Found:
    estimate: float
    low: float
    high: float
    reason: str = ""


def summarise(
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
        Of `lens_table`.
    prompts : DataFrame
        The prompts table.
    model : str
        Name for the table, and for the random streams.
    confidence : float
        Coverage of the intervals.
    resamples : int
        Of matches.
    seed : int
        The experiment's seed.

    Returns
    -------
    DataFrame
        One row per quantity: `model`, `quantity`, `estimate`, `ci_low`, `ci_high`, `n` (prompts),
        `n_matches`, `reason` (why there is no estimate, or what a layer's estimate stands on) and
        `description`.
    """
    used = kept(prompts)
    rng = stream(seed, "lens summary", model)
    rows = []
    for names, part, what, of in (
        (["nash_favoured", "nash_from"], defined(used, "nash_action"), "a Nash action", _nash),
        (
            [name for name in DESCRIPTIONS if not name.startswith("nash")],
            conflicting(used),
            "a prosocial action other than its Nash action",
            _conflict,
        ),
    ):
        readings = Readings(lens, part)
        problem = readings.problem(what)
        missing = _Found(np.nan, np.nan, np.nan, problem or "")
        found = {} if problem else of(readings, confidence, resamples, rng)
        rows += [
            {
                "model": model,
                "quantity": name,
                **_columns(found.get(name, missing)),
                "n": len(readings),
                "n_matches": len(set(readings.matches)),
                "description": DESCRIPTIONS[name],
            }
            for name in names
        ]
    columns = ["model", "quantity", "estimate", "ci_low", "ci_high", "n", "n_matches", "reason"]
    return pd.DataFrame(rows)[[*columns, "description"]]


def _columns(found: _Found) -> dict[str, object]:
    return {
        "estimate": float(found.estimate),
        "ci_low": float(found.low),
        "ci_high": float(found.high),
        "reason": found.reason,
    }


def _interval(estimate: float, draws: Array, confidence: float, reason: str = "") -> _Found:
    low, high = percentile_interval(draws[:, None], confidence)
    return _Found(estimate, float(low[0]), float(high[0]), reason)


def _nash(
    readings: Readings, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, _Found]:
    towards, size = readings.towards("nash_action"), len(readings.layers)
    values = np.hstack([readings.probability(towards), towards * readings.odds])
    mean, draws = cell_mean_draws(
        values, readings.cells, readings.matches, resamples=resamples, rng=rng
    )
    draws = draws[~np.isnan(draws).any(axis=1)]
    p, p_draws = mean[:size], draws[:, :size]
    favoured = _interval(
        float((p > FAVOURED).mean()), (p_draws > FAVOURED).mean(axis=1), confidence
    )
    low, _ = simultaneous_interval(mean[size:], draws[:, size:], confidence)
    sure = (low > 0) & (p > FAVOURED)
    if not sure.any():
        first = _Found(np.nan, np.nan, np.nan, "no layer favours the Nash action beyond doubt")
    else:
        layers = readings.layers.astype(float)
        # The same rule in each resample, with the same margin for chance.
        margin = mean[size:] - low
        drawn = (draws[:, size:] > margin) & (p_draws > FAVOURED)
        starts = np.where(drawn.any(axis=1), layers[drawn.argmax(axis=1)], np.nan)
        first = _interval(float(layers[sure.argmax()]), starts, confidence)
    return {"nash_favoured": favoured, "nash_from": first}


def _conflict(
    readings: Readings, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, _Found]:
    towards, layers = readings.towards("prosocial_action"), readings.layers.astype(float)
    values = np.hstack(
        [
            towards * readings.odds,
            readings.first_is_1 * readings.odds,
            readings.probability(towards),
        ]
    )
    mean, draws = cell_mean_draws(
        values, readings.cells, readings.matches, resamples=resamples, rng=rng
    )
    draws = draws[~np.isnan(draws).any(axis=1)]
    action, token, p = np.split(mean, 3)
    action_draws, token_draws, p_draws = np.split(draws, 3, axis=1)
    peak = int(p.argmax())
    share = abs(action[-1]) / max(abs(action[-1]) + abs(token[-1]), 1e-12)
    sizes = np.abs(action_draws[:, -1]) + np.abs(token_draws[:, -1])
    shares = np.abs(action_draws[:, -1]) / np.maximum(sizes, 1e-12)
    follows = _interval(float(share), shares, confidence)
    return {
        "flip_layer": _flip(layers, action, action_draws, confidence),
        "peak_layer": _interval(float(layers[peak]), layers[p_draws.argmax(axis=1)], confidence),
        "peak_height": _interval(float(p[peak]), p_draws[:, peak], confidence),
        "action_part": _interval(float(action[-1]), action_draws[:, -1], confidence),
        "token_part": _interval(float(token[-1]), token_draws[:, -1], confidence),
        "follows_action": _Found(
            follows.estimate, follows.low, follows.high, _decision(follows.low, follows.high)
        ),
    }


def _decision(low: float, high: float) -> str:
    if low > 0.5:
        return "follows the action"
    return "follows the token" if high < 0.5 else "undecided"


def _flip(layers: Array, action: Array, draws: Array, confidence: float) -> _Found:
    low, high = simultaneous_interval(action, draws, confidence)
    if not low[-1] > 0:
        return _Found(np.nan, np.nan, np.nan, "the last layer does not favour the prosocial action")
    start = _run_start(action[None] > 0)[0]
    if not (high[:start] < 0).any():
        return _Found(np.nan, np.nan, np.nan, "no layer before favours the Nash action")
    positive = draws > 0
    starts = np.where(positive[:, -1], layers[_run_start(positive)], np.nan)
    return _interval(float(layers[start]), starts, confidence)


def _run_start(positive: np.ndarray) -> np.ndarray:
    """Return where the run of true values at the end of each row starts, (rows,)."""
    turned = positive[:, ::-1]
    run = np.where(turned.all(axis=1), turned.shape[1], (~turned).argmax(axis=1))
    start: np.ndarray = np.minimum(positive.shape[1] - run, positive.shape[1] - 1)
    return start

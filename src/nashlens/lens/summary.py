"""A lens in a few numbers, each with its interval: which action, from where, action or word.

What follows the action is told from what follows the word within blocks (`readings`); intervals
speak of new scenarios (`nashlens.factorial`). `DESCRIPTIONS` says what each quantity is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nashlens.contrasts import percentile_interval
from nashlens.estimates import Bootstrap
from nashlens.factorial import BlockEstimate
from nashlens.kept import kept
from nashlens.lens.readings import PREFERENCE, Array, Readings, conflicting, defined

DESCRIPTIONS = {
    "nash_from": "first layer whose action part favours the Nash action by more than"
    f" {PREFERENCE:g} logits, with bounds above 0 for all layers at once",
    "flip_layer": "first layer of the last run of layers that favour the prosocial action over a"
    f" conflicting Nash action, where the last does so by more than {PREFERENCE:g} logits and an"
    " earlier one favoured the Nash action by as much",
    "peak_layer": "layer with the largest action part of prosocial over a conflicting Nash action",
    "peak_height": "P(prosocial action) there",
    "follows_action": "size of the action part over the sizes of action and word part at the last"
    " layer: 1 follows the action, 0 the word",
}
"""Quantity -> what it is."""


class _Quantity(NamedTuple):
    estimate: float
    low: float
    high: float
    reason: str = ""


def summarise_lens(
    lens: pd.DataFrame, prompts: pd.DataFrame, *, model: str, how: Bootstrap
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
    how : Bootstrap
        With so many draws around the estimates.

    Returns
    -------
    DataFrame
        One row per quantity: `model`, `quantity`, `estimate`, `ci_low`, `ci_high`, `n` (prompts),
        `n_matches`, `reason` (why there is no estimate, or what the answer follows) and
        `description`.
    """
    used = kept(prompts)
    rng = how.rng("lens summary", model)
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
            found = estimate(readings, how, rng)
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
                "n_matches": readings.blocks.n_clusters,
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


def _nash(readings: Readings, how: Bootstrap, rng: np.random.Generator) -> dict[str, _Quantity]:
    found = readings.estimate(readings.parts("nash_action")["action"])
    action, draws = found.estimate, found.draws(how.resamples, rng)
    low, _, _ = found.simultaneous(how.confidence, how.resamples, rng)
    sure = (low > 0) & (action > PREFERENCE)
    if not sure.any():
        return {"nash_from": _missing("no layer favours the Nash action beyond doubt")}
    layers = readings.layers.astype(float)
    # The first layer by the same rule in each draw, with the same margin for chance.
    drawn = (draws > action - low) & (draws > PREFERENCE)
    starts = np.where(drawn.any(axis=1), layers[drawn.argmax(axis=1)], np.nan)
    return {"nash_from": _interval(float(layers[sure.argmax()]), starts, how.confidence)}


def _conflict(readings: Readings, how: Bootstrap, rng: np.random.Generator) -> dict[str, _Quantity]:
    parts, layers = readings.parts("prosocial_action"), readings.layers.astype(float)
    by_layer = readings.estimate(parts["action"])
    found = readings.estimate(
        parts["action"], parts["word"], readings.probability("prosocial_action")
    )
    draws = np.split(found.draws(how.resamples, rng), 3, axis=1)
    action, word, p = np.split(found.estimate, 3)
    peak = int(action.argmax())
    share = float(_share(action[-1], word[-1]))
    follows = _interval(share, _share(draws[0][:, -1], draws[1][:, -1]), how.confidence)
    return {
        "flip_layer": _flip(layers, by_layer, draws[0], how.confidence, rng),
        "peak_layer": _interval(
            float(layers[peak]), layers[draws[0].argmax(axis=1)], how.confidence
        ),
        "peak_height": _interval(float(p[peak]), draws[2][:, peak], how.confidence),
        "follows_action": follows._replace(reason=_decision(follows.low, follows.high)),
    }


def _share(action: Any, word: Any) -> Any:
    """Return the size of the action part over the sizes of both parts."""
    return np.abs(action) / np.maximum(np.abs(action) + np.abs(word), 1e-12)


def _decision(low: float, high: float) -> str:
    if low > 0.5:
        return "follows the action"
    return "follows the word" if high < 0.5 else "undecided"


def _flip(
    layers: Array, found: BlockEstimate, draws: Array, confidence: float, rng: np.random.Generator
) -> _Quantity:
    low, high, _ = found.simultaneous(confidence, len(draws), rng)
    action = found.estimate
    if not (low[-1] > 0 and action[-1] > PREFERENCE):
        return _missing("the last layer does not favour the prosocial action")
    start = _run_start(action[None] > 0)[0]
    if not ((high < 0) & (action < -PREFERENCE))[:start].any():
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

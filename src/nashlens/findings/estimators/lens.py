"""Claims about what the logit lens favours: M5, M6.

Label maps give the same label token to action 0 in one half of the prompts and to action 1 in
the other, and option orders do the same for the place in the list. Averages give these cells
equal weight, so a preference for a token or a place cancels, and what is left follows the action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nashlens.contrasts import percentile_interval
from nashlens.findings.measurement import (
    Array,
    Measurement,
    Missing,
    Settings,
    cell_means,
    p_floor,
    simultaneous,
)
from nashlens.lens.readings import FAVOURED, Readings, conflicting, defined


def _problem(readings: Readings, what: str) -> Missing | None:
    """Return why readings cannot be judged, if they cannot."""
    reason = readings.problem(what)
    if reason is None:
        return None
    # What is undefined in every game is no claim; what the design lacks is doubt.
    lacking = bool(len(readings.layers)) and bool(len(readings))
    return Missing(reason, "inconclusive" if lacking else "not_applicable")


def nash_favoured(tables: Mapping[str, pd.DataFrame], settings: Settings) -> Measurement | Missing:
    """M5: the share of layers whose averaged P(Nash action) lies above `FAVOURED`."""
    readings = Readings(tables["lens"], defined(tables["prompts"], "nash_action"))
    problem = _problem(readings, "a Nash action")
    if problem is not None:
        return problem
    nash = readings.prompts["nash_action"].to_numpy(dtype=float)[:, None]
    p_nash = np.where(nash == 1, readings.p_1, 1.0 - readings.p_1)
    p_first = np.where(readings.first_is_1 > 0, readings.p_1, 1.0 - readings.p_1)
    size = len(readings.layers)
    mean, draws = cell_means(
        np.hstack([p_nash, p_first]), readings.cells, readings.matches, settings, "M5"
    )
    favoured, token = mean[:size] > FAVOURED, mean[size:]
    share = float(favoured.mean())
    known = ~np.isnan(draws).any(axis=1)
    shares = (draws[known, :size] > FAVOURED).mean(axis=1)
    low, high = percentile_interval(shares[:, None], settings.confidence)
    matches = len(set(readings.matches))
    below = (1 + int((shares <= 0.5).sum())) / (1 + len(shares))
    reliable = np.median(readings.mass, axis=0) >= settings.min_label_mass
    return Measurement(
        estimate=share,
        low=float(low[0]),
        high=float(high[0]),
        n=len(readings),
        n_matches=matches,
        control=float((token > FAVOURED).mean()),
        p_value=max(below, p_floor(matches, settings.resamples)),
        detail={
            "layers": size,
            "favoured_layers": int(favoured.sum()),
            "reliable_layers": int(reliable.sum()),
            "share_of_reliable": float(favoured[reliable].mean()) if reliable.any() else np.nan,
            "largest_p_nash": float(mean[:size].max()),
            "largest_p_nash_layer": int(readings.layers[mean[:size].argmax()]),
            "token_stronger_layers": int((np.abs(token - 0.5) > np.abs(mean[:size] - 0.5)).sum()),
        },
    )


def late_override(tables: Mapping[str, pd.DataFrame], settings: Settings) -> Measurement | Missing:
    """M6: the action part of the prosocial preference in the late layers.

    On prompts whose prosocial action is not the Nash action, the logit difference prosocial over
    Nash is averaged over label maps and option orders: that is its action part. The token part
    is the average of the pair's first label over its second. The peak is the late layer with the
    largest action part; its interval holds for all late layers at once.
    """
    readings = Readings(tables["lens"], conflicting(tables["prompts"]))
    problem = _problem(readings, "a prosocial action other than its Nash action")
    if problem is not None:
        return problem
    late = readings.layers > readings.layers.max() * (1.0 - settings.late_fraction)
    if late.all():
        return Missing("no layer lies before the late ones: the model is too shallow for the claim")
    towards = np.where(readings.prompts["prosocial_action"].to_numpy(dtype=float) == 1, 1.0, -1.0)
    action = towards[:, None] * readings.odds
    p_prosocial = np.where(towards[:, None] > 0, readings.p_1, 1.0 - readings.p_1)
    values = np.hstack([action, readings.first_is_1 * readings.odds, p_prosocial])
    mean, draws = cell_means(values, readings.cells, readings.matches, settings, "M6")
    draws = draws[~np.isnan(draws).any(axis=1)]
    return _describe_override(readings, mean, draws, late, settings)


def _describe_override(
    readings: Readings, mean: Array, draws: Array, late: np.ndarray, settings: Settings
) -> Measurement:
    action, token, p_prosocial = np.split(mean, 3)
    action_draws, token_draws, _ = np.split(draws, 3, axis=1)
    low, high = simultaneous(action[late], action_draws[:, late], settings.confidence)
    token_low, token_high = simultaneous(token[late], token_draws[:, late], settings.confidence)
    peak = int(np.flatnonzero(late)[action[late].argmax()])
    at = int(action[late].argmax())
    error = np.maximum(action_draws[:, late].std(axis=0), 1e-12)
    largest = ((action_draws[:, late] - action[late]) / error).max(axis=1)
    p_late = (1 + int((largest >= action[peak] / error[at]).sum())) / (1 + len(draws))
    early = float(action[~late].mean())
    early_draws = action_draws[:, ~late].mean(axis=1)
    early_low, early_high = percentile_interval(early_draws[:, None], settings.confidence)
    p_early = (1 + int((early_draws >= 0).sum())) / (1 + len(draws))
    # The flip starts the unbroken run of prosocial layers that the peak belongs to.
    start = peak
    while start > 0 and action[start - 1] > 0:
        start -= 1
    strongest = int(np.abs(token[late]).argmax())
    matches = len(set(readings.matches))
    return Measurement(
        estimate=float(action[peak]),
        low=float(low[at]),
        high=float(high[at]),
        n=len(readings),
        n_matches=matches,
        control=float(token[peak]),
        # Late prosocial *and* early Nash: as doubtful as the more doubtful of the two.
        p_value=max(p_late, p_early, p_floor(matches, settings.resamples)),
        detail={
            "peak_layer": int(readings.layers[peak]),
            "peak_probability": float(p_prosocial[late].max()),
            "peak_probability_layer": int(readings.layers[late][p_prosocial[late].argmax()]),
            "flip_layer": int(readings.layers[start]) if action[peak] > 0 else np.nan,
            "layers": len(readings.layers),
            "late_from": int(readings.layers[late].min()),
            "late_high": float(high.max()),
            "early_action": early,
            "early_low": float(early_low[0]),
            "early_high": float(early_high[0]),
            "late_token": float(token[late][strongest]),
            "late_token_low": float(token_low[strongest]),
            "late_token_high": float(token_high[strongest]),
            "follows_action": float(
                abs(action[peak]) / max(abs(action[peak]) + abs(token[peak]), 1e-12)
            ),
            "peak_label_mass": float(np.median(readings.mass[:, peak])),
        },
    )

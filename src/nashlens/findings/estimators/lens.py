"""Claims about what the logit lens favours: M5, M6.

Label maps give the same label token to action 0 in one half of the prompts and to action 1 in
the other, and option orders do the same for the place in the list. Averages give these cells
equal weight, so a preference for a token or a place cancels, and what is left follows the action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nashlens.findings.measurement import (
    Array,
    Measurement,
    Missing,
    Settings,
    cell_means,
    p_floor,
    simultaneous,
)
from nashlens.statistics import percentile_interval

FAVOURED = 0.51
"""A layer favours an action above this probability: less is too little to speak of."""


class _Readings:
    """The lens of some prompts as matrices, (n, layers), layers from 1."""

    def __init__(self, lens: pd.DataFrame, prompts: pd.DataFrame):
        keys = ["prompt_id", "match_id"]
        prompts = prompts.drop_duplicates(keys).set_index(keys)
        table = lens[lens["layer"] >= 1].drop_duplicates([*keys, "layer"])
        table = table.assign(odds=table["logit_1"] - table["logit_0"])
        self.layers = np.array(sorted(table["layer"].unique()), dtype=int)
        columns = ["odds", "p_action_1", "label_mass"]
        wide = table.pivot(index=keys, columns="layer", values=columns)
        wide = wide.reindex(columns=pd.MultiIndex.from_product([columns, self.layers]))
        wide = wide.loc[wide.index.isin(prompts.index)].dropna()
        self.prompts = prompts.loc[wide.index].reset_index()
        matrices = np.split(wide.to_numpy(dtype=float), len(columns), axis=1)
        self.odds: Array = matrices[0]
        """Logit of action 1 over action 0."""
        self.p_1: Array = matrices[1]
        self.mass: Array = matrices[2]
        self.cells = (
            self.prompts["label_map"].astype(str) + "|" + self.prompts["option_order"].astype(str)
        ).tolist()
        self.matches = self.prompts["match_id"].astype(str).tolist()
        # +1 where the pair's first label stands for action 1.
        self.first_is_1 = np.where(self.prompts["label_map"] == "swapped", 1.0, -1.0)[:, None]

    def __len__(self) -> int:
        return len(self.prompts)

    def problem(self, what: str) -> Missing | None:
        """Return why these readings cannot be judged, if they cannot."""
        if not len(self.layers):
            return Missing("the lens table holds no layer after the embedding")
        if not len(self):
            return Missing(f"no prompt has {what}")
        if len(set(self.prompts["label_map"])) < 2:
            return Missing(
                "prompts.label_maps has one value: without the swap an action cannot be told"
                " from its token",
                "inconclusive",
            )
        if self.prompts.groupby(self.cells)["match_id"].nunique().min() < 2:
            return Missing(
                "a label map and option order has fewer than two matches: no interval",
                "inconclusive",
            )
        return None


def _defined(prompts: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return prompts[prompts[list(columns)].notna().all(axis=1)]


def nash_favoured(tables: Mapping[str, pd.DataFrame], settings: Settings) -> Measurement | Missing:
    """M5: the share of layers whose averaged P(Nash action) lies above `FAVOURED`."""
    readings = _Readings(tables["lens"], _defined(tables["prompts"], "nash_action"))
    problem = readings.problem("a Nash action")
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
    prompts = _defined(tables["prompts"], "nash_action", "prosocial_action")
    prompts = prompts[prompts["nash_action"].ne(prompts["prosocial_action"])]
    readings = _Readings(tables["lens"], prompts)
    problem = readings.problem("a prosocial action other than its Nash action")
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
    readings: _Readings, mean: Array, draws: Array, late: np.ndarray, settings: Settings
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

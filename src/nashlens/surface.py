"""How far surface forms (labels, order, template) move the choice, in prompts and in play.

Within a block (one scenario, or matches that share their draws, under both label maps and in both
option orders) the word and the place part of P are twice what swapping moves; they and their errors
are free of everything else (`nashlens.factorial`). Templates and label sets are compared between
blocks; for them P(action 0) is first centred within game, seat and (in play) opponent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from nashlens.contrasts import Array
from nashlens.estimates import collect, frame
from nashlens.factorial import STRATA, BlockEstimate, ScenarioBlocks
from nashlens.kept import at_position, kept, neutral
from nashlens.vocabulary.prompts import SURFACE_COLUMNS as FORMS

SOURCES = ("prompts", "play")
_CELL = ["game", "seat", "opponent"]
_KEYS = ("model", "source", "factor", "contrast", "label_set")


class _FormContrast(NamedTuple):
    """A comparison of levels of one surface form."""

    factor: str
    text: str
    label_set: str | None
    """The only label set that is compared; None for all of them."""
    weights: dict[str, float]
    """Of levels; empty where the two levels are compared within blocks."""


def surface_estimates(
    prompts: pd.DataFrame,
    lens: pd.DataFrame,
    play: pd.DataFrame,
    *,
    model: str,
    confidence: float,
) -> pd.DataFrame:
    """Return differences in P(action 0) between surface forms of the same games.

    Parameters
    ----------
    prompts, lens : DataFrame
        Of one model; of the lens, the last layer is read.
    play : DataFrame
        Of `play.parquet`; the model's own decisions are used.
    model : str
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    DataFrame
        `model`, `source` (`prompts`, `play`), `factor`, `contrast` (in words), `label_set` (what it
        is limited to), then `estimates.COLUMNS`: `n` counts prompts, in play a seat's matches, of
        whole blocks; `n_matches` what is independent, histories and in play blocks. Rows whose
        `factor` is empty give the number of decisions and matches of a source.
    """
    prompts = neutral(kept(prompts))
    decisions = {"prompts": _asked(prompts, lens), "play": _played(neutral(play), model)}
    blocks = {
        source: ScenarioBlocks(data, cluster="cluster", strata=STRATA)
        for source, data in decisions.items()
    }
    contrasts = _contrasts([one.frame for one in blocks.values()], prompts)
    rows = []
    for source, data in decisions.items():
        counts = {
            "n": int(data["decisions"].sum()),
            "n_matches": data["match_id"].nunique(),
            "interval": "",
        }
        keys = dict(zip(_KEYS, (model, source, "", "", None), strict=True))
        rows.append(pd.DataFrame([keys | counts]))
        for contrast in contrasts:
            found = _compared(blocks[source], data["p_action_0"].to_numpy(float), contrast)
            low, high = found.interval(confidence)
            table = frame(found.estimate, low, high, "student", found.n, found.n_clusters)
            values = (model, source, contrast.factor, contrast.text, contrast.label_set)
            rows.append(table.assign(**dict(zip(_KEYS, values, strict=True))))
    return collect(rows, dict.fromkeys(_KEYS, "str"))


def _asked(prompts: pd.DataFrame, lens: pd.DataFrame) -> pd.DataFrame:
    """Return what the last layer says on each prompt of each history."""
    keys = ["prompt_id", "match_id"]
    lens = at_position(lens)
    last = lens[lens["layer"] == lens["layer"].max()].drop_duplicates(keys)
    about = prompts[[*keys, "block_id", "game", "seat", *FORMS]].drop_duplicates(keys)
    asked = about.merge(last[[*keys, "p_action_0"]], on=keys)
    return asked.assign(opponent="", cluster=asked["match_id"], decisions=1)


def _played(play: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return the mean over the rounds of each seat of the model in each match."""
    own = play[(play["model"] == model) & play["template"].notna()]
    keys = ["match_id", "block_id", *_CELL, *FORMS]
    by_seat = own.groupby(keys, sort=False)["p_action_0"]
    seats = by_seat.agg(p_action_0="mean", decisions="size").reset_index()
    # The two seats of a block are blocks of their own, and no independent ones.
    names = seats["block_id"].astype(str) + "/" + seats["seat"].astype(str)
    return seats.assign(cluster=seats["block_id"], block_id=names)


def _compared(blocks: ScenarioBlocks, p_0: Array, contrast: _FormContrast) -> BlockEstimate:
    """Estimate one difference in P(action 0)."""
    about = blocks.frame
    if contrast.weights:
        return _between(blocks, blocks.means(p_0), contrast)
    # An action is 0 or 1 as the first label, or the place, is: so P is parted, whatever it means.
    part = {"label_map": "word", "option_order": "place"}[contrast.factor]
    moved = 2.0 * blocks.parts(1.0 - p_0, np.ones(len(p_0)))[part]
    chosen = np.ones(len(blocks), dtype=bool)
    if contrast.label_set is not None:
        chosen = (about["label_set"] == contrast.label_set).to_numpy()
    return blocks.estimate(moved, chosen)


def _between(blocks: ScenarioBlocks, values: Array, contrast: _FormContrast) -> BlockEstimate:
    """Estimate a weighted sum of the means of levels, in games that have all of them.

    A game's mean is over strata of equal weight: a stratum's values are multiplied so that this
    mean becomes the sum of the levels' means by their weights.
    """
    factor, weights = contrast.factor, contrast.weights
    about = blocks.frame.assign(value=values[:, 0])
    used = about[about[factor].isin(list(weights))]
    # A cell with one level has nothing to compare, and centred it would say that nothing differs.
    used = used[used.groupby(_CELL)[factor].transform("nunique") > 1]
    used = used[used.groupby("game")[factor].transform("nunique") == len(weights)]
    centred = used["value"] - used.groupby(_CELL)["value"].transform("mean")
    strata = used.drop_duplicates(list(STRATA))
    every, own = strata.groupby("game").size(), strata.groupby(["game", factor]).size()
    factors = [
        weights[level] * every[game] / own[game, level]
        for game, level in zip(used["game"], used[factor], strict=True)
    ]
    signed = np.zeros_like(values)
    signed[used.index, 0] = centred.to_numpy() * np.array(factors)
    return blocks.estimate(signed, about.index.isin(used.index))


def _contrasts(frames: list[pd.DataFrame], prompts: pd.DataFrame) -> list[_FormContrast]:
    """List what can be compared, in the order of reading."""
    about = pd.concat(frames, ignore_index=True)
    if about.empty:
        return []
    identity = prompts[prompts["label_map"] == "identity"].drop_duplicates("label_set")
    texts: Mapping[str, tuple[str, str]] = {
        row["label_set"]: (row["label_0"], row["label_1"]) for _, row in identity.iterrows()
    }
    sets = sorted(about["label_set"].dropna().unique())
    found = [_FormContrast("label_map", "first label - second label", None, {})]
    for name in sets:
        one, two = texts.get(name, (f"{name}: first", "second"))
        found.append(_FormContrast("label_map", f"{one} - {two}", name, {}))
    found.append(_FormContrast("option_order", "listed first - listed second", None, {}))
    templates = sorted(
        about["template"].dropna().unique(), key=lambda name: (name != "neutral", name)
    )
    for name in templates[1:]:
        weights = {name: 1.0, templates[0]: -1.0}
        found.append(_FormContrast("template", f"{name} - {templates[0]}", None, weights))
    for name in sets if len(sets) > 1 else []:
        weights = {other: -1.0 / (len(sets) - 1) for other in sets if other != name} | {name: 1.0}
        text = "/".join(map(str, texts.get(name, (name,))))
        found.append(_FormContrast("label_set", f"{text} - other sets", None, weights))
    return found

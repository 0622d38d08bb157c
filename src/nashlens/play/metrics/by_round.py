"""P(action 0) from round to round, by kind of opponent, with intervals over blocks of matches."""

from __future__ import annotations

from typing import Any

import pandas as pd

from nashlens.estimates import Bootstrap, collect, mean_estimates

OPPONENT_KINDS = {
    "self-play": (),
    "another model": (),
    "always action 0 (ALLC)": ("ALLC",),
    "always action 1 (ALLD)": ("ALLD",),
    "reciprocal (TFT, GRIM, WSLS)": ("TFT", "GRIM", "WSLS"),
    "random": ("RANDOM",),
    "other script": (),
}
"""Kinds of opponent, and the scripted strategies that make each."""
_GROUP = ["agent", "game", "opponent_kind", "round"]
_KEYS = dict.fromkeys(("agent", "model", "game", "opponent_kind"), "str") | {"round": "Int64"}


def opponent_kinds(play: pd.DataFrame) -> pd.Series:
    """Return the kind of opponent (a key of `OPPONENT_KINDS`) of each decision."""
    scripts = play.loc[play["strategy"].notna(), ["agent", "strategy"]].drop_duplicates("agent")
    strategy = play["opponent"].map(dict(zip(scripts["agent"], scripts["strategy"], strict=True)))
    kind = pd.Series("other script", index=play.index, dtype=object)
    for name, members in OPPONENT_KINDS.items():
        kind[strategy.isin(members)] = name
    kind[play["pairing"] == "self_play"] = "self-play"
    kind[play["pairing"] == "cross_play"] = "another model"
    return kind


def round_estimates(play: pd.DataFrame, how: Bootstrap) -> pd.DataFrame:
    """Return mean P(action 0) in each round.

    Parameters
    ----------
    play : DataFrame
        Of `play.parquet`; decisions of models are used.
    how : Bootstrap

    Returns
    -------
    DataFrame
        One row per agent, game, kind of opponent and round: `agent`, `model`, `game`,
        `opponent_kind`, `round`, then `estimates.COLUMNS`. Rows without kind and round give the
        number of all decisions and matches of an agent in a game.
    """
    data = play.assign(opponent_kind=opponent_kinds(play))
    data = data[data["model"].notna()]
    tables = []
    for (agent, game), part in data.groupby(["agent", "game"], sort=False):
        counts = {"n": len(part), "n_matches": part["match_id"].nunique(), "interval": ""}
        tables.append(pd.DataFrame([{"agent": agent, "game": game} | counts]))
    known = data[data["p_action_0"].notna()]
    for key, part in known.groupby(_GROUP, sort=False):
        names = ("rounds", *map(str, key))
        found = mean_estimates(part[["p_action_0"]], part["block_id"], how, *names)
        keys: dict[str, Any] = dict(zip(_GROUP, key, strict=True))
        keys["n_matches"] = part["match_id"].nunique()
        tables.append(found.assign(**keys))
    models = data.drop_duplicates("agent").set_index("agent")["model"]
    parts = (table.assign(model=table["agent"].map(models)) for table in tables)
    return collect(parts, _KEYS)

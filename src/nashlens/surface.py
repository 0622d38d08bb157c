"""How far surface forms (labels, order, template) move the choice, in prompts and in play.

P(action 0) is first centred within game, seat and (in play) opponent, so that what differs
between two surface forms is the form itself.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from nashlens.estimates import Bootstrap, collect, contrast_estimates
from nashlens.kept import at_position, neutral

FORMS = ("template", "label_set", "label_map", "option_order")
SOURCES = ("prompts", "play")
_DECISION = ["match_id", "game", "seat", "opponent", "p_action_0", *FORMS]
_KEYS = ("model", "source", "factor", "contrast", "label_set")


class _FormContrast(NamedTuple):
    """A comparison of levels of one surface form."""

    factor: str
    text: str
    label_set: str | None
    """The only label set that is compared; None for all of them."""
    weights: dict[str, float]


def surface_estimates(
    prompts: pd.DataFrame, lens: pd.DataFrame, play: pd.DataFrame, *, model: str, how: Bootstrap
) -> pd.DataFrame:
    """Return differences in P(action 0) between surface forms of the same games.

    Parameters
    ----------
    prompts, lens : DataFrame
        Of one model; of the lens, the last layer is read.
    play : DataFrame
        Of `play.parquet`; the model's own decisions are used.
    model : str
    how : Bootstrap

    Returns
    -------
    DataFrame
        `model`, `source` (`prompts`, `play`), `factor`, `contrast` (in words), `label_set` (what it
        is limited to), then `estimates.COLUMNS`. Rows whose `factor` is empty give the number of
        decisions and matches of a source.
    """
    prompts = neutral(prompts)
    decisions = {"prompts": _asked(prompts, lens), "play": _played(play, model)}
    every = pd.concat(decisions.values(), ignore_index=True)
    contrasts = _contrasts(every, prompts)
    rows = []
    for source, data in decisions.items():
        counts = {"n": len(data), "n_matches": data["match_id"].nunique(), "interval": ""}
        keys = dict(zip(_KEYS, (model, source, "", "", None), strict=True))
        rows.append(pd.DataFrame([keys | counts]))
        for contrast in contrasts:
            used = data
            if contrast.label_set is not None:
                used = data[data["label_set"] == contrast.label_set]
            names = (model, source, contrast.factor, contrast.text)
            found = contrast_estimates(
                used[["centred"]],
                used[contrast.factor],
                contrast.weights,
                used["match_id"],
                how,
                "surface",
                *names,
            )
            keys = dict(zip(_KEYS, (*names, contrast.label_set), strict=True))
            rows.append(found.assign(**keys))
    return collect(rows, dict.fromkeys(_KEYS, "str"))


def _asked(prompts: pd.DataFrame, lens: pd.DataFrame) -> pd.DataFrame:
    """Return what the last layer says on each prompt, each once."""
    lens = at_position(lens)
    last = lens[lens["layer"] == lens["layer"].max()].drop_duplicates("prompt_id")
    about = prompts[["prompt_id", "game", "seat", *FORMS]].drop_duplicates("prompt_id")
    asked = last[["prompt_id", "match_id", "p_action_0"]].merge(about, on="prompt_id")
    return _centred(asked.assign(opponent=""))


def _played(play: pd.DataFrame, model: str) -> pd.DataFrame:
    own = play[(play["model"] == model) & play["template"].notna()]
    return _centred(own[_DECISION])


def _centred(decisions: pd.DataFrame) -> pd.DataFrame:
    cells = decisions.groupby(["game", "seat", "opponent"], sort=False)["p_action_0"]
    return decisions.assign(centred=decisions["p_action_0"] - cells.transform("mean"))


def _contrasts(decisions: pd.DataFrame, prompts: pd.DataFrame) -> list[_FormContrast]:
    """List what can be compared, in the order of reading."""
    found: list[_FormContrast] = []
    identity = prompts[prompts["label_map"] == "identity"].drop_duplicates("label_set")
    texts = {row["label_set"]: (row["label_0"], row["label_1"]) for _, row in identity.iterrows()}
    sets = sorted(decisions["label_set"].dropna().unique())
    if {"identity", "swapped"} <= set(decisions["label_map"]):
        difference = {"identity": 1.0, "swapped": -1.0}
        found.append(_FormContrast("label_map", "first label - second label", None, difference))
        for name in sets:
            one, two = texts.get(name, (f"{name}: first", "second"))
            found.append(_FormContrast("label_map", f"{one} - {two}", name, difference))
    if {"forward", "reversed"} <= set(decisions["option_order"]):
        order = {"forward": 1.0, "reversed": -1.0}
        found.append(_FormContrast("option_order", "listed first - listed second", None, order))
    templates = sorted(
        decisions["template"].dropna().unique(), key=lambda name: (name != "neutral", name)
    )
    for name in templates[1:]:
        weights = {name: 1.0, templates[0]: -1.0}
        found.append(_FormContrast("template", f"{name} - {templates[0]}", None, weights))
    for name in sets if len(sets) > 1 else []:
        weights = {other: -1.0 / (len(sets) - 1) for other in sets if other != name} | {name: 1.0}
        text = "/".join(map(str, texts.get(name, (name,))))
        found.append(_FormContrast("label_set", f"{text} - other sets", None, weights))
    return found

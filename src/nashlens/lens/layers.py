"""What each layer says through a lens: estimates by layer, with intervals over matches.

Means are over prompts, each of which counts once however many histories lead to it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.contrasts import cell_mean_draws, percentile_interval
from nashlens.estimates import Array, Bootstrap, collect, frame, mean_estimates, plain_means
from nashlens.kept import at_position, kept, neutral

DESCRIPTIONS = {
    "nash": "P(Nash action), over prompts that have one (all games, and each)",
    "prosocial": "P(prosocial action), over prompts where it is not the Nash action",
    "nash_average": "P(Nash action), average over the label maps with equal weight",
    "nash_identity": "P(Nash action) where the first label stands for action 0",
    "nash_swapped": "P(Nash action) where the first label stands for action 1",
    "first_label": "P(first label), whatever it means",
    "listed_first": "P(option listed first), whatever it means",
    "label_mass": "probability of both labels in the whole vocabulary: median and quartiles",
    "prior": "P(first label) on the content-free prompts",
    "kl": "divergence of the model's final distribution from the layer's, in nats",
    "text_kl": "the same on held-out text, over chunks instead of matches",
}
"""Quantity -> what it is."""
_KEYS = {"model": "str", "lens": "str", "quantity": "str", "game": "str", "layer": "int64"}


def layer_estimates(
    lens: pd.DataFrame, prompts: pd.DataFrame, *, model: str, name: str, how: Bootstrap
) -> pd.DataFrame:
    """Return what one lens of one model shows at each layer.

    Parameters
    ----------
    lens : DataFrame
        Of `lens_table`: through the logit lens or the tuned lens.
    prompts : DataFrame
        The model's prompts.
    model, name : str
        Of the model and of the lens (`logit`, `tuned`), for the table.
    how : Bootstrap

    Returns
    -------
    DataFrame
        One row per quantity, game and layer: `model`, `lens`, `quantity` (see `DESCRIPTIONS`),
        `game` (missing: all games), `layer`, then `estimates.COLUMNS`.
    """
    columns = ["game", "label_map", "option_order", "nash_action", "prosocial_action"]
    about = neutral(kept(prompts)).drop_duplicates("prompt_id").set_index("prompt_id")[columns]
    lens = at_position(lens)
    rows = lens[lens["prompt_id"].isin(about.index)].drop_duplicates(["prompt_id", "layer"])
    if rows.empty:
        return collect([], _KEYS)
    wide = rows.pivot(index="prompt_id", columns="layer", values="p_action_0").dropna()
    first = rows.drop_duplicates("prompt_id").set_index("prompt_id").loc[wide.index]
    about, matches = about.loc[wide.index], first["match_id"].to_numpy(object)
    layers = wide.columns.to_numpy(int)
    nash = about["nash_action"].to_numpy(float, na_value=np.nan)
    prosocial = about["prosocial_action"].to_numpy(float, na_value=np.nan)
    has_nash = ~np.isnan(nash)
    conflict = has_nash & ~np.isnan(prosocial) & (nash != prosocial)
    identity = (about["label_map"] == "identity").to_numpy()
    forward = (about["option_order"] == "forward").to_numpy()

    def matrix(column: str) -> Array:
        values = rows.pivot(index="prompt_id", columns="layer", values=column)
        return values.loc[wide.index, layers].to_numpy(float)

    def of_action_0(condition: np.ndarray, p: Array) -> Array:
        """Return P(action 0) where the condition holds, P(action 1) where it does not."""
        return np.where(condition[:, None], p, 1 - p)

    p = wide.to_numpy(float)
    p_nash = of_action_0(nash == 0, p)
    prior = of_action_0(~identity, matrix("prior_action_1"))
    every = np.ones(len(p), dtype=bool)
    known_prior = ~np.isnan(prior).any(axis=1)
    means = {
        "nash": (p_nash, has_nash),
        "prosocial": (1 - p_nash, conflict),
        "first_label": (of_action_0(identity, p), every),
        "listed_first": (of_action_0(forward, p), every),
        "prior": (prior, known_prior),
        "kl": (matrix("kl"), every),
    }
    found: list[tuple[str, str | None, pd.DataFrame]] = [
        (key, None, mean_estimates(values[use], matches[use], how, "lens layers", model, key))
        for key, (values, use) in means.items()
    ]
    average = _average(
        p_nash[has_nash], about["label_map"][has_nash], matches[has_nash], how, model
    )
    found.append(("nash_average", None, average))
    for key, condition in (("nash_identity", identity), ("nash_swapped", ~identity)):
        use = has_nash & condition
        found.append((key, None, plain_means(p_nash[use], matches[use])))
    for game in dict.fromkeys(about["game"][has_nash]):
        use = has_nash & (about["game"] == game).to_numpy()
        found.append(("nash", game, plain_means(p_nash[use], matches[use])))
    found.append(("label_mass", None, _quartiles(rows, layers)))
    tables = [
        table.assign(model=model, lens=name, quantity=key, game=game, layer=layers)
        for key, game, table in found
    ]
    return collect(tables, _KEYS)


def _average(
    p_nash: Array, label_map: pd.Series, matches: np.ndarray, how: Bootstrap, model: str
) -> pd.DataFrame:
    """Average over both label maps with equal weight, so that a liking for a label cancels."""
    if label_map.nunique() < 2:
        none = np.full(p_nash.shape[1], np.nan)
        return frame(none, none, none, "", len(p_nash), len(set(matches)))
    mean, draws = cell_mean_draws(
        p_nash,
        label_map,
        matches,
        resamples=how.resamples,
        rng=how.rng("lens layers", model, "nash_average"),
    )
    low, high = percentile_interval(draws, how.confidence)
    if len(set(matches)) < 2:
        low, high = np.full((2, len(mean)), np.nan)
    return frame(mean, low, high, "percentile", len(p_nash), len(set(matches)))


def _quartiles(rows: pd.DataFrame, layers: np.ndarray) -> pd.DataFrame:
    """Return the median of the label mass, with the quartiles in place of an interval."""
    quartiles = np.array([0.5, 0.25, 0.75])
    found = rows.groupby("layer")["label_mass"].quantile(quartiles).unstack().loc[layers]
    median, low, high = (found[quartile] for quartile in quartiles)
    n, n_matches = rows["prompt_id"].nunique(), rows["match_id"].nunique()
    return frame(median, low, high, "quartiles", n, n_matches)


def tuned_estimates(
    lens: pd.DataFrame, prompts: pd.DataFrame, text: pd.DataFrame, *, model: str, how: Bootstrap
) -> pd.DataFrame:
    """Return `layer_estimates` of the tuned lens, and `text_estimates` of both lenses."""
    layers = layer_estimates(lens, prompts, model=model, name="tuned", how=how)
    return pd.concat([layers, text_estimates(text, model=model, how=how)], ignore_index=True)


def text_estimates(text: pd.DataFrame, *, model: str, how: Bootstrap) -> pd.DataFrame:
    """Return the divergence of both lenses on held-out text, in rows as `layer_estimates`.

    Parameters
    ----------
    text : DataFrame
        The tuned lens's own table: one row per layer and token.
    model : str
    how : Bootstrap
        Chunks of text are resampled, and counted as `n_matches`.
    """
    layers = np.sort(text["layer"].unique())
    parts = [text[text["layer"] == layer] for layer in layers]
    tables = []
    for name in ("logit", "tuned"):
        # Each layer's tokens are in the same order.
        values = np.stack([part[f"kl_{name}"].to_numpy(float) for part in parts], axis=1)
        found = mean_estimates(values, parts[0]["chunk"], how, "lens layers", model, "text", name)
        tables.append(found.assign(model=model, lens=name, quantity="text_kl", layer=layers))
    return collect(tables, _KEYS)

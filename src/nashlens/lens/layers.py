"""What each layer says through a lens: probabilities, label mass and divergences by layer.

Means give games the same weight, and their bounds speak of new scenarios (`nashlens.factorial`).
What follows the action and what follows a word or a place is told apart in `nashlens.lens.effects`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from nashlens.estimates import Bootstrap, collect, frame, mean_estimates
from nashlens.factorial import BlockEstimate
from nashlens.kept import kept
from nashlens.lens.readings import Array, Readings

DESCRIPTIONS = {
    "nash": "P(Nash action), over prompts that have one (all games, and each)",
    "prosocial": "P(prosocial action), over prompts where it is not the Nash action",
    "label_mass": "probability of both labels in the whole vocabulary: median and quartiles",
    "prior": "P(first label) on the content-free prompts",
    "kl": "divergence of the model's final distribution from the layer's, in nats",
    "text_kl": "the same on held-out text, over chunks instead of matches",
}
"""Quantity -> what it is."""
_PROBABILITIES = ("nash", "prosocial", "prior")
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
        `game` (missing: all games), `layer`, then `estimates.COLUMNS`. No row where no block is
        whole.
    """
    readings = Readings(lens, kept(prompts), first=0, further=("kl", "prior_action_1"))
    if not len(readings):
        return collect([], _KEYS)
    blocks, asked = readings.blocks, readings.prompts
    first_is_1 = (asked["label_map"] == "swapped").to_numpy()[:, None]
    p_first = readings.further["prior_action_1"]
    prior = blocks.means(np.where(first_is_1, p_first, 1.0 - p_first))
    nash, has_nash = readings.probability("nash_action"), readings.has("nash_action")
    about = blocks.frame
    differ = about["nash_action"].ne(about["prosocial_action"]).fillna(False).to_numpy(dtype=bool)
    every, prior_known = np.ones(len(blocks), dtype=bool), np.isfinite(prior).all(axis=1)
    means: list[tuple[str, str | None, Array, np.ndarray]] = [
        ("nash", None, nash, has_nash),
        ("prosocial", None, readings.probability("prosocial_action"),
         differ & readings.has("nash_action", "prosocial_action")),
        ("prior", None, prior, np.asarray(prior_known)),
        ("kl", None, blocks.means(readings.further["kl"]), every),
    ]  # fmt: skip
    for game in dict.fromkeys(about["game"][has_nash]):
        means.append(("nash", game, nash, has_nash & (about["game"] == game).to_numpy()))
    found = [
        (key, game, _rows(blocks.estimate(values, chosen), key, how.confidence))
        for key, game, values, chosen in means
    ]
    found.append(("label_mass", None, _quartiles(readings)))
    tables = [
        rows.assign(model=model, lens=name, quantity=key, game=game, layer=readings.layers)
        for key, game, rows in found
    ]
    return collect(tables, _KEYS)


def _rows(found: BlockEstimate, quantity: str, confidence: float) -> pd.DataFrame:
    low, high = found.interval(confidence)
    if quantity in _PROBABILITIES:
        low, high = np.clip((low, high), 0.0, 1.0)
    return frame(found.estimate, low, high, "student", found.n, found.n_clusters)


def _quartiles(readings: Readings) -> pd.DataFrame:
    """Return the median of the label mass, with the quartiles in place of an interval."""
    median, low, high = np.quantile(readings.mass, (0.5, 0.25, 0.75), axis=0)
    return frame(median, low, high, "quartiles", len(readings), readings.blocks.n_clusters)


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

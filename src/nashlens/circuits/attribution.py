"""Direct logit attribution of some decisions: who writes the answer, as a table and as parts.

Each component's number says how far it moves the logit of action 1 over action 0 at the token that
decides (`nashlens.engine.attribution`). In a block it splits into an *action part*, which writes
for the Nash action whatever it is called, a *word part* and a *place part* (`nashlens.factorial`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nashlens.circuits.phases import match_phases
from nashlens.circuits.writers import PLACE
from nashlens.contrasts import Array
from nashlens.engine.attribution import Attribution, attribute, written_places
from nashlens.engine.labels import LabelledPrompt, labelled_prompts
from nashlens.engine.recording import Recorded, record
from nashlens.errors import DataError
from nashlens.interventions import PROMPT_COLUMNS, choose_prompts, prompts_by_interventions
from nashlens.models.weights import WeightReader

if TYPE_CHECKING:
    from nashlens.engine.core import Engine

KINDS = ("total", "embedding", "bias", "attention", "attention_bias", "mlp", "head")
"""Kinds of components. `embedding`, `bias`, `attention` and `mlp` add up to `total`; `head` and
`attention_bias` to `attention`."""


def choose_decisions(
    prompts: pd.DataFrame, games: Sequence[str], per_game: int, seed: int
) -> pd.DataFrame:
    """Choose prompts in which the Nash action is not the prosocial one, in whole blocks.

    Parameters
    ----------
    prompts : pandas.DataFrame
        The prompts table.
    games : sequence of str
    per_game : int
    seed : int

    Returns
    -------
    pandas.DataFrame
        Rows of `prompts`, with their `phase`: histories that choose components, or test them.

    Raises
    ------
    DataError
        If a game has no prompt, one history only, or no game has such a prompt.
    """
    key = "attribution.games"
    chosen = choose_prompts(prompts, games, per_game, seed, "attribution prompts", key=key)
    both = chosen["nash_action"].notna() & chosen["prosocial_action"].notna()
    chosen = chosen[both & (chosen["nash_action"] != chosen["prosocial_action"])]
    if chosen.empty:
        raise DataError(
            f"{key}: no prompt of {', '.join(games)} has a prosocial action other than its Nash"
            " action; choose games with such a conflict"
        )
    chosen = chosen.reset_index(drop=True)
    return chosen.assign(phase=match_phases(chosen))


def record_answers(engine: Engine, chosen: pd.DataFrame) -> Recorded:
    """Record what every component writes where prompts are answered.

    Parameters
    ----------
    engine : Engine
    chosen : pandas.DataFrame
        Of `choose_decisions`.

    Returns
    -------
    Recorded
        The `written_places` at each prompt's last token, and at the one that decides, which is
        another one where both labels start with the same tokens.
    """
    prompts = labelled_prompts(chosen)
    sequences = [ids for ids, _ in map(_decision, prompts)]
    both = zip(prompts, sequences, strict=True)
    tokens = [sorted({len(prompt.ids) - 1, len(ids) - 1}) for prompt, ids in both]
    return record(engine, sequences, tokens, written_places(engine))


def attribution_table(
    engine: Engine, chosen: pd.DataFrame, recorded: Recorded, weights: WeightReader, *, model: str
) -> pd.DataFrame:
    """Attribute the answers to prompts to the model's components.

    Parameters
    ----------
    engine : Engine
    chosen : pandas.DataFrame
        Of `choose_decisions`.
    recorded : Recorded
        Of `record_answers`, for these prompts.
    weights : WeightReader
        The model's, for its final norm and unembedding.
    model : str

    Returns
    -------
    pandas.DataFrame
        The attribution table: one row per prompt and component (`component`, `kind`, `layer`,
        `head`), with `logit`: what the component adds to the logit of action 1 over action 0 at the
        first token in which the two labels differ.

    Raises
    ------
    DataError
        If one label of a prompt starts with all of the other.
    """
    decided = [_decision(prompt) for prompt in labelled_prompts(chosen)]
    pairs = np.array([tokens for _, tokens in decided])
    needed, where = np.unique(pairs, return_inverse=True)
    rows = weights.unembedding(needed).astype(np.float64)[where.reshape(pairs.shape)]
    sequences, differences = [ids for ids, _ in decided], rows[:, 1] - rows[:, 0]
    found = attribute(engine, sequences, differences, weights.final_norm(), recorded)
    described = _components(engine.n_layers, engine.n_heads)
    own = chosen[[*PROMPT_COLUMNS, "prosocial_action", "phase"]]
    table = prompts_by_interventions(own, described, {"logit": _columns(found)})
    table.insert(0, "model", model)
    return table


def _decision(prompt: LabelledPrompt) -> tuple[list[int], tuple[int, int]]:
    """Return the tokens up to the first in which the labels differ, and these two."""
    for k, (first, second) in enumerate(zip(*prompt.labels, strict=False)):
        if first != second:
            return [*prompt.ids, *prompt.labels[0][:k]], (int(first), int(second))
    raise DataError(
        f"labels of tokens {prompt.labels[0]} and {prompt.labels[1]}: one starts with all of the"
        " other; choose labels that differ in a token"
    )


def _components(n_layers: int, n_heads: int) -> pd.DataFrame:
    """Return the components in the order of `_columns`."""
    layers = range(1, n_layers + 1)
    rows: list[tuple[str, str, object, object]] = [
        (kind, kind, pd.NA, pd.NA) for kind in ("total", "embedding", "bias")
    ]
    for kind in ("attention", "attention_bias", "mlp"):
        rows += [(f"{layer}.{kind}", kind, layer, pd.NA) for layer in layers]
    rows += [
        (f"{layer}.{head}", "head", layer, head) for layer in layers for head in range(n_heads)
    ]
    return pd.DataFrame(rows, columns=PLACE).astype({"layer": "Int64", "head": "Int64"})


def _columns(found: Attribution) -> Array:
    """Return all parts side by side, (n, components)."""
    ends = np.stack([found.total, found.embedding, found.bias], axis=1)
    heads = found.heads.reshape(len(ends), -1)
    return np.hstack([ends, found.attention, found.attention_bias, found.mlp, heads])

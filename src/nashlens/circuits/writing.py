"""Who writes the answer, from one recording of some prompts: attribution, and what it causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from nashlens.circuits.attribution import attribution_table, choose_decisions, record_answers
from nashlens.circuits.override import exchange_pairs, override_table
from nashlens.models.weights import WeightReader

if TYPE_CHECKING:
    from nashlens.engine.core import Engine


def writing_tables(
    engine: Engine,
    decisions: pd.DataFrame,
    conflicts: pd.DataFrame,
    weights: WeightReader,
    *,
    games: Sequence[str],
    prompts: int,
    pairs: int,
    random_groups: int,
    orders: int,
    late_fraction: float,
    seed: int,
    model: str,
) -> dict[str, pd.DataFrame]:
    """Attribute answers to components, and ablate and exchange the late ones against Nash.

    Parameters
    ----------
    engine : Engine
    decisions : pandas.DataFrame
        The prompts table.
    conflicts : pandas.DataFrame
        The pairs table of these games; its pairs of the kind `payoffs` are used.
    weights : WeightReader
        The model's.
    games : sequence of str
        Games with a conflict.
    prompts, pairs : int
        Of each game, at most, in whole blocks; without pairs nothing is exchanged.
    random_groups, orders : int
        Number of random groups, and of random orders.
    late_fraction : float
        Share of the layers, from the top, that counts as late.
    seed : int
    model : str

    Returns
    -------
    dict of str to pandas.DataFrame
        `attribution` (see `attribution_table`) and `override` (see `override_table`).
    """
    chosen = choose_decisions(decisions, games, prompts, seed)
    recorded = record_answers(engine, chosen)
    attribution = attribution_table(engine, chosen, recorded, weights, model=model)
    override = override_table(
        engine,
        chosen,
        attribution,
        recorded,
        exchange_pairs(conflicts, chosen, pairs),
        late_fraction=late_fraction,
        draws=random_groups,
        orders=orders,
        seed=seed,
        model=model,
    )
    return {"attribution": attribution, "override": override}

"""How many components carry an effect: curves that are known, and a table of known effects."""

import itertools

import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.concentration import concentration_estimates, gini, needed
from nashlens.estimates import Bootstrap
from nashlens.interventions import prompts_by_interventions

HOW = Bootstrap(0.95, 400, 1)
SIZE, ORDERS = 8, 4


def override(effects, noise=0.02, seed=0):
    """Return an override table of components that add these effects, in logits."""
    rng = np.random.default_rng(seed)
    forms = itertools.product(range(8), ("identity", "swapped"), ("forward", "reversed"))
    prompts = pd.DataFrame(forms, columns=["match_id", "label_map", "option_order"])
    block = prompts["match_id"].astype(str)
    prompts = prompts.assign(
        match_id=block, block_id=block, prompt_id=[str(k) for k in range(len(prompts))],
        game="g", template="t", label_set="l", nash_action=1,
    )  # fmt: skip
    orders = [np.arange(len(effects))] + [rng.permutation(len(effects)) for _ in range(ORDERS)]
    curves = np.concatenate([np.cumsum(np.asarray(effects)[order]) for order in orders])
    kinds = ["first"] * SIZE + ["order"] * SIZE * ORDERS
    described = pd.DataFrame(
        {"ablation": [f"{kind}_{k:03d}" for k, kind in enumerate(kinds)], "kind": kinds}
    ).assign(layer=None, head=None, heads="", late_components=16)
    of_block = rng.normal(1.0, noise, 8)[block.astype(int)][:, None]
    return prompts_by_interventions(prompts, described, {"drop": -curves * of_block})


def row(table, quantity, order="chosen", share=None):
    rows = table[(table["quantity"] == quantity) & (table["order"] == order)]
    return (rows if share is None else rows[rows["share"] == share]).iloc[0]


def test_a_soloist_carries_it_alone():
    table = concentration_estimates(override([1.0] + [0.001] * 7), model="m", how=HOW)
    for share in (0.5, 0.8, 0.95):
        found = row(table, "needed", share=share)
        assert found["estimate"] == found["ci_low"] == found["ci_high"] == 1
    assert row(table, "gini")["estimate"] > 0.9
    assert row(table, "needed", "random", 0.5)["estimate"] > 1


def test_a_choir_needs_as_many_in_any_order():
    table = concentration_estimates(override([0.13] * 4 + [0.12] * 4), model="m", how=HOW)
    assert row(table, "needed", share=0.5)["estimate"] == 4
    assert row(table, "needed", share=0.95)["estimate"] == 8
    assert row(table, "needed", "random", 0.5)["estimate"] == pytest.approx(4.25, abs=0.5)
    # Eight of sixteen late components have all of it.
    assert row(table, "gini")["estimate"] == pytest.approx(0.5, abs=0.05)
    curve = table[(table["quantity"] == "curve") & (table["order"] == "chosen")]
    assert (curve["ci_low"] <= curve["estimate"]).all()
    assert curve["size"].tolist() == list(range(1, SIZE + 1))


def test_without_an_effect_nothing_is_counted():
    table = concentration_estimates(override([0.0] * 8), model="m", how=HOW)
    assert set(table["quantity"]) == {"curve"}
    empty = override([0.0] * 8).iloc[:0]
    assert concentration_estimates(empty, model="m", how=HOW).empty


def test_numbers_that_are_known():
    curves = [[0.5, 0.6, 1.0], [0.1, 0.2, -1.0]]
    assert needed(curves, 0.5) == pytest.approx([1, np.nan], nan_ok=True)
    assert gini([3.0, -1.0]) == pytest.approx(0.5)
    assert np.isnan(gini([0.0, -1.0]))

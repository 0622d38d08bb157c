"""How many components carry an effect: curves that are known, and a table of known effects."""

import itertools

import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.concentration import concentration_estimates, gini, needed
from nashlens.circuits.override import SIZES, sizes_tried
from nashlens.estimates import Bootstrap
from nashlens.interventions import prompts_by_interventions

HOW = Bootstrap(0.95, 400, 1)
SIZE, ORDERS = 8, 4


def override(effects, noise=0.02, seed=0, rest=0.0, others=0):
    """Return an override table of components that add these effects, in logits.

    `others` more write against the Nash action as well, and add `rest` together.
    """
    rng = np.random.default_rng(seed)
    forms = itertools.product(range(8), ("identity", "swapped"), ("forward", "reversed"))
    prompts = pd.DataFrame(forms, columns=["match_id", "label_map", "option_order"])
    block = prompts["match_id"].astype(str)
    prompts = prompts.assign(
        match_id=block, block_id=block, prompt_id=[str(k) for k in range(len(prompts))],
        game="g", template="t", label_set="l", nash_action=1,
    )  # fmt: skip
    orders = [np.arange(len(effects))] + [rng.permutation(len(effects)) for _ in range(ORDERS)]
    sizes = sizes_tried(len(effects))
    curves = [np.cumsum(np.asarray(effects)[order])[np.array(sizes) - 1] for order in orders]
    curves = np.concatenate([*curves, [sum(effects) + rest]])
    kinds = ["first"] * len(sizes) + ["order"] * len(sizes) * ORDERS + ["all"]
    described = pd.DataFrame(
        {
            "ablation": [f"{kind}_{k:03d}" for k, kind in enumerate(kinds)],
            "kind": kinds,
            "size": [*sizes * (1 + ORDERS), len(effects) + others],
        }
    ).assign(layer=None, head=None, heads="", late_components=2 * (len(effects) + others))
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


def test_the_whole_is_that_of_all_who_write_against_nash():
    table = concentration_estimates(override([0.5] * 8, rest=1.0, others=12), model="m", how=HOW)
    curve = table[(table["quantity"] == "curve") & (table["order"] == "chosen")]
    assert curve["size"].tolist() == [*range(1, SIZE + 1), 20]
    assert curve["estimate"].to_list()[-2:] == pytest.approx([4.0, 5.0], abs=0.1)
    # Half of 5 is more than half of what those have that are put in order.
    assert row(table, "needed", share=0.5)["estimate"] == 5
    # Those have four fifths: what has 95% is only known to be all.
    assert row(table, "needed", share=0.95)["estimate"] == 20


def test_of_many_some_numbers_are_tried_and_the_smallest_that_holds_is_told():
    table = concentration_estimates(override([0.1] * 60), model="m", how=HOW)
    curve = table[(table["quantity"] == "curve") & (table["order"] == "chosen")]
    sizes = curve["size"].tolist()
    assert sizes == sizes_tried(60)
    for share in (0.5, 0.8, 0.95):
        found = row(table, "needed", share=share)["estimate"]
        assert found == min(size for size in sizes if size >= share * 60 - 1e-9)
    # Sixty of 120 late components add the same, also within a step of several.
    assert row(table, "gini")["estimate"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("number", [1, 2, 20, 21, 60, 264, 2000])
def test_few_numbers_are_all_tried_and_of_many_about_twenty(number):
    sizes = sizes_tried(number)
    assert sizes[:3] == list(range(1, min(number, 3) + 1))
    assert sizes[-1] == number
    assert sizes == sorted(set(sizes))
    if number <= SIZES:
        assert sizes == list(range(1, number + 1))
    else:
        assert len(sizes) == SIZES
        ratios = np.divide(sizes[1:], sizes[:-1])
        assert ratios[5:].max() < 1.7


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

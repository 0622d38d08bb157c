"""Power and mistakes of spikes, from draws whose verdicts are made up."""

import numpy as np
import pandas as pd
import pytest

from nashlens.contrasts import wilson_interval
from nashlens.steering.spike_summary import MEASURED, NONE, summarise_spikes, with_spike, worth
from nashlens.steering.spiked_answers import ASKED


def summary_of(shares, wrong=None, own=0):
    """Shares of ten draws in which spikes of some strengths are found, and one of a wrong kind.

    In the first `own` draws the model has the verdict by itself.
    """
    rows = [(NONE, 0.0, "power", own)]
    rows += [("override", strength, "power", found) for strength, found in shares.items()]
    if wrong is not None:
        rows.append(("word", 1.0, "false", wrong))
    table = pd.DataFrame(rows, columns=["spike", "strength", "counts", "hits"])
    drawn = table.loc[table.index.repeat(10)].reset_index(drop=True)
    drawn["draw"] = drawn.groupby(["spike", "strength"]).cumcount()
    hit = drawn["draw"] < drawn["hits"]
    drawn["verdict"] = np.where(hit, "supported", "inconclusive")
    drawn = drawn.assign(model="m", layer=1, unit="logits", claim="M6", wanted="supported")
    return summarise_spikes(drawn, 0.95)


def test_power_must_hold_for_every_larger_strength():
    assert worth(summary_of({1.0: 10, 2.0: 0, 3.0: 10}))["spike_found"].tolist() == [3.0]


def test_a_draw_that_the_model_decides_by_itself_is_no_mistake_of_a_wrong_spike():
    (row,) = worth(summary_of({1.0: 10}, wrong=4, own=4)).to_dict("records")
    assert row["spike_false"] == 0.0
    assert row["false_shares"].endswith("of 6 draws")
    (row,) = worth(summary_of({1.0: 10}, wrong=7, own=4)).to_dict("records")
    assert row["spike_false"] == pytest.approx(0.5)
    # Without a draw in which it could be mistaken nothing is known.
    summary = summary_of({1.0: 10}, wrong=10, own=10)
    (wrong,) = summary[summary["counts"] == "false"].to_dict("records")
    assert wrong["n"] == 0
    assert np.isnan(wrong["estimate"])
    assert np.isnan(worth(summary)["spike_false"].item())


def test_a_draw_that_the_model_decides_by_itself_is_no_find_of_a_spike():
    summary = summary_of({0.0: 4, 0.3: 5, 1.0: 9}, own=4)
    power = summary[summary["spike"] == "override"].set_index("strength")
    # In the first four of ten draws the verdict is there anyway: six can find something.
    assert (power["n"] == 6).all()
    assert power["estimate"].tolist() == pytest.approx([0.0, 1 / 6, 5 / 6])
    assert tuple(power.loc[1.0, ["ci_low", "ci_high"]]) == wilson_interval(5, 6, 0.95)
    # What the model has by itself is a share of all draws.
    (own,) = summary[summary["spike"] == NONE].to_dict("records")
    assert (own["n"], own["estimate"]) == (10, 0.4)
    (row,) = worth(summary).to_dict("records")
    assert row["spike_found"] == 1.0
    assert row["spike_shares"] == "83% [44%, 97%] of 6 draws"


def test_power_is_none_where_no_draw_is_left():
    summary = summary_of({0.3: 10, 1.0: 10}, wrong=10, own=10)
    spiked = summary[summary["spike"] != NONE]
    assert (spiked["n"] == 0).all()
    assert spiked[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    (row,) = worth(summary).to_dict("records")
    assert np.isnan(row["spike_found"])
    assert (row["spike_unit"], row["spike_shares"], row["false_shares"]) == ("logits", "", "")
    # So few draws could tell little of a model that mostly has the verdict.
    (row,) = worth(summary_of({1.0: 10}, own=8)).to_dict("records")
    assert np.isnan(row["spike_found"])


def test_draws_are_left_out_of_their_own_model_and_claim_only():
    """Model `a` has M6 by itself in its first two draws; `b` and M5 do not."""
    keys = [("a", "M6", 2), ("a", "M5", 0), ("b", "M6", 0)]
    drawn = [
        {"model": model, "claim": claim, "spike": spike, "strength": strength, "draw": draw,
         "verdict": "supported" if draw < hits else "inconclusive"}
        for model, claim, own in keys
        for spike, strength, hits in ((NONE, 0.0, own), ("override", 1.0, 5))
        for draw in range(5)
    ]  # fmt: skip
    same = {"layer": 1, "unit": "logits", "counts": "power", "wanted": "supported"}
    summary = summarise_spikes(pd.DataFrame(drawn).assign(**same), 0.95)
    n = summary[summary["spike"] != NONE].set_index(["model", "claim"])["n"]
    assert n.to_dict() == {("a", "M6"): 3, ("a", "M5"): 5, ("b", "M6"): 5}


def test_a_reason_says_what_would_have_been_found_in_how_many_draws():
    (row,) = worth(summary_of({0.3: 9, 1.0: 10}, wrong=0)).to_dict("records")
    assert with_spike("Too few.", row) == (
        "Too few. An effect of 0.3 logits put into this model is found four times in five"
        " (90% [60%, 98%] of 10 draws)."
    )
    (row,) = worth(summary_of({0.3: 9, 1.0: 7}, wrong=1)).to_dict("records")
    assert np.isinf(row["spike_found"])
    assert with_spike("open", row) == (
        "open. No effect put into this model is found four times in five (the largest in"
        " 70% [40%, 89%] of 10 draws); one of the wrong kind was taken for it in 10% [2%, 40%] of"
        " 10 draws."
    )
    assert with_spike("supported", row | {"spike_found": np.nan}) == "supported"


def test_a_reason_says_where_an_effect_was_put():
    (row,) = worth(summary_of({2.0: 10}, wrong=0)).to_dict("records")
    for claim in ASKED:
        said = with_spike("open", row | {"claim": claim})
        assert "An effect of 2 logits added to what was measured is found" in said
    assert set(MEASURED) == set(ASKED)

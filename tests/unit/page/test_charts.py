"""Charts of the page: whose rows they show, and what they leave out."""

import json

import pandas as pd

from nashlens.findings.claims import ALL_CLAIMS
from nashlens.page import build_page
from nashlens.page.charts import CHARTS, charts_of
from nashlens.play.responses import COLUMNS, hold_against_beliefs
from tests.unit.page.studies import study


def test_charts_show_each_models_own_rows():
    two = study(models=("one", "two"))
    effects = two.tables["effects"]
    effects.loc[effects["model"] == "two", "estimate"] += 10.0
    chart = charts_of(two, "M6")[1]
    # The facets part the data; a part with data of its own would show all of it in each.
    assert "data" not in json.dumps(chart.spec["spec"])
    assert "two, action part: 10.2 at layer 1" in chart.alt
    assert chart.svg.startswith("<svg")


def test_every_claim_has_a_chart_of_the_numbers_behind_it():
    assert set(CHARTS) == {claim.id for claim in ALL_CLAIMS}


def test_beliefs_stand_beside_what_is_done():
    forms = {"model": "small", "game": "chicken", "gain_0": -0.5, "gain_1": 0.5}
    asked = pd.DataFrame(
        [
            {**forms, "block_id": block, "p_expected_1": expected, "p_action_1": done}
            for block, expected, done in (("a", 0.9, 0.7), ("a", 0.9, 0.9), ("b", 0.2, 0.3))
        ]
    )
    rest = [name for name in COLUMNS if name not in asked]
    asked[rest] = ""
    asked[["variant", "n_tokens", "belief_mass", "label_mass", "loss"]] = 0
    told = study()
    told.tables["beliefs"] = hold_against_beliefs(asked)
    (chart,) = [one for one in charts_of(told, "B7") if "beliefs" in one.tables]
    assert "where action 1 is the best response: 0.80 over 1 histories" in chart.alt
    assert "where action 0 is the best response: 0.30 over 1 histories" in chart.alt
    (points,) = chart.spec["datasets"].values()
    assert {(row["belief"], row["estimate"], row["n"]) for row in points} == {
        (0.9, 0.8, 2.0), (0.2, 0.3, 1.0)
    }  # fmt: skip


def test_a_chart_that_would_be_too_large_says_where_its_rows_are(monkeypatch):
    monkeypatch.setattr("nashlens.page.charts.MOST_ROWS", 7)
    shown = charts_of(study(), "M6")
    assert [bool(chart.spec) for chart in shown] == [True, False]
    assert shown[1].title == "No chart: it would have 8 rows of the table effects"
    assert shown[1].title in build_page(study())

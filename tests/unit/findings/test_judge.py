import json

import numpy as np
import pandas as pd

from nashlens.findings import CLAIMS, combine, judge
from nashlens.findings.estimators import ESTIMATORS
from nashlens.findings.estimators.play import PLAY_ESTIMATORS
from nashlens.findings.judge import COLUMNS
from nashlens.findings.play import judge_play
from nashlens.findings.play_claims import PLAY_CLAIMS
from nashlens.findings.play_verdicts import PLAY_RULES
from nashlens.findings.verdicts import RULES
from nashlens.games.table import games_table
from nashlens.statistics import benjamini_hochberg
from tests.unit.findings.play_tables import ALLC, PD, itself, models, play
from tests.unit.findings.tables import (
    SETTINGS,
    heads,
    lens,
    probe_rows,
    prompts,
    steering,
    steps,
)


def _tables():
    frame = prompts()
    return {
        "prompts": frame,
        "probes": pd.concat(
            [
                probe_rows("opponent_last", [0.5, *np.linspace(0.96, 0.7, 16)]),
                probe_rows("nash_action", [0.5] + [0.55] * 16),
            ]
        ),
        "lens": lens(frame, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0)),
        "steering": steering(slope=2.0, clamp=0.4),
        "heads": heads(),
    }


def test_every_claim_has_an_estimator_and_a_rule_or_says_what_it_waits_for():
    for claim in CLAIMS:
        assert (claim.id in ESTIMATORS and claim.id in RULES) != bool(claim.missing)


def test_every_claim_about_play_has_an_estimator_and_a_rule():
    names = [claim.id for claim in PLAY_CLAIMS]
    assert names == list(PLAY_ESTIMATORS) == list(PLAY_RULES)


def test_claims_about_play_are_in_the_same_family():
    inside = judge(_tables(), **SETTINGS)
    tables = {
        "matches": play(itself("m", ALLC), itself("n", ALLC)),
        "games": games_table([PD]),
        "models": models(m=("f", 8), n=("f", 70)),
    }
    outside = judge_play(tables, confidence=0.95, bootstrap=400, seed=3)
    table = combine([inside, outside], 0.05)
    assert tuple(table.columns) == COLUMNS
    assert table["claim"].drop_duplicates().tolist() == [
        *(claim.id for claim in CLAIMS), *(claim.id for claim in PLAY_CLAIMS),
    ]  # fmt: skip
    tested = table["p_value"].notna()
    np.testing.assert_allclose(
        table.loc[tested, "q_value"], benjamini_hochberg(table.loc[tested, "p_value"])
    )
    assert set(table.loc[table["claim"] == "B1", "verdict"]) == {"supported"}
    assert table["reason"].str.len().gt(10).all()
    assert not table.duplicated(["claim", "model"]).any()


def test_the_papers_picture_is_supported_throughout():
    table = combine([judge(_tables(), **SETTINGS)], 0.05)
    assert tuple(table.columns) == COLUMNS
    verdict = table.set_index("claim")["verdict"]
    assert (verdict == "supported").all(), table[["claim", "reason"]].to_string()
    assert table["reason"].str.len().gt(10).all()
    assert all(isinstance(json.loads(text), dict) for text in table["detail"])
    assert table["n"].dtype == "Int64"


def test_judging_is_deterministic():
    tables = _tables()
    pd.testing.assert_frame_equal(judge(tables, **SETTINGS), judge(tables, **SETTINGS))


def test_no_tables_at_all_are_not_applicable():
    table = combine([judge({}, **SETTINGS)], 0.05)
    assert (table["verdict"] == "not_applicable").all()
    assert table[["estimate", "p_value", "q_value"]].isna().all(axis=None)
    assert table["n"].isna().all()


def test_dropped_prompts_are_not_judged():
    tables = _tables()
    tables["prompts"] = tables["prompts"].assign(dropped="too long")
    found = judge(tables, **SETTINGS).set_index("claim")
    assert found.loc["M5", "verdict"] == "not_applicable"


def test_a_supported_claim_must_survive_the_family():
    one = judge(_tables(), **SETTINGS)
    one.loc[one["claim"] == "M7", "p_value"] = 0.04
    others = []
    for k in range(5):
        other = one.copy().assign(model=f"other{k}", verdict="inconclusive")
        other["p_value"] = other["p_value"].where(other["p_value"].isna(), 0.9)
        others.append(other)
    table = combine([one, *others], 0.05)
    row = table[(table["claim"] == "M7") & (table["model"] == "m")].iloc[0]
    assert row["q_value"] > 0.05
    assert row["verdict"] == "inconclusive"
    assert "correction" in row["reason"]
    assert table["claim"].tolist() == sorted(table["claim"])
    assert table["model"].iloc[0] == "m"

import json
from pkgutil import iter_modules

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from nashlens.findings import (
    ALL_CLAIMS,
    CLAIMS,
    LINEAGE_CLAIMS,
    PLAY_CLAIMS,
    combine,
    judge,
)
from nashlens.findings import claims as folder
from nashlens.findings.claim import ALL_MODELS
from nashlens.findings.claims import m1_history_early, m2_history_consumed, m3_nash_weak
from nashlens.findings.judge import COLUMNS, false_discovery
from nashlens.games.table import games_table
from nashlens.vocabulary.targets import CLAIM_TARGETS
from tests.unit.findings.play_tables import ALLC, PD, itself, models, play
from tests.unit.findings.tables import (
    PLANTED_PATH,
    SETTINGS,
    heads,
    lens,
    patching,
    probe_rows,
    prompts,
    steering,
    steps,
)
from tests.unit.findings.writers import override


def _tables():
    frame = prompts()
    return {
        "prompts": frame,
        "probes": pd.concat(
            [
                probe_rows("opponent_last", [0.5, *np.linspace(0.96, 0.7, 16)]),
                probe_rows("nash_label", [0.5] + [0.55] * 16),
                probe_rows("nash_place", [0.5] + [0.52] * 16),
            ]
        ),
        "lens": lens(frame, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0)),
        "steering": steering(slope=2.0, clamp=0.4),
        "heads": heads(),
        "patching": patching(PLANTED_PATH),
        "override": override(destroy=2.0, restore=1.5),
    }


def test_claims_come_by_letter_and_number_from_modules_of_their_names():
    modules = sorted(module.name for module in iter_modules(folder.__path__))
    ids = [claim.id for claim in ALL_CLAIMS]
    assert sorted(name.partition("_")[0].upper() for name in modules) == sorted(ids)
    numbers = [int(claim.id.removeprefix("M")) for claim in CLAIMS]
    assert numbers == sorted(set(numbers))
    assert ids == [claim.id for claim in (*CLAIMS, *PLAY_CLAIMS, *LINEAGE_CLAIMS)]
    for letters, group in (("BXS", PLAY_CLAIMS), ("C", LINEAGE_CLAIMS)):
        order = [(letters.index(claim.id[0]), int(claim.id[1:])) for claim in group]
        assert order == sorted(order)
    assert {claim.about for claim in CLAIMS} == {"model"}
    assert {claim.about for claim in PLAY_CLAIMS} == {"play"}
    assert {claim.about for claim in LINEAGE_CLAIMS} == {"lineage"}


def test_probes_are_scored_on_parts_for_all_targets_of_claims():
    named = {m1_history_early.TARGET, m2_history_consumed.TARGET, *m3_nash_weak.TARGETS}
    assert named == set(CLAIM_TARGETS)


def test_claims_about_play_are_in_the_same_family():
    inside = judge(_tables(), SETTINGS)
    tables = {
        "matches": play(itself("m", ALLC), itself("n", ALLC)),
        "games": games_table([PD]),
        "models": models(m=("f", 8), n=("f", 70)),
    }
    outside = judge(tables, SETTINGS.about(ALL_MODELS), PLAY_CLAIMS)
    table = combine([inside, outside], 0.05)
    assert tuple(table.columns) == COLUMNS
    assert table["claim"].drop_duplicates().tolist() == [
        *(claim.id for claim in CLAIMS), *(claim.id for claim in PLAY_CLAIMS),
    ]  # fmt: skip
    tested = table["p_value"].notna()
    np.testing.assert_allclose(
        table.loc[tested, "q_value"], false_discovery(table.loc[tested, "p_value"])
    )
    assert set(table.loc[table["claim"] == "B1", "verdict"]) == {"supported"}
    assert table["reason"].str.len().gt(10).all()
    assert not table.duplicated(["claim", "model"]).any()


def test_the_papers_picture_is_supported_throughout():
    table = combine([judge(_tables(), SETTINGS)], 0.05)
    assert tuple(table.columns) == COLUMNS
    verdict = table.set_index("claim")["verdict"]
    assert (verdict == "supported").all(), table[["claim", "reason"]].to_string()
    assert table["reason"].str.len().gt(10).all()
    assert all(isinstance(json.loads(text), dict) for text in table["detail"])
    assert table["n"].dtype == "Int64"


def test_judging_is_deterministic():
    tables = _tables()
    pd.testing.assert_frame_equal(judge(tables, SETTINGS), judge(tables, SETTINGS))


def test_no_tables_at_all_are_not_applicable():
    table = combine([judge({}, SETTINGS)], 0.05)
    assert (table["verdict"] == "not_applicable").all()
    assert table[["estimate", "p_value", "q_value"]].isna().all(axis=None)
    assert table["n"].isna().all()


def test_dropped_prompts_are_not_judged():
    tables = _tables()
    tables["prompts"] = tables["prompts"].assign(dropped="too long")
    found = judge(tables, SETTINGS).set_index("claim")
    assert found.loc["M5", "verdict"] == "not_applicable"


def test_a_supported_claim_must_survive_the_family():
    one = judge(_tables(), SETTINGS)
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
    assert table["claim"].tolist() == sorted(table["claim"], key=lambda name: int(name[1:]))
    assert table["model"].iloc[0] == "m"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 30))
def test_q_values_are_benjamini_and_hochbergs_of_what_was_tested(p, at):
    expected = false_discovery_control(p)
    np.testing.assert_allclose(false_discovery(np.array(p)), expected, atol=1e-12)
    q = false_discovery(np.array([*p[:at], np.nan, *p[at:]]))
    np.testing.assert_allclose(q[~np.isnan(q)], expected, atol=1e-12)
    assert np.isnan(q).sum() == 1


def test_what_was_not_tested_is_no_part_of_the_family():
    q = false_discovery(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04])
    assert np.isnan(false_discovery(np.array([np.nan]))).all()


def test_spikes_stand_beside_the_verdicts_of_their_own_model():
    frame = pd.DataFrame({"claim": ["M6", "M6", "M5"], "model": ["a", "b", "a"]}).assign(
        verdict=["contradicted", "inconclusive", "not_applicable"], reason="no.", p_value=0.5
    )
    columns = ["spike", "counts", "layer", "strength", "estimate"]
    rows = [("none", "power", 0, 0.0, 0.0), ("override", "power", 9, 0.1, 0.2),
            ("override", "power", 9, 0.5, 0.9), ("word", "false", 9, 0.5, 0.1)]  # fmt: skip
    spikes = pd.DataFrame(rows, columns=columns).assign(model="a", unit="logits")
    spikes = spikes.assign(ci_low=0.0, ci_high=0.96, n=10)
    spikes = pd.concat([spikes.assign(claim="M6"), spikes.assign(claim="M5")])
    found = combine([frame], 0.05, spikes=spikes).set_index(["claim", "model"])
    one = found.loc[("M6", "a")]
    assert (one["spike_found"], one["spike_unit"], one["spike_false"]) == (0.5, "logits", 0.1)
    assert one["reason"].endswith(
        "An effect of 0.5 logits put into this model is found four times in five (90% [0%, 96%]"
        " of 10 draws); one of the wrong kind was taken for it in 10% [0%, 96%] of 10 draws."
    )
    others = found.drop(index=("M6", "a"))
    assert others["spike_found"].isna().all()
    assert (others["spike_unit"] == "").all()
    assert not others["reason"].str.contains("put into").any()

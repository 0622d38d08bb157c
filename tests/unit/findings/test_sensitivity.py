"""Claims judged again on parts of the data, with the truth planted in some of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nashlens.findings import (
    CLAIMS,
    PLAY_CLAIMS,
    Claim,
    attach,
    combine,
    judge,
    judge_with_parts,
    sensitivity,
)
from nashlens.findings.claim import Evidence
from nashlens.findings.conditions import above, below, case, decided
from nashlens.findings.judge import COLUMNS as FINDINGS
from nashlens.findings.sensitivity import (
    AGREEMENTS,
    COLUMNS,
    DECIDED,
    agreement,
    fragile,
    restrict,
    statement,
)
from nashlens.games.table import games_table
from nashlens.parts import DRAWS, HALVES
from tests.unit.findings.play_tables import (
    ALLC,
    ALLD,
    COIN,
    PD,
    beliefs,
    checks,
    itself,
    models,
    play,
    steered,
)
from tests.unit.findings.tables import (
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

FEW = replace(SETTINGS, resamples=200)
CLAIM = {claim.id: claim for claim in (*CLAIMS, *PLAY_CLAIMS)}


def _parts(tables, *claims):
    chosen = [CLAIM[name] for name in claims]
    both = judge_with_parts(tables, FEW, chosen)
    return both["findings"].set_index("claim"), both["sensitivity"]


def _two_templates(histories=4):
    frames = [prompts(histories).assign(template=name) for name in ("named", "neutral")]
    for frame in frames:
        for column in ("match_id", "prompt_id", "block_id"):
            frame[column] = frame["template"] + "/" + frame[column]
    return pd.concat(frames, ignore_index=True)


def _steered(slopes):
    """Return a steering table of one template for each slope."""
    tables = []
    for k, (name, slope) in enumerate(slopes.items()):
        how = {"kinds": ("abstract",), "histories": 6, "seed": k}
        table = steering(slope=slope, clamp=slope / 5, **how).assign(template=name)
        for column in ("match_id", "block_id", "prompt_id"):
            table[column] = f"{name}/" + table[column]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _levels(parts, claim, factor):
    rows = parts[(parts["claim"] == claim) & (parts["factor"] == factor)]
    return rows.set_index("level")


def test_a_robust_claim_agrees_everywhere():
    tables = {"steering": _steered({"named": 2.0, "neutral": 2.0})}
    found, parts = _parts(tables, "M7", "M8")
    assert tuple(parts.columns) == COLUMNS
    assert (found["verdict"] == "supported").all()
    assert (parts["agreement"] == "agrees").all(), parts.to_string()
    assert (found["fragile"] == "").all()
    said = "template 2/2; label_set 2/2; half 2/2; bootstrap 3/3"
    assert (found["sensitivity"] == said).all()
    assert (parts["whole_verdict"] == "supported").all()
    assert parts["n"].dtype == "Int64"


def test_an_effect_under_one_template_alone_is_fragile_there_and_nowhere_else():
    tables = {"steering": _steered({"named": 2.5, "neutral": 0.0})}
    found, parts = _parts(tables, "M7", "M8")
    for claim in ("M7", "M8"):
        rows = _levels(parts, claim, "template")
        assert rows.loc["named", "verdict"] == "supported"
        assert rows.loc["neutral", "verdict"] == "contradicted"
        assert found.loc[claim, "fragile"] == "template"
        assert "neutral" in found.loc[claim, "sensitivity"]
    assert (_levels(parts, "M7", "half")["agreement"] != "reverses").all()


def test_a_lens_that_favours_one_label_set_is_fragile_there():
    frame = prompts()
    mine = frame["label_set"] == "jf"
    table = pd.concat([lens(frame[mine], nash=-2.0, seed=1), lens(frame[~mine], nash=1.0)])
    found, parts = _parts({"prompts": frame, "lens": table}, "M5")
    rows = _levels(parts, "M5", "label_set")
    assert found.loc["M5", "fragile"] == "label_set", rows.to_string()
    assert rows.loc["jf", "verdict"] == "contradicted"
    assert (rows.loc[["pq", "xy"], "verdict"] == "supported").all()
    single = _levels(parts, "M5", "template").iloc[0]
    assert (single.name, single["agreement"]) == ("neutral", "not_judged")
    assert "one template only" in single["reason"]


def test_an_override_under_one_template_alone():
    frame = _two_templates()
    named = frame["template"] == "named"
    late = [
        lens(frame[named], nash=steps(1.0, 0.2), prosocial=steps(0.0, 4.0)),
        lens(frame[~named], nash=1.0, seed=4),
    ]
    found, parts = _parts({"prompts": frame, "lens": pd.concat(late)}, "M6")
    rows = _levels(parts, "M6", "template")
    assert rows["verdict"].to_dict() == {"named": "supported", "neutral": "contradicted"}
    assert "template" in found.loc["M6", "fragile"]


def test_a_small_part_is_weaker_and_not_fragile():
    table = _steered({"named": 0.35, "neutral": 0.35})
    # Prompts that disagree: all of them decide, a third of them does not.
    rng = np.random.default_rng(0)
    sign = dict(zip(table["match_id"].unique(), rng.normal(1.0, 2.2, 48), strict=True))
    push = table["match_id"].map(sign) * table["value"] * 0.09 * (table["direction"] == "abstract")
    table["p_action_1"] = np.clip(0.5 + push * (table["kind"] == "add"), 0.01, 0.99)
    near = table["direction"].str.startswith("random")
    table.loc[near, "p_action_1"] = 0.5 + 0.001 * rng.normal(size=int(near.sum()))
    found, parts = _parts({"steering": table}, "M7")
    assert found.loc["M7", "verdict"] == "supported", found["reason"].iloc[0]
    assert "weaker" in set(parts["agreement"])
    assert not {"reverses", "differs"} & set(parts["agreement"]), parts.to_string()
    assert found.loc["M7", "fragile"] == ""
    assert "weaker" in found.loc["M7", "sensitivity"]


def test_aggregates_are_judged_by_their_own_parts():
    whole = probe_rows("opponent_last", [0.5, *np.linspace(0.96, 0.7, 16)])
    good = {"factor": "template", "level": "named"}
    parts = [
        whole.assign(**good),
        probe_rows("opponent_last", [0.5] * 17).assign(factor="template", level="neutral"),
    ]
    tables = {"probes": whole, "probes_parts": pd.concat(parts)}
    found, rows = _parts(tables, "M1", "M2")
    assert found["fragile"].to_dict() == {"M1": "template", "M2": "template"}
    levels = _levels(rows, "M1", "template")["agreement"].to_dict()
    assert levels == {"named": "agrees", "neutral": "reverses"}
    assert "cannot be parted" in _levels(rows, "M1", "label_set")["reason"].iloc[0]


def test_the_prompts_beside_an_aggregate_are_restricted_too():
    frame = prompts(2)
    row = probe_rows("nash_label", [0.5] + [0.9] * 16)
    levels = [("label_set", "jf"), ("label_set", "xy"), ("half", "half 1"), ("half", "half 2")]
    parts = pd.concat([row.assign(factor=f, level=level) for f, level in levels])
    tables = {"probes": row, "probes_parts": parts, "prompts": frame}
    cut = restrict(CLAIM["M3"], tables, "label_set", 3)
    assert set(cut) == {"jf", "xy"}
    assert set(cut["jf"]["prompts"]["label_set"]) == {"jf"}
    assert set(cut["jf"]["probes"]["level"]) == {"jf"}
    assert set(restrict(CLAIM["M3"], tables, "half", 3)) == set(HALVES)


def test_a_design_that_is_too_small_says_so():
    table = heads().assign(template="neutral")
    table["label_set"] = np.where(table["match_id"].isin(["m0", "m1"]), "jf", "xy")
    parts = _parts({"heads": table}, "M4")[1]
    rows = _levels(parts, "M4", "label_set")
    assert rows.loc["jf", "agreement"] == "not_judged"
    assert "one history to test on" in rows.loc["jf", "reason"]
    assert rows.loc["xy", "agreement"] == "agrees"


def test_no_tables_at_all():
    claims = list(CLAIMS)
    found = judge({}, SETTINGS, claims)
    parts = sensitivity(found, {}, SETTINGS, claims)
    assert (parts["agreement"] == "not_judged").all()
    joined = combine([attach(found, parts, 0.95)], 0.05)
    assert tuple(joined.columns) == FINDINGS
    assert (joined[["sensitivity", "fragile"]] == "").all(axis=None)


def test_parts_do_not_hang_on_the_order_of_rows():
    table = _steered({"named": 1.0, "neutral": 0.3})
    one = _parts({"steering": table}, "M7")[1]
    two = _parts({"steering": table.sample(frac=1.0, random_state=1)}, "M7")[1]
    pd.testing.assert_frame_equal(one, two)


def test_another_claim_needs_nothing_but_a_match_id():
    """As a claim about play would have it: its own table, estimator and rule."""

    def estimate(tables, settings):
        assert len(tables["games"]) == 2
        value, n = tables["plays"]["action"].mean(), len(tables["plays"])
        half = 2 * np.sqrt(value * (1 - value) / n)
        return Evidence(
            estimate=value, low=value - half, high=value + half, n=n, n_matches=n, control=0.5,
            p_value=0.5,
        )  # fmt: skip

    def rule(evidence):
        return decided(
            case("supported", above("lower bound", evidence.low, 0.5)),
            case("contradicted", below("upper bound", evidence.high, 0.5)),
            case("inconclusive"),
        )

    claim = Claim(
        id="X", statement="Action 1 is played.", measure="share", unit="", control="", paper="",
        tables=("plays", "games"), supported="", contradicted="", estimate=estimate, rule=rule,
        reason=lambda evidence, outcome: "",
    )  # fmt: skip
    rng = np.random.default_rng(1)
    rows = [(f"{t}{k}", t, rng.random() < {"a": 0.9, "b": 0.1}[t]) for t in "ab" for k in range(60)]
    plays = pd.DataFrame(rows, columns=["match_id", "template", "action"])
    tables = {"plays": plays, "games": pd.DataFrame({"game": ["pd", "harmony"]})}
    both = judge_with_parts(tables, SETTINGS, [claim])
    assert both["findings"]["fragile"].iloc[0] == "template"
    assert "label_set not judged" in both["findings"]["sensitivity"].iloc[0]
    assert list(_levels(both["sensitivity"], "X", "bootstrap").index) == list(DRAWS)


verdicts = st.sampled_from(["supported", "contradicted", "inconclusive"])
numbers = st.floats(-1, 1)


@given(verdicts, verdicts, numbers, numbers, st.floats(0, 1), st.integers(2, 500))
def test_agreement_follows_from_verdicts_and_intervals(whole, part, at, value, arm, n):
    def row(verdict, estimate):
        return pd.Series(
            {
                "verdict": verdict, "estimate": estimate, "ci_low": estimate - arm,
                "ci_high": estimate + arm, "n_matches": n,
            }
        )  # fmt: skip

    said = agreement(row(whole, at), row(part, value), 0.95)
    assert said in AGREEMENTS
    assert (said == "agrees") == (whole == part)
    assert (said == "reverses") == (whole != part and {whole, part} == set(DECIDED))
    if said in ("weaker", "decides"):
        assert (said == "weaker") == (part == "inconclusive")
    if said == "differs":
        assert abs(at - value) > 2 * arm
        assert n >= 6
    # Where all data are a part of themselves nothing can differ.
    assert agreement(row(whole, at), row(part, at), 0.95) != "differs"


def _halves(first, second, estimates=(0.5, 0.5), n=40, interval="percentile"):
    return pd.DataFrame(
        {
            "factor": "half",
            "level": list(HALVES),
            "verdict": [first, second],
            "agreement": "decides",
            "interval": interval,
            "estimate": estimates,
            "ci_low": np.array(estimates) - 0.1,
            "ci_high": np.array(estimates) + 0.1,
            "n_matches": n,
        }
    )


def test_levels_that_oppose_one_another_are_fragile_whatever_the_whole_says():
    rows = _halves("supported", "contradicted")
    assert fragile(rows, 0.95)
    assert not fragile(rows.iloc[:1], 0.95)
    assert statement(rows) == "half 0/2 (half 1 and half 2: decides)"
    assert not fragile(rows.assign(agreement="not_judged"), 0.95)


def test_levels_of_different_verdicts_are_fragile_where_their_intervals_do_not_meet():
    assert not fragile(_halves("supported", "inconclusive"), 0.95)
    assert fragile(_halves("supported", "inconclusive", (0.9, 0.5)), 0.95)
    assert not fragile(_halves("supported", "supported", (0.9, 0.5)), 0.95)
    # Intervals of a few matches are too narrow to tell.
    assert not fragile(_halves("supported", "inconclusive", (0.9, 0.5), n=5), 0.95)
    assert not fragile(_halves("supported", "inconclusive", (0.9, 0.66), n=8), 0.95)


def test_what_allows_for_few_matches_is_not_widened_again():
    kind = {"n": 8, "interval": "student"}
    assert fragile(_halves("supported", "inconclusive", (0.9, 0.66), **kind), 0.95)
    assert not fragile(_halves("supported", "inconclusive", (0.9, 0.71), **kind), 0.95)
    whole, part = (
        pd.Series(
            {
                "verdict": verdict, "estimate": at, "ci_low": at - 0.1, "ci_high": at + 0.1,
                "n_matches": 8,
            }
        )
        for verdict, at in (("supported", 0.9), ("inconclusive", 0.68))
    )  # fmt: skip
    assert agreement(whole, part, 0.95) == "weaker"
    assert agreement(whole, part, 0.95, "student") == "differs"


def test_a_part_is_widened_by_the_confidence_of_its_interval():
    """Of eight matches it is lengthened by 1.29 at 95%, by 1.13 at 50%."""
    whole, part = (
        pd.Series(
            {
                "verdict": verdict, "estimate": at, "ci_low": at - 0.1, "ci_high": at + 0.1,
                "n_matches": 8,
            }
        )
        for verdict, at in (("supported", 0.9), ("inconclusive", 0.68))
    )  # fmt: skip
    assert agreement(whole, part, 0.95) == "weaker"
    assert agreement(whole, part, 0.5) == "differs"
    halves = _halves("supported", "inconclusive", (0.9, 0.66), n=8)
    assert not fragile(halves, 0.95)
    assert fragile(halves, 0.5)


@pytest.mark.parametrize("claim", CLAIM)
def test_every_claim_can_be_parted(claim):
    """No table of a claim lacks what parts are made of, as long as its stage writes it."""
    forms = {"template": "neutral", "label_set": "jf"}
    probes = probe_rows("nash_label", [0.5] * 3)
    known = {
        "prompts": prompts(1), "lens": lens(prompts(1)), "probes": probes,
        "probes_parts": pd.concat([probes.assign(factor="half", level=h) for h in HALVES]),
        "steering": steering(directions=1).assign(**forms), "heads": heads().assign(**forms),
        "matches": play(itself("m", ALLC), repetitions=4), "games": games_table([PD]),
        "models": models(m=("f", 8)), "patching": patching({"options": [0.0, 0.5, 1.0, 1.0]}),
        "override": override(),
        "beliefs": beliefs(lambda belief, gain, rng: 0.5),
        "steered_matches": steered(lambda dose: COIN, repetitions=4, rounds=2), **checks(),
    }  # fmt: skip
    parts = restrict(CLAIM[claim], known, "half", 0)
    assert list(parts) == list(HALVES)
    assert all(set(CLAIM[claim].tables) <= set(tables) for tables in parts.values())


def test_scale_under_one_label_set_alone_is_fragile_there_and_nowhere_else():
    players = {"jf": (ALLC, ALLD), "xy": (ALLD, ALLD)}
    matches = [
        play(itself("small", one), itself("big", two), label_set=name, seed=k, repetitions=40)
        for k, (name, (one, two)) in enumerate(players.items())
    ]
    # A block has one label set.
    for name, rows in zip(players, matches, strict=True):
        rows[["block_id", "scenario_id"]] += f"/{name}"
    tables = {
        "matches": pd.concat(matches, ignore_index=True),
        "games": games_table([PD]),
        "models": models(small=("f", 8), big=("f", 70)),
    }
    found, parts = _parts(tables, "B3")
    rows = _levels(parts, "B3", "label_set")
    assert rows["verdict"].to_dict() == {"jf": "supported", "xy": "contradicted"}
    assert found.loc["B3", "verdict"] == "supported"
    assert found.loc["B3", "fragile"] == "label_set", parts.to_string()
    assert set(parts["interval"]) == {"student"}

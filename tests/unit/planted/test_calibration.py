import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nashlens.estimates import Bootstrap
from nashlens.games.table import games_table
from nashlens.lens.summary import summarise_lens
from nashlens.planted.calibration import check, judged_together, steerable_layers
from nashlens.planted.calibration_summary import calibration_rates, summarise_calibration
from nashlens.planted.facts import Facts
from nashlens.steering.spike_summary import summarise_spikes
from tests.unit.findings.play_tables import PD, constant, models, steered
from tests.unit.findings.tables import lens, probe_rows, prompts, steering, steps

FRAME = prompts()
HOW = Bootstrap(0.95, 200, 1)
FACTS = Facts(
    history_from=5,
    history_until=8,
    favoured_from=1,
    override_at=14,
    steerable_from=8,
    steerable_until=8,
    follows="action",
    answering_heads=True,
    claims=("M6",),
    denied=("M1",),
)


def probes(*spans):
    parts = []
    for target, (first, last) in zip(("opponent_last", "nash_action"), spans, strict=True):
        accuracy = np.where((np.arange(17) >= first) & (np.arange(17) <= last), 0.9, 0.5)
        parts.append(probe_rows(target, accuracy))
    return pd.concat(parts)


def tables(**changes):
    table = lens(FRAME, nash=steps(1.0, 0.2), prosocial=steps(0.0, 2.0))
    verdicts = {
        "M1": "inconclusive",
        "M4": "contradicted",
        "M5": "supported",
        "M6": "supported",
        "M7": "supported",
    }
    return {
        "probes": probes((5, 8), (99, 99)),
        "lens_summary": summarise_lens(table, FRAME, model="m", how=HOW),
        "steering": steering(slope=2.0, random_slope=0.4),
        "findings": pd.DataFrame(
            {
                "model": "m",
                "claim": list(verdicts),
                "verdict": list(verdicts.values()),
                "reason": "",
            }
        ),
    } | changes


def checked(facts=FACTS, **changes):
    rng = np.random.default_rng(0)
    found = check(facts, tables(**changes), model="m", confidence=0.95, resamples=200, rng=rng)
    return found.set_index("fact")


def test_what_is_planted_and_found_is_a_hit_with_its_layer_error():
    found = checked()
    hits = found[found["outcome"] == "hit"]
    assert set(hits.index) == {
        "history_from",
        "history_until",
        "favoured_from",
        "override_at",
        "steerable_from",
        "steerable_until",
        "follows_action",
        "answering_heads",
        "M6",
    }
    assert hits["layer_error"].dropna().max() == 0
    assert found.loc["nash_from", "outcome"] == "true_negative"
    assert found.loc["M1", "outcome"] == "true_negative"
    # Nothing planted says whether M5 holds.
    assert found.loc["M5", "outcome"] == "unknown"


def test_a_shifted_layer_is_an_error_and_not_a_miss():
    found = checked(replace(FACTS, history_from=3))
    assert found.loc["history_from", ["outcome", "layer_error"]].tolist() == ["hit", 2]


def test_what_is_planted_and_not_found_is_a_miss():
    found = checked(probes=probes((99, 99), (99, 99)), steering=steering(slope=0.0))
    assert found.loc["history_from", "outcome"] == "miss"
    assert found.loc["steerable_from", "outcome"] == "miss"
    assert np.isnan(found.loc["history_from", "layer_error"])


def test_what_is_found_though_absent_is_a_false_positive():
    found = checked(Facts(null=True, denied=("M6",)))
    for fact in (
        "history_from",
        "favoured_from",
        "override_at",
        "steerable_from",
        "answering_heads",
        "M6",
    ):
        assert found.loc[fact, "outcome"] == "false_positive"
    assert not any(name.endswith("until") for name in found.index)


def test_unknown_facts_decide_nothing():
    found = checked(replace(FACTS, history_from="unknown", history_until="unknown"))
    assert found.loc["history_from", "outcome"] == "unknown"


def test_random_directions_that_do_as_much_are_no_steering():
    rng = np.random.default_rng(0)
    options = {"confidence": 0.95, "resamples": 200, "rng": rng}
    assert steerable_layers(steering(slope=2.0, random_slope=0.4), **options) == (8, 8)
    assert np.isnan(steerable_layers(steering(slope=0.3, random_slope=3.0), **options)).all()


def test_the_summary_counts_and_judges():
    planted = checked().reset_index()
    nulls = [
        checked(
            Facts(null=True, denied=("M1",)),
            lens_summary=summarise_lens(lens(FRAME, seed=k), FRAME, model="m", how=HOW),
            probes=probes((5, 8) if k == 0 else (99, 99), (99, 99)),
            steering=steering(slope=0.0, seed=k),
            findings=tables()["findings"].assign(verdict="inconclusive"),
        )
        .reset_index()
        .assign(model=f"null{k}")
        for k in range(4)
    ]
    found = summarise_calibration(pd.concat([planted, *nulls]), 0.95).set_index("quantity")
    assert found.loc["recall", ["estimate", "n", "met"]].tolist() == [1.0, 9, True]
    assert found.loc["recall", "ci_low"] < 1
    assert found.loc["largest_layer_error", ["estimate", "met"]].tolist() == [0.0, True]
    assert found.loc["null_models_with_any", ["estimate", "n"]].tolist() == [0.25, 4]
    rate = found.loc["false_positive_rate"]
    assert rate["estimate"] == pytest.approx(1 / 28)
    assert rate["ci_low"] < 1 / 28 < rate["ci_high"]
    assert pd.isna(found.loc["null_models_with_any", "met"])


LABEL = replace(FACTS, label_from=8, label_until=8, label_words="fitted")


@pytest.mark.parametrize(("carries", "words"), [(0.0, "fitted"), (2.0, "all")])
def test_whether_a_label_direction_carries_over_is_told(carries, words):
    sweep = steering(slope=2.0, word=2.0, carries=carries, random_slope=0.4)
    found = checked(replace(LABEL, label_words=words), steering=sweep)
    assert found.loc["label_from", ["found", "outcome"]].tolist() == [8, "hit"]
    assert found.loc["label_until", "layer_error"] == 0
    assert found.loc["label_carries_over", "found"] == float(words == "all")
    assert found.loc["label_carries_over", "outcome"] in ("hit", "true_negative")
    other = replace(LABEL, label_words="all" if words == "fitted" else "fitted")
    wrong = checked(other, steering=sweep).loc["label_carries_over", "outcome"]
    assert wrong in ("miss", "false_positive")


def test_pushes_at_several_layers_are_told_from_one():
    """The label direction moves other words at layer 4 and 12 together, and at neither alone."""
    facts = replace(FACTS, label_from=None, label_words="all", joint_layers=(4, 12))
    strong = steering(slope=2.0, word=0.0, carries=2.0, random_slope=0.4)
    at_once = strong[strong["layers"] == "8"].assign(layers="4+12", layer=4)
    weak = steering(slope=2.0, word=0.0, carries=0.0, random_slope=0.4)
    weak = weak[weak["layers"] != "1+2"]
    found = checked(facts, steering=pd.concat([weak, at_once], ignore_index=True))
    assert found.loc["label_jointly", "outcome"] == "hit"
    assert found.loc["label_from", "outcome"] == "true_negative"
    again = pd.concat([strong[strong["layers"] != "1+2"], at_once.assign(layers="1+8", layer=1)])
    facts = replace(facts, joint_layers=(1, 8))
    single = checked(facts, steering=again.reset_index(drop=True))
    assert single.loc["label_jointly", "outcome"] == "miss"


def test_what_is_not_known_of_labels_is_not_looked_for():
    assert not any(name.startswith("label_") for name in checked().index)


def with_causes(m11="supported", m9="supported", group="options"):
    """Findings that name a place and, through M9, an override's components."""
    rows = [
        {"model": "m", "claim": "M9", "verdict": m9, "detail": "{}", "reason": ""},
        {"model": "m", "claim": "M11", "verdict": m11, "reason": "",
         "detail": json.dumps({"layer": 4, "group": group})},
    ]  # fmt: skip
    return pd.concat([tables()["findings"], pd.DataFrame(rows)], ignore_index=True)


PLACED = replace(FACTS, computed_at=3, computed_group="options", claims=("M9", "M11"))


def test_where_the_label_is_computed_is_compared_with_its_tokens():
    found = checked(PLACED, findings=with_causes()).loc["computed_at"]
    assert found[["found", "layer_error", "outcome"]].tolist() == [4, 1, "hit"]
    elsewhere = checked(PLACED, findings=with_causes(group="question"))
    assert elsewhere.loc["computed_at", "outcome"] == "miss"
    assert elsewhere.loc["M11", "outcome"] == "hit"
    absent = checked(FACTS, findings=with_causes())
    assert absent.loc["computed_at", "outcome"] == "false_positive"
    assert checked(PLACED, findings=with_causes(m11="inconclusive")).loc["M11", "outcome"] == "miss"


def test_claims_whose_stage_is_left_out_are_no_misses():
    findings = with_causes(m11="not_applicable").assign(reason="left out: patching is null")
    assert not {"M4", "M11", "M9", "computed_at", "answering_heads"} & set(
        checked(PLACED, findings=findings).index
    )


def test_named_components_are_compared_one_by_one():
    planted = (("head", 14, 0), ("head", 14, 1), ("mlp", 15, -1), ("head", 8, 0))
    facts = replace(FACTS, components=planted, claims=("M9",))
    override = pd.DataFrame(
        {"model": "m", "kind": ["none", "candidate"], "heads": ["", "14.0 15.mlp 15.2"]}
    )
    found = checked(facts, findings=with_causes(), override=override).loc["components"]
    # The head of layer 8 is before the override: no late component.
    assert found[["planted", "found", "outcome"]].tolist() == [3, 3, "miss"]
    assert found[["precision", "recall"]].tolist() == [2 / 3, 2 / 3]
    more = override.assign(heads=["", "14.0 14.1 15.mlp 15.2"])
    found = checked(facts, findings=with_causes(), override=more)
    assert found.loc["components", ["outcome", "precision", "recall"]].tolist() == ["hit", 3 / 4, 1]
    whole = summarise_calibration(found.reset_index(), 0.95).set_index("quantity")
    named = whole.loc[["component_precision", "component_recall"], ["estimate", "n", "met"]]
    assert named.to_numpy().tolist() == [[0.75, 4, False], [1.0, 3, True]]
    unnamed = checked(facts, findings=with_causes(m9="contradicted"), override=override)
    assert unnamed.loc["components", ["found", "outcome"]].tolist() == [0, "miss"]
    null = checked(Facts(null=True), findings=with_causes(), override=override)
    assert null.loc["components", "outcome"] == "false_positive"
    # Others than the planted ones are not found, nor is a part of these.
    for names in ("15.2 15.3", "14.0 15.3"):
        wrong = pd.DataFrame({"model": "m", "kind": "candidate", "heads": [names]})
        judged = checked(facts, findings=with_causes(), override=wrong)
        assert judged.loc["components", "outcome"] == "miss", names
    # An override of unknown components decides nothing.
    trained = checked(replace(FACTS), findings=with_causes(), override=override)
    assert trained.loc["components", "outcome"] == "unknown"
    assert "components" not in checked(facts, findings=with_causes()).index


def with_groups(heads, *, matters=True):
    """Findings whose M4 has a group of heads at the decision, and one of MLPs that decides."""
    arms = [
        {"component": kind, "positions": "decision", "heads": names, "drop": 2.0,
         "at_once_low": low, "random_largest": 0.1}
        for kind, names, low in (("head", heads, 1.5 if matters else -0.1), ("mlp", "6.mlp", 1.9))
    ]  # fmt: skip
    findings = tables()["findings"].assign(detail="{}")
    m4 = findings["claim"] == "M4"
    findings.loc[m4, "detail"] = json.dumps({"arms": arms})
    return findings


PAIR = replace(FACTS, answered_by=(("head", 5, 0), ("head", 5, 1)))
SEVEN = replace(FACTS, answered_by=tuple(("head", layer, 0) for layer in range(5, 12)))


def test_a_group_of_heads_is_compared_with_those_that_bring_the_answer():
    def group(facts, *args, **kwargs):
        return checked(facts, findings=with_groups(*args, **kwargs)).loc["answering_group"]

    columns = ["planted", "found", "precision", "recall", "outcome"]
    assert group(PAIR, "5.0 5.1")[columns].tolist() == [2, 2, 1, 1, "hit"]
    assert group(PAIR, "5.0 6.3")[columns].tolist() == [2, 2, 0.5, 0.5, "miss"]
    # A group may hold more than the planted ones, or not all of them: of these there is no recall.
    assert group(PAIR, "5.0 5.1 6.3")["outcome"] == "hit"
    some = group(SEVEN, "5.0 11.0")
    assert some[["precision", "outcome"]].tolist() == [1, "hit"]
    assert np.isnan(some["recall"])
    # Where it costs no more than random groups do, no head is named, whatever another arm shows.
    missed = group(PAIR, "5.0 5.1", matters=False)
    assert missed[["found", "recall", "outcome"]].tolist() == [0, 0, "miss"]
    assert "answering_group" not in checked(FACTS, findings=with_groups("5.0 5.1")).index


def test_groups_of_all_models_have_their_precision_and_recall():
    rows = [
        checked(facts, findings=with_groups(names)).reset_index()
        for facts, names in ((PAIR, "5.0 5.1"), (PAIR, "5.0 6.3"), (SEVEN, "5.0 11.0"))
    ]
    whole = summarise_calibration(pd.concat(rows), 0.95).set_index("quantity")
    named = whole.loc[["group_precision", "group_recall"], ["estimate", "n", "met"]]
    assert named.to_numpy().tolist() == [[5 / 6, 6, False], [3 / 4, 4, False]]


def test_what_must_be_contradicted_is_not_only_left_open():
    facts = replace(FACTS, claims=(), denied=("M9", "M11"), contradicted=("M9",))
    found = checked(facts, findings=with_causes(m9="contradicted", m11="inconclusive"))
    assert found.loc["M9_contradicted", "outcome"] == "hit"
    assert found.loc["M9", "outcome"] == "true_negative"
    assert "M11_contradicted" not in found.index
    found = checked(facts, findings=with_causes(m9="inconclusive"))
    assert found.loc["M9_contradicted", "outcome"] == "miss"
    assert found.loc["M9", "outcome"] == "true_negative"


def test_where_late_components_are_no_cause_none_is_to_be_named():
    facts = replace(FACTS, components=(("head", 14, 0),), denied=("M9",))
    override = pd.DataFrame({"model": "m", "kind": ["candidate"], "heads": ["14.0"]})
    found = checked(facts, findings=with_causes(m9="contradicted"), override=override)
    assert found.loc["components", ["planted", "outcome"]].tolist() == [0, "true_negative"]
    found = checked(facts, findings=with_causes(), override=override)
    assert found.loc["components", "outcome"] == "false_positive"


def spiked(hits, wrong=0, own=0):
    """Spikes of claim M6: hits of 10 draws by strength, and those of a word by itself."""
    shares = {("none", 0.0, "power"): own, ("word", 1.0, "false"): wrong} | {
        ("override", strength, "power"): k for strength, k in hits.items()
    }
    rows = [
        {"model": "m", "spike": spike, "layer": 12, "strength": strength, "unit": "logits",
         "claim": "M6", "counts": counts, "wanted": "supported", "draw": draw,
         "verdict": "supported" if draw < k else "inconclusive"}
        for (spike, strength, counts), k in shares.items()
        for draw in range(10)
    ]  # fmt: skip
    return summarise_spikes(pd.DataFrame(rows), 0.95)


def test_what_is_put_in_must_be_found_and_what_is_like_it_must_not():
    null = Facts(null=True)
    found = checked(null, spikes_summary=spiked({0.3: 2, 1.0: 10}))
    assert found.loc["spike_M6", ["outcome", "basis"]].tolist() == ["hit", "spikes"]
    assert found.loc["wrong_spike_M6", "outcome"] == "true_negative"
    found = checked(null, spikes_summary=spiked({0.3: 2, 1.0: 7}, wrong=4))
    assert found.loc["spike_M6", "outcome"] == "miss"
    assert found.loc["wrong_spike_M6", "outcome"] == "false_positive"
    # What a planted model has of its own may stand against it.
    assert "spike_M6" not in checked(spikes_summary=spiked({1.0: 7})).index
    # Once in ten draws is what an interval of 95% may do.
    found = checked(spikes_summary=spiked({1.0: 10}, wrong=1))
    assert found.loc["wrong_spike_M6", "outcome"] == "true_negative"


def test_where_a_claim_holds_anyway_spikes_say_nothing():
    found = checked(spikes_summary=spiked({1.0: 10}, own=9))
    assert not any("spike" in fact for fact in found.index)


def test_effects_put_into_null_models_are_counted_by_themselves():
    """Those put into a planted model may be hidden by its own effects."""
    checks = pd.concat(
        [
            checked(facts, spikes_summary=spiked({1.0: hits})).reset_index().assign(model=name)
            for name, facts, hits in (
                ("found", Facts(null=True), 10),
                ("missed", Facts(null=True), 3),
                ("own", FACTS, 3),
            )
        ],
        ignore_index=True,
    )
    found = summarise_calibration(checks, 0.95).set_index("quantity")
    assert found.loc["spikes_found", ["estimate", "n"]].tolist() == [0.5, 2]
    assert not found.loc["spikes_found", "met"]
    by_fact = checks[~checks["fact"].str.contains("spike_")]
    assert found.loc["recall", "n"] == by_fact["outcome"].isin(["hit", "miss"]).sum()


def test_wrong_spikes_are_one_fact_of_the_null_models():
    null = checked(Facts(null=True), spikes_summary=spiked({1.0: 10}, wrong=4)).reset_index()
    rates = calibration_rates(null, 0.95).set_index("fact")
    assert rates.loc["wrong_spike", ["estimate", "n"]].tolist() == [1.0, 1]
    assert "spike_M6" not in rates.index


@pytest.mark.parametrize(("moves", "verdict"), [(0.3, "supported"), (0.0, "contradicted")])
def test_claims_about_steered_players_are_judged_where_they_are(moves, verdict):
    policy = lambda dose: constant(0.5 - moves * dose)  # noqa: E731
    matches = steered(policy, random=lambda dose: constant(0.5), rounds=12, repetitions=32)
    play = {"steered_matches": matches, "games": games_table([PD]), "models": models(m=("m", 1))}
    how = {"confidence": 0.95, "resamples": 400, "q_value": 0.05, "seed": 1}
    found = judged_together([], play, **how).set_index("claim")
    assert found.loc["S1", "verdict"] == verdict
    # Those that need the quiz as well are not.
    assert set(found.index) == {"S1", "S3"}

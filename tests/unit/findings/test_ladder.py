"""The ladder: what each protocol makes of models whose truth is planted in their tables."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nashlens.findings.ladder import COLUMNS, climb, published
from nashlens.findings.protocols import CONTROLLED, PROTOCOLS, PUBLISHED, RUNGS, rows_of
from tests.unit.findings import tables
from tests.unit.findings.tables import LAYERS, SETTINGS, steps

HISTORIES = 12
LENS_CLAIMS = {claim: PROTOCOLS[claim] for claim in ("M5", "M6")}


def design(kinds=("actions", "neutral"), games=("pd", "harmony"), templates=("neutral", "named")):
    """Histories with one template each, asked in whole blocks of every kind of labels."""
    rows = [
        {
            "prompt_id": f"{game}/{h}/{kind}/{label_map}/{order}",
            "match_id": f"{game}/{h}",
            "scenario_id": f"{game}/{h}/3",
            "block_id": f"{game}/{h}/3/{templates[h % len(templates)]}/{kind}",
            "game": game,
            "round": 3,
            "template": templates[h % len(templates)],
            "label_set": {"actions": "own", "neutral": "jf"}[kind],
            "label_kind": kind,
            "label_map": label_map,
            "option_order": order,
            "nash_action": tables.NASH[game],
            "prosocial_action": tables.PROSOCIAL[game],
            "opponent_last": h % 2,
            "dropped": "",
        }
        for game in games
        for h in range(HISTORIES)
        for kind in kinds
        for label_map in ("identity", "swapped")
        for order in ("forward", "reversed")
    ]
    return pd.DataFrame(rows).astype({"nash_action": "Int64", "prosocial_action": "Int64"})


def lens(prompts, *, whole=0.0, **parts):
    """A lens whose whole words differ by `whole` logits more, towards the second label."""
    table = tables.lens(prompts, noise=0.05, **parts)
    first_is_1 = prompts.set_index("prompt_id")["label_map"].eq("swapped")
    towards = np.where(first_is_1[table["prompt_id"]].to_numpy(), -1.0, 1.0)
    by_layer = np.array([0.0, *np.broadcast_to(whole, (LAYERS,))])[table["layer"]]
    odds = table["logit_1"] - table["logit_0"] + towards * by_layer
    return table.assign(whole_action_1=1 / (1 + np.exp(-odds)))


def ladder(prompts, table, protocols=LENS_CLAIMS, **more):
    found = climb({"prompts": prompts, "lens": table, **more}, SETTINGS, protocols=protocols)
    assert list(found.columns) == list(COLUMNS)
    return found.set_index(["claim", "name"])


def says(found, claim):
    return found.loc[claim]["concludes"].to_dict()


def test_every_rung_is_a_rung_of_the_ladder_and_the_last_is_the_claim():
    for claim, protocol in PROTOCOLS.items():
        assert list(protocol) == [name for name in RUNGS if name in protocol], claim
        assert next(iter(protocol)) == PUBLISHED
        assert list(protocol)[-1] == CONTROLLED


def test_each_rung_takes_prompts_that_the_study_has_anyway():
    prompts = design()
    taken = {name: rows_of(rung, prompts) for name, rung in RUNGS.items()}
    sizes = {name: len(rows) for name, rows in taken.items()}
    # One of four cells, of half of the histories; both orders; whole blocks.
    assert sizes["+ order"] == 2 * sizes[PUBLISHED] == 24
    assert sizes["+ label map"] == sizes["+ neutral labels"] == 4 * sizes[PUBLISHED]
    assert sizes[CONTROLLED] == 8 * sizes[PUBLISHED]
    for name in (PUBLISHED, "+ order", "+ label map"):
        assert set(taken[name]["label_kind"]) == {"actions"}
        assert set(taken[name]["template"]) == {"neutral"}
    assert set(taken[PUBLISHED]["label_map"]) == {"identity"}
    assert set(taken[CONTROLLED]["label_kind"]) == {"neutral"}


def test_an_override_of_the_action_stands_on_every_rung():
    prompts = design()
    found = ladder(prompts, lens(prompts, nash=steps(2.0, 0.0), prosocial=steps(0.0, 2.0)))
    assert set(says(found, "M6").values()) == {"supported"}
    assert set(says(found, "M5").values()) == {"supported"}
    first = found.loc["M6", PUBLISHED]
    assert first["estimate"] > 0.8
    assert first["n"] == HISTORIES // 2
    assert first["control"].startswith("before: 0.")
    assert found.loc[("M6", CONTROLLED), "control"].startswith("word part ")
    assert first["short"].startswith(f"{first['estimate']:.2f} at layer ")


def test_a_preference_for_a_word_is_an_override_until_the_words_are_exchanged():
    """In the Prisoner's Dilemma the first word is the prosocial action's own."""
    prompts = design(games=("pd",))
    found = ladder(prompts, lens(prompts, word=steps(-2.0, 2.0)))
    assert says(found, "M6") == {
        PUBLISHED: "supported",
        "+ first token": "supported",
        "+ order": "supported",
        "+ label map": "contradicted",
        "+ neutral labels": "contradicted",
        CONTROLLED: "contradicted",
    }
    assert says(found, "M5")[PUBLISHED] == "supported"
    assert says(found, "M5")["+ label map"] == "contradicted"
    assert abs(found.loc[("M6", "+ label map"), "estimate"]) < 0.2


def test_a_longer_word_looks_unlikely_in_early_layers_until_first_tokens_are_compared():
    prompts = design(games=("pd",))
    found = ladder(prompts, lens(prompts, whole=steps(8.0, 0.0), word=steps(1.0, 2.0)))
    assert says(found, "M6")[PUBLISHED] == "supported"
    assert says(found, "M6")["+ first token"] == "contradicted"
    assert says(found, "M5")[PUBLISHED] == "supported"
    assert says(found, "M5")["+ first token"] == "contradicted"


def test_a_preference_for_a_place_dissolves_no_later_than_with_both_orders():
    prompts = design(games=("pd",))
    found = ladder(prompts, lens(prompts, place=steps(-2.0, 2.0)))
    assert says(found, "M6")[PUBLISHED] == "supported"
    assert says(found, "M6")["+ order"] != "supported"
    assert says(found, "M6")[CONTROLLED] == "contradicted"


def test_a_study_without_the_games_own_words_says_so():
    prompts = design(kinds=("neutral",))
    found = ladder(prompts, lens(prompts, nash=steps(2.0, 0.0), prosocial=steps(0.0, 2.0)))
    first = found.loc["M6", PUBLISHED]
    assert first["concludes"] == "not_applicable"
    assert "words: actions" in first["reason"]
    assert np.isnan(first["estimate"])
    assert found.loc[("M6", CONTROLLED), "concludes"] == "supported"
    without = ladder(prompts.drop(columns="label_kind"), lens(prompts, prosocial=1.0))
    assert without.loc[("M6", PUBLISHED), "concludes"] == "not_applicable"


def test_the_findings_say_what_the_published_protocol_concludes():
    prompts = design(games=("pd",))
    found = ladder(prompts, lens(prompts, word=steps(-2.0, 2.0))).reset_index()
    findings = pd.DataFrame(
        {"claim": ["M6", "M6", "M2"], "model": ["m", "other", "m"], "paper": "", "tables": ""}
    )
    findings = published(found, findings)
    assert list(findings.columns) == ["claim", "model", "paper", "published", "tables"]
    said = findings["published"].tolist()
    estimate = found.set_index(["claim", "name"]).loc[("M6", PUBLISHED), "estimate"]
    assert said[0].startswith(f"as published: supported ({estimate:.2f} at layer ")
    assert said[1:] == ["", ""]
    assert (published(None, findings.drop(columns="published"))["published"] == "").all()


def residuals(prompts, rng, **directions):
    """Residuals that hold columns of the prompts, each along a direction of its own."""
    noise = rng.normal(size=(len(prompts), 24))
    where = {name: place for place, name in enumerate(prompts["prompt_id"])}
    values = noise.copy()
    for place, (column, gain) in enumerate(directions.items()):
        codes = pd.factorize(prompts[column].astype(str), sort=True)[0].astype(float)
        values[:, place] += gain * (codes - codes.mean())
    return lambda layer, rows: values[[where[name] for name in rows["prompt_id"]]]


@pytest.mark.parametrize("gain", [8.0, 0.0])
def test_folds_of_single_prompts_read_the_game_and_call_it_the_nash_action(gain):
    prompts = design(templates=("neutral",))
    load = residuals(prompts, np.random.default_rng(0), game=gain)
    found = climb(
        {"prompts": prompts, "lens": lens(prompts), "probes": pd.DataFrame(columns=["target"])},
        SETTINGS,
        residuals=load,
        protocols={"M3": {"+ order": PROTOCOLS["M3"]["+ order"]}},
    )
    row = found.iloc[0]
    assert (row["concludes"] == "contradicted") == (gain > 0)
    assert row["n_matches"] == 2 * HISTORIES
    assert (row["estimate"] > 0.9) == (gain > 0)


def test_held_out_histories_and_the_bag_of_words_are_read_from_the_studys_probes():
    prompts = design()
    probes = pd.concat(
        [
            tables.probe_rows("nash_label", [0.5] + [0.9] * LAYERS),
            tables.probe_rows("opponent_last", [0.5] + [0.97] * LAYERS, bag_of_words=0.96),
        ]
    )
    rung = "+ held out, baselines"
    protocols = {claim: {rung: PROTOCOLS[claim][rung]} for claim in ("M1", "M3")}
    found = ladder(prompts, lens(prompts), protocols, probes=probes)
    assert found.loc[("M3", rung), "concludes"] == "contradicted"
    assert found.loc[("M1", rung), "concludes"] == "inconclusive"
    assert "bag of words reaches 0.96" in found.loc[("M1", rung), "reason"]


def steering(prompts, effects, *, seen=("jf", "own"), randoms=3, noise=0.005):
    """P(action 1) under additions after layers 2 and 9; an effect is (action, word) at 9.

    `effects` are by direction and label set, and random directions move both by 0.02.
    """
    rng = np.random.default_rng(1)
    first_is_1 = np.where(prompts["label_map"] == "swapped", 1.0, -1.0)
    directions = {**effects, **{f"random_{k:03d}": {} for k in range(randoms)}}
    parts = []
    for direction, of_set in directions.items():
        small = (0.02, 0.02) if direction.startswith("random") else (0.0, 0.0)
        strength = np.array([of_set.get(name, small) for name in prompts["label_set"]])
        by_prompt = strength[:, 0] + strength[:, 1] * first_is_1
        for layer, value in product((2, 9), (-1.0, 0.0, 1.0)):
            p = 0.5 + value * (layer == 9) * by_prompt / 2 + noise * rng.normal(size=len(prompts))
            parts.append(
                prompts[["prompt_id", "match_id", "game"]].assign(
                    seen_label_set=prompts["label_set"].isin(seen),
                    kind="add",
                    direction=direction,
                    layer=layer,
                    value=value,
                    p_action_1=p,
                )
            )
    return pd.concat(parts, ignore_index=True)


M7 = {"M7": {name: step for name, step in PROTOCOLS["M7"].items() if name != CONTROLLED}}


def neutral_pairs(prompts):
    """Half of the histories in another pair of letters."""
    other = prompts["match_id"].str.split("/").str[-1].astype(int) % 4 >= 2
    neutral = prompts["label_kind"] == "neutral"
    return prompts.assign(label_set=prompts["label_set"].where(~(other & neutral), "xy"))


def test_a_direction_of_words_moves_words_and_no_action():
    prompts = neutral_pairs(design(games=("pd", "harmony"), templates=("neutral",)))
    table = steering(
        prompts,
        {"published": {"own": (0.0, -0.4)}, "label": {"jf": (0.0, 0.3), "xy": (0.0, 0.01)}},
    )
    found = ladder(prompts, lens(prompts), M7, steering=table)
    # With the words' own meaning, towards the second word is towards action 1.
    assert says(found, "M7") == {
        PUBLISHED: "supported",
        "+ order": "supported",
        "+ label map": "contradicted",
        "+ neutral labels": "supported",
        "+ held out, baselines": "contradicted",
    }
    assert found.loc[("M7", PUBLISHED), "estimate"] == pytest.approx(0.4, abs=0.02)
    assert "word part by up to -0.40 (after layer 9)" in found.loc[("M7", "+ label map"), "reason"]
    assert found.loc[("M7", PUBLISHED), "short"].endswith("after layer 9")


def test_a_direction_that_carries_over_must_beat_random_ones():
    prompts = neutral_pairs(design(games=("pd", "harmony"), templates=("neutral",)))
    effects = {"published": {"own": (0.3, 0.0)}, "label": {"jf": (0.0, 0.3), "xy": (0.0, 0.3)}}
    found = ladder(prompts, lens(prompts), M7, steering=steering(prompts, effects))
    assert set(says(found, "M7").values()) == {"supported"}
    without = ladder(prompts, lens(prompts), M7, steering=steering(prompts, effects, randoms=0))
    assert says(without, "M7")["+ held out, baselines"] == "inconclusive"
    none = ladder(prompts, lens(prompts), M7)
    assert set(says(none, "M7").values()) == {"not_applicable"}

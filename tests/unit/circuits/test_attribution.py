"""Attribution of planted models' answers names the components that were planted."""

import pandas as pd
import pytest

from nashlens.circuits.attribution import attribution_table, choose_decisions, record_answers
from nashlens.circuits.writers import Writers, attribution_estimates
from nashlens.engine.core import Engine
from nashlens.errors import DataError
from nashlens.estimates import Bootstrap
from nashlens.models.load import load_model
from nashlens.models.weights import WeightReader

HOW = Bootstrap(0.95, 200, 1)


def attributed(folder, prompts):
    engine = Engine(load_model(folder, device="cpu", dtype="float32"))
    chosen = choose_decisions(prompts, ["prisoners_dilemma"], 64, 1)
    recorded = record_answers(engine, chosen)
    return attribution_table(engine, chosen, recorded, WeightReader(folder), model=folder.name)


def parts_of(table, part):
    writers = Writers(table)
    means = writers.blocks.estimate(writers.parts[part]).estimate
    return pd.Series(means, index=writers.places["component"])


def test_the_planted_override_is_written_late_against_the_nash_action(planted):
    folder, facts, prompts = planted("override")
    table = attributed(folder, prompts)
    found = parts_of(table, "action")
    blocks = table.drop_duplicates("component").set_index("component")
    inner = blocks[blocks["kind"].isin(["attention", "mlp"])].index
    assert found["total"] < 0
    assert found[["embedding", "bias", *inner]].sum() == pytest.approx(found["total"], abs=1e-3)
    worst = found[inner].idxmin()
    assert abs(blocks.loc[worst, "layer"] - facts.override_at) <= 1
    assert found[inner].max() > 0.2


def test_a_label_bias_is_a_word_part(planted):
    folder, _, prompts = planted("label_bias")
    table = attributed(folder, prompts)
    word, action = parts_of(table, "word"), parts_of(table, "action")
    assert abs(word["total"]) > 5 * abs(action["total"])


def test_estimates_have_bounds_for_all_components_at_once(planted):
    folder, _, prompts = planted("override")
    table = attribution_estimates(attributed(folder, prompts), model="m", how=HOW)
    assert set(table["quantity"]) == {"action_part", "word_part", "place_part", "interaction"}
    whole = table[(table["component"] == "total") & (table["quantity"] == "action_part")].iloc[0]
    assert whole["ci_low"] <= whole["estimate"] <= whole["ci_high"] < 0


def test_games_without_a_conflict_are_refused(planted):
    _, _, prompts = planted("override")
    with pytest.raises(DataError, match=r"attribution\.games: no prompt of deadlock"):
        choose_decisions(prompts, ["deadlock"], 64, 1)

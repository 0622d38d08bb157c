"""Held-out predictions scored on parts of the prompts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nashlens.parts import DRAWS, HALVES, halves
from nashlens.probes.design import ProbeSettings, grouped_folds
from nashlens.probes.parts import COLUMNS
from nashlens.probes.study import fit_probes
from nashlens.seeds import stream
from nashlens.vocabulary.targets import TARGETS
from tests.unit.probes.tables import WIDTH, loader, prompts_table

SETTINGS = ProbeSettings(
    C=[0.1], folds=4, permutations=19, confidence=0.95, resamples=200, seed=7, model="m"
)


def _fit(load, prompts, layers=(0, 1), targets=("opponent_last",), untrained=None, **changes):
    settings = replace(SETTINGS, **changes)
    return fit_probes(
        load,
        list(layers),
        prompts,
        list(targets),
        settings,
        untrained=untrained,
        part_targets=["opponent_last", "nash_action"],
    )


def _by_hand(load, prompts, layer=1):
    """Return held-out predictions of scikit-learn on the study's own folds."""
    fold = grouped_folds(prompts, list(TARGETS), 4, stream(7, "probes", "folds"))
    x, y = load(layer).astype(np.float64), prompts["opponent_last"].to_numpy(dtype=int)
    predicted = np.empty(len(y))
    for k in range(4):
        pipe = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", tol=1e-8)
        )
        predicted[fold == k] = pipe.fit(x[fold != k], y[fold != k]).predict(x[fold == k])
    return y, predicted


def test_a_part_is_scored_as_its_rows_are_by_hand():
    prompts = prompts_table(60)
    load = loader(prompts, {1: 1.5})
    table, parts = _fit(load, prompts)
    assert tuple(parts.columns) == COLUMNS.names
    y, predicted = _by_hand(load, prompts)
    half = prompts["match_id"].map(halves(prompts, 7))
    rows = parts[parts["layer"] == 1].set_index(["factor", "level"])
    masks = {("template", name): prompts["template"] == name for name in ("named", "neutral")}
    masks |= {("label_set", name): prompts["label_set"] == name for name in ("jf", "xy")}
    masks |= {("half", name): half == name for name in HALVES}
    masks |= {("bootstrap", name): half.notna() for name in DRAWS}
    assert set(rows.index) == set(masks)
    for key, mask in masks.items():
        expected = balanced_accuracy_score(y[mask], predicted[mask])
        assert rows.loc[key, "balanced_accuracy"] == pytest.approx(expected), key
        assert rows.loc[key, "n"] == mask.sum()
        assert rows.loc[key, "ci_low"] <= expected <= rows.loc[key, "ci_high"]
    whole = table[(table["split"] == "match") & (table["layer"] == 1)].iloc[0]
    draws = rows.loc["bootstrap"]
    for column in ("balanced_accuracy", "permutation_mean", "p_value", "embedding", "selectivity"):
        assert draws[column].to_numpy() == pytest.approx(whole[column]), column
    assert draws["ci_low"].nunique() > 1


def test_parts_leave_the_probes_table_as_it_is():
    prompts = prompts_table(40)
    load = loader(prompts, {1: 1.0})
    table, _ = _fit(load, prompts)
    alone, none = fit_probes(load, [0, 1], prompts, ["opponent_last"], SETTINGS)
    pd.testing.assert_frame_equal(table, alone)
    assert none.empty


def test_a_code_of_one_label_set_is_found_there_alone():
    prompts = prompts_table(160)
    signal = (prompts["opponent_last"].to_numpy(dtype=float) - 0.5) * (prompts["label_set"] == "jf")

    def load(layer):
        x = np.random.default_rng(layer).normal(size=(len(prompts), WIDTH))
        x[:, 0] += 6 * layer * signal
        return x

    rows = _fit(load, prompts)[1].set_index(["layer", "factor", "level"])["balanced_accuracy"]
    assert rows[1, "label_set", "jf"] > 0.9
    assert rows[1, "label_set", "xy"] < 0.65
    assert abs(rows[1, "template", "named"] - rows[1, "template", "neutral"]) < 0.15


def test_baselines_are_scored_on_the_same_part():
    prompts = prompts_table(80)
    # A word gives the last action away in one template alone.
    telling = prompts["template"] == "named"
    words = ["they took A" if last == 1 else "they took B" for last in prompts["opponent_last"]]
    prompts["text"] = np.where(telling, words, "nothing to see")
    some = prompts[prompts["match_id"] < "m040"].reset_index(drop=True)
    untrained = (loader(some, {1: 6.0}), some)
    parts = _fit(loader(prompts, {}), prompts, untrained=untrained)[1]
    rows = parts[parts["layer"] == 1].set_index(["factor", "level"])
    assert rows.loc[("template", "named"), "bag_of_words"] == 1.0
    assert rows.loc[("template", "neutral"), "bag_of_words"] < 0.6
    assert (rows["random_weights"].dropna() > 0.9).all()
    assert (rows["embedding"] == 0.5).all()


def test_what_a_part_cannot_say_is_a_row_with_its_reason():
    prompts = prompts_table(40)
    one = prompts["template"] == "named"
    prompts.loc[one, "opponent_last"] = 1
    parts = _fit(loader(prompts, {1: 2.0}), prompts)[1]
    rows = parts[parts["level"] == "named"]
    assert (rows["status"] == "degenerate").all()
    assert rows["reason"].str.contains("constant: action 1").all()
    assert rows["balanced_accuracy"].isna().all()
    assert (parts.loc[parts["level"] == "neutral", "status"] == "ok").all()


def test_other_targets_are_left_out():
    prompts = prompts_table(40)
    table = _fit(loader(prompts, {}), prompts, targets=["own_last", "opponent_cooperation"])[1]
    assert table.empty
    assert tuple(table.columns) == COLUMNS.names

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nashlens.probes.design import ProbeSettings
from nashlens.probes.transfer import COLUMNS, fit_transfer
from nashlens.vocabulary.targets import TARGETS
from tests.unit.probes.tables import FORMS, loader, prompts_table

SETTINGS = ProbeSettings(
    C=[0.1], folds=4, permutations=19, confidence=0.95, resamples=100, seed=7, model="m"
)
GAMES = ("harmony", "pd", "pennies", "stag")


def _fit(load, prompts, targets=("opponent_last",), layers=(1,), **changes):
    return fit_transfer(load, list(layers), prompts, targets, replace(SETTINGS, **changes))


def test_every_pair_of_games_has_its_row():
    prompts = prompts_table(80)
    table = _fit(loader(prompts, {}), prompts, TARGETS, layers=(0, 1))
    assert tuple(table.columns) == COLUMNS.names
    assert "opponent_cooperation" not in set(table["target"])
    assert len(table) == 13 * 2 * 16
    assert table.groupby(["target", "layer"]).size().eq(16).all()


def test_a_shared_code_transfers_and_a_turned_one_does_not():
    prompts = prompts_table(160)
    sign = np.where(prompts["game"] == "pd", -1.0, 1.0)
    shared = loader(prompts, {1: 6.0})

    def turned(layer):
        x = shared(layer).copy()
        x[:, 0] *= sign
        return x

    accuracy = _fit(shared, prompts).set_index(["train", "test"])["balanced_accuracy"]
    assert accuracy.min() > 0.9
    cells = _fit(turned, prompts).set_index(["train", "test"])
    assert cells.loc[("pd", "pd"), "balanced_accuracy"] > 0.9
    assert cells.loc[("stag", "pennies"), "balanced_accuracy"] > 0.9
    assert cells.loc[("stag", "pd"), "ci_high"] < 0.2
    assert cells.loc[("stag", "pd"), "p_value"] == 1.0
    assert cells.loc[("stag", "pennies"), "p_value"] == pytest.approx(1 / 20)


def test_a_cell_equals_scikit_learn():
    prompts = prompts_table(120)
    load = loader(prompts, {1: 1.5})
    table = _fit(load, prompts).set_index(["train", "test"])
    x, y = load(1).astype(np.float64), prompts["opponent_last"].to_numpy(dtype=int)
    train, test = (prompts["game"] == "pd").to_numpy(), (prompts["game"] == "stag").to_numpy()
    pipe = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", tol=1e-8)
    )
    wanted = balanced_accuracy_score(y[test], pipe.fit(x[train], y[train]).predict(x[test]))
    row = table.loc[("pd", "stag")]
    assert row["balanced_accuracy"] == pytest.approx(wanted)
    assert (row["n_train"], row["n"], row["n_matches"]) == (train.sum(), test.sum(), 30)


def test_a_target_that_a_game_fixes_says_so():
    prompts = prompts_table(80)
    table = _fit(loader(prompts, {}), prompts, ["nash_action"]).set_index(["train", "test"])
    assert (table["status"] == "degenerate").all()
    assert table.loc[("pd", "harmony"), "reason"] == "constant in pd: action 1 at every prompt"
    assert table.loc[("stag", "pd"), "reason"] == "undefined in stag"
    assert table["balanced_accuracy"].isna().all()


def test_a_code_for_the_role_of_a_label_turns_where_the_nash_action_does():
    """A model that knows which label means action 1 looks as if it knew the Nash label."""
    prompts = prompts_table(80, games=("pd", "harmony", "deadlock"), forms=FORMS)
    prompts["role"] = (prompts["label_map"] == "identity").astype(int)
    load = loader(prompts, {1: 6.0}, target="role")
    table = _fit(load, prompts, ["nash_label", "nash_action"])
    cells = table.set_index(["target", "train", "test"]).sort_index()
    label = cells.loc["nash_label"]
    assert label.loc[("pd", "pd"), "balanced_accuracy"] > 0.95
    assert label.loc[("pd", "deadlock"), "balanced_accuracy"] > 0.95
    assert label.loc[("pd", "harmony"), "ci_high"] < 0.1
    assert (cells.loc["nash_action", "status"] == "degenerate").all()

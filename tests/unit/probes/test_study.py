import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nashlens.errors import DataError
from nashlens.probes import TARGETS, fit_probes
from nashlens.probes.design import grouped_folds, permuted_labels, read_target, usable
from nashlens.probes.study import COLUMNS

WIDTH = 24


def _prompts(matches=40, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for m in range(matches):
        game = ("pd", "harmony", "pennies", "stag")[m % 4]
        for r in (2, 5):
            last = int(rng.integers(2))
            rows.append(
                {
                    "prompt_id": f"p{m}-{r}",
                    "match_id": f"m{m:03d}",
                    "game": game,
                    "round": r,
                    "dropped": "",
                    "own_last": int(rng.integers(2)),
                    "opponent_last": last,
                    "nash_action": {"pd": 1, "harmony": 0}.get(game),
                    "prosocial_action": None if game == "pennies" else 0,
                    "best_response": last if game == "stag" else {"pd": 1}.get(game, 0),
                }
            )
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(TARGETS, "Int64"))


def _loader(prompts, strength, seed=1):
    signal = prompts["opponent_last"].to_numpy(dtype=float) - 0.5

    def load(layer):
        if layer == 0:
            return np.full((len(prompts), WIDTH), 0.3, dtype=np.float32)
        rng = np.random.default_rng([seed, layer])
        x = rng.normal(size=(len(prompts), WIDTH))
        x[:, 0] += strength.get(layer, 0.0) * signal
        return x.astype(np.float32)

    return load


def _fit(load, prompts, layers=(0, 1, 2), **changes):
    settings = {
        "targets": TARGETS,
        "C": 0.1,
        "folds": 4,
        "permutations": 19,
        "confidence": 0.95,
        "resamples": 200,
        "seed": 7,
        "model": "m",
    }
    return fit_probes(load, list(layers), prompts, **{**settings, **changes})


def test_table_has_the_documented_columns_and_rows():
    prompts = _prompts()
    table = _fit(_loader(prompts, {}), prompts)
    assert tuple(table.columns) == COLUMNS
    assert list(table["target"].unique()) == list(TARGETS)
    assert table.groupby("target")["layer"].apply(list).map(lambda x: x == [0, 1, 2]).all()


def test_planted_signal_is_found_where_it_is():
    prompts = _prompts(120)
    table = _fit(_loader(prompts, {1: 6.0}), prompts, targets=["opponent_last"])
    row = table.set_index("layer")
    assert row.loc[1, "balanced_accuracy"] > 0.95
    assert row.loc[1, "ci_low"] > 0.9
    assert row.loc[1, "p_value"] == pytest.approx(1 / 20)
    assert row.loc[1, "permutation_high"] < 0.7
    assert row.loc[2, "ci_low"] < 0.5
    assert (row["embedding"] == 0.5).all()
    assert row.loc[0, "balanced_accuracy"] == 0.5


def test_accuracy_equals_scikit_learn_with_the_same_folds():
    prompts = _prompts(60)
    load = _loader(prompts, {1: 1.5})
    table = _fit(load, prompts, layers=[1], targets=["opponent_last"])
    from nashlens.seeds import stream

    fold = grouped_folds(prompts, list(TARGETS), 4, stream(7, "probes", "folds"))
    x, y = load(1).astype(np.float64), prompts["opponent_last"].to_numpy(dtype=int)
    predicted = np.empty(len(y))
    for k in range(4):
        pipe = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", tol=1e-8)
        )
        predicted[fold == k] = pipe.fit(x[fold != k], y[fold != k]).predict(x[fold == k])
    assert table["balanced_accuracy"][0] == pytest.approx(balanced_accuracy_score(y, predicted))


def test_a_target_with_one_class_is_degenerate_not_an_error():
    prompts = _prompts()
    table = _fit(_loader(prompts, {}), prompts, targets=["prosocial_action"])
    assert (table["status"] == "degenerate").all()
    assert table["balanced_accuracy"].isna().all()
    assert table["n_missing"].eq(20).all()
    assert table["n"].eq(60).all()


def test_too_few_matches_are_degenerate():
    prompts = _prompts(3)
    table = _fit(_loader(prompts, {}), prompts, folds=5)
    assert (table["status"] == "degenerate").all()


def test_dropped_prompts_need_no_activations():
    prompts = _prompts()
    prompts.loc[:9, "dropped"] = "too long"
    kept = usable(prompts)
    table = _fit(_loader(kept, {}), prompts, targets=["own_last"])
    assert table["n"].eq(70).all()


def test_result_is_deterministic_and_independent_of_the_other_layers():
    prompts = _prompts()
    load = _loader(prompts, {1: 2.0})
    both = _fit(load, prompts, layers=[1, 2])
    alone = _fit(load, prompts, layers=[2])
    pd.testing.assert_frame_equal(both[both["layer"] == 2].reset_index(drop=True), alone)


def test_targets_do_not_influence_one_another():
    prompts = _prompts()
    load = _loader(prompts, {1: 2.0})
    every = _fit(load, prompts)
    one = _fit(load, prompts, targets=["own_last"])
    same = every[every["target"] == "own_last"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, one)


def test_folds_keep_matches_whole_and_balance_games():
    prompts = _prompts(80)
    fold = grouped_folds(prompts, list(TARGETS), 5, np.random.default_rng(0))
    assert prompts.assign(fold=fold).groupby("match_id")["fold"].nunique().eq(1).all()
    counts = pd.crosstab(fold, prompts["game"])
    assert (counts.max() - counts.min()).max() <= 4


def test_permutation_keeps_game_and_match_structure():
    prompts = _prompts(40)
    target = read_target(prompts, "best_response")
    shuffled = permuted_labels(prompts, target, 10, np.random.default_rng(0))
    games = prompts["game"].to_numpy()
    for game in np.unique(games):
        of_game = games == game
        assert (shuffled[of_game].sum(axis=0) == target.labels[of_game].sum()).all()
    constant = read_target(prompts, "nash_action")
    shuffled = permuted_labels(prompts, constant, 10, np.random.default_rng(0))
    # The game fixes it, so it moves between games, but never within a match.
    by_match = pd.DataFrame(shuffled).groupby(prompts["match_id"].to_numpy()[constant.rows])
    assert (by_match.nunique() == 1).all().all()
    assert (shuffled != constant.labels[:, None]).any()


def test_null_p_values_are_not_small_too_often():
    prompts = _prompts(40)
    p = []
    for seed in range(12):
        table = _fit(_loader(prompts, {}, seed=seed), prompts, layers=[1], resamples=10)
        p.append(table["p_value"].dropna())
    assert (pd.concat(p) <= 0.1).mean() < 0.3


def test_bad_input_names_what_is_wrong():
    prompts = _prompts()
    load = _loader(prompts, {})
    with pytest.raises(DataError, match="best_guess"):
        _fit(load, prompts, targets=["best_guess"])
    with pytest.raises(DataError, match="0 or 1"):
        _fit(load, prompts, targets=["round"])
    with pytest.raises(DataError, match="layer 0"):
        _fit(lambda layer: np.zeros((3, 2)), prompts)
    with pytest.raises(DataError, match="not finite"):
        _fit(lambda layer: np.full((80, 2), np.nan), prompts)
    with pytest.raises(DataError, match="dropped"):
        _fit(load, prompts.assign(dropped="too long"))

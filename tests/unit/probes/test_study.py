from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nashlens.errors import DataError
from nashlens.probes.design import ProbeSettings, add_choices, grouped_folds, hold_out, usable
from nashlens.probes.study import COLUMNS, fit_probes
from nashlens.seeds import stream
from nashlens.vocabulary.targets import TARGETS
from tests.unit.probes.tables import FORMS, WIDTH, loader, prompts_table

SETTINGS = ProbeSettings(
    C=[0.1], folds=4, permutations=19, confidence=0.95, resamples=200, seed=7, model="m"
)


def _fit(load, prompts, layers=(0, 1, 2), targets=TARGETS, untrained=None, **changes):
    settings = replace(SETTINGS, **changes)
    return fit_probes(load, list(layers), prompts, targets, settings, untrained=untrained).probes


def _by_match(table):
    return table[table["split"] == "match"].reset_index(drop=True)


def test_processes_side_by_side_change_no_result():
    prompts = prompts_table()
    load = loader(prompts, {})
    alone, apart = (
        fit_probes(load, [0, 1, 2], prompts, TARGETS, SETTINGS, threads=threads)
        for threads in (1, 2)
    )
    pd.testing.assert_frame_equal(apart.probes, alone.probes, check_exact=True)
    pd.testing.assert_frame_equal(apart.parts, alone.parts, check_exact=True)


def test_table_has_the_documented_columns_and_rows():
    prompts = prompts_table()
    table = _fit(loader(prompts, {}), prompts)
    assert tuple(table.columns) == COLUMNS.names
    assert list(table["target"].unique()) == list(TARGETS)
    assert set(table["split"]) == {"match", "game", "label_set", "template"}
    layers = table.groupby(["target", "split"])["layer"].apply(list)
    assert layers.map(lambda x: x == [0, 1, 2]).all()


def test_planted_signal_is_found_where_it_is():
    prompts = prompts_table(120)
    table = _by_match(_fit(loader(prompts, {1: 6.0}), prompts, targets=["opponent_last"]))
    row = table.set_index("layer")
    assert row.loc[1, "balanced_accuracy"] > 0.95
    assert row.loc[1, "ci_low"] > 0.9
    assert row.loc[1, "auroc"] >= row.loc[1, "auroc_low"] > 0.95
    assert row.loc[1, "p_value"] == row.loc[1, "p_value_max"] == pytest.approx(1 / 20)
    assert row.loc[1, "permutation_high"] < 0.7
    assert row.loc[1, "selectivity_low"] > 0.2
    assert 0.5 < row.loc[1, "minimum_detectable"] < 0.8
    assert row.loc[2, "ci_low"] < 0.5
    assert (row["embedding"] == 0.5).all()
    assert row.loc[0, "balanced_accuracy"] == 0.5
    assert row.loc[0, "auroc"] == 0.5
    assert (table["unconverged"] == 0).all()


def test_the_correction_for_the_largest_layer_is_never_milder():
    prompts = prompts_table(60)
    table = _fit(loader(prompts, {1: 1.0}), prompts, layers=range(6), targets=["opponent_last"])
    assert (table["p_value_max"] >= table["p_value"]).all()
    assert (table["permutation_max_high"] >= table["permutation_high"]).all()
    rows = _by_match(table)
    assert rows["permutation_max_high"].nunique() == 1
    assert (rows["p_value_max"] > rows["p_value"]).any()


def test_a_signal_that_holds_across_games_and_labels_survives_their_being_held_out():
    prompts = prompts_table(120)
    table = _fit(loader(prompts, {1: 6.0}), prompts, layers=[1], targets=["opponent_last"])
    assert (table["status"] == "ok").all()
    assert (table["balanced_accuracy"] > 0.9).all()
    assert (table["p_value"] <= 0.1).all()
    assert dict(zip(table["split"], table["n_parts"], strict=True)) == {
        "match": 4,
        "game": 4,
        "label_set": 2,
        "template": 2,
    }


def test_a_code_of_its_own_in_each_label_set_does_not_survive_its_being_held_out():
    prompts = prompts_table(160)
    sign = np.where(prompts["label_set"] == "jf", 1.0, -1.0)
    truth = prompts["opponent_last"].to_numpy(dtype=float) - 0.5

    def load(layer):
        x = np.random.default_rng(layer).normal(size=(len(prompts), WIDTH))
        # The label set can be read off too, so that one probe of both could tell them apart.
        x[:, 0] += 6 * sign * truth
        x[:, 1] += 6 * (sign + 1) * truth
        return x

    row = _fit(load, prompts, layers=[1], targets=["opponent_last"]).set_index("split")
    assert row.loc["match", "balanced_accuracy"] > 0.9
    assert row.loc["label_set", "balanced_accuracy"] < 0.75


def test_a_share_is_a_regression():
    prompts = prompts_table(120)
    share = prompts["opponent_cooperation"].to_numpy()

    def load(layer):
        x = np.random.default_rng(layer).normal(size=(len(prompts), WIDTH))
        x[:, 2] += 8 * layer * (share - 0.5)
        return x

    targets = ["opponent_cooperation"]
    rows = _by_match(_fit(load, prompts, layers=[0, 2], targets=targets)).set_index("layer")
    assert (rows["measure"] == "r2").all()
    assert rows["balanced_accuracy"].isna().all()
    assert rows.loc[2, "r2"] > rows.loc[2, "r2_low"] > 0.6
    assert rows.loc[2, "p_value"] == pytest.approx(1 / 20)
    assert rows.loc[0, "r2"] < 0.2
    assert rows.loc[2, "selectivity"] > 0.3


def test_baselines_are_beside_every_layer():
    prompts = prompts_table(80)
    # A prompt's words give its opponent's last action away; its untrained twin does not.
    words = ["they took A" if last == 1 else "they took B" for last in prompts["opponent_last"]]
    prompts["text"] = words
    some = prompts[prompts["match_id"] < "m040"].reset_index(drop=True)
    table = _fit(
        loader(prompts, {1: 6.0}),
        prompts,
        targets=["opponent_last"],
        untrained=(loader(some, {}), some),
    )
    rows = _by_match(table)
    assert (rows["bag_of_words"] == 1.0).all()
    assert (rows["bag_of_words_low"] == 1.0).all()
    assert (rows["embedding"] == 0.5).all()
    assert (rows["random_weights"] < 0.7).all()
    assert (rows["random_weights_low"] < rows["random_weights_high"]).sum() >= 2
    assert (rows["n_random_weights"] == len(some)).all()
    assert table.loc[table["split"] != "match", "random_weights"].isna().all()


@pytest.mark.parametrize("split", ["label_set", "template"])
def test_histories_in_several_wordings_are_held_out_with_them(split):
    """A history's fingerprint in its other wording must not give away what it holds."""
    prompts = prompts_table(40)
    levels = list(prompts[split].unique())
    crossed = pd.concat([prompts.assign(**{split: level}) for level in levels], ignore_index=True)
    crossed["block_id"] += "/" + crossed[split]
    codes = crossed.groupby(["match_id", "round"]).ngroup().to_numpy()
    wording = (crossed[split] == levels[0]).to_numpy(dtype=float)

    def load(layer):
        x = 3 * np.random.default_rng(layer).normal(size=(80, WIDTH))[codes]
        return np.column_stack([x, wording])

    table = _fit(load, crossed, layers=[1, 2, 3, 4], targets=["opponent_last"])
    rows = table[table["split"] == split]
    assert (rows["balanced_accuracy"] < 0.7).all()
    assert (rows["n_parts"] == 4 * len(levels)).all()
    assert (rows["p_value"] > 0.05).all()
    fold = np.arange(len(crossed)) % 4
    held_out = hold_out(crossed, split, fold)
    for group in np.unique(held_out.groups):
        tested, train = held_out.groups == group, held_out.training(group)
        assert not set(crossed[split][tested]) & set(crossed[split][train])
        assert not set(fold[tested]) & set(fold[train])
        assert train.sum() == 60


def test_c_is_chosen_inside_the_training_set():
    prompts = prompts_table(80)
    load = loader(prompts, {1: 6.0})
    targets = ["opponent_last"]
    weak = _by_match(_fit(load, prompts, layers=[1], targets=targets, C=[1e-7, 0.1]))
    assert weak.loc[0, "C"] == 0.1
    assert weak.loc[0, "balanced_accuracy"] > 0.95
    # Held-out labels have no say: with the same training labels the same C is chosen.
    noise = _by_match(_fit(load, prompts, layers=[2], targets=targets, C=[1e-4, 30.0]))
    assert noise.loc[0, "C"] == 1e-4


def test_the_choice_is_the_likelier_action_at_the_last_layer():
    prompts = prompts_table(2)
    prompts["label_map"] = ["identity", "swapped", "swapped", "swapped"]
    prompts["option_order"] = ["reversed", "forward", "forward", "forward"]
    lens = prompts[["prompt_id", "match_id"]]
    early = lens.assign(layer=1, p_action_1=[0.9, 0.9, 0.1, 0.9])
    late = lens.assign(layer=2, p_action_1=[0.1, 0.9, 0.5, 0.9])
    plain = prompts.drop(columns=["chosen_action", "chosen_label", "chosen_place"])
    table = add_choices(plain, pd.concat([early, late.iloc[:3]]))
    assert table["chosen_action"].tolist() == [0, 1, pd.NA, pd.NA]
    assert table["chosen_label"].tolist() == [0, 0, pd.NA, pd.NA]
    assert table["chosen_place"].tolist() == [1, 1, pd.NA, pd.NA]
    assert all(str(table[f"chosen_{name}"].dtype) == "Int64" for name in ("label", "place"))


def test_accuracy_equals_scikit_learn_with_the_same_folds():
    prompts = prompts_table(60)
    load = loader(prompts, {1: 1.5})
    table = _by_match(_fit(load, prompts, layers=[1], targets=["opponent_last"]))
    fold = grouped_folds(prompts, list(TARGETS), 4, stream(7, "probes", "folds"))
    x, y = load(1).astype(np.float64), prompts["opponent_last"].to_numpy(dtype=int)
    predicted = np.empty(len(y))
    for k in range(4):
        pipe = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", tol=1e-8)
        )
        predicted[fold == k] = pipe.fit(x[fold != k], y[fold != k]).predict(x[fold == k])
    assert table["balanced_accuracy"][0] == pytest.approx(balanced_accuracy_score(y, predicted))


def test_what_cannot_be_asked_is_a_row_with_its_reason():
    prompts = prompts_table().assign(template="neutral")
    table = _fit(loader(prompts, {}), prompts, targets=["prosocial_action", "opponent_last"])
    rows = table.set_index(["target", "split", "layer"])
    fixed = rows.loc["prosocial_action"]
    assert (fixed["status"] == "degenerate").all()
    assert fixed["reason"].eq("constant: action 0 at every prompt").all()
    assert fixed["balanced_accuracy"].isna().all()
    assert fixed["n_missing"].eq(20).all()
    assert fixed["n"].eq(60).all()
    single = rows.loc["opponent_last"].loc["template"]
    assert single["reason"].eq("one template only: nothing to hold out").all()
    assert rows.loc["opponent_last"].loc["match", "status"].eq("ok").all()


def test_too_few_matches_are_degenerate():
    prompts = prompts_table(3)
    table = _by_match(_fit(loader(prompts, {}), prompts, targets=["own_last"], folds=5))
    assert (table["status"] == "degenerate").all()
    assert "3 for 5" in table["reason"][0]


def test_dropped_prompts_need_no_activations():
    prompts = prompts_table()
    prompts.loc[:9, "dropped"] = "too long"
    kept = usable(prompts)
    table = _fit(loader(kept, {}), prompts, targets=["own_last"])
    assert table["n"].eq(70).all()


def test_result_is_deterministic_and_independent_of_the_other_layers():
    prompts = prompts_table()
    load = loader(prompts, {1: 2.0})
    both = _fit(load, prompts, layers=[1, 2])
    alone = _fit(load, prompts, layers=[2])
    same = both[both["layer"] == 2].reset_index(drop=True)
    over_layers = ["permutation_max_high", "p_value_max"]
    pd.testing.assert_frame_equal(same.drop(columns=over_layers), alone.drop(columns=over_layers))


def test_targets_do_not_influence_one_another():
    prompts = prompts_table()
    load = loader(prompts, {1: 2.0})
    every = _fit(load, prompts)
    one = _fit(load, prompts, targets=["own_last"])
    same = every[every["target"] == "own_last"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, one)


def test_folds_keep_matches_whole_and_balance_games():
    prompts = prompts_table(80)
    fold = grouped_folds(prompts, list(TARGETS), 5, np.random.default_rng(0))
    assert prompts.assign(fold=fold).groupby("match_id")["fold"].nunique().eq(1).all()
    counts = pd.crosstab(fold, prompts["game"])
    assert (counts.max() - counts.min()).max() <= 4


def test_the_kind_of_game_is_the_nash_action_and_not_its_label():
    """Knowing the game, and knowing the surface form, does not give the label or the place."""
    games = ("pd", "harmony", "deadlock", "concord")
    prompts = prompts_table(80, games=games, forms=FORMS)
    game = pd.get_dummies(prompts["game"]).to_numpy(dtype=float)
    form = pd.get_dummies(prompts[["label_map", "option_order", "label_set"]]).to_numpy(dtype=float)

    def load(layer):
        x = np.random.default_rng(layer).normal(size=(len(prompts), WIDTH))
        x[:, : game.shape[1]] += 8 * game
        x[:, 8 : 8 + form.shape[1]] += 8 * form
        return x

    targets = ["nash_action", "nash_label", "nash_place"]
    rows = _by_match(_fit(load, prompts, layers=[1], targets=targets)).set_index("target")
    assert rows.loc["nash_action", "ci_low"] > 0.95
    for name in ("nash_label", "nash_place"):
        assert abs(rows.loc[name, "balanced_accuracy"] - 0.5) < 0.1
        assert rows.loc[name, "p_value"] > 0.05
    assert (rows["bag_of_words"].drop("nash_action") <= 0.5).all()
    assert (rows["n"] == 640).all()
    assert (rows["n_matches"] == 80).all()


@pytest.mark.parametrize("name", ["nash_label", "nash_place", "chosen_label"])
def test_a_bound_label_is_found_where_it_is(name):
    games = ("pd", "harmony", "deadlock", "concord")
    prompts = prompts_table(48, games=games, forms=FORMS)
    table = _fit(loader(prompts, {2: 4.0}, target=name), prompts, targets=[name])
    rows = table.set_index(["split", "layer"])
    assert (rows.xs(2, level="layer")["ci_low"] > 0.85).all()
    assert (rows.xs(2, level="layer")["p_value"] == 1 / 20).all()
    assert (rows.xs(1, level="layer")["balanced_accuracy"] < 0.62).all()
    assert rows.loc[("match", 2), "selectivity"] > 0.2


def test_a_history_is_not_remembered_from_its_other_forms():
    """The same fingerprint of a history in all forms and rounds decodes no target of another."""
    prompts = prompts_table(60, forms=FORMS)
    codes = prompts.groupby("match_id").ngroup().to_numpy()

    def load(layer):
        rng = np.random.default_rng(layer)
        return 3 * rng.normal(size=(60, WIDTH))[codes] + rng.normal(size=(len(prompts), WIDTH))

    targets = ["own_last", "opponent_last", "nash_action", "nash_label"]
    rows = _by_match(_fit(load, prompts, layers=[1, 2], targets=targets))
    assert (rows["balanced_accuracy"] < 0.65).all()
    assert (rows["p_value"] > 0.05).mean() > 0.7


def test_null_p_values_are_not_small_too_often():
    prompts = prompts_table(40)
    p = []
    for seed in range(8):
        table = _fit(loader(prompts, {}, seed=seed), prompts, layers=[1, 2], resamples=10)
        p.append(table[["p_value", "p_value_max"]].stack().dropna())
    assert (pd.concat(p) <= 0.1).mean() < 0.3


def test_bad_input_names_what_is_wrong():
    prompts = prompts_table()
    load = loader(prompts, {})
    with pytest.raises(DataError, match="best_guess"):
        _fit(load, prompts, targets=["best_guess"])
    with pytest.raises(DataError, match="0 or 1"):
        _fit(load, prompts, targets=["round"])
    broken = prompts.assign(opponent_cooperation=3.0)
    with pytest.raises(DataError, match="0 to 1"):
        _fit(load, broken, targets=["opponent_cooperation"])
    with pytest.raises(DataError, match="layer 0"):
        _fit(lambda layer: np.zeros((3, 2)), prompts)
    with pytest.raises(DataError, match="not finite"):
        _fit(lambda layer: np.full((80, 2), np.nan), prompts)
    with pytest.raises(DataError, match="dropped"):
        _fit(load, prompts.assign(dropped="too long"))

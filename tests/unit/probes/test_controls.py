"""Permutations exchange what may be exchanged; control tasks are functions of a prompt's type."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.probes.controls import control_tasks, permuted_labels, varies_within_blocks
from nashlens.probes.design import ProbeSettings, read_target
from nashlens.probes.study import fit_probes
from tests.unit.probes.tables import FORMS, WIDTH, prompts_table

TURNING = ("nash_label", "nash_place", "prosocial_label", "chosen_label", "chosen_place")
CONSTANT = ("own_last", "opponent_last", "nash_action", "best_response", "opponent_cooperation")
WHOLE = prompts_table(16, forms=FORMS, rounds=(2, 5, 7))


def _drawn(data):
    """Draw prompts of which some are missing, and a target."""
    lost = data.draw(st.lists(st.integers(0, len(WHOLE) - 1), max_size=6))
    prompts = WHOLE.drop(index=lost).reset_index(drop=True)
    if data.draw(st.booleans()):
        prompts = prompts.sample(frac=1, random_state=1).reset_index(drop=True)
    return prompts, np.random.default_rng(data.draw(st.integers(0, 99)))


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(TURNING))
def test_labels_and_places_are_exchanged_within_blocks_only(data, name):
    prompts, rng = _drawn(data)
    target = read_target(prompts, name)
    assert varies_within_blocks(prompts, target)
    shuffled = pd.DataFrame(permuted_labels(prompts, target, 8, rng))
    frame = prompts.loc[target.rows].reset_index(drop=True)
    truth = pd.Series(target.labels)
    # Every block, and so every game, round and wording, keeps its number of ones.
    blocks = frame["block_id"]
    assert shuffled.groupby(blocks).sum().eq(truth.groupby(blocks).sum(), axis=0).all(axis=None)
    # A form takes the labels of one and the same form at all rounds of its history.
    key = [frame["match_id"], frame["label_map"], frame["option_order"]]
    forms = {form: rows.index for form, rows in frame.groupby(key, sort=False)}
    for (match, *_), rows in forms.items():
        rounds = frame.loc[rows].set_index("round").index
        others = [
            truth[its].set_axis(frame.loc[its, "round"])
            for (whose, *_), its in forms.items()
            if whose == match and set(frame.loc[its, "round"]) == set(rounds)
        ]
        for k in shuffled:
            got = shuffled.loc[rows, k].set_axis(rounds)
            assert any((got == other.reindex(rounds)).all() for other in others)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(CONSTANT))
def test_what_forms_share_is_exchanged_between_whole_histories(data, name):
    prompts, rng = _drawn(data)
    target = read_target(prompts, name)
    assert not varies_within_blocks(prompts, target)
    shuffled = pd.DataFrame(permuted_labels(prompts, target, 8, rng))
    frame = prompts.loc[target.rows].reset_index(drop=True)
    # The forms of a prompt still agree.
    assert (shuffled.groupby(frame["block_id"]).nunique() == 1).all(axis=None)
    # A history's labels are those of one history: of its own game, where the game leaves it open.
    whole = frame.groupby("match_id")["round"].size().eq(12)
    table = frame.assign(label=target.labels).groupby(["match_id", "round"])["label"].first()
    sequences = table.unstack()
    game = frame.groupby("match_id")["game"].first()
    fixed = name == "nash_action"
    for match in whole[whole].index:
        rows = frame["match_id"] == match
        may = sequences if fixed else sequences[game == game[match]]
        for k in shuffled:
            got = shuffled.loc[rows, k].groupby(frame["round"]).first().to_numpy()
            assert (may.to_numpy() == got).all(axis=1).any()


def test_permutations_do_exchange():
    for name in (*TURNING, *CONSTANT):
        target = read_target(WHOLE, name)
        shuffled = permuted_labels(WHOLE, target, 5, np.random.default_rng(0))
        changed = (shuffled != target.labels[:, None]).mean()
        assert changed > 0.05, name


def test_a_mirror_image_keeps_to_its_history():
    """Both are one match: their labels move together, and stay opposite."""
    prompts = prompts_table(16, forms=FORMS).assign(mirrored=False)
    image = prompts.assign(mirrored=True, opponent_last=1 - prompts["opponent_last"])
    image["block_id"] += "/mirrored"
    both = pd.concat([prompts, image]).sample(frac=1, random_state=0).reset_index(drop=True)
    for name in ("opponent_last", "nash_label"):
        target = read_target(both, name)
        shuffled = permuted_labels(both, target, 5, np.random.default_rng(0))
        frame = both.loc[target.rows, ["match_id", "round", "label_map", "option_order"]]
        keys = [frame[column].to_numpy() for column in frame]
        size = pd.DataFrame(shuffled).groupby(keys).nunique()
        assert (size == (2 if name == "opponent_last" else 1)).all(axis=None)
        assert (shuffled != target.labels[:, None]).mean() > 0.15


def test_histories_stay_within_parts():
    prompts = prompts_table(40)
    target = read_target(prompts, "opponent_last")
    parts = (prompts["label_set"] == "jf").to_numpy().astype(int)
    shuffled = permuted_labels(prompts, target, 10, np.random.default_rng(0), parts)
    for part in (0, 1):
        kept = shuffled[parts == part].sum(axis=0) == target.labels[parts == part].sum()
        assert kept.all()
    assert (shuffled != target.labels[:, None]).any()


def test_a_target_that_seldom_differs_in_a_block_is_exchanged_as_a_history():
    prompts = prompts_table(24, forms=FORMS)
    prompts["chosen_action"] = prompts["opponent_last"]
    prompts.loc[prompts.index[::40], "chosen_action"] = 1 - prompts["opponent_last"]
    target = read_target(prompts, "chosen_action")
    assert not varies_within_blocks(prompts, target)
    shuffled = permuted_labels(prompts, target, 5, np.random.default_rng(0))
    assert (shuffled != target.labels[:, None]).mean() > 0.2


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("nash_action", ["game", "seat"]),
        ("nash_label", ["game", "seat", "label_map"]),
        ("nash_place", ["game", "seat", "option_order"]),
        ("opponent_last", ["game", "seat", "round"]),
        ("chosen_label", ["game", "seat", "round", "label_map", "option_order"]),
    ],
)
def test_a_control_task_is_a_function_of_the_type_and_of_nothing_else(name, columns):
    prompts = prompts_table(64, forms=FORMS)
    target = read_target(prompts, name)
    tasks = control_tasks(prompts, target, 50, np.random.default_rng(0))
    kinds = prompts.groupby(columns).ngroup().to_numpy()[target.rows]
    by_type = pd.DataFrame(tasks).groupby(kinds)
    assert (by_type.nunique() == 1).all(axis=None)
    assert abs(tasks.mean() - target.labels.mean()) < 0.13
    # Types have labels of their own: no coarser one would do.
    firsts = by_type.first()
    assert (firsts.nunique() > 1).mean() > 0.9


@pytest.mark.parametrize("name", ["nash_label", "opponent_last"])
def test_p_values_allow_for_what_forms_and_rounds_share(name):
    """Features that a history's rounds share in one form would mislead rows exchanged by one."""
    prompts = prompts_table(16, games=("pd", "harmony"), forms=FORMS, rounds=range(2, 10))
    code = prompts.groupby(["match_id", "label_map", "option_order"]).ngroup().to_numpy()
    options = ProbeSettings(
        C=[0.1], folds=4, permutations=19, confidence=0.95, resamples=10, seed=3, model="m"
    )

    def load(layer):
        rng = np.random.default_rng(layer)
        x = 2 * rng.normal(size=(code.max() + 1, WIDTH))[code]
        return x + 0.3 * rng.normal(size=(len(prompts), WIDTH))

    table = fit_probes(load, list(range(1, 25)), prompts, [name], options).probes
    p = table.loc[table["split"] == "match", "p_value"]
    assert (p <= 0.1).mean() < 0.25
    assert (p <= 0.5).mean() > 0.25

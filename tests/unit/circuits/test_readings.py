import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.readings import Ablations, cell_mean
from nashlens.contrasts import cell_mean_draws


def table(action, token, kind="head"):
    """Drops of two heads that follow the action and the token as told; uneven cells."""
    rows = []
    for game, nash in (("deadlock", 1), ("concord", 0)):
        for label_map, count in (("identity", 3), ("swapped", 1)):
            first = 1 if label_map == "swapped" else 0
            for i in range(count):
                for name, scale in (("1.0", 1.0), ("1.1", 2.0)):
                    rows.append(
                        {
                            "prompt_id": f"{game}{label_map}{i}",
                            "match_id": f"{game}{label_map}{i}",
                            "game": game,
                            "label_map": label_map,
                            "nash_action": nash,
                            "ablation": name,
                            "kind": kind,
                            "half": "test",
                            "layer": 1,
                            "head": int(name[-1]),
                            "heads": name,
                            "drop": scale * (action + (token if nash == first else -token)),
                        }
                    )
    return pd.DataFrame(rows)


def test_action_and_token_parts_are_told_apart():
    for action, token in ((1.0, 0.0), (0.0, 1.0), (0.3, -0.7)):
        found = Ablations(table(action, token), "head")
        assert found.names == ["1.0", "1.1"]
        assert cell_mean(found.values, found.cells) == pytest.approx([action, 2 * action])
        assert cell_mean(found.token(), found.cells) == pytest.approx([token, 2 * token])


def test_prompts_that_lack_an_ablation_are_left_out_and_repeats_count_once():
    whole = table(1.0, 0.5)
    found = Ablations(pd.concat([whole, whole]).iloc[1:-1], "head")
    assert len(found) == 8
    assert len(Ablations(whole.iloc[1:], "head")) == 7


def test_other_kinds_and_halves_are_empty():
    assert len(Ablations(table(1.0, 0.0), "candidate")) == 0
    assert len(Ablations(table(1.0, 0.0), "head", "choose")) == 0
    assert Ablations(table(1.0, 0.0), "head", "choose").values.shape == (0, 0)
    assert np.isfinite(Ablations(table(1.0, 0.0), "head", "test").values).all()


def test_bounds_hold_as_often_as_they_say_with_few_matches():
    """Three matches a cell, forty heads without any effect: for one head, and for all at once."""
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        [
            {
                "prompt_id": f"{game}{label_map}{i}",
                "match_id": f"{game}{label_map}{i}",
                "game": game,
                "label_map": label_map,
                "nash_action": 1,
                "ablation": f"1.{head}",
                "kind": "head",
                "half": "test",
                "layer": 1,
                "head": head,
                "heads": f"1.{head}",
                "drop": 0.0,
            }
            for game in ("deadlock", "concord")
            for label_map in ("identity", "swapped")
            for i in range(3)
            for head in range(40)
        ]
    )
    found = Ablations(rows, "head")
    assert (found.least_matches(), found.freedom) == (3, 8)
    one, every = [], []
    for _ in range(150):
        values = rng.normal(size=(12, 40))
        mean, draws = cell_mean_draws(values, found.cells, found.matches, resamples=300, rng=rng)
        draws = draws[~np.isnan(draws).any(axis=1)]
        for at_once, kept in ((1, one), (40, every)):
            low, high = found.interval(mean, draws, 0.95, at_once)
            kept.append((low <= 0) & (high >= 0))
    assert 0.91 < np.mean(one) < 0.98
    assert np.all(every, axis=1).mean() > 0.9

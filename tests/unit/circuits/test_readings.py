import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.readings import Ablations, cell_mean


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

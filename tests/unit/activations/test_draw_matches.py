import pandas as pd
import pytest

from nashlens.activations.plan import draw_matches


def _prompts():
    rows = [
        {"prompt_id": f"{game}{m}{r}", "match_id": f"{game}{m}", "game": game, "dropped": ""}
        for game in "abc"
        for m in range(6)
        for r in range(4)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("most", [0, 3, 12, 30, 72, 1000])
def test_whole_matches_evenly_over_games(most):
    prompts = _prompts()
    some = draw_matches(prompts, most, seed=1)
    assert len(some) == min(4 * (most // 4), len(prompts))
    assert (some.groupby("match_id").size() == 4).all()
    sizes = some.groupby("game").size().reindex(list("abc"), fill_value=0)
    assert sizes.max() - sizes.min() <= 4


def test_dropped_prompts_are_left_out_and_the_seed_decides():
    prompts = _prompts()
    prompts.loc[prompts["game"] == "a", "dropped"] = "too long"
    some = draw_matches(prompts, 16, seed=1)
    assert set(some["game"]) == {"b", "c"}
    pd.testing.assert_frame_equal(some, draw_matches(prompts, 16, seed=1))
    others = {tuple(draw_matches(prompts, 16, seed=k)["match_id"]) for k in range(8)}
    assert len(others) > 1

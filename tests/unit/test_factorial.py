"""Parts of blocks, and intervals of their averages."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from nashlens.factorial import Blocks


def design(histories=6, games=("g", "h"), label_sets=("l",), templates=("t",)):
    """One block for each history."""
    rows = [
        {
            "block_id": f"{game}/{history}/{template}/{label_set}",
            "match_id": f"{game}/{history}/{template}/{label_set}",
            "game": game,
            "template": template,
            "label_set": label_set,
            "label_map": label_map,
            "option_order": order,
        }
        for game in games
        for template in templates
        for label_set in label_sets
        for history in range(histories)
        for label_map in ("identity", "swapped")
        for order in ("forward", "reversed")
    ]
    return pd.DataFrame(rows)


def test_simultaneous_bounds_hold_for_all_columns_at_once():
    """Of 400 studies of 12 blocks and 8 columns, 95% have no true value (0) outside its bounds."""
    rng = np.random.default_rng(0)
    blocks = Blocks(design())
    inside = 0
    for _ in range(400):
        common = rng.normal(size=(len(blocks), 1))
        values = 0.6 * common + 0.8 * rng.normal(size=(len(blocks), 8))
        low, high, _ = blocks.estimate(values).simultaneous(0.95, 300, rng)
        inside += bool(((low < 0) & (high > 0)).all())
    assert 0.93 <= inside / 400 <= 0.99


def test_a_column_of_few_degrees_of_freedom_widens_no_other():
    rng = np.random.default_rng(1)
    blocks = Blocks(design(histories=8))
    values = rng.normal(size=(len(blocks), 1))
    # Two clusters differ in the second column, so that its error has few degrees of freedom.
    few = np.zeros((len(blocks), 1))
    few[:2, 0] = 1.0, -1.0
    found = blocks.estimate(np.hstack([values, few]))
    _, _, critical = found.simultaneous(0.95, 2000, rng)
    one = -stdtrit(found.freedom, 0.025)
    two = -stdtrit(found.freedom, 0.0125)
    assert (critical >= one - 1e-9).all()
    assert (critical <= two + 1e-9).all()


def test_one_column_has_students_own_bounds_and_none_vary_has_no_width():
    rng = np.random.default_rng(2)
    blocks = Blocks(design())
    found = blocks.estimate(rng.normal(size=(len(blocks), 1)))
    low, high, _ = found.simultaneous(0.9, 4000, rng)
    alone = found.interval(0.9)
    assert low[0] == pytest.approx(alone[0][0], rel=0.02, abs=0.02)
    assert high[0] == pytest.approx(alone[1][0], rel=0.02, abs=0.02)
    low, high, _ = blocks.estimate(np.full((len(blocks), 2), 0.3)).simultaneous(0.9, 50, rng)
    np.testing.assert_allclose([low, high], 0.3)

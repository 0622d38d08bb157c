"""Directions of concepts beside Nash, from residuals in which they are planted."""

import numpy as np
import pandas as pd
import pytest

from nashlens.errors import DataError
from nashlens.steering.cells import cells_of
from nashlens.steering.directions import fit_directions

from .test_directions import prompts

WIDTH = 6


def planted(seed=0):
    """Each concept on an axis of its own; the expected move is drawn within games and forms."""
    rng, table = np.random.default_rng(seed), prompts().reset_index(drop=True)
    table["prosocial_action"] = pd.array(table["game"].eq("harmony").astype(int), dtype="Int64")
    table["opponent_next"] = pd.array(rng.integers(2, size=len(table)), dtype="Int64")
    x = rng.normal(scale=0.02, size=(len(table), WIDTH))
    x[:, 0] += 2.0 * table["nash_action"].astype(float)
    x[:, 1] += 2.0 * table["prosocial_action"].astype(float)
    x[:, 2] += 2.0 * table["opponent_next"].astype(float)
    return table, x


def test_the_expected_move_is_found_whatever_the_game_adds():
    table, x = planted()
    found = fit_directions(lambda layer: x, 0, table, ["abstract", "expected"])
    assert found.units["expected"][0, 2] > 0.95
    assert abs(found.units["expected"][0, :2]).max() < 0.05


def test_cooperation_points_to_prosocial_action_1():
    table, x = planted()
    found = fit_directions(lambda layer: x, 0, table, ["abstract", "cooperation"])
    assert found.units["cooperation"][0, 1] > 0.5


def further(seed=0):
    """Residuals of a third game, in which the gains differ from the Nash action and one another."""
    rng = np.random.default_rng(seed)
    table = prompts(games=("pd", "harmony", "bos")).reset_index(drop=True)
    here = (table["game"] == "bos").to_numpy()
    nash = table["nash_action"].astype("Int64").mask(here)
    row = table["history"] % 2
    own = np.where(here, row, nash.fillna(0).astype(int))
    other = np.where(here, 1 - row, 0)
    table = table.assign(
        nash_action=nash,
        own_gain=pd.array(own, dtype="Int64"),
        other_gain=pd.array(other, dtype="Int64"),
        concept_only=here,
    )
    x = rng.normal(scale=0.02, size=(len(table), WIDTH))
    x[:, 3] += 2.0 * own
    x[:, 4] += 2.0 * other
    return table, x


def test_the_other_gain_needs_a_game_in_which_it_varies_and_no_nash_action_there():
    table, x = further()
    kinds = ["abstract", "own_gain", "other_gain"]
    found = fit_directions(lambda layer: x, 0, table, kinds)
    assert found.units["other_gain"][0, 4] > 0.8
    assert found.units["own_gain"][0, 3] > 0.8
    rows = found.table.set_index("direction")
    assert rows.loc["other_gain", "cos_other_gain"] == pytest.approx(1.0)
    assert rows.loc["other_gain", "cos_own_gain"] < 0.2
    trained = ~table["concept_only"].to_numpy()
    own = fit_directions(lambda layer: x[trained], 0, table[trained], kinds)
    assert set(own.units) == {"abstract", "own_gain"}
    reason = own.table.set_index("direction").loc["other_gain", "reason"]
    assert "differ in other_gain" in reason
    # Where one action dominates, the own gain is the Nash action.
    assert own.units["own_gain"][0] @ own.units["abstract"][0] == pytest.approx(1.0)


def test_games_of_concepts_serve_no_direction_of_nash():
    table, x = further()
    table["nash_action"] = table["nash_action"].fillna(1)
    trained = ~table["concept_only"].to_numpy()
    both = fit_directions(lambda layer: x, 0, table, ["abstract", "label", "other_gain"])
    alone = fit_directions(lambda layer: x[trained], 0, table[trained], ["abstract", "label"])
    for kind in ("abstract", "label"):
        np.testing.assert_array_equal(both.units[kind], alone.units[kind])
    np.testing.assert_array_equal(both.mean, alone.mean)


def test_what_does_not_vary_or_is_not_there_has_no_direction_and_says_why():
    table, _ = planted()
    with pytest.raises(DataError, match="differ in opponent_next"):
        cells_of(table.assign(opponent_next=pd.array([1] * len(table), dtype="Int64")), "expected")
    with pytest.raises(DataError, match="no column prosocial_action"):
        cells_of(table.drop(columns="prosocial_action"), "cooperation")


def test_cosines_between_directions_are_those_of_their_units():
    table, x = planted()
    kinds = ["abstract", "cooperation", "expected"]
    found = fit_directions(lambda layer: x, 0, table, kinds)
    rows = found.table.set_index("direction")
    for one in kinds:
        for other in kinds:
            cosine = found.units[one][0] @ found.units[other][0]
            assert rows.loc[one, f"cos_{other}"] == pytest.approx(float(cosine), abs=1e-6)
    assert rows.loc["expected", "cos_expected"] == pytest.approx(1.0)

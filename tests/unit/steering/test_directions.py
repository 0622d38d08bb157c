"""Directions of each kind, from residuals in which the truth is planted."""

import numpy as np
import pandas as pd
import pytest

from nashlens.errors import DataError
from nashlens.steering.cells import cells_of
from nashlens.steering.directions import (
    Directions,
    contrast,
    fit_directions,
    random_unit_vectors,
)
from tests.unit.steering.tables import prompts_table

GAMES = ("pd", "harmony")
KINDS = ("abstract", "label", "published")
ACTION, WORD, MAP, PLACE = range(4)
WIDTH = 8


def prompts(**how):
    how = {"games": GAMES, "label_sets": ("jf", "xy"), "words": ("own",), "histories": 4} | how
    return prompts_table(np.random.default_rng(0), **how)


def signs(table):
    nash = 2.0 * table["nash_action"].astype(float).to_numpy() - 1.0
    swapped = np.where(table["label_map"] == "swapped", 1.0, -1.0)
    listed = np.where(table["option_order"] == "reversed", 1.0, -1.0)
    return nash, swapped, listed


def residuals(table, *, word=2.0, surface=0.0, noise=0.1):
    """Return the Nash action on axis 0, its label on axis 1, label map and order on 2 and 3."""
    x = np.random.default_rng(1).normal(scale=noise, size=(len(table), WIDTH))
    nash, swapped, listed = signs(table)
    x[:, ACTION] += nash
    x[:, WORD] += word * nash * swapped
    x[:, MAP] += surface * swapped
    x[:, PLACE] += surface * listed
    return x


def fitted(table, x, **how):
    return fit_directions(lambda _layer: x, 1, table, KINDS, model="m", **how)


@pytest.mark.parametrize(("fit", "least"), [("means", 0.98), ("probe", 0.9)])
def test_each_kind_finds_what_it_is_about(fit, least):
    table = prompts(histories=16)
    found = fitted(table, residuals(table, surface=5.0, noise=0.6), fit=fit)
    assert found.units["abstract"].shape == (2, WIDTH)
    assert found.units["abstract"].dtype == np.float32
    for kind in KINDS:
        np.testing.assert_allclose(np.linalg.norm(found.units[kind], axis=1), 1.0, rtol=1e-6)
    assert found.units["abstract"][1, ACTION] > least
    assert found.units["label"][1, WORD] > least
    # Fixed words under one map: the action and the (negative) word, which it cannot part.
    published = found.units["published"][1]
    assert published[ACTION] > 0.3
    assert published[WORD] < -0.3


def test_the_table_describes_the_training_prompts():
    table = prompts()
    x = residuals(table)
    found = fitted(table, x)
    row = found.table.set_index(["direction", "layer"]).loc[("abstract", 1)]
    neutral = table["label_kind"] == "neutral"
    along = x[neutral] @ found.units["abstract"][1].astype(float)
    assert row["gap"] == pytest.approx(2.0, abs=0.1)
    assert row["separation"] > 10
    assert (row["n_0"], row["n_1"], row["model"], row["status"]) == (64, 64, "m", "ok")
    assert row["projection_std"] == pytest.approx(along.std(ddof=1), rel=1e-5)
    assert row["residual_norm"] == pytest.approx(np.linalg.norm(x[neutral], axis=1).mean())
    np.testing.assert_allclose(found.mean[1], x[neutral].mean(axis=0), rtol=1e-5)


def test_surface_forms_that_are_more_frequent_in_one_class_do_not_leak():
    table = prompts()
    nash, swapped, _ = signs(table)
    # Three quarters of one combination are missing.
    missing = (nash * swapped > 0) & (np.arange(len(table)) // 4 % 4 > 0)
    table = table[~missing].reset_index(drop=True)
    units = fitted(table, residuals(table, surface=50.0)).units
    assert abs(units["abstract"][1, MAP]) < 0.05
    assert np.abs(units["label"][1, [MAP, PLACE]]).max() < 0.05


def test_what_follows_the_label_map_only_is_no_label_direction():
    """The map's own effect cancels exactly, as both Nash actions weigh the same."""
    table = prompts()
    _, swapped, _ = signs(table)
    x = np.zeros((len(table), WIDTH))
    x[:, MAP] = swapped
    cells = cells_of(table, "label")
    assert np.abs(contrast(x, cells)).max() < 1e-12
    assert sum(cell.weight for cell in cells) == pytest.approx(1.0)


def test_equal_residuals_have_no_direction():
    table = prompts()
    found = fitted(table, np.full((len(table), WIDTH), 0.1))
    assert all((unit == 0).all() for unit in found.units.values())
    assert found.table["separation"].isna().all()


def test_a_kind_that_the_design_lacks_is_said_and_left_out(caplog):
    table = prompts(words=())
    found = fitted(table, residuals(table))
    assert set(found.units) == {"abstract", "label"}
    rows = found.table[found.table["direction"] == "published"]
    assert (rows["status"] == "not_applicable").all()
    assert rows["reason"].str.contains("own words").all()
    assert "published" in caplog.text
    one_map = table[table["label_map"] == "identity"].reset_index(drop=True)
    assert set(fitted(one_map, residuals(one_map)).units) == {"abstract"}


def test_an_absent_class_is_refused():
    one_class = prompts(games=("pd",))
    with pytest.raises(DataError, match="Nash action 0"):
        fitted(one_class, residuals(one_class))
    table = prompts(words=())
    apart = table[(table["game"] == "pd") == (table["label_set"] == "jf")].reset_index(drop=True)
    with pytest.raises(DataError, match="surface form"):
        fitted(apart, residuals(apart))
    with pytest.raises(DataError, match="layer 0"):
        fitted(table, np.zeros((3, WIDTH)))


def test_prompts_without_a_nash_action_are_left_out():
    table = prompts()
    table.loc[0, "nash_action"] = pd.NA
    found = fitted(table, residuals(prompts()))
    assert found.table.set_index(["direction", "layer"]).loc[("abstract", 0), "n_1"] == 63


def test_arrays_are_read_as_they_were_written(tmp_path):
    table = prompts()
    found = fitted(table, residuals(table))
    np.savez(tmp_path / "m.npz", mean=found.mean, **found.units)
    again = Directions.read(tmp_path / "m.npz", found.table)
    np.testing.assert_array_equal(again.mean, found.mean)
    assert set(again.units) == set(found.units)
    np.testing.assert_array_equal(again.units["label"], found.units["label"])


def test_random_directions_are_unit_and_seeded():
    a = random_unit_vectors(64, 5, np.random.default_rng(3))
    b = random_unit_vectors(64, 5, np.random.default_rng(3))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1.0, rtol=1e-6)
    assert np.abs(a @ a.T - np.eye(5)).max() < 0.6

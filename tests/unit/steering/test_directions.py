import numpy as np
import pandas as pd
import pytest

from nashlens.errors import DataError
from nashlens.steering.directions import fit_directions, random_unit_vectors


def _prompts(cells=(("identity", 0), ("identity", 1), ("swapped", 0), ("swapped", 1)), each=20):
    rows = [
        {
            "game": "pd" if nash else "harmony",
            "template": "neutral",
            "label_set": "jf",
            "label_map": label_map,
            "option_order": "forward",
            "dropped": "",
            "nash_action": nash,
        }
        for label_map, nash in cells
        for _ in range(each)
    ]
    return pd.DataFrame(rows).astype({"nash_action": "Int64"})


def _residuals(prompts, surface=0.0):
    rng = np.random.default_rng(0)
    x = rng.normal(scale=0.1, size=(len(prompts), 6))
    x[:, 0] += 2.0 * prompts["nash_action"].fillna(0).to_numpy(dtype=float)
    x[:, 1] += surface * (prompts["label_map"] == "swapped").to_numpy()
    return x


def test_direction_is_the_planted_one_and_points_to_action_1():
    prompts = _prompts()
    x = _residuals(prompts)
    directions, table = fit_directions(lambda layer: x, 2, prompts, model="m")
    assert directions.shape == (3, 6)
    assert directions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, rtol=1e-6)
    assert directions[1, 0] > 0.99
    row = table.iloc[1]
    assert row["gap"] == pytest.approx(2.0, abs=0.1)
    assert row["separation"] > 10
    assert (row["n_0"], row["n_1"], row["model"]) == (40, 40, "m")
    projection = x @ directions[1].astype(float)
    assert row["projection_std"] == pytest.approx(projection.std(ddof=1), rel=1e-5)
    assert row["residual_norm"] == pytest.approx(np.linalg.norm(x, axis=1).mean())


def test_a_surface_imbalance_does_not_leak():
    maps = ("identity",) * 3 + ("swapped",) * 3
    cells = tuple(zip(maps, (0, 0, 1, 0, 1, 1), strict=True))
    prompts = _prompts(cells)
    directions, _ = fit_directions(lambda layer: _residuals(prompts, 50.0), 0, prompts)
    assert abs(directions[0, 1]) < 0.05


def test_forms_with_one_class_are_left_out():
    prompts = _prompts((("identity", 0), ("identity", 1), ("swapped", 1)))
    directions, table = fit_directions(lambda layer: _residuals(prompts, 50.0), 0, prompts)
    assert abs(directions[0, 1]) < 0.05
    assert (table["n_1"] == 20).all()


def test_equal_residuals_have_no_direction():
    prompts = _prompts()
    directions, table = fit_directions(lambda layer: np.full((80, 6), 0.1), 0, prompts)
    assert (directions == 0).all()
    assert np.isnan(table["separation"][0])


def test_an_absent_class_is_refused():
    prompts = _prompts((("identity", 1), ("swapped", 1)))
    with pytest.raises(DataError, match="Nash action 0"):
        fit_directions(lambda layer: _residuals(prompts), 0, prompts)
    apart = _prompts((("identity", 0), ("swapped", 1)))
    with pytest.raises(DataError, match="surface form"):
        fit_directions(lambda layer: _residuals(apart), 0, apart)
    with pytest.raises(DataError, match="layer 0"):
        fit_directions(lambda layer: np.zeros((3, 6)), 0, _prompts())


def test_undefined_and_dropped_prompts_are_left_out():
    prompts = _prompts()
    prompts.loc[0, "nash_action"] = pd.NA
    prompts.loc[1, "dropped"] = "too long"
    used = prompts.drop(index=1)
    _, table = fit_directions(lambda layer: _residuals(used), 0, prompts)
    assert table["n_0"][0] == 38


def test_random_directions_are_unit_and_seeded():
    a = random_unit_vectors(64, 5, np.random.default_rng(3))
    b = random_unit_vectors(64, 5, np.random.default_rng(3))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1.0, rtol=1e-6)
    assert np.abs(a @ a.T - np.eye(5)).max() < 0.6

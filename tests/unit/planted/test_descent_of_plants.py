"""C1 and C2 on whole models of known mechanism, as base and trained, and as small and large."""

import pandas as pd
import pytest

from nashlens.findings import LINEAGE_CLAIMS, judge
from tests.unit.planted.test_ladder_of_plants import SETTINGS, lens_of

NAMES = ("nash", "override")


@pytest.fixture(scope="module")
def plants(tmp_path_factory):
    root = tmp_path_factory.mktemp("descent")
    return {name: lens_of(name, root / name) for name in NAMES}


def judged(plants, mechanisms, *, bases=None, sizes=None):
    """Judge models by name, each with a planted mechanism."""
    tables = {
        table: pd.concat(
            [plants[plant][table].assign(model=name) for name, plant in mechanisms.items()],
            ignore_index=True,
        )
        for table in ("prompts", "lens")
    }
    tables["models"] = pd.DataFrame(
        {
            "model": list(mechanisms),
            "family": "f",
            "n_parameters": [float((sizes or {}).get(name, 1)) for name in mechanisms],
            "base": [(bases or {}).get(name, "") for name in mechanisms],
        }
    )
    return judge(tables, SETTINGS, LINEAGE_CLAIMS).set_index(["claim", "model"])


@pytest.mark.parametrize(
    ("base", "trained", "verdict", "because"),
    [
        ("nash", "override", "supported", "its base has none"),
        ("override", "nash", "contradicted", "the base has the override too"),
        ("override", "override", "contradicted", "the base has the override too"),
        ("nash", "nash", "contradicted", "the trained model has no override"),
    ],
)
def test_training_that_put_an_override_there_is_told_from_all_else(
    plants, base, trained, verdict, because
):
    found = judged(plants, {"raw": base, "tuned": trained}, bases={"tuned": "raw"})
    row = found.loc["C1", "raw--tuned"]
    assert row["verdict"] == verdict, row["reason"]
    assert because in row["reason"]
    assert found.loc[("C2", "all models"), "verdict"] == "not_applicable"
    if base == trained:
        assert row["estimate"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("small", "middle", "large", "verdict", "because"),
    [
        ("nash", "override", "override", "supported", "from b on"),
        ("nash", "nash", "override", "supported", "from c on"),
        ("nash", "nash", "nash", "contradicted", "no size has the override"),
        ("override", "override", "nash", "contradicted", "a larger model has no override"),
        ("override", "override", "override", "inconclusive", "the smallest model has the override"),
    ],
)
def test_the_size_from_which_on_an_override_is_there(
    plants, small, middle, large, verdict, because
):
    found = judged(
        plants, {"c": large, "a": small, "b": middle}, sizes={"a": 1e6, "b": 3e6, "c": 9e6}
    )
    row = found.loc["C2", "f family"]
    assert row["verdict"] == verdict, row["reason"]
    assert because in row["reason"]
    assert "M6 at 3 sizes: a (1M)" in row["reason"]
    assert found.loc[("C1", "all models"), "verdict"] == "not_applicable"

"""Two experiments side by side."""

import json

import pytest

from nashlens.errors import DataError
from nashlens.page.compare import (
    ABSENT,
    Experiment,
    build_comparison,
    compare,
    differences,
    read_experiment,
)
from nashlens.tables import write_table
from tests.unit.page.studies import study
from tests.unit.page.test_page import HOSTILE, Elements


def two():
    """Return an experiment, and one with a changed verdict, one claim fewer and another seed."""
    one, other = study().findings, study(said=HOSTILE).findings
    other.loc[other["claim"] == "M1", "verdict"] = "contradicted"
    other = other[other["claim"] != "M2"]
    common, sets = {"prompts": {"rounds": [5]}}, {"sets": {HOSTILE: [HOSTILE]}}
    return [
        Experiment("one", one, {"experiment": {"seed": 1}, "sets": {}, **common}),
        Experiment("other", other, {"experiment": {"seed": 2}, "x": 1, **common, **sets}),
    ]


def test_changed_verdicts_and_missing_claims_are_told_apart():
    rows = {row.claim: row for row in compare(two())}
    assert rows["M1"].changed
    assert [one.verdict.name for one in rows["M1"].found] == ["supported", "contradicted"]
    assert not rows["M2"].changed
    assert rows["M2"].found[1] is None
    assert sum(row.changed for row in rows.values()) == 1


def test_only_keys_that_differ_are_listed():
    found = {one.key: one.values_of for one in differences(two())}
    hostile = [ABSENT, json.dumps([HOSTILE], ensure_ascii=False)]
    assert found == {
        "experiment.seed": ["1", "2"], "x": [ABSENT, "1"], f"sets.{HOSTILE}": hostile
    }  # fmt: skip


def test_a_section_that_one_lacks_is_one_row():
    one, other = two()
    agent = {"model": "small", "strategy": None, "self_play": {"rounds": None}}
    one.config["agents"] = {"small": agent, "tft": {"strategy": "TFT"}}
    other.config["agents"] = {"tft": {"strategy": "GRIM"}}
    found = {key.key: key.values_of for key in differences([one, other])}
    assert found["agents.small"] == ['{"model": "small"}', ABSENT]
    assert found["agents.tft.strategy"] == ['"TFT"', '"GRIM"']


def test_the_page_says_it_and_escapes_it():
    page = build_comparison(two(), "Why?")
    assert "1 verdict changed" in page
    assert "3 keys of the config differ" in page
    found = Elements(page)
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    assert f"sets.{HOSTILE}" in found.texts
    assert json.dumps([HOSTILE], ensure_ascii=False) in found.texts


def test_one_experiment_is_not_compared():
    with pytest.raises(DataError, match="needs two experiments or more"):
        build_comparison(two()[:1], "Why?")


def test_the_config_is_what_all_tables_record(tmp_path):
    for path, config in (("findings", {"a": {"b": 1}}), ("lens/small", {"a": {"c": [2]}})):
        file = tmp_path / f"{path}.parquet"
        write_table(study().findings, file, config=config, fingerprint="f")
    found = read_experiment(tmp_path)
    assert json.dumps(found.config) == '{"a": {"b": 1, "c": [2]}}'
    assert found.name == tmp_path.name

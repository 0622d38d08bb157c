"""Every table that is planted here is also held to its rule's conditions."""

import json
from importlib import import_module

import pytest

from nashlens.findings.conditions import COMPARISONS, deciding

# The package has a function of that name.
judge = import_module("nashlens.findings.judge")


@pytest.fixture(autouse=True)
def _verdicts_follow_from_their_conditions(monkeypatch):
    """Each row that a test judges has the verdict that its conditions give, by their numbers."""
    original = judge._row

    def checked(*asked):
        row = original(*asked)
        if row["conditions"]:
            told = json.loads(row["conditions"])
            for one in told["conditions"]:
                if one["sign"] and one["value"] is not None and one["bound"] is not None:
                    assert one["holds"] == COMPARISONS[one["sign"]](one["value"], one["bound"])
            decisive = told["cases"][deciding(told)]
            assert decisive["verdict"] == row["verdict"]
            assert decisive["because"] in row["reason"]
        return row

    monkeypatch.setattr(judge, "_row", checked)

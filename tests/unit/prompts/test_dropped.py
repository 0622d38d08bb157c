"""Dropped pairs are counted by kind and reason, and the log says it."""

import logging

import pandas as pd

from nashlens.prompts.dropped import dropped_pairs, log_dropped
from tests.unit.prompts.fakes import CharTokenizer

from .test_pairs import pairs_of

PAIRS = pd.DataFrame(
    {
        "kind": ["history"] * 4 + ["payoffs"] * 2,
        "dropped": [
            "not aligned: 8 and 9 tokens", "no Nash action that flips", "",
            "not aligned: opening of other lengths", None, "",
        ],
    }
)  # fmt: skip


def test_each_kind_has_its_counts_and_reasons():
    assert dropped_pairs(PAIRS) == {
        "history": "3 of 4 dropped: not aligned (2), no Nash action that flips (1)",
        "payoffs": "0 of 2 dropped",
    }


def test_the_counts_are_those_of_the_table_that_was_built():
    pairs = pairs_of(CharTokenizer(), label_sets={"long": ["Left", "Right"]})
    gone = (pairs[pairs["kind"] == "history"]["dropped"] != "").sum()
    assert gone > 0
    assert dropped_pairs(pairs)["history"] == (
        f"{gone} of {(pairs['kind'] == 'history').sum()} dropped: not aligned ({gone})"
    )


def test_the_log_has_a_line_for_each_kind(caplog):
    with caplog.at_level(logging.INFO):
        log_dropped(PAIRS)
    assert [record.getMessage() for record in caplog.records] == [
        "pairs of kind history: 3 of 4 dropped: not aligned (2), no Nash action that flips (1)",
        "pairs of kind payoffs: 0 of 2 dropped",
    ]

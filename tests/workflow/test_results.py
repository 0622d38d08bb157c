"""Results of a finished experiment, opened in Python; the examples of the docs are run on them."""

import doctest
import re
from pathlib import Path

import pytest
import yaml

import nashlens
from nashlens import results
from nashlens.activations import store
from tests.configs import merge, resolved

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
DESCRIBED = set(
    re.findall(r"`([^`\n]+)`", (ROOT / "docs/reference/results.md").read_text(encoding="utf-8"))
)
# Columns that results.md describes by their pattern: `row_00` .. `row_11`, each with `_low`.
PATTERNS = (
    r"(row|col|n)_[01][01]",
    r"nash_(tv|l2|norm|regret)(_policy)?(_first|_last)?(_control|_random)?",
    r"(embedding|bag_of_words|random_weights)_(low|high)",
    r"cos_\w+",
    r"opponent_(mode|strategy|direction|edit|layers|dose)",
)


@pytest.fixture
def study(built, monkeypatch):
    monkeypatch.chdir(built.folder)
    return nashlens.open("results/tiny")


def test_the_examples_of_the_public_names(study):
    failed, tried = doctest.testmod(results, optionflags=FLAGS)
    assert (failed, tried > 20) == (0, True)
    assert doctest.testmod(store, optionflags=FLAGS) == (0, 4)


def test_the_page_on_python_names_all_that_is_public():
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto\w+:: (\w+)", page, re.MULTILINE)
    assert sorted(named) == sorted(set(nashlens.__all__) - {"__version__"})


def test_a_run_writes_its_config(study):
    texts = [(ROOT / path).read_text() for path in ("config.yaml", "experiments/tiny.yaml")]
    assert study.config == resolved(merge(*map(yaml.safe_load, texts)))


def test_every_table_opens_and_every_column_is_described(study):
    for name in study:
        assert study[name].shape[1] >= len(study.columns(name))
        for column in study.columns(name).index:
            known = column in DESCRIBED or any(re.fullmatch(p, column) for p in PATTERNS)
            assert known, f"{name}.{column} is not in docs/reference/results.md"

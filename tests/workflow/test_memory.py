"""What jobs ask for is what they take, in every stage of the tiny experiment."""

import pytest

from nashlens.files import read_sealed

pytestmark = pytest.mark.workflow
FLOOR = 600
"""MB that any job may ask for: Python with torch takes 350, and with transformers 500."""


@pytest.fixture(scope="module")
def memory(built):
    """What each job of the run took and asked for, by the file of its record."""
    records = (built.folder / "results").rglob(".provenance/**/*.json")
    found = {path: read_sealed(path) for path in records}
    return {path: record for path, record in found.items() if "memory_mb" in record}


def test_every_stage_takes_no_more_than_it_asks_for_and_not_much_less(memory, built):
    rules = {record["rule"] for record in memory.values()}
    scripts = {path.stem for path in (built.folder / "scripts").glob("*.py")}
    asked_only = {"price_jobs", "tell_status", "build_report", "compare_experiments"}
    missing = {"calibrate", "draw_figure"} | asked_only
    assert {rule for rule in rules if not rule.startswith("draw_")} - asked_only == (
        scripts - missing
    )
    for path, record in memory.items():
        taken, asked = record["memory_mb"]["taken"], record["memory_mb"]["asked"]
        assert taken <= asked <= max(3 * taken, FLOOR), (record["rule"], path.name)


def test_peaks_are_measured_and_not_made_up(memory):
    taken = {record["rule"]: record["memory_mb"]["taken"] for record in memory.values()}
    # With torch, and without.
    assert taken["ask_quiz"] > taken["build_games"] + 150 > 200

"""Each edit of the matrix reruns exactly the rules that it must."""

import json
import os
import re

import pytest

from tests.workflow.edits import CODE_EDITS, CONFIG_EDITS, TEXT_EDITS

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize("edit", TEXT_EDITS)
def test_of_wordings_and_strategies_only_those_count_that_are_used(built, edit):
    path, old, new, expected = TEXT_EDITS[edit]
    with built.edited(path, old, new):
        assert built.would_run() == expected


@pytest.mark.parametrize("edit", CONFIG_EDITS)
def test_a_config_edit_reruns_exactly_what_hangs_on_it(built, edit):
    config, expected = CONFIG_EDITS[edit]
    assert built.would_run(config=config) == expected


@pytest.mark.parametrize("edit", CODE_EDITS)
def test_a_code_edit_reruns_exactly_what_hangs_on_it(built, edit):
    path, text, expected = CODE_EDITS[edit]
    with built.edited(path, None, text):
        assert built.would_run() == expected


def test_what_is_forced_runs_again(fresh):
    """Whole results are no reason against it, whether all jobs of a call are forced or some."""
    fresh.snakemake("--cores", "1", "games")
    assert fresh.would_run("games") == set()
    for forced in (["--forceall"], ["--forcerun", "build_games"]):
        done = fresh.snakemake("-n", "games", *forced)
        assert re.search(r"^build_games +1$", done.stdout + done.stderr, re.MULTILINE), forced


def test_touching_every_file_reruns_nothing(built):
    for path in built.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts and "results" not in path.parts:
            os.utime(path)
    for table in (built.folder / "results" / "tiny").glob("*.parquet"):
        os.utime(table)
    assert built.would_run() == set()


def test_a_new_game_extracts_and_plays_its_own_prompts_alone(built):
    config = CONFIG_EDITS["a new game"][0]
    folder = built.folder / "results/tiny/activations/tiny_llama"
    before = json.loads((folder / "manifest.json").read_text())["shards"]
    try:
        done = built.snakemake("--cores", "2", "activations", config=config)
        assert done.returncode == 0, done.stderr[-4000:]
        after = json.loads((folder / "manifest.json").read_text())["shards"]
        (part,) = [json.loads(path.read_text()) for path in folder.glob("part-*-of-1.json")]
        new = [shard for shard in after if shard not in before]
        assert [shard for shard in after if shard in before] == before
        assert part["computed"] == sum(len(shard["prompt_ids"]) for shard in new) > 0
    finally:
        back = built.snakemake("--cores", "2", "activations")
        assert back.returncode == 0, back.stderr[-4000:]
    assert built.would_run() == set()
    assert json.loads((folder / "manifest.json").read_text())["shards"] == before


def test_a_failed_rerun_leaves_no_stale_figure_that_looks_current(built):
    config = {"probes": {"C": [0.5]}}
    first = "def main(inputs, outputs, config, fingerprint, model, threads):\n"
    fails = first + '    raise SystemExit("broken")\n'
    figure = built.folder / "results/tiny/figures/probes.png"
    drawn = figure.read_bytes()
    try:
        with built.edited("scripts/fit_probes.py", first, fails):
            done = built.snakemake("--cores", "2", "figures", config=config)
            assert done.returncode == 1
        assert figure.read_bytes() == drawn
        # The figure is there, and nothing calls it current: neither the edit nor its undoing.
        assert "draw_probes" in built.would_run(config=config)
        assert "fit_probes" in built.would_run()
    finally:
        back = built.snakemake("--cores", "2", "figures")
        assert back.returncode == 0, back.stderr[-4000:]
    assert built.would_run() == set()

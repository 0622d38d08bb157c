"""A damaged file of a finished run: the job's own advice, followed with Snakemake, mends it."""

import json
import shutil

import pytest

from nashlens.tables import read_table
from tests.unit.activations.test_damage import flip
from tests.workflow.workspace import Workspace

pytestmark = pytest.mark.workflow


def test_the_command_that_names_a_damaged_shard_makes_it_again(built, tmp_path):
    shutil.copytree(built.folder, tmp_path / "copy", symlinks=True)
    copy = Workspace(tmp_path / "copy")
    folder = copy.folder / "results/tiny/activations/tiny_llama"
    table = copy.folder / "results/tiny/lens/tiny_llama.parquet"
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    before = read_table(table)
    flip(folder / shards[1]["file"])
    command = ("results/tiny/lens/tiny_llama.parquet", "--cores", "2", "-R", "read_lens")
    told = copy.snakemake(*command)
    assert told.returncode == 1
    assert f"{shards[1]['file']}: its bytes are not those" in told.stdout + told.stderr
    assert "give the same command again" in told.stdout + told.stderr
    again = copy.snakemake(*command)
    assert again.returncode == 0, again.stderr[-3000:]
    parts = [json.loads(path.read_text()) for path in folder.glob("part-*-of-2.json")]
    assert sum(part["computed"] for part in parts) == len(shards[1]["prompt_ids"])
    after = read_table(table)
    order = ["prompt_id", "layer"]
    assert after.sort_values(order, ignore_index=True).equals(
        before.sort_values(order, ignore_index=True)
    )

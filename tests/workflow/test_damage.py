"""Files of a finished run are flipped, cut and deleted: the next call mends them, and only them."""

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest

from nashlens.files import sha256_of
from tests.workflow.workspace import Workspace

pytestmark = pytest.mark.workflow

RUNS = int(os.environ.get("NASHLENS_DAMAGE_RUNS", "4"))
"""60 in the long form; each is a call of Snakemake and the jobs that it needs."""
KEPT = re.compile(r".*\.lock|shard-\d+\.json|chunk-.*|\.checked\.json|plan\.json|part-.*")
"""What jobs keep for themselves, and how work was split: no results."""


def files_of(folder, *left_out):
    """List the results of a run, without logs and records."""
    found = (path for path in (folder / "results").rglob("*") if path.is_file())
    aside = {"logs", "benchmarks", ".provenance", ".digests.json", *left_out}
    return sorted(path for path in found if not aside & set(path.relative_to(folder).parts))


def numbers(folder):
    """Digest all results."""
    return {
        path: sha256_of(path)
        for path in files_of(folder)
        if not KEPT.fullmatch(path.name) and path.suffix != ".damaged"
    }


def damage(path, draw):
    """Flip a bit of a file, cut it, or delete it."""
    content = bytearray(path.read_bytes())
    how = draw.choice(["flip", "cut", "delete"]) if content else "delete"
    if how == "delete":
        path.unlink()
        return
    place = draw.randrange(len(content))
    if how == "flip":
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content if how == "flip" else content[:place])


@pytest.fixture(scope="module")
def damaged(built, tmp_path_factory):
    """A finished run, copied, with its times in the future and without Snakemake's memory."""
    folder = tmp_path_factory.mktemp("damaged") / "nashlens"
    shutil.copytree(
        built.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(".snakemake")
    )
    for path in files_of(folder):
        os.utime(path, (4e9, 4e9))
    return Workspace(folder), numbers(folder)


def test_a_damaged_shard_costs_that_shard(damaged):
    """It comes first: random damage may hit a list that only the next extraction reads."""
    copy, before = damaged
    folder = copy.folder / "results/tiny/activations/tiny_llama"
    shard = json.loads((folder / "manifest.json").read_text())["shards"][1]
    content = bytearray((folder / shard["file"]).read_bytes())
    content[-1] ^= 1
    (folder / shard["file"]).write_bytes(content)
    done = copy.snakemake("--cores", "2", "figures")
    assert done.returncode == 0, done.stderr[-3000:]
    ran = set(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE))
    assert f"{shard['file']} has other bytes than were written: it is made again" in done.stderr
    (part,) = [json.loads(path.read_text()) for path in folder.glob("part-*-of-1.json")]
    assert part["computed"] == len(shard["prompt_ids"])
    assert numbers(copy.folder) == before, ran
    told = copy.snakemake("verify")
    assert told.returncode == 0, told.stdout
    assert Path(folder / f"{shard['file']}.damaged").exists()


@pytest.mark.parametrize("seed", range(RUNS))
def test_random_damage_ends_in_the_same_numbers(damaged, seed):
    copy, before = damaged
    draw = random.Random(seed)
    hit = draw.sample(files_of(copy.folder), 3)
    for path in hit:
        damage(path, draw)
    names = [str(path.relative_to(copy.folder)) for path in hit]
    # Files that jobs keep for themselves are passed over until a job needs them.
    done = copy.snakemake("--cores", "2", "figures")
    if done.returncode:
        last = done.stderr.rstrip().splitlines()[-1]
        assert "give the same command again" in last, (names, done.stderr[-3000:])
        done = copy.snakemake("--cores", "2", "figures")
    assert done.returncode == 0, (names, done.stderr[-3000:])
    after = numbers(copy.folder)
    changed = [path for path in before if after.get(path) != before[path]]
    assert changed == [], names


@pytest.mark.parametrize("seed", range(-(-RUNS // 10)))
def test_damage_to_what_jobs_keep_ends_in_the_same_numbers(damaged, seed):
    """Lists of shards, batches of matches, records and memories, when what reads them runs."""
    copy, before = damaged
    draw = random.Random(seed)
    results = copy.folder / "results"
    kinds = [
        sorted(results.rglob("shard-*.json")),
        sorted(results.rglob("chunk-*.json")),
        sorted(results.rglob(".checked.json")),
        sorted(results.rglob(".provenance/**/*.json")),
    ]
    # The memory of digests is there after a call that had to read some.
    hit = [*map(draw.choice, kinds), *results.glob(".digests.json")]
    for path in hit:
        damage(path, draw)
    for path in [*results.rglob("plan.json"), *results.rglob("play/*-of-*.parquet")]:
        path.unlink()
    names = [str(path.relative_to(copy.folder)) for path in hit]
    done = copy.snakemake("--cores", "2", "figures")
    assert done.returncode == 0, (names, done.stderr[-3000:])
    after = numbers(copy.folder)
    assert [path for path in before if after.get(path) != before[path]] == [], names
    told = copy.snakemake("verify")
    assert told.returncode == 0, (names, told.stdout)

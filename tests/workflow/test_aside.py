"""What is no result breaks no call, however it is damaged; what is in the way is set aside."""

import os
import random
import re
import shutil

import pytest

from tests.conftest import ROOT
from tests.workflow.workspace import Workspace

pytestmark = pytest.mark.workflow

FIGURE = "results/tiny/figures/games.svg"
TINY = "results/tiny"
ASKED = ("plan.csv", "plan.txt", "status.txt", "config.json")
"""Files that each call writes anew."""


@pytest.fixture(scope="module")
def small(fresh_games, tmp_path_factory):
    """A copy of a run of two jobs, with what was asked about it; a test may change it."""

    def copy():
        folder = tmp_path_factory.mktemp("aside") / "nashlens"
        shutil.copytree(fresh_games.folder, folder, symlinks=True)
        return Workspace(folder)

    return copy


@pytest.fixture(scope="module")
def fresh_games(tmp_path_factory):
    workspace = Workspace.copy(ROOT, tmp_path_factory.mktemp("games") / "nashlens")
    for asked in ([FIGURE], ["plan", "status"]):
        done = workspace.snakemake("--cores", "1", *asked)
        assert done.returncode == 0, done.stderr[-3000:]
    return workspace


def no_results(folder):
    """List logs, benchmark files, and what is written anew."""
    tiny = folder / TINY
    found = [path for kind in ("logs", "benchmarks") for path in (tiny / kind).rglob("*.*")]
    assert len(found) == 8
    return [*found, *(tiny / name for name in ASKED)]


def noise(content):
    return random.Random(0).randbytes(300)


def cut(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize("how", [noise, cut])
def test_damage_to_what_is_no_result_breaks_no_call(small, how):
    copy = small()
    folder = copy.folder / TINY
    before = {name: (folder / name).read_bytes() for name in ASKED}
    for path in no_results(copy.folder):
        path.write_bytes(how(path.read_bytes()))
    told = copy.snakemake("verify")
    assert (told.returncode, told.stdout.count(", 0 damaged, 0 missing, 0 stale, 0 foreign")) == (
        0,
        1,
    )
    done = copy.snakemake("--cores", "1", FIGURE, "plan", "status")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(Rule: build_games)" not in done.stdout + done.stderr
    assert {name: (folder / name).read_bytes() for name in ASKED} == before


def put(path, kind):
    """Put a folder that is not empty, or a file, in the place of something."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "folder":
        (path / "x").mkdir(parents=True)
    else:
        path.write_text("x")


IN_THE_WAY = {
    "logs": "file",
    "benchmarks": "file",
    "figures": "file",
    ".provenance": "file",
    "logs/build_games.log": "folder",
    "benchmarks/build_games.tsv": "folder",
    "config.json": "folder",
    "plan.csv": "folder",
}


def test_what_has_the_place_of_another_kind_of_file_is_set_aside_and_the_run_goes_on(small):
    whole = small()
    figure, listed = (whole.folder / FIGURE).read_bytes(), {}
    for names in (["logs", "benchmarks", "figures", ".provenance"], list(IN_THE_WAY)[4:], [""]):
        copy = small()
        (copy.folder / TINY / "games.parquet").unlink()
        for name in names:
            put(copy.folder / TINY / name, IN_THE_WAY.get(name, "file"))
        done = copy.snakemake("--cores", "1", FIGURE, "plan")
        assert done.returncode == 0, done.stderr[-3000:]
        assert (copy.folder / FIGURE).read_bytes() == figure
        aside = {
            re.sub(r"\.\d+\.damaged$", "", str(path.relative_to(copy.folder / "results")))
            for path in (copy.folder / "results").rglob("*.damaged")
        }
        listed |= {name: os.path.normpath(f"tiny/{name}") in aside for name in names}
    assert listed == dict.fromkeys([*IN_THE_WAY, ""], True)


def test_a_dry_run_moves_nothing_and_names_what_is_in_the_way(small):
    copy = small()
    put(copy.folder / TINY / "figures", "file")
    done = copy.snakemake("-n", FIGURE)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1] == (
        f"nashlens: config: {TINY}/figures: it is no folder: move it away, or run without -n"
    )
    assert (copy.folder / TINY / "figures").read_text() == "x"

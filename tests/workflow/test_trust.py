"""Results prove themselves: without Snakemake's memory, after damage, in other places."""

import base64
import re
import shutil

import pytest

from nashlens.files import read_sealed, write_sealed
from tests.unit.activations.test_damage import flip
from tests.workflow.edits import CONFIG_EDITS, PROBED
from tests.workflow.workspace import Workspace
from workflow.records import record_file

pytestmark = pytest.mark.workflow

TINY = "results/tiny"
EDITED = CONFIG_EDITS["probes.C"][0]


@pytest.fixture(scope="module")
def copied(built, tmp_path_factory):
    """A finished run in another folder: new times in the order of names, and no `.snakemake`."""
    folder = tmp_path_factory.mktemp("copied") / "nashlens"
    ignore = shutil.ignore_patterns(".snakemake", "__pycache__")
    shutil.copytree(built.folder, folder, symlinks=True, ignore=ignore, copy_function=shutil.copy)
    return Workspace(folder)


@pytest.fixture
def aside(copied):
    """Keep files of the copy, and put them back as they were."""
    kept = {}

    def keep(*paths):
        for path in paths:
            file = copied.folder / path
            kept[file] = file.read_bytes()
        return [copied.folder / path for path in paths]

    yield keep
    for file, content in kept.items():
        file.write_bytes(content)


def test_a_copy_without_snakemakes_memory_reruns_what_an_edit_asks_for(copied):
    assert copied.would_run(config=EDITED) == PROBED


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_damaged_memory_of_snakemake_hides_no_edit(built, share):
    """One file of it, empty or cut off: both models are fitted again, and not one alone."""
    table = base64.urlsafe_b64encode(b"results/tiny/probes/tiny_llama.parquet").decode()
    (file,) = (built.folder / ".snakemake" / "metadata").rglob(table)
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[: int(share * len(whole))])
        done = built.snakemake("-n", "figures", config=EDITED)
        assert re.search(r"^fit_probes +2$", done.stdout + done.stderr, re.MULTILINE)
        assert built.would_run(config=EDITED) == PROBED
        assert built.would_run() == set()
    finally:
        file.write_bytes(whole)


def test_what_is_damaged_lost_or_of_other_making_is_made_again_and_nothing_else(copied, aside):
    findings, figure, prompts, games, seen = aside(
        f"{TINY}/findings.csv",
        f"{TINY}/figures/lens.png",
        f"{TINY}/prompts/tiny_qwen.parquet",
        f"{TINY}/games.parquet",
        "results/.digests.json",
    )
    findings.write_bytes(findings.read_bytes()[:100])
    figure.write_bytes(b"")
    prompts.write_bytes(prompts.read_bytes().replace(b"PAR1", b"PAR2"))
    games.unlink()
    seen.write_text("{")
    rules = {"join_findings", "draw_lens", "build_prompts", "build_games"}
    assert copied.would_run() == rules


def test_a_shard_that_went_with_the_list_of_shards_is_made_again(copied, aside):
    """As an error of a reader who may move nothing advises."""
    folder = f"{TINY}/activations/tiny_llama"
    names = ("shard-00001.npy", "shard-00001.json", "plan.json", "manifest.json")
    for file in aside(*(f"{folder}/{name}" for name in names)):
        file.unlink()
    assert copied.would_run() == {"plan_activations", "extract_activations", "join_activations"}


def test_what_no_record_vouches_for_is_made_again_with_all_that_hangs_on_it(copied, aside):
    (record,) = aside(record_file(f"{TINY}/probes/tiny_llama.parquet"))
    record.write_bytes(record.read_bytes()[:50])
    assert copied.would_run() == PROBED


def test_another_version_is_named_and_reruns_what_it_computed_if_asked_to(copied, aside):
    path = f"{TINY}/probes/tiny_llama.parquet"
    (file,) = aside(record_file(path))
    record = read_sealed(file)
    assert set(record["versions"]) >= {"torch", "numpy"}
    assert record["device"] == "cpu"
    write_sealed(file, record | {"versions": {"torch": "1.0"}})
    told = copied.snakemake("-n", "figures")
    assert "Nothing to be done" in told.stdout + told.stderr
    assert "torch was 1.0 and is" in told.stderr
    assert path in told.stderr
    again = {"experiment": {"versions": "rerun"}}
    assert copied.would_run(config=again) == PROBED


def test_verify_says_in_one_screen_what_is_wrong_and_makes_nothing(copied, aside):
    shard, weights, figure = aside(
        f"{TINY}/activations/tiny_llama/shard-00001.npy",
        "results/models/tiny_qwen/model.safetensors",
        f"{TINY}/figures/lens.svg",
    )
    flip(shard)
    flip(weights)
    figure.unlink()
    (copied.folder / TINY / "mine.csv").write_text("1\n")
    told = copied.snakemake("verify", config=EDITED)
    (copied.folder / TINY / "mine.csv").unlink()
    assert told.returncode == 1
    assert len(told.stdout.splitlines()) < 30
    # The page as well, where another test made it of the run that this is a copy of.
    stale = 34 + (copied.folder / TINY / "report.html").is_file()
    assert f"2 damaged, 1 missing, {stale} stale, 1 foreign" in told.stdout
    assert "shard-00001.npy has other bytes than were written" in told.stdout
    assert "model.safetensors has other bytes than were written" in told.stdout
    assert f"missing  {TINY}/figures/lens.svg" in told.stdout
    assert "it was made from another config or code" in told.stdout
    assert f"foreign  {TINY}/mine.csv: nothing in this config makes it" in told.stdout
    assert not list(shard.parent.glob("*.damaged"))
    assert copied.would_run() == {
        "convert_model", "plan_activations", "extract_activations", "join_activations",
        "draw_lens",
    }  # fmt: skip

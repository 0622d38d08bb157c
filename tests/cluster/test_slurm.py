"""The tiny experiment through `--profile slurm`, on a real SLURM: all stages of one model."""

import shutil

import pandas as pd
import pytest

from nashlens.activations.store import ActivationStore
from tests.cluster.slurm import QUICK

pytestmark = pytest.mark.cluster

ONCE = (*QUICK, "--retries=0")
# Room enough: this SLURM ends a job that takes more than it asked for.
ROOM = {"model_mem_mb": 4000, "light_mem_mb": 3000}
SPLIT = {"resources": {"parts": 2, **ROOM}, "models": {"tiny_llama": {"gpus": 1}}}
ON_GPU = (
    "play_part",
    "ask_quiz",
    "ask_beliefs",
    "check_players",
    "extract_activations",
    "extract_untrained",
    "fit_tuned_lens",
    "read_lens",
    "read_tuned_lens",
    "sweep_steering",
    "patch_pairs",
    "attribute_answers",
    "ablate_heads",
    "spike_model",
)
PLAYED = ("play", "steered_play", "matches", "quiz")
# What a job of the model with a GPU may be called by: itself, or one of its agents.
GPU_SUBJECTS = ("tiny_llama", "tiny_cot", "tiny_steered")


def tables_of(workspace):
    """List the tables of the model on GPUs, and those of all models' play."""
    tables = workspace.folder.glob("results/tiny/*/tiny_llama.parquet")
    found = [str(path.relative_to(workspace.folder)) for path in tables]
    return sorted([*found, *(f"results/tiny/{name}.parquet" for name in PLAYED)])


@pytest.fixture(scope="module")
def split(cluster, built, tmp_path_factory):
    """The experiment, each model's work in two parts, one model on GPUs; of its figures one."""
    workspace = built.copy(built.folder, tmp_path_factory.mktemp("cluster") / "nashlens")
    done = workspace.snakemake(
        "--profile",
        "slurm",
        *ONCE,
        *tables_of(built),
        "results/tiny/figures/rounds.png",
        config=SPLIT,
        env=cluster.environment,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    yield workspace
    shutil.rmtree(workspace.folder)


def test_every_job_succeeded_and_gpu_jobs_ran_on_the_gpu_partition(cluster, split):
    jobs = cluster.jobs()
    assert jobs
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    for job in jobs:
        rule, _, subject = job["Comment"].removeprefix("rule_").partition("_wildcards_")
        wants = rule in ON_GPU and any(name in subject for name in GPU_SUBJECTS)
        assert job["Partition"] == ("gpu" if wants else "main"), job["Comment"]
        assert job.get("TresPerJob", "") == ("gres:gpu:1" if wants else ""), job["Comment"]
        assert job["NodeList"] == ("gpu1" if wants else "cpu1"), job["Comment"]
    rules = {job["Comment"].removeprefix("rule_").partition("_wildcards_")[0] for job in jobs}
    assert rules >= {*ON_GPU, "convert_model", "build_games", "fit_probes", "judge_findings"}


def test_tables_equal_those_of_one_part_on_one_machine(built, split):
    assert len(tables_of(built)) >= 12
    for path in tables_of(built):
        ours, theirs = (pd.read_parquet(w.folder / path) for w in (built, split))
        pd.testing.assert_frame_equal(ours, theirs)


def test_shards_hold_the_same(built, split):
    ours, theirs = (
        ActivationStore(w.folder / "results/tiny/activations/tiny_llama") for w in (built, split)
    )
    assert ours.manifest == theirs.manifest
    theirs.verify()


def test_the_profile_alone_switches_partition_and_gres(cluster, split):
    profile = "workflow/profiles/slurm/config.yaml"
    target = "results/tiny/steering/tiny_llama.parquet"
    before = {job["JobId"] for job in cluster.jobs()}
    (split.folder / target).unlink()
    with (
        split.edited(profile, "gpu_request: gpu ", "gpu_request: gres "),
        split.edited(profile, "gpu_partition: gpu ", "gpu_partition: other "),
    ):
        done = split.snakemake(
            "--profile",
            "slurm",
            *ONCE,
            target,
            config=SPLIT,
            env=cluster.environment,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    (job,) = (job for job in cluster.jobs() if job["JobId"] not in before)
    assert job["Comment"] == "rule_sweep_steering_wildcards_tiny_llama"
    assert job["Partition"] == "other"
    assert job["TresPerNode"] == "gres:gpu:1"
    assert "TresPerJob" not in job


def test_a_failed_run_ends_with_its_jobs_own_reason(cluster, fresh):
    """Not with the scheduler's log, which is listed beside the job's.

    It comes last: no job before it has failed.
    """
    first = "def main(inputs, outputs, config, fingerprint):\n"
    with fresh.edited(
        "scripts/build_games.py", first, f'{first}    raise RuntimeError("no luck")\n'
    ):
        done = fresh.snakemake("--profile", "slurm", *ONCE, "games", env=cluster.environment)
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-1]
    log = "results/tiny/logs/build_games.log"
    assert last == f"nashlens: error: RuntimeError: no luck (log: {log})"

"""Long stages that die in the middle end, when run again, in the bytes of an undisturbed run."""

import io
import signal
import sys

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from snakemake.iocontainers import (
    InputFiles,
    Log,
    OutputFiles,
    Params,
    ResourceList,
    Snakemake,
    Wildcards,
)
from threadpoolctl import threadpool_limits

import workflow.job
from nashlens import chunks
from nashlens.activations.shards import ShardFile
from nashlens.chunks import Chunks
from nashlens.engine.blocks import Blocks
from nashlens.errors import StoppedError
from nashlens.tables import read_metadata, read_table
from nashlens.vocabulary.play import BELIEF_OPPONENTS
from tests.conftest import ROOT
from workflow.job import FOLDER, run_job
from workflow.provenance import STRATEGIES, used_entries
from workflow.records import read_record

MODEL = "tiny_llama"
PROMPTS = {"prompts": f"prompts/{MODEL}.parquet"}
GAMES = {"games": "games.parquet"}
STORE = {"activations": f"activations/{MODEL}/manifest.json"}
LENS = {"lens": f"lens/{MODEL}.parquet"}


def files(*stages, ending="parquet", **named):
    """Files of this model, by the names of their stages or others."""
    named |= {stage: stage for stage in stages}
    return {name: f"{stage}/{MODEL}.{ending}" for name, stage in named.items()}


STAGES = {
    "sweep_steering": (
        PROMPTS | files(directions="directions", ending="npz") | files(table="directions"),
        files(table="steering"),
    ),
    "patch_pairs": (files("pairs"), files(table="patching")),
    "ablate_heads": (PROMPTS, files(table="heads")),
    "attribute_answers": (GAMES | PROMPTS, files("attribution", "override")),
    "fit_probes": (
        PROMPTS | STORE | LENS | {"untrained": f"activations/{MODEL}/untrained/manifest.json"},
        files("probes", "probes_parts", "transfer"),
    ),
    "fit_tuned_lens": (
        {},
        files(table="tuned_lens")
        | files(lens="tuned_lens", ending="safetensors")
        | files(manifest="tuned_lens", ending="json"),
    ),
    "read_lens": (PROMPTS | STORE, files(table="lens")),
    "read_tuned_lens": (
        PROMPTS | STORE | files(lens="tuned_lens", ending="safetensors"),
        files(table="lens_tuned"),
    ),
    "ask_quiz": (GAMES, files(table="quiz")),
    "ask_beliefs": (GAMES, files(table="beliefs")),
    "spike_model": (
        PROMPTS | STORE | files("lens", "probes", "heads", "steering", "override", "patching"),
        files("spikes", "spikes_summary"),
    ),
}
"""Rule -> its input and output, as in `rules/`, beside the model itself."""
SHARDED = {
    "extract_untrained": (PROMPTS, {"manifest": f"activations/{MODEL}/untrained/manifest.json"})
}
WORDED = {
    "build_prompts": (GAMES, files(table="prompts")),
    "build_pairs": (GAMES, files(table="pairs")),
}
"""Rules that write prompts."""
SMALL = {"ask_quiz": 256, "ask_beliefs": 256}
"""Tokens of a row, of rules that otherwise have a row or two. (Their numbers are then others in the
last bit than the workspace's.)"""


def contents(paths):
    """The bytes of files: of tables without what is said of the job, such as its packages."""
    found = []
    for path in paths:
        if path.suffix != ".parquet":
            found.append(path.read_bytes())
            continue
        table, out = pq.read_table(path), io.BytesIO()
        pq.write_table(table.replace_schema_metadata(None), out)
        found.append(out.getvalue())
    return found


class Killed(BaseException):
    """As SIGKILL would: nothing is written any more."""


@pytest.fixture
def job(built, tmp_path, monkeypatch):
    """Return what runs a rule's script anew, and where its output and the first run's are."""
    monkeypatch.setattr(workflow.job, "start_logging", lambda path: None)
    monkeypatch.chdir(built.folder)
    results = built.folder / "results" / "tiny"

    def make(rule, threads=1, params=None):
        given, made = {**STAGES, **SHARDED, **WORDED}[rule]
        inputs = {name: str(results / path) for name, path in given.items()}
        inputs["model"] = str(results.parent / "models" / MODEL / "manifest.json")
        old = [results / path for path in made.values()]
        new = [tmp_path / path for path in made.values()]
        said = params
        if params is None:
            said = read_metadata(next(path for path in old if path.suffix == ".parquet"))
        snakemake = Snakemake(
            InputFiles(fromdict=inputs),
            OutputFiles(fromdict=dict(zip(made, map(str, new), strict=True))),
            Params(fromdict={key: said[key] for key in said if not key.startswith("version")}),
            Wildcards(fromdict={"model": MODEL}),
            threads,
            ResourceList(fromdict={"batch_tokens": SMALL.get(rule, 4096), "model_threads": 1}),
            Log(["a.log"]),
            {},
            rule,
            None,
        )
        script = (ROOT / "scripts" / f"{rule}.py").read_text()
        space = {"__name__": rule}
        exec(compile(script, rule, "exec"), space)
        return lambda: run_job(space["main"], snakemake), new, old

    return make


@pytest.mark.parametrize("rule", STAGES)
def test_a_stage_that_is_killed_goes_on_from_what_it_had(job, rule, monkeypatch):
    run, new, old = job(rule)
    whole = contents(old)
    names, forwards, left = [], [], [0]
    put, forward = Chunks.put, Blocks.forward

    def counted(self, *args, **options):
        forwards[-1] += 1
        return forward(self, *args, **options)

    def dying(self, name, value):
        put(self, name, value)
        names[-1].append(name)
        left[0] -= 1
        if not left[0]:
            monkeypatch.setattr(self, "close", lambda: None)
            raise Killed

    def started(results=0):
        names.append([])
        forwards.append(0)
        left[0] = results
        run()

    # Each result is a chunk.
    monkeypatch.setattr(chunks, "EVERY", 0.0)
    monkeypatch.setattr(Chunks, "put", dying)
    monkeypatch.setattr(Blocks, "forward", counted)
    if rule in SMALL:
        started()
        whole = contents(new)
        new[0].unlink()
    with pytest.raises(Killed):
        started(3)
    assert not new[0].exists()
    assert list(new[0].parent.glob(f"{FOLDER}/*/*/*.npz"))
    started()
    assert contents(new) == whole
    # Nothing that was finished was done again, and nothing is left behind.
    assert len(names[-2]) == 3
    assert names[-1]
    assert not set(names[-2]) & set(names[-1])
    assert not (new[0].parent / FOLDER).exists()
    if rule in SMALL:
        assert 0 < forwards[-1] < forwards[0] == sum(forwards[1:])


def test_a_stage_that_is_killed_after_its_last_result_does_none_of_them_again(job, monkeypatch):
    """While its outputs are read for their records, which takes long where they are large."""
    run, new, old = job("fit_tuned_lens")
    put, names = Chunks.put, []

    def counted(self, name, value):
        put(self, name, value)
        names.append(name)

    def killed(*given):
        raise Killed

    monkeypatch.setattr(chunks, "EVERY", 0.0)
    monkeypatch.setattr(Chunks, "put", counted)
    with monkeypatch.context() as until:
        until.setattr(workflow.job, "write_records", killed)
        with pytest.raises(Killed):
            run()
    assert names
    for path in new:
        # As Snakemake does.
        path.unlink()
    names.clear()
    run()
    assert names == []
    assert contents(new) == contents(old)


@pytest.mark.parametrize("rule", [*WORDED, "ask_quiz", "ask_beliefs", "attribute_answers"])
def test_a_stage_needs_no_wordings_and_strategies_but_those_that_count(job, rule, monkeypatch):
    monkeypatch.delitem(SMALL, rule, raising=False)
    folder = rule.partition("_")[2].replace("answers", "attribution")
    record = read_record(f"results/tiny/{folder}/{MODEL}.parquet")
    # The order of keys counts, which a table does not keep.
    config = record["config"]
    given = {"config": config, "fingerprint": record["fingerprint"]}
    run, new, old = job(rule, params=given)
    by_code = {STRATEGIES: BELIEF_OPPONENTS} if rule == "ask_beliefs" else {}
    for module, (table, names) in used_entries(config, by_code).items():
        every = getattr(sys.modules[module], table)
        assert names < set(every)
        monkeypatch.setattr(f"{module}.{table}", {name: every[name] for name in names})
    run()
    assert contents(new) == contents(old)


@pytest.mark.parametrize("rule", ["fit_probes", "read_lens", "read_tuned_lens", "spike_model"])
def test_threads_change_no_byte(job, rule):
    run, new, old = job(rule, threads=3)
    # As Snakemake does for a job of several threads.
    with threadpool_limits(2):
        run()
    assert contents(new) == contents(old)


def test_at_sigterm_a_job_writes_what_it_has_and_ends(job, monkeypatch):
    run, new, old = job("ablate_heads")
    put = Chunks.put

    def ending(self, name, value):
        put(self, name, value)
        if len(self) == 2:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Chunks, "put", ending)
    with pytest.raises(StoppedError, match="what was finished is kept"):
        run()
    monkeypatch.setattr(Chunks, "put", put)
    # Both in one chunk, which the next run takes over.
    assert len(list(new[0].parent.glob(f"{FOLDER}/*/*/*.npz"))) == 1
    assert signal.getsignal(signal.SIGTERM) is before
    run()
    assert contents(new) == contents(old)


IN_ROWS = (
    *("sweep_steering", "patch_pairs", "ablate_heads", "attribute_answers", "ask_quiz"),
    "spike_model",
)
"""Rules that run more tokens than fit, below."""
MEMORY = 700
"""Tokens that fit into the device's memory, in this test: more than any prompt has."""


@pytest.mark.parametrize("rule", IN_ROWS)
def test_where_memory_runs_out_batches_are_halved_and_that_is_said_once(
    job, rule, monkeypatch, caplog
):
    monkeypatch.delitem(SMALL, rule, raising=False)
    run, new, old = job(rule)
    forward, largest = Blocks.forward, []

    def scarce(self, index, given):
        if len(given.h) > MEMORY:
            raise torch.OutOfMemoryError("pretend")
        largest.append(len(given.h))
        return forward(self, index, given)

    monkeypatch.setattr(Blocks, "forward", scarce)
    run()
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == ["out of memory: 2048 tokens of a row at once from now on"]
    assert max(largest) <= MEMORY
    for mine, first in zip(new, old, strict=True):
        if mine.suffix == ".parquet":
            tables = read_table(mine), read_table(first)
            pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=1e-3, atol=1e-4)


def test_shards_of_the_untrained_model_are_kept(job, monkeypatch):
    config = {
        "experiment": {"seed": 1},
        "models": {MODEL: {"dtype": "float32", "device": "cpu"}},
        "activations": {"dtype": "float32"},
        "probes": {"random_weights": 16, "positions": ["decision"]},
        "prompts": {"rounds": [2, 3]},
    }
    params = {"config": config, "fingerprint": "f" * 64, "shard_fingerprint": "s" * 64}
    params["per_shard"] = 4
    run, (manifest,), _ = job("extract_untrained", params=params)
    finish, made = ShardFile.finish, []

    def counted(self):
        made.append(self.path.name)
        if len(made) == 3:
            raise Killed
        return finish(self)

    monkeypatch.setattr(ShardFile, "finish", counted)
    with pytest.raises(Killed):
        run()
    assert not manifest.exists()
    run()
    assert len(made) == len(set(made)) + 1
    shards = sorted(manifest.parent.glob("shard-*"))
    found = [path.read_bytes() for path in [manifest, *shards]]
    assert len(shards) == 2 * len(set(made)) > 6
    for path in [manifest, *shards]:
        path.unlink()
    run()
    assert [path.read_bytes() for path in [manifest, *shards]] == found

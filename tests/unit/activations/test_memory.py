"""200,000 prompts pass through the activations stage in the memory that 20,000 need."""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nashlens.activations.plan import NEEDED
from nashlens.activations.store import ActivationStore
from nashlens.models.load import load_model
from nashlens.prompts.labels import prompt_id
from nashlens.tables import read_table
from nashlens.vocabulary.positions import position_column
from nashlens.vocabulary.prompts import SURFACE_COLUMNS
from tests import reference

ROOT = Path(__file__).resolve().parents[3]
FEW, MANY, LENGTH = 20_000, 200_000, 250
# What may grow is the list of prompt ids: the plan, and the index of the table, hold each of
# 180,000 more ids two or three times, at some 100 bytes. The token ids of these prompts alone would
# take 180 MB as integers of 4 bytes, and 1.6 GB as the lists that the engine is given.
BOUND_MB = 64
POSITIONS = ["decision", "round_last", "round_last-1"]
LISTS = ("token_ids", "label_tokens_0", "label_tokens_1", "prior_token_ids")

JOB = """
import json, runpy, sys
main = runpy.run_path(f"scripts/{sys.argv[1]}_activations.py")["main"]
main(**json.loads(sys.argv[2]))
# Not getrusage: its figure starts at what the parent process held.
lines = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)
"""


@lru_cache
def shared_by(match):
    return np.random.default_rng(match).integers(10, 61, LENGTH - 10)


def sequence(number):
    """Return a prompt: 240 tokens shared by a thousand prompts, then ten of its own."""
    own = [int(digit) for digit in f"{number:010d}"]
    return np.append(shared_by(number // 1000), own).astype(np.int32)


def write_prompts(path, count):
    """Write a prompts table without ever holding it, in row groups as `write_table` makes them."""
    schema = pa.schema(
        {name: pa.string() for name in (*NEEDED, "text")}
        | {name: pa.list_(pa.int32()) for name in LISTS}
        | {"prior_id": pa.string()}
        | {position_column(name): pa.int64() for name in POSITIONS[1:]}
    )
    prior = list(range(3, 33))
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for start in range(0, count, 4000):
            ids = [sequence(k) for k in range(start, start + 4000)]
            columns = {
                "prompt_id": list(map(prompt_id, ids)),
                # In turn, so that every shard is spread over many row groups: the worst case.
                "game": [f"game_{k % 3}" for k in range(4000)],
                "dropped": [""] * 4000,
                **{name: ["alike"] * 4000 for name in ("variant", *SURFACE_COLUMNS)},
                "text": ["a prompt's text " * 60] * 4000,
                "token_ids": ids,
                "label_tokens_0": [[1]] * 4000,
                "label_tokens_1": [[2]] * 4000,
                "prior_id": [prompt_id(prior)] * 4000,
                "prior_token_ids": [prior] * 4000,
                position_column("round_last"): [200] * 4000,
                position_column("round_last-1"): [100, None] * 2000,
            }
            file.write_table(pa.table(columns, schema=schema))


def run_job(name, **arguments):
    """Run a script in a process of its own, as the workflow does; return its peak in MB."""
    done = subprocess.run(
        [sys.executable, "-c", JOB, name, json.dumps(arguments, default=str)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return float(done.stdout.splitlines()[-1])


def run_stage(folder, count, model):
    """Plan, extract and join; return the largest peak of the three jobs in MB."""
    folder.mkdir()
    prompts, plan, part = (folder / name for name in ("prompts.parquet", "plan.json", "part.json"))
    write_prompts(prompts, count)
    config = {
        "activations": {"dtype": "float32", "shard_prompts": 1000, "positions": POSITIONS},
        "prompts": {"rounds": [3]},
        "models": {"tiny": {"device": "cpu"}},
    }
    return max(
        run_job(
            "plan",
            inputs={"prompts": prompts},
            outputs={"plan": plan},
            config=config,
            shard_fingerprint="f",
            per_shard=config["activations"]["shard_prompts"],
        ),
        run_job(
            "extract",
            inputs={"plan": plan, "prompts": prompts, "model": model / "manifest.json"},
            outputs={"part": part},
            config=config,
            model="tiny",
            part="1",
            parts="1",
            threads=1,
            batch_tokens=4096,
        ),
        run_job(
            "join",
            inputs={"plan": plan, "parts": [part]},
            outputs={"manifest": folder / "manifest.json"},
            config=config,
            fingerprint="whole",
            model="tiny",
        ),
    )


def test_peak_memory_does_not_grow_with_the_prompts(tmp_path):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    few = run_stage(tmp_path / "few", FEW, tmp_path / "model")
    many = run_stage(tmp_path / "many", MANY, tmp_path / "model")
    assert few > 100  # a process with torch in it: the figure is in megabytes
    assert many - few < BOUND_MB, (few, many)
    store = ActivationStore(tmp_path / "many")
    assert len(store) == MANY + 1  # and the content-free prompt
    table = read_table(tmp_path / "few" / "prompts.parquet", columns=["prompt_id", "token_ids"])
    some = table.iloc[[0, 1, 999, 7654, FEW - 1]]
    theirs = reference.residuals(
        load_model(tmp_path / "model", device="cpu", native=False), some["token_ids"].tolist()
    )
    for layer in range(2):
        ours = store.layer(layer, some["prompt_id"].tolist())
        np.testing.assert_allclose(ours, theirs[:, layer], atol=1e-5)
    assert store.at("round_last").present.sum() == MANY
    assert store.at("round_last-1").present.sum() == MANY // 2

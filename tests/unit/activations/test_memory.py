"""200,000 prompts pass through the activations stage in the memory that 20,000 need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nashlens.activations.store import ActivationStore
from nashlens.engine import reference
from nashlens.models.load import load_model
from nashlens.prompts.labels import prompt_id
from nashlens.tables import read_table

ROOT = Path(__file__).resolve().parents[3]
FEW, MANY, LENGTH = 20_000, 200_000, 250
# What may grow is the list of prompt ids: the plan, the manifest, and the index of the table hold
# each of 180,000 ids a few times, at some 100 bytes. The token ids of these prompts alone would
# take 180 MB as integers of 4 bytes, and 1.6 GB as the lists that the engine is given.
BOUND_MB = 64

STAGE = """
import json, resource, runpy, sys
from pathlib import Path

folder, prompts, model = map(Path, sys.argv[1:])
scripts = {name: runpy.run_path(f"scripts/{name}_activations.py")["main"]
           for name in ("plan", "extract", "join")}
def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
scripts["plan"](prompts, folder / "plan.json", 1000, "f")
scripts["extract"](folder / "plan.json", prompts, model / "manifest.json", folder / "part.json",
                   1, 1, "float32", {"device": "cpu"}, 1, 4096)
scripts["join"](folder / "plan.json", [folder / "part.json"], folder / "manifest.json", "tiny",
                "float32", "whole")
print(json.dumps({"peak": megabytes()}))
"""


def sequence(number):
    """Return a prompt: 240 tokens shared by a thousand prompts, then ten of its own."""
    shared = np.random.default_rng(number // 1000).integers(10, 61, LENGTH - 10)
    return np.append(shared, [int(digit) for digit in f"{number:010d}"]).astype(np.int32)


def write_prompts(path, count):
    """Write a prompts table without ever holding it, in row groups as `write_table` makes them."""
    schema = pa.schema(
        {name: pa.string() for name in ("prompt_id", "game", "dropped", "text")}
        | {"token_ids": pa.list_(pa.int32())}
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for start in range(0, count, 4000):
            ids = [sequence(k) for k in range(start, start + 4000)]
            columns = {
                "prompt_id": list(map(prompt_id, ids)),
                # Games take turns, which no table of prompts is as bad as.
                "game": [f"game_{k % 3}" for k in range(4000)],
                "dropped": [""] * 4000,
                "text": ["a prompt's text " * 60] * 4000,
                "token_ids": ids,
            }
            file.write_table(pa.table(columns, schema=schema))


def run_stage(folder, count, model):
    folder.mkdir()
    write_prompts(folder / "prompts.parquet", count)
    done = subprocess.run(
        [sys.executable, "-c", STAGE, str(folder), str(folder / "prompts.parquet"), str(model)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])["peak"]


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
    assert len(store) == MANY
    table = read_table(tmp_path / "few" / "prompts.parquet", columns=["prompt_id", "token_ids"])
    some = table.iloc[[0, 1, 999, 7654, FEW - 1]]
    theirs = reference.residuals(
        load_model(tmp_path / "model", device="cpu"), some["token_ids"].tolist()
    )
    for layer in range(2):
        ours = store.layer(layer, some["prompt_id"].tolist())
        np.testing.assert_allclose(ours, theirs[:, layer], atol=1e-5)

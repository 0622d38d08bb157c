"""Rule extract_untrained: activations of the same architecture with random weights."""

from pathlib import Path

from nashlens.activations.extract import extract
from nashlens.activations.plan import draw_matches, join_manifest, plan_shards
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.files import write_json
from nashlens.models.untrained import load_untrained
from nashlens.tables import read_table
from nashlens.vocabulary.positions import expand_positions
from workflow.job import run_job


def main(
    inputs, outputs, config, fingerprint, shard_fingerprint, model, threads, batch_tokens, per_shard
):
    dtype, seed = config["activations"]["dtype"], config["experiment"]["seed"]
    folder = Path(outputs["manifest"]).parent
    plan = plan_shards(
        folder,
        draw_matches(read_table(inputs["prompts"]), config["probes"]["random_weights"], seed),
        fingerprint=shard_fingerprint,
        shard_prompts=per_shard,
        positions=expand_positions(config["probes"]["positions"], config["prompts"]["rounds"]),
    )
    how = {key: config["models"][model][key] for key in ("dtype", "device")}
    loaded = load_untrained(Path(inputs["model"]).parent, seed=seed, threads=threads, **how)
    tokens = TokenIds(inputs["prompts"], plan["positions"])
    how = {"part": 1, "parts": 1, "dtype": dtype, "places": tokens.places}
    part = extract(Engine(loaded, batch_tokens), tokens, plan, folder, **how)
    how = {"model": model, "dtype": dtype, "fingerprint": fingerprint}
    manifest = join_manifest(plan, [part], **how)
    write_json(outputs["manifest"], manifest)


if "snakemake" in globals():
    run_job(main, snakemake)

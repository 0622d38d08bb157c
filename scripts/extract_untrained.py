"""Rule extract_untrained: activations of the same architecture with random weights."""

from pathlib import Path

from nashlens.activations.extract import extract
from nashlens.activations.plan import draw_matches, join_manifest, plan_shards
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.files import write_json
from nashlens.models.untrained import load_untrained
from nashlens.tables import read_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, shard_fingerprint, model, threads, batch_tokens):
    settings, seed = config["activations"], config["experiment"]["seed"]
    folder = Path(outputs["manifest"]).parent
    plan = plan_shards(
        folder,
        draw_matches(read_table(inputs["prompts"]), config["probes"]["random_weights"], seed),
        fingerprint=shard_fingerprint,
        shard_prompts=settings["shard_prompts"],
    )
    how = {key: config["models"][model][key] for key in ("dtype", "device")}
    loaded = load_untrained(Path(inputs["model"]).parent, seed=seed, threads=threads, **how)
    tokens, dtype = TokenIds(inputs["prompts"]), settings["dtype"]
    part = extract(Engine(loaded, batch_tokens), tokens, plan, folder, part=1, parts=1, dtype=dtype)
    manifest = join_manifest(plan, [part], model=model, dtype=dtype, fingerprint=fingerprint)
    write_json(outputs["manifest"], manifest)


if "snakemake" in globals():
    run_job(main, snakemake)

"""Rule extract_untrained: activations of the same architecture with random weights."""

from pathlib import Path

from nashlens.activations.extract import extract
from nashlens.activations.plan import draw_matches, join, layer_names, plan_shards
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.files import write_json
from nashlens.models.untrained import load_untrained
from nashlens.tables import read_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, shard_fingerprint, model, threads, batch_tokens):
    seed, weights = config["experiment"]["seed"], config["models"][model]
    settings = config["activations"]
    some = draw_matches(read_table(inputs["prompts"]), config["probes"]["random_weights"], seed)
    folder = Path(outputs["manifest"]).parent
    plan = plan_shards(
        folder,
        some,
        fingerprint=shard_fingerprint,
        shard_prompts=settings["shard_prompts"],
    )
    loaded = load_untrained(
        Path(inputs["model"]).parent,
        seed=seed,
        dtype=weights["dtype"],
        device=weights["device"],
        threads=threads,
    )
    engine = Engine(loaded, batch_tokens)
    part = extract(
        engine, TokenIds(inputs["prompts"]), plan, folder, part=1, parts=1, dtype=settings["dtype"]
    )
    joined = join(
        plan,
        [part],
        model=model,
        layer_names=layer_names(loaded.n_layers),
        width=loaded.width,
        dtype=settings["dtype"],
        fingerprint=fingerprint,
    )
    write_json(outputs["manifest"], joined)


if "snakemake" in globals():
    run_job(main, snakemake)

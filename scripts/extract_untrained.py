"""Rule extract_untrained: activations of the same architecture with random weights."""

from pathlib import Path

from nashlens.activations.extract import extract
from nashlens.activations.plan import join, layer_names, plan_shards, some_matches
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.files import write_json
from nashlens.logs import start_logging
from nashlens.models.untrained import load_untrained
from nashlens.tables import read_table


def main(prompts, manifest, output, name, slice, threads, batch_tokens, fingerprints):
    seed, model = slice["experiment"]["seed"], slice["models"][name]
    settings = slice["activations"]
    some = some_matches(read_table(prompts), slice["probes"]["random_weights"], seed)
    folder = Path(output).parent
    plan = plan_shards(
        folder,
        some,
        fingerprint=fingerprints["shards"],
        shard_prompts=settings["shard_prompts"],
    )
    loaded = load_untrained(
        Path(manifest).parent,
        seed=seed,
        dtype=model["dtype"],
        device=model["device"],
        threads=threads,
    )
    engine = Engine(loaded, batch_tokens)
    part = extract(
        engine, TokenIds(prompts), plan, folder, part=1, parts=1, dtype=settings["dtype"]
    )
    joined = join(
        plan,
        [part],
        model=name,
        layer_names=layer_names(loaded.n_layers),
        width=loaded.width,
        dtype=settings["dtype"],
        fingerprint=fingerprints["own"],
    )
    write_json(output, joined)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.prompts,
        snakemake.input.model,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.threads,
        snakemake.resources.batch_tokens,
        {
            "own": snakemake.params.fingerprint,
            "shards": snakemake.params.shard_fingerprint,
        },
    )

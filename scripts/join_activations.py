"""Rule join_activations: the manifest of all shards that the current prompts need."""

from nashlens.activations.plan import join, layer_names
from nashlens.files import read_json, write_json
from nashlens.logs import start_logging


def main(plan, parts, output, model, dtype, fingerprint):
    made = [read_json(part) for part in parts]
    manifest = join(
        read_json(plan),
        made,
        model=model,
        layer_names=layer_names(made[0]["n_layers"]),
        width=made[0]["width"],
        dtype=dtype,
        fingerprint=fingerprint,
    )
    write_json(output, manifest)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.plan,
        snakemake.input.parts,
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice["activations"]["dtype"],
        snakemake.params.fingerprint,
    )

"""Rule join_activations: the manifest of all shards that the current prompts need."""

from nashlens.activations.plan import join, layer_names
from nashlens.files import read_json, write_json
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    made = [read_json(part) for part in inputs["parts"]]
    manifest = join(
        read_json(inputs["plan"]),
        made,
        model=model,
        layer_names=layer_names(made[0]["n_layers"]),
        width=made[0]["width"],
        dtype=config["activations"]["dtype"],
        fingerprint=fingerprint,
    )
    write_json(outputs["manifest"], manifest)


if "snakemake" in globals():
    run_job(main, snakemake)

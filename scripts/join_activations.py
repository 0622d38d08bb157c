"""Rule join_activations: the manifest of all shards that the current prompts need."""

from nashlens.activations.plan import join_manifest
from nashlens.files import read_json, write_json
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    manifest = join_manifest(
        read_json(inputs["plan"]),
        [read_json(part) for part in inputs["parts"]],
        model=model,
        dtype=config["activations"]["dtype"],
        fingerprint=fingerprint,
    )
    write_json(outputs["manifest"], manifest)


if "snakemake" in globals():
    run_job(main, snakemake)

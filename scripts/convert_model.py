"""Rule convert_model: a model's source to safetensors and a manifest, once."""

from pathlib import Path

from nashlens.models.convert import convert_source
from workflow.job import run_job


def main(outputs, config, model):
    convert_source(config["models"][model]["source"], Path(outputs["manifest"]).parent)


if "snakemake" in globals():
    run_job(main, snakemake)

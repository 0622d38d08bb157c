"""Rule convert_model: a model's source to safetensors and a manifest, once."""

from pathlib import Path

from nashlens.models.convert import convert_source
from workflow.job import run_job


def main(outputs, config, model):
    how = config["models"][model]
    convert_source(
        how["source"],
        Path(outputs["manifest"]).parent,
        adapter=how["adapter"],
        chat_template=how["chat_template"],
        tokenizer=how["tokenizer"],
    )


if "snakemake" in globals():
    run_job(main, snakemake)

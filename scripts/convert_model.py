"""Rule convert_model: a model's source to safetensors and a manifest, once."""

from pathlib import Path

from nashlens.logs import start_logging
from nashlens.models.convert import convert


def main(manifest, source):
    convert(source, Path(manifest).parent)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.output[0],
        snakemake.params.slice["models"][snakemake.wildcards.model]["source"],
    )

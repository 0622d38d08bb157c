"""Rule judge_play: the claims about play, within models, between them and between seats."""

from pathlib import Path

from nashlens.findings.estimators.play.field import models_table
from nashlens.findings.play import judge_play
from nashlens.logs import start_logging
from nashlens.models.convert import read_manifest
from nashlens.tables import read_table, write_table


def main(matches, games, manifests, output, slice, fingerprint):
    folders = [Path(manifest).parent for manifest in manifests]
    models = models_table(
        {folder.name: read_manifest(folder) for folder in folders},
        {name: model["family"] for name, model in slice["models"].items()},
    )
    table = judge_play(
        {"matches": read_table(matches), "games": read_table(games), "models": models},
        **slice["findings"],
        seed=slice["experiment"]["seed"],
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.matches,
        snakemake.input.games,
        snakemake.input.models,
        snakemake.output[0],
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

"""Rule judge_play: the claims about play, of all matches and of parts of them."""

from functools import partial
from pathlib import Path

from nashlens.findings import attach, sensitivity
from nashlens.findings.play import PLAY_CLAIMS, judge_play
from nashlens.logs import start_logging
from nashlens.models.table import read_models
from nashlens.tables import read_table, write_table


def main(matches, games, manifests, outputs, slice, fingerprint):
    folders = [Path(manifest).parent for manifest in manifests]
    models = read_models(folders, slice["models"])
    tables = {"matches": read_table(matches), "games": read_table(games), "models": models}
    drawn = {"bootstrap": slice["findings"]["bootstrap"], "seed": slice["experiment"]["seed"]}
    again = partial(judge_play, confidence=slice["findings"]["confidence"])
    table = again(tables, **drawn)
    parts = sensitivity(table, tables, again, claims=PLAY_CLAIMS, **drawn)
    for found, path in ((attach(table, parts), "findings"), (parts, "sensitivity")):
        write_table(found, outputs[path], config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.matches,
        snakemake.input.games,
        snakemake.input.models,
        dict(snakemake.output.items()),
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

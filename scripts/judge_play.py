"""Rule judge_play: the claims about play, of all matches and of parts of them."""

from functools import partial
from pathlib import Path

from nashlens.findings import PLAY_CLAIMS, attach, judge_play, sensitivity
from nashlens.models.table import read_models
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    folders = [Path(manifest).parent for manifest in inputs["models"]]
    models = read_models(folders, config["models"])
    tables = {
        "matches": read_table(inputs["matches"]),
        "games": read_table(inputs["games"]),
        "models": models,
    }
    drawn = {"bootstrap": config["findings"]["bootstrap"], "seed": config["experiment"]["seed"]}
    again = partial(judge_play, confidence=config["findings"]["confidence"])
    table = again(tables, **drawn)
    parts = sensitivity(table, tables, again, claims=PLAY_CLAIMS, **drawn)
    for found, path in ((attach(table, parts), "findings"), (parts, "sensitivity")):
        write_table(found, outputs[path], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

"""Rule judge_play: the claims about play, of all matches and of parts of them."""

from nashlens.findings import PLAY_CLAIMS, JudgeSettings, judge_with_parts
from nashlens.models.table import read_models
from nashlens.tables import read_tables, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    read = {name: read_tables(files) for name, files in inputs.items() if name != "models"}
    tables = judge_with_parts(
        read | {"models": read_models(inputs["models"], config["models"])},
        JudgeSettings.from_config(config),
        PLAY_CLAIMS,
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

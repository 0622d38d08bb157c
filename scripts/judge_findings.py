"""Rule judge_findings: the claims about one model, of all data and of its parts."""

from nashlens.findings import CLAIMS, JudgeSettings, judge_with_parts
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    tables = judge_with_parts(
        {name: read_table(path) for name, path in inputs.items()},
        JudgeSettings.from_config(config, model),
        CLAIMS,
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

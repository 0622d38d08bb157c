"""Rule judge_lineage: the claims about models of one descent, of all data and of their parts."""

from nashlens.findings import LINEAGE_CLAIMS, JudgeSettings, judge_with_parts
from nashlens.models.table import read_models
from nashlens.tables import read_tables, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    tables = judge_with_parts(
        {
            "lens": read_tables(inputs["lens"]),
            "prompts": read_tables(inputs["prompts"], named="model"),
            "models": read_models(inputs["models"], config["models"]),
        },
        JudgeSettings.from_config(config),
        LINEAGE_CLAIMS,
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

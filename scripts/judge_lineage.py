"""Rule judge_lineage: the claims about models of one descent, of all data and of their parts."""

from functools import partial
from pathlib import Path

from nashlens.findings import LINEAGE_CLAIMS, judge, judge_with_parts
from nashlens.findings.claim import ALL_MODELS
from nashlens.models.table import read_models
from nashlens.tables import read_tables, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    folders = [Path(manifest).parent for manifest in inputs["models"]]
    settings = config["findings"]
    tables = judge_with_parts(
        partial(
            judge,
            model=ALL_MODELS,
            late_fraction=settings["late_fraction"],
            min_label_mass=config["lens"]["min_label_mass"],
        ),
        {
            "lens": read_tables(inputs["lens"]),
            "prompts": read_tables(inputs["prompts"], named="model"),
            "models": read_models(folders, config["models"]),
        },
        claims=LINEAGE_CLAIMS,
        confidence=settings["confidence"],
        seed=config["experiment"]["seed"],
        bootstrap=settings["bootstrap"],
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

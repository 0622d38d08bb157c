"""Rule judge_findings: the claims about one model, of all data and of its parts."""

from functools import partial

from nashlens.findings import CLAIMS, judge, judge_with_parts
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    settings = config["findings"]
    tables = judge_with_parts(
        partial(
            judge,
            model=model,
            late_fraction=settings["late_fraction"],
            min_label_mass=config["lens"]["min_label_mass"],
        ),
        {name: read_table(path) for name, path in inputs.items()},
        claims=CLAIMS,
        confidence=settings["confidence"],
        seed=config["experiment"]["seed"],
        bootstrap=settings["bootstrap"],
    )
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

"""Rule join_findings: all claims, with verdicts corrected over the whole family."""

import pandas as pd

from nashlens.files import atomic_write
from nashlens.findings import combine
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    tables = {
        "findings": combine(
            [read_table(path) for path in inputs["findings"]], config["findings"]["q_value"]
        ),
        "sensitivity": pd.concat(
            [read_table(path) for path in inputs["sensitivity"]], ignore_index=True
        ),
    }
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)
        with atomic_write(outputs[f"{name}_csv"]) as file:
            file.write(table.to_csv(index=False).encode())


if "snakemake" in globals():
    run_job(main, snakemake)

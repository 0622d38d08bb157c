"""Rule join_findings: all claims, with verdicts corrected over the whole family."""

import pandas as pd

from nashlens.files import atomic_write
from nashlens.findings import combine
from nashlens.logs import start_logging
from nashlens.tables import read_table, write_table


def main(findings, parts, outputs, slice, fingerprint):
    tables = {
        "findings": combine([read_table(path) for path in findings], slice["findings"]["q_value"]),
        "sensitivity": pd.concat([read_table(path) for path in parts], ignore_index=True),
    }
    for name, table in tables.items():
        write_table(table, outputs[name], config=slice, fingerprint=fingerprint)
        with atomic_write(outputs[f"{name}_csv"]) as file:
            file.write(table.to_csv(index=False).encode())


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.findings,
        snakemake.input.sensitivity,
        dict(snakemake.output.items()),
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

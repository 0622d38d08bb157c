"""Rule join_findings: all claims, with verdicts corrected over the whole family."""

from nashlens.files import atomic_write
from nashlens.findings import combine
from nashlens.logs import start_logging
from nashlens.tables import read_table, write_table


def main(parts, output, csv, slice, fingerprint):
    table = combine([read_table(part) for part in parts], q_value=slice["findings"]["q_value"])
    write_table(table, output, config=slice, fingerprint=fingerprint)
    with atomic_write(csv) as file:
        file.write(table.to_csv(index=False).encode())


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input,
        snakemake.output.table,
        snakemake.output.csv,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

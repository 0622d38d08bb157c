"""Rule judge_findings: the claims about one model."""

from nashlens.findings import judge
from nashlens.logs import start_logging
from nashlens.tables import read_table, write_table


def main(tables, output, model, slice, fingerprint):
    frames = {name: read_table(path) for name, path in tables.items()}
    table = judge(
        frames,
        model=model,
        **slice["findings"],
        min_label_mass=slice["lens"]["min_label_mass"],
        seed=slice["experiment"]["seed"],
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        dict(snakemake.input.items()),
        snakemake.output[0],
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

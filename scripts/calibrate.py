"""Rule calibrate: what the study found in planted models, beside what is there."""

from pathlib import Path

import pandas as pd

from nashlens.files import atomic_write
from nashlens.findings import combine
from nashlens.logs import start_logging
from nashlens.planted.calibration import check, summarise
from nashlens.planted.facts import read_facts
from nashlens.seeds import stream
from nashlens.tables import read_table, write_table


def main(manifests, tables, output, csv, summary, slice, fingerprint):
    settings, seed = slice["findings"], slice["experiment"]["seed"]
    parts = {name: [read_table(path) for path in files] for name, files in tables.items()}
    # Play is no part of the calibration, so neither are its claims of the family.
    findings = combine(parts.pop("findings"), settings["q_value"])
    frames = {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
    frames["findings"] = findings
    folders = [Path(manifest).parent for manifest in manifests]
    table = pd.concat(
        [
            check(
                read_facts(folder),
                frames,
                model=folder.name,
                confidence=settings["confidence"],
                resamples=settings["bootstrap"],
                rng=stream(seed, "calibration", folder.name),
            )
            for folder in folders
        ],
        ignore_index=True,
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)
    for path, frame in ((csv, table), (summary, summarise(table, settings["confidence"]))):
        with atomic_write(path) as file:
            file.write(frame.to_csv(index=False).encode())


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.models,
        {
            "probes": snakemake.input.probes,
            "lens_summary": snakemake.input.lens_summary,
            "steering": snakemake.input.steering,
            "findings": snakemake.input.findings,
        },
        snakemake.output.table,
        snakemake.output.csv,
        snakemake.output.summary,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

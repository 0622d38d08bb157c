"""Rule calibrate: what the study found in planted models, beside what is there."""

from pathlib import Path

import pandas as pd

from nashlens.files import atomic_write
from nashlens.findings import combine
from nashlens.planted.calibration import check, summarise
from nashlens.planted.facts import read_facts
from nashlens.seeds import stream
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    tables = dict(inputs)
    folders = [Path(manifest).parent for manifest in tables.pop("models")]
    settings, seed = config["findings"], config["experiment"]["seed"]
    parts = {name: [read_table(path) for path in files] for name, files in tables.items()}
    # Play is no part of the calibration, so neither are its claims of the family.
    findings = combine(parts.pop("findings"), settings["q_value"])
    frames = {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
    frames["findings"] = findings
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
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)
    summary = summarise(table, settings["confidence"])
    for name, frame in (("csv", table), ("summary", summary)):
        with atomic_write(outputs[name]) as file:
            file.write(frame.to_csv(index=False).encode())


if "snakemake" in globals():
    run_job(main, snakemake)

"""Rule calibrate: what the study found in planted models, compared with what is there."""

from pathlib import Path

from nashlens.findings import combine
from nashlens.planted.calibration import calibration_rates, check_all, summarise_calibration
from nashlens.planted.facts import read_facts
from nashlens.tables import read_table, read_tables, write_csv, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    settings = config["findings"]
    tables = {name: read_tables(inputs[name]) for name in ("probes", "lens_summary", "steering")}
    # Play is no part of the calibration, so neither are its claims of the family.
    findings = combine([read_table(path) for path in inputs["findings"]], settings["q_value"])
    folders = [Path(manifest).parent for manifest in inputs["models"]]
    table = check_all(
        {folder.name: read_facts(folder) for folder in folders},
        {**tables, "findings": findings},
        confidence=settings["confidence"],
        resamples=settings["bootstrap"],
        seed=config["experiment"]["seed"],
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)
    write_csv(table, outputs["csv"])
    write_csv(summarise_calibration(table, settings["confidence"]), outputs["summary"])
    found = calibration_rates(table, settings["confidence"])
    write_table(found, outputs["rates"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

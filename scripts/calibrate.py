"""Rule calibrate: what the study found in planted models, compared with what is there."""

from pathlib import Path

from nashlens.planted.calibration import check_all, judged_together
from nashlens.planted.calibration_summary import calibration_rates, summarise_calibration
from nashlens.planted.facts import read_facts
from nashlens.tables import read_table, read_tables, write_csv, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    settings, seed = config["findings"], config["experiment"]["seed"]
    how = {"confidence": settings["confidence"], "resamples": settings["bootstrap"], "seed": seed}
    names = ("probes", "lens_summary", "steering", "override")
    tables = {name: read_tables(inputs[name]) for name in names if name in inputs}
    findings = judged_together(
        [read_table(path) for path in inputs["findings"]],
        read_tables(inputs["beliefs"]),
        q_value=settings["q_value"],
        **how,
    )
    folders = [Path(manifest).parent for manifest in inputs["models"]]
    table = check_all(
        {folder.name: read_facts(folder) for folder in folders},
        {**tables, "findings": findings},
        **how,
    )
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)
    write_csv(table, outputs["csv"])
    write_csv(summarise_calibration(table, settings["confidence"]), outputs["summary"])
    found = calibration_rates(table, settings["confidence"])
    write_table(found, outputs["rates"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

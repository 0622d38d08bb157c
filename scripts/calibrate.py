"""Rule calibrate: what the study found in planted models, compared with what is there."""

from pathlib import Path

from nashlens.models.table import read_models
from nashlens.planted.calibration import check_all, judged_together
from nashlens.planted.calibration_summary import calibration_rates, summarise_calibration
from nashlens.planted.facts import read_facts
from nashlens.tables import read_table, read_tables, write_csv, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    settings, seed = config["findings"], config["experiment"]["seed"]
    how = {"confidence": settings["confidence"], "resamples": settings["bootstrap"], "seed": seed}
    folders = [Path(manifest).parent for manifest in inputs["models"]]
    tables = {
        name: read_tables(files)
        for name, files in inputs.items()
        if name not in ("models", "findings")
    }
    findings = judged_together(
        [read_table(path) for path in inputs["findings"]],
        tables | {"models": read_models(inputs["models"], config["models"])},
        q_value=settings["q_value"],
        **how,
    )
    facts = {folder.name: read_facts(folder) for folder in folders}
    table = check_all(facts, tables | {"findings": findings}, **how)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)
    write_csv(table, outputs["csv"])
    write_csv(summarise_calibration(table, settings["confidence"]), outputs["summary"])
    found = calibration_rates(table, settings["confidence"])
    write_table(found, outputs["rates"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

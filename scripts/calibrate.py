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
    names = ("probes", "lens_summary", "steering", "override", "spikes_summary")
    tables = {name: read_tables(inputs[name]) for name in names if name in inputs}
    folders = [Path(manifest).parent for manifest in inputs["models"]]
    play = {"beliefs": read_tables(inputs["beliefs"])}
    if "steered_matches" in inputs:
        play["games"] = read_table(inputs["games"])
        play["steered_matches"] = read_table(inputs["steered_matches"])
        play["models"] = read_models(folders, config["models"])
    findings = judged_together(
        [read_table(path) for path in inputs["findings"]],
        play,
        q_value=settings["q_value"],
        **how,
    )
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

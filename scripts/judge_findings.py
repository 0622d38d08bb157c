"""Rule judge_findings: the claims about one model, of all data and of its parts."""

from functools import partial

from nashlens.findings import CLAIMS, attach, judge, sensitivity
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    frames = {name: read_table(path) for name, path in inputs.items()}
    settings, seed = config["findings"], config["experiment"]["seed"]
    again = partial(
        judge,
        model=model,
        confidence=settings["confidence"],
        late_fraction=settings["late_fraction"],
        min_label_mass=config["lens"]["min_label_mass"],
    )
    table = again(frames, bootstrap=settings["bootstrap"], seed=seed)
    parts = sensitivity(
        table, frames, again, claims=CLAIMS, seed=seed, bootstrap=settings["bootstrap"]
    )
    for found, path in ((attach(table, parts), "findings"), (parts, "sensitivity")):
        write_table(found, outputs[path], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

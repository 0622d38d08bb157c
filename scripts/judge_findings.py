"""Rule judge_findings: the claims about one model, of all data and of its parts."""

from functools import partial

from nashlens.findings import CLAIMS, attach, judge, sensitivity
from nashlens.logs import start_logging
from nashlens.tables import read_table, write_table


def main(tables, outputs, model, slice, fingerprint):
    frames = {name: read_table(path) for name, path in tables.items()}
    settings, seed = slice["findings"], slice["experiment"]["seed"]
    again = partial(
        judge,
        model=model,
        confidence=settings["confidence"],
        late_fraction=settings["late_fraction"],
        min_label_mass=slice["lens"]["min_label_mass"],
    )
    table = again(frames, bootstrap=settings["bootstrap"], seed=seed)
    parts = sensitivity(
        table, frames, again, claims=CLAIMS, seed=seed, bootstrap=settings["bootstrap"]
    )
    for found, path in ((attach(table, parts), "findings"), (parts, "sensitivity")):
        write_table(found, outputs[path], config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
        snakemake.wildcards.model,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

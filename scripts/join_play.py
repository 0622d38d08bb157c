"""Rule join_play: the play of all groups and parts as one table, and all that was written."""

import pandas as pd

from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    # Parts deal matches out among them, so the order must come from the rows: it is then the
    # same for every number of parts.
    table = pd.concat([read_table(part) for part in inputs["decisions"]], ignore_index=True)
    table = table.sort_values(["pairing", "match_id", "round", "seat"], ignore_index=True)
    write_table(table, outputs["decisions"], config=config, fingerprint=fingerprint)
    written = pd.concat([read_table(part) for part in inputs["texts"]], ignore_index=True)
    order = ["match_id", "round", "seat", "kind", "attempt"]
    written = written.sort_values(order, ignore_index=True)
    write_table(written, outputs["texts"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

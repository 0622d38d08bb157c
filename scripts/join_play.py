"""Rule join_play: the play of all groups and parts as one table, and all that was written."""

import pandas as pd

from nashlens.logs import start_logging
from nashlens.tables import read_table, write_table


def main(decisions, texts, output, output_texts, slice, fingerprint):
    # Parts deal matches out among them, so the order must come from the rows: it is then the
    # same for every number of parts.
    table = pd.concat([read_table(part) for part in decisions], ignore_index=True)
    table = table.sort_values(["pairing", "match_id", "round", "seat"], ignore_index=True)
    write_table(table, output, config=slice, fingerprint=fingerprint)
    written = pd.concat([read_table(part) for part in texts], ignore_index=True)
    order = ["match_id", "round", "seat", "kind", "attempt"]
    written = written.sort_values(order, ignore_index=True)
    write_table(written, output_texts, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input.decisions,
        snakemake.input.texts,
        snakemake.output.decisions,
        snakemake.output.texts,
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

"""Rule join_play: the play of all groups and parts as one table."""

import pandas as pd

from nashlens.logs import start_logging
from nashlens.tables import read_table, write_table


def main(parts, output, slice, fingerprint):
    # Parts deal matches out among them, so the order must come from the rows: it is then the
    # same for every number of parts.
    table = pd.concat([read_table(part) for part in parts], ignore_index=True)
    table = table.sort_values(["pairing", "match_id", "round", "seat"], ignore_index=True)
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input,
        snakemake.output[0],
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

"""Rule join_quiz: every model's accuracy in the quiz, by template and kind of question."""

import pandas as pd

from nashlens.logs import start_logging
from nashlens.play.quiz import quiz_accuracy
from nashlens.tables import read_table, write_table


def main(parts, output, slice, fingerprint):
    findings = slice["findings"]
    table = quiz_accuracy(
        pd.concat([read_table(part) for part in parts], ignore_index=True),
        confidence=findings["confidence"],
        resamples=findings["bootstrap"],
        seed=slice["experiment"]["seed"],
    )
    write_table(table, output, config=slice, fingerprint=fingerprint)


if "snakemake" in globals():
    start_logging(snakemake.log[0])
    main(
        snakemake.input,
        snakemake.output[0],
        snakemake.params.slice,
        snakemake.params.fingerprint,
    )

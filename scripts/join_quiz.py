"""Rule join_quiz: every model's accuracy in the quiz, by template and kind of question."""

from nashlens.estimates import Bootstrap
from nashlens.play.metrics.quiz import quiz_accuracy
from nashlens.tables import read_tables, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    table = quiz_accuracy(read_tables(inputs["parts"]), Bootstrap.from_config(config))
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

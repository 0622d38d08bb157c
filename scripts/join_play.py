"""Rule join_play: the play of all groups and parts as one table, and all that was written."""

from nashlens.play.join import join_decisions, join_texts
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint):
    decisions = join_decisions(map(read_table, inputs["decisions"]))
    texts = join_texts(map(read_table, inputs["texts"]))
    for name, table in {"decisions": decisions, "texts": texts}.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

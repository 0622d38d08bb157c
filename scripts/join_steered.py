"""Rule join_steered: the play of steered agents as one table, with what steers each seat."""

from nashlens.play.join import join_decisions, join_texts, with_doses
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, steered):
    decisions = with_doses(join_decisions(map(read_table, inputs["decisions"])), steered)
    texts = join_texts(map(read_table, inputs["texts"]))
    for name, table in {"decisions": decisions, "texts": texts}.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

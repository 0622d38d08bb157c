"""Rule join_play: the play of all groups and parts as one table, and all that was written."""

from nashlens.play.join import join_decisions, join_texts, split_steered, with_doses
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, steered):
    decisions = join_decisions(map(read_table, inputs["decisions"]))
    texts = join_texts(map(read_table, inputs["texts"]))
    (play, written), (steered_play, steered_texts) = split_steered(decisions, texts, steered)
    tables = {
        "decisions": play,
        "texts": written,
        "steered": with_doses(steered_play, steered),
        "steered_texts": steered_texts,
    }
    for name, table in tables.items():
        write_table(table, outputs[name], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

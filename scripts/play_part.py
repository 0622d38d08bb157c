"""Rule play_part: one job's share of the matches of a group of play."""

from pathlib import Path

from nashlens.play.experiment import play_group
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(
    inputs,
    outputs,
    config,
    fingerprint,
    batch_fingerprint,
    players,
    part,
    parts,
    threads,
    batch_tokens,
):
    decisions, texts = play_group(
        read_table(inputs["games"]),
        [Path(manifest).parent for manifest in inputs["models"]],
        config,
        players,
        job=int(part),
        jobs=int(parts),
        folder=Path(outputs["decisions"]).parent / "chunks",
        fingerprint=batch_fingerprint,
        threads=threads,
        batch_tokens=batch_tokens,
        directions=[Path(file) for file in inputs["directions"]],
    )
    write_table(decisions, outputs["decisions"], config=config, fingerprint=fingerprint)
    write_table(texts, outputs["texts"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

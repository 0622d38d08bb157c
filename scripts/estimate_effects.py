"""Rule estimate_effects: what moves a model's decision, the action, a word or a place, by layer."""

import pandas as pd

from nashlens.lens.effects import effect_estimates
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    parts = [
        effect_estimates(
            read_table(inputs[name]),
            read_table(inputs["prompts"]),
            model=model,
            name=name,
            confidence=config["findings"]["confidence"],
        )
        for name in ("logit", "tuned")
    ]
    table = pd.concat(parts, ignore_index=True)
    write_table(table, outputs["table"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

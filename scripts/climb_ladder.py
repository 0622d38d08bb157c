"""Rule climb_ladder: what each protocol concludes, from the published to the controlled one."""

from nashlens.activations.store import ActivationStore
from nashlens.findings.claim import JudgeSettings
from nashlens.findings.ladder import climb
from nashlens.tables import read_table, write_table
from workflow.job import run_job


def main(inputs, outputs, config, fingerprint, model):
    store = ActivationStore(inputs["activations"])
    ladder = climb(
        {name: read_table(inputs[name]) for name in ("prompts", "probes", "lens", "steering")},
        JudgeSettings.from_config(config, model),
        residuals=lambda layer, rows: store.layer(layer, rows["prompt_id"].tolist()),
    )
    write_table(ladder, outputs["ladder"], config=config, fingerprint=fingerprint)


if "snakemake" in globals():
    run_job(main, snakemake)

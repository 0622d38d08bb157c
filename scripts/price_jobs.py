"""Rule price_jobs: what the jobs that are still to do will take."""

from pathlib import Path

from nashlens.tables import write_csv
from workflow.dag import Call
from workflow.job import run_job
from workflow.plan import plan_call


def main(outputs, configfiles, settings, targets, measure):
    plan, text = plan_call(Call(Path.cwd(), configfiles, settings, targets), measure=measure)
    write_csv(plan.table, outputs["plan"])
    Path(outputs["text"]).write_text(text, encoding="utf-8")


if "snakemake" in globals():
    run_job(main, snakemake)

"""What a run notes at its start, and what it says at its end."""

from snakemake.logging import logger

from workflow.command import Command
from workflow.console import Console, wanted
from workflow.call import nested
from workflow.messages import (
    FailedJobs,
    begin_writing,
    findings,
    ladder,
    say_last,
    say_last_of_dry_run,
)


def only_asked():
    """Say whether this call makes nothing of the experiment: its config is then no run's."""
    targets = set(workflow.dag_settings.targets)
    return bool(targets) and targets <= {"plan", "status", "compare"}


def begin_pricing():
    """Return which jobs are to run, and what prices them."""
    # Here, as every job reads this file, and none needs what prices them.
    from workflow.plan import seconds_by_plan

    return seconds_by_plan(workflow.dag, EXPERIMENT, Path.cwd())


FAILED = FailedJobs()
logger.addHandler(FAILED)
if workflow.is_main_process and wanted(workflow.output_settings) and not nested():
    CONSOLE = Console(
        workflow.output_settings,
        begin=begin_pricing,
        cores=workflow.cores or 1,
    )
    logger.addHandler(CONSOLE)
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            CONSOLE.instead_of(handler)
if workflow.is_main_process and workflow.output_settings.dryrun and not nested():
    say_last_of_dry_run(workflow, Command(**NESTED_CALL))


onstart:
    if workflow.is_main_process:
        begin_writing(results(""), None if only_asked() else CONFIG)


onsuccess:
    asked = set(workflow.dag_settings.targets)
    everything = not asked or asked & {"figures", "all"}
    if workflow.is_main_process and (everything or asked & {"findings", "report"}):
        page = results("report.html") if "report" in asked else None
        drawn = results("figures/") if everything else None
        climbed = results("ladder.csv") if HAS_LADDER else None
        say_last(findings(drawn, results("findings.csv"), climbed, page=page))
    for text in ("plan", "status") if workflow.is_main_process else ():
        if text in asked:
            say_last(Path(results(f"{text}.txt")).read_text(encoding="utf-8"))
    if workflow.is_main_process and "compare" in asked:
        say_last(f"page:     {rules.compare_experiments.output.page}")
    if workflow.is_main_process and "ladder" in asked - {"figures", "report", "all"}:
        say_last(ladder(results("figures/"), results("ladder.csv")))


onerror:
    if workflow.is_main_process and FAILED.lines():
        say_last("\n".join(FAILED.lines()))

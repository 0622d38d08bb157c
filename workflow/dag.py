"""The jobs of an experiment as Snakemake sees them, and why each would run; nothing is run."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from snakemake.api import SnakemakeApi
from snakemake.cli import parse_config
from snakemake.settings.enums import Quietness
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    RerunTrigger,
    ResourceSettings,
)

from workflow.call import NESTED
from workflow.experiment import Experiment

ANY_CORES = 4096


@dataclass(frozen=True)
class Call:
    """How Snakemake was called: what a nested call must repeat."""

    root: Path
    configfiles: Sequence[str] = ()
    settings: Sequence[str] = ()
    """Of `--config`."""
    targets: Sequence[str] = ("figures",)

    def about(self, experiment: str) -> str:
        """Return the name of an experiment, and which of its targets are asked about if not all."""
        names = ", ".join(self.targets)
        return experiment if names == "figures" else f"{experiment}, {names}"


def load_dag(call: Call) -> tuple[Any, Experiment]:
    """Read the Snakefile and build the graph of jobs; once in a process.

    Parameters
    ----------
    call : Call

    Returns
    -------
    DAG
        Snakemake's.
    Experiment
        What it is about.
    """
    # The call that asks has checked the world.
    os.environ[NESTED] = "1"
    profile = yaml.safe_load((call.root / "profiles/default/config.yaml").read_text())
    settings = DAGSettings(
        targets=set(call.targets),
        rerun_triggers=RerunTrigger.parse_choices_set(profile["rerun-triggers"]),
    )
    given = ConfigSettings(
        config=parse_config(list(call.settings)),
        configfiles=[Path(path) for path in call.configfiles],
    )
    quiet = OutputSettings(
        dryrun=True, quiet={Quietness.ALL}, stdout=False, log_level_override=logging.WARNING
    )
    with SnakemakeApi(quiet) as api:
        loaded = api.workflow(
            # Threads as rules ask for them, whatever is free.
            ResourceSettings(cores=ANY_CORES),
            config_settings=given,
            snakefile=call.root / "Snakefile",
            workdir=call.root,
        )
        loaded.dag(settings)
        workflow = loaded._workflow
        # As for `--summary`; the rest of the interface only runs jobs or prints them.
        workflow.dag_settings = settings
        workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
    return workflow.dag, workflow.globals["EXPERIMENT"]

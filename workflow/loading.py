"""Snakemake's own reading of the Snakefile, for what describes it: the docs and the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

from workflow.provenance import Provenance


def load_workflow(root: Path, configfiles: Sequence[str] = ()) -> tuple[dict[str, Any], Provenance]:
    """Read the Snakefile and run nothing; once in a process, since its globals are Snakemake's.

    Parameters
    ----------
    root : Path
        The repository.
    configfiles : sequence of str
        Experiments over the default config, as paths inside the repository.

    Returns
    -------
    dict of str to Rule
        Snakemake's rules by name.
    Provenance
        The experiment's stages.
    """
    settings = ConfigSettings(configfiles=[root / path for path in configfiles])
    with SnakemakeApi(OutputSettings(dryrun=True)) as api:
        loaded = api.workflow(
            ResourceSettings(cores=1),
            config_settings=settings,
            snakefile=root / "Snakefile",
            workdir=root,
        )
        # The rest of the interface only runs things or prints them.
        workflow = loaded._workflow
    rules = {rule.name: rule for rule in workflow.rules}
    return rules, workflow.globals["EXPERIMENT"].provenance

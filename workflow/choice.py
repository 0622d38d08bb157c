"""Which jobs must run: those whose files are missing, damaged, or not what would be made now.

Snakemake decides by its own memory (`.snakemake`) and by times of change. Both get lost or lie: in
a copied folder, after a truncated file of that memory, with a wrong clock. So what is on disk is
compared with the records beside it (`workflow.records`), before Snakemake chooses its jobs: what
differs is forced, and Snakemake is told to look at no file's time. What only went missing or was
damaged is made again alone, as what was made from it is still right.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake.io import flag
from snakemake.persistence.file import FilePersistence

from nashlens.errors import AGAIN
from nashlens.versions import changed_versions
from workflow.aside import clear_files, clear_folders, is_no_file, set_aside
from workflow.intake import refuse
from workflow.locks import Locks
from workflow.provenance import Provenance
from workflow.reasons import Cause, Keys, changed_keys, give_reasons
from workflow.records import Digests, listed_files, other_inputs, record_file

WHOLE, MISSING, DAMAGED, STALE, FOREIGN = "whole", "missing", "damaged", "stale", "foreign"
FAULTS = (MISSING, DAMAGED, STALE, FOREIGN)
ABSENT = "not made"
"""Of a file that was never there, or went with its folder."""
_SHOWN = 5
_BULKY = "activations"


@dataclass
class Finding:
    """What was found about one file."""

    path: str
    state: str
    why: str = ""
    """What differs, to follow the path in a message."""
    aside: str | None = None
    """A damaged file that a manifest lists."""
    inputs: Sequence[str] = ()
    """Of a stale file: what it was made from and has other bytes now."""


def examine(path: str, fingerprint: str, digests: Digests) -> Finding:
    """Compare a result with its record and with what would be made now.

    Parameters
    ----------
    path : str
        A rule's output.
    fingerprint : str
        What it would be made from now.
    digests : Digests
        Of files that were looked at before.
    """
    record = digests.record(path)
    if is_no_file(path):
        return Finding(path, DAMAGED, "it is no file")
    if not os.path.exists(path):
        # Activations deleted as a whole, to free the disk, are made when something needs them.
        folder = os.path.dirname(path)
        freed = _BULKY in folder.split("/") and not os.path.isdir(folder)
        lost = bool(record) and not freed
        return Finding(path, MISSING if lost else ABSENT, "it is missing")
    if not record:
        return Finding(path, FOREIGN, "nothing says what it was made from")
    if record.get("fingerprint") != fingerprint:
        return Finding(path, STALE, "it was made from another config or code")
    if digests.of(path) != record.get("sha256"):
        return Finding(path, DAMAGED, "its bytes are not those that were written")
    for name, digest in listed_files(path).items():
        file = os.path.join(os.path.dirname(path), name)
        found = digests.of(file, record.get("listed", {}).get(name))
        if found != digest:
            why = "is missing" if found is None else "has other bytes than were written"
            return Finding(path, DAMAGED, f"{file} {why}", aside=file)
    if others := other_inputs(record, digests):
        return Finding(path, STALE, f"{others[0]} has changed since", inputs=others)
    return Finding(path, WHOLE)


def choose_by_records(
    workflow: Any, provenance: Provenance, digests: Digests, *, rerun_versions: bool
) -> None:
    """Let our records decide which jobs of a workflow run.

    Parameters
    ----------
    workflow : Workflow
        Snakemake's own, which has no public place for this: the jobs are known only after the
        Snakefile was read.
    provenance : Provenance
    digests : Digests
    rerun_versions : bool
        Whether a result is made again if a package that computed it has another version now.
    """
    prepare: Callable[..., None] = workflow._prepare_dag

    def prepare_and_watch(*args: Any, **kwargs: Any) -> None:
        clear_folders(workflow.rules, dry_run=workflow.dryrun)
        anew = [rule for rule in workflow.rules if _is_anew(rule, provenance)]
        if not workflow.dryrun:
            clear_files(file for rule in anew for file in rule.output)
        prepare(*args, **kwargs)
        asking = kwargs.get("nolock") or kwargs.get("lock_warn_only")
        # Its database, which may be asked for instead, has a way of its own.
        files = isinstance(workflow.persistence, FilePersistence)
        locks = Locks(workflow.persistence) if files and not asking else None
        dag = workflow._dag
        # Our records say what is whole, be its job's Snakemake killed before it noted the end.
        dag.ignore_incomplete = True
        choose = dag.update_needrun

        async def examine_and_choose(*args: Any, **kwargs: Any) -> None:
            _forget_times(dag.jobs, mend=not workflow.dryrun)
            found = _examine_all(dag, provenance, digests, rerun_versions)
            digests.save()
            provenance.code.save()
            if locks is not None:
                # Nothing is moved that another call makes.
                locks.check(path for job in found.jobs for path in job.output)
            if not workflow.dryrun:
                clear_files(file for job in dag.jobs for file in (*job.log, job.benchmark or ""))
                moved = [path for finding in found.faults for path in _set_aside(finding)]
                if moved:
                    # Snakemake has seen them already, and would look for them.
                    refuse([f"{path}: it was no file; it is set aside: {AGAIN}" for path in moved])
            _say(found, rerun_versions)
            await choose(*args, **kwargs)
            _choose(dag, found, provenance)

        dag.update_needrun = examine_and_choose

    workflow._prepare_dag = prepare_and_watch
    # It advises to clear Snakemake's memory, which would change nothing here.
    workflow.log_provenance_info = lambda: None


def _forget_times(jobs: Iterable[Any], *, mend: bool) -> None:
    """Mark all inputs so that their times start no job; mend times that lie in the future."""
    now = time.time()
    for file in {file for job in jobs for file in job.input}:
        # A job whose input is newer than its output fails, whatever the reason.
        with contextlib.suppress(OSError):
            if mend and os.stat(file).st_mtime > now:
                os.utime(file)
    for job in jobs:
        for file in job.input:
            file._file = flag(file._file, "ancient")


def _is_anew(rule: Any, provenance: Provenance) -> bool:
    return rule.name in provenance.stages and provenance.stages[rule.name].anew


@dataclass
class _Found:
    jobs: set[Any] = field(default_factory=set)
    """Those to run."""
    faults: list[Finding] = field(default_factory=list)
    versions: dict[str, list[str]] = field(default_factory=dict)
    """A changed version in words -> first outputs of jobs that used another one."""
    causes: dict[Any, Cause] = field(default_factory=dict)
    """Job -> what has changed of it itself."""


def _examine_all(
    dag: Any, provenance: Provenance, digests: Digests, rerun_versions: bool
) -> _Found:
    found, spreading, folders = _Found(), set(), set()
    jobs = [
        job for level in dag.toposorted() for job in level if job.rule.name in provenance.stages
    ]
    for job in jobs:
        if provenance.stages[job.rule.name].anew:
            found.jobs.add(job)
            continue
        fingerprint = provenance.fingerprint(job.rule.name, job.wildcards_dict)
        findings = [examine(str(path), fingerprint, digests) for path in job.output]
        faults = [finding for finding in findings if finding.state in FAULTS]
        versions = [] if faults else changed_versions(digests.record(str(job.output[0])))
        for version in versions:
            found.versions.setdefault(version, []).append(str(job.output[0]))
        above = any(one in spreading for one in dag.dependencies[job])
        remake = bool(versions) and rerun_versions
        found.causes[job] = Cause(versions=remake)
        if stale := [finding for finding in faults if finding.state == STALE]:
            found.causes[job] = _cause(job, stale, fingerprint, above, provenance, digests)
        if faults or above or remake:
            found.jobs.add(job)
        # What is made again from the same, by the same, is the same: nothing else hangs on it.
        other = any(finding.state in (STALE, FOREIGN) for finding in faults)
        if above or other or remake:
            spreading.add(job)
        found.faults += faults
        folders |= {os.path.dirname(one.path) for one in faults if one.aside or _lost_list(one)}
    # The jobs that share a folder with a damaged shard decide what of it is made; so they do where
    # what lists the shards is gone, as shards may be gone with it.
    found.jobs |= {job for job in jobs if os.path.dirname(job.output[0]) in folders}
    return found


def _cause(
    job: Any,
    stale: Sequence[Finding],
    fingerprint: str,
    above: bool,
    provenance: Provenance,
    digests: Digests,
) -> Cause:
    """Return what has changed since the stale files of a job were made."""
    record = digests.record(stale[0].path)
    if record.get("fingerprint") == fingerprint:
        return Cause(inputs=stale[0].inputs)
    now = provenance.slice(provenance.stages[job.rule.name].reads, job.wildcards_dict)
    keys = Keys(changed_keys(record.get("config", now), now))
    # What is upstream is in the same hash as the code: where it changed, the hash says no more.
    return Cause(keys, code=not keys and not above)


def _lost_list(finding: Finding) -> bool:
    lost = finding.state in (MISSING, DAMAGED)
    return lost and os.path.basename(finding.path) in ("plan.json", "manifest.json")


def _choose(dag: Any, found: _Found, provenance: Provenance) -> None:
    """Replace Snakemake's choice: it would also run all that hangs on a job.

    Of its own, those stay that it was asked to force, with all that hangs on them, and those that
    make a missing target.
    """
    # Where all jobs are forced, Snakemake leaves them marked as derived.
    asked = [job for job in dag._needrun if dag.reason(job).forced]
    own = [*asked, *(job for job in dag._needrun if not dag.reason(job).derived)]
    # It looks at no target that hangs on another one which it makes.
    own += [job for job in dag.targetjobs if _lacks_target(job, dag)]
    chosen = {*found.jobs, *own, *dag.bfs(dag.depending, *asked)}
    queue = list(chosen)
    while queue:
        job = queue.pop()
        needed = [
            maker
            for maker, files in dag.dependencies[job].items()
            if any(not os.path.exists(file) for file in files)
        ]
        # Rules without a script are names of targets: they end when what they name does.
        named = [user for user in dag.depending[job] if user.rule.name not in provenance.stages]
        new = {*needed, *named} - chosen
        chosen |= new
        queue += new
    for job in dag._needrun - chosen:
        dag.reason(job).clear()
    give_reasons(dag, chosen, found.causes)
    dag._needrun.clear()
    dag._needrun.update(chosen)
    dag._n_until_ready.clear()
    for job in chosen:
        dag._n_until_ready[job] = sum(maker in chosen for maker in dag.dependencies[job])
    dag._len = len(dag._finished | chosen)


def _lacks_target(job: Any, dag: Any) -> bool:
    """Say whether a file is missing that was asked for, by its own name or by its rule's."""
    files = job.input if job.rule.norun else job.output
    if job.rule not in dag.targetrules:
        files = dag.targetfiles.intersection(files)
    return not all(map(os.path.exists, files))


def _set_aside(finding: Finding) -> list[str]:
    """Rename a damaged shard, so that its job finds it missing, and what has a file's place.

    Returns
    -------
    list of str
        What had a file's place.
    """
    places = filter(is_no_file, (finding.path, str(record_file(finding.path))))
    moved = [path for path in places if set_aside(path)]
    if finding.aside is None or not finding.aside.endswith(".npy"):
        return moved
    path = Path(finding.aside)
    with contextlib.suppress(OSError):
        path.with_suffix(".json").unlink(missing_ok=True)
        os.replace(path, path.with_name(f"{path.name}.damaged"))
    return moved


def _say(found: _Found, rerun_versions: bool) -> None:
    for finding in [one for one in found.faults if one.state in (MISSING, DAMAGED)][:_SHOWN]:
        said = finding.why if finding.aside else f"{finding.path}: {finding.why}"
        print(f"nashlens: note: {said}: it is made again", file=sys.stderr)
    what = "are made again" if rerun_versions else "are kept (experiment.versions: keep)"
    for version, paths in found.versions.items():
        rest = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        said = f"{version}: {', '.join(paths[:_SHOWN])}{rest} {what}"
        print(f"nashlens: note: {said}", file=sys.stderr)

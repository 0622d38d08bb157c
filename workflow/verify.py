"""`snakemake verify`: what of an experiment's results is whole, damaged, stale or foreign."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nashlens.files import unsealed
from nashlens.models.intact import STRANGE, strangers
from nashlens.models.manifest import MANIFEST
from nashlens.records import FOLDER
from nashlens.versions import changed_versions
from workflow.choice import (
    ABSENT,
    DAMAGED,
    FAULTS,
    FOREIGN,
    MISSING,
    STALE,
    WHOLE,
    Finding,
    examine,
)
from workflow.job import FOLDER as UNFINISHED
from workflow.provenance import Provenance
from workflow.records import Digests, read_record

_SHOWN = 8
_SEALED = re.compile(r"shard-\d+\.json|chunk-\w+\.json")
_KEPT = re.compile(rf"{_SEALED.pattern}|shard-\d+\.npy|\.lock")
"""Files that jobs keep for later runs; each is checked by the job that reads it."""
_BY_THE_CALL = {"config.json"}
"""Files that each call writes anew, before any job."""
_ASIDE = {"logs", "benchmarks", FOLDER, UNFINISHED}


def verify(provenance: Provenance, folder: str, targets: Sequence[str]) -> tuple[str, int]:
    """Check every file of an experiment, and of its models, byte by byte.

    Parameters
    ----------
    provenance : Provenance
    folder : str
        The experiment's results.
    targets : sequence of str
        Rules whose files, and all that these are made from, belong to the experiment.

    Returns
    -------
    str
        What was found, to print.
    int
        The exit status: 0 where all that is there is whole.
    """
    findings = list(_examine_all(provenance, targets))
    known = {finding.path for finding in findings}
    # By the record: the list itself may be damaged.
    listed = {path: read_record(path).get("listed", ()) for path in known}
    known |= {str(Path(path).parent / name) for path, names in listed.items() for name in names}
    others = [path for path in sorted(set(_files(folder)) - known) if not _anew(provenance, path)]
    kept = [path for path in map(str, sorted(Path(folder).rglob("*.json"))) if _is_broken(path)]
    models = {Path(path).parent for path in known if os.path.basename(path) == MANIFEST}
    added = [str(path) for model in sorted(models) if model.is_dir() for path in strangers(model)]
    bad = any(finding.state in FAULTS for finding in findings)
    return _screen(folder, findings, others, kept, added), int(bad or bool(kept or added))


def _examine_all(provenance: Provenance, targets: Iterable[str]) -> Iterator[Finding]:
    # Without a memory: every byte is read.
    digests = Digests()
    for name, wildcards, outputs in provenance.jobs(targets):
        fingerprint = provenance.fingerprint(name, wildcards)
        yield from (examine(path, fingerprint, digests) for path in outputs)


def _files(folder: str) -> Iterator[str]:
    for path in Path(folder).rglob("*"):
        inside = path.relative_to(folder)
        if str(inside) in _BY_THE_CALL:
            continue
        if path.is_file() and not _ASIDE & set(inside.parts) and not _KEPT.fullmatch(path.name):
            yield str(path)


def _is_broken(path: str) -> bool:
    """Return whether a file that a job keeps is another than was written."""
    if not _SEALED.fullmatch(os.path.basename(path)):
        return False
    try:
        unsealed(Path(path).read_bytes())
    except ValueError:
        return True
    return False


def _anew(provenance: Provenance, path: str) -> bool:
    """Return whether a rule makes a file anew each time."""
    maker = provenance.find_maker(path)
    return maker is not None and provenance.stages[maker[0]].anew


def _screen(
    folder: str,
    findings: Sequence[Finding],
    others: Sequence[str],
    kept: Sequence[str],
    added: Sequence[str],
) -> str:
    count = {
        state: sum(finding.state == state for finding in findings)
        for state in (WHOLE, DAMAGED, MISSING, STALE, ABSENT)
    }
    unknown = [finding for finding in findings if finding.state == FOREIGN]
    foreign = len(unknown) + len(others) + len(added)
    lines = [
        f"{folder}: {count[WHOLE]} whole, {count[DAMAGED] + len(kept)} damaged, "
        f"{count[MISSING]} missing, "
        f"{count[STALE]} stale, {foreign} foreign, {count[ABSENT]} not made"
    ]
    for state in FAULTS:
        found = [finding for finding in findings if finding.state == state]
        lines += _listed(state, [_said(finding) for finding in found])
    why = "its bytes are not those that were written: delete it, the job that needs it makes it"
    lines += _listed(DAMAGED, [f"{path}: {why}" for path in kept])
    lines += _listed(FOREIGN, [f"{path}: {STRANGE}" for path in added])
    lines += _listed(FOREIGN, [f"{path}: nothing in this config makes it" for path in others])
    lines += _versions(findings)
    if any(finding.state in FAULTS for finding in findings):
        lines.append(
            "The same call with `figures` in place of `verify` makes again what is damaged,"
            " missing or stale."
        )
    return "\n".join(lines)


def _said(finding: Finding) -> str:
    return finding.why if finding.aside else f"{finding.path}: {finding.why}"


def _listed(state: str, said: Sequence[str]) -> list[str]:
    lines = [f"  {state:8} {line}" for line in said[:_SHOWN]]
    return [*lines, f"  {state:8} and {len(said) - _SHOWN} more"] if len(said) > _SHOWN else lines


def _versions(findings: Iterable[Finding]) -> list[str]:
    changed: dict[str, int] = {}
    for finding in findings:
        for version in changed_versions(read_record(finding.path)):
            changed[version] = changed.get(version, 0) + 1
    return [f"  version  {version}: {n} files" for version, n in changed.items()]

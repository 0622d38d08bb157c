"""From tables to verdicts: claims, one judge, one false-discovery family, sensitivity."""

from nashlens.findings.claim import Claim, JudgeSettings
from nashlens.findings.claims import ALL_CLAIMS, CLAIMS, LINEAGE_CLAIMS, PLAY_CLAIMS
from nashlens.findings.judge import combine, judge
from nashlens.findings.sensitivity import attach, judge_with_parts, sensitivity

__all__ = [
    "ALL_CLAIMS",
    "CLAIMS",
    "LINEAGE_CLAIMS",
    "PLAY_CLAIMS",
    "Claim",
    "JudgeSettings",
    "attach",
    "combine",
    "judge",
    "judge_with_parts",
    "sensitivity",
]

"""From tables to verdicts: claims as data, estimators, rules, one false-discovery family."""

from nashlens.findings.claims import CLAIMS, Claim
from nashlens.findings.judge import combine, judge

__all__ = ["CLAIMS", "Claim", "combine", "judge"]

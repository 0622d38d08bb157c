"""From tables to verdicts: claims as data, estimators, rules, one false-discovery family."""

from nashlens.findings.claims import CLAIMS, Claim
from nashlens.findings.judge import combine, judge
from nashlens.findings.sensitivity import attach, sensitivity

__all__ = ["CLAIMS", "Claim", "attach", "combine", "judge", "sensitivity"]

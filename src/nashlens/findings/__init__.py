"""From tables to verdicts: claims as data, estimators, rules, one false-discovery family."""

from nashlens.findings.judge import CLAIMS, combine, judge
from nashlens.findings.legacy import Claim
from nashlens.findings.sensitivity import attach, sensitivity

__all__ = ["CLAIMS", "Claim", "attach", "combine", "judge", "sensitivity"]

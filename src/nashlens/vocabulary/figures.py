"""Figures, in the order of the report (`nashlens.figures.registry` says where each is drawn)."""

FIGURES = (
    "games",
    "cooperation",
    "pairs",
    "rounds",
    "reasoning",
    "selection",
    "strategies",
    "probes",
    "transfer",
    "effects",
    "lens",
    "tuned",
    "biases",
    "steering",
    "clamping",
    "heads",
    "patching",
    "ladder",
    "findings",
    "calibration",
)

"""The chance with which an action is drawn from what a model says of it."""

from __future__ import annotations

import numpy as np


def at_temperature(p_action_0: float, temperature: float) -> float:
    """Return P(action 0) at a sampling temperature: p^(1/T), renormalised; 0 is greedy.

    A tie under greedy goes to action 0.
    """
    if temperature == 0:
        return 1.0 if p_action_0 >= 0.5 else 0.0
    if p_action_0 in (0.0, 1.0):
        return p_action_0
    # The log odds of action 1 over action 0, divided by the temperature.
    odds = (np.log1p(-p_action_0) - np.log(p_action_0)) / temperature
    return float(1.0 / (1.0 + np.exp(np.clip(odds, -700, 700))))

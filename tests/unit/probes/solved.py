"""The solver from features to decision values, for one training set."""

import numpy as np
import torch

from nashlens.probes.basis import guide, rotate
from nashlens.probes.solver import solve_logistic


def held_out(train, test, labels, C, *, device="cpu", report=None):
    """Return decision values of the test rows, (m, problems), for all label vectors.

    Parameters
    ----------
    train : ndarray of float64, shape (n, d)
    test : ndarray of float64, shape (m, d)
    labels : ndarray of float64, shape (n, problems)
        0 or 1, for the training rows.
    C : float or ndarray, shape (problems,)
    device : str
        The torch device that fits.
    report : callable, optional
        Called with the `Solution`, which says what has converged.
    """
    rows = torch.as_tensor(np.vstack([train, test]), dtype=torch.float64, device=device)
    n = len(train)
    index = torch.arange(n, device=rows.device)
    basis = rotate(rows, index, guide(rows[:n]))
    y = torch.as_tensor(labels, dtype=torch.float64, device=rows.device)
    c = torch.as_tensor(np.broadcast_to(C, y.shape[1]).copy(), device=rows.device).to(y.dtype)
    solution = solve_logistic(basis, y, c)
    if report is not None:
        report(solution)
    return (basis.rows[n:] @ solution.coefficients).cpu().numpy()

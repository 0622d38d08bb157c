"""The probes of one layer, all folds, permutations and targets at once, against scikit-learn.

    python -m benchmarks.probes                     two cores
    python -m benchmarks.probes --device cuda       a GPU
    python -m benchmarks.probes --whole             all 33 layers, not one
    python -m benchmarks.probes --plan [CASE ..]    whole jobs, and what `plan` says of them

Features are drawn with a decaying spectrum (eigenvalue k of their covariance falls as
k^-1.4), as residual streams have it. scikit-learn's LogisticRegression fits a sample of the same
problems, one by one, on features that were scaled for it beforehand, at its default tolerance;
its time is scaled to all of them. The largest difference of decision values is to the optimum
that it finds at a tight tolerance.

With `--plan` the default's prompts are probed on random residuals of such a spectrum, with all
baselines, untrained residuals and transfer, in the CPU seconds of one thread. `CASES` differ from
the default in one thing each; one set of constants (`nashlens.plan.probes`) is to describe them.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from snakemake.utils import update_config
from torch import Tensor

from benchmarks.common import arguments, clock, device_name, matrix_peak, report
from benchmarks.profiling import add_option, profiled
from nashlens.config.validate import validate
from nashlens.games import build_games, games_table
from nashlens.plan.design import Design
from nashlens.plan.devices import CPU_PRODUCTS
from nashlens.plan.probes import count_probes
from nashlens.plan.words import WordTokenizer
from nashlens.probes.basis import rotate, standardise
from nashlens.probes.design import ProbeSettings
from nashlens.probes.solver import Solution, solve_logistic
from nashlens.probes.study import study_probes
from nashlens.vocabulary.targets import CLAIM_TARGETS

SIZE = {"n": 1000, "width": 4096, "layers": 33, "folds": 5, "permutations": 100, "targets": 3}
QUICK = {"n": 100, "width": 256, "layers": 2, "folds": 2, "permutations": 4, "targets": 2}

FEW = ("stag_hunt", "chicken", "battle_of_the_sexes", "matching_pennies")
"""Games of which the default has fewer histories."""
CASES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "default": (576, 9, {}),
    "one layer": (576, 1, {}),
    "few prompts": (
        576,
        1,
        {"prompts": {"histories": 4}}
        | {key: {"prompts": 16} for key in ("steering", "circuits", "attribution")},
    ),
    "twice the prompts": (576, 1, {"prompts": {"histories": 40}}),
    "2,112 prompts": (
        576,
        1,
        {"prompts": {"histories": 64}, "games": {game: {"histories": 24} for game in FEW}},
    ),
    "width 2,048": (2048, 1, {}),
    "width 4,096": (4096, 1, {}),
    "10 permutations": (576, 1, {"probes": {"permutations": 10}}),
    "300 permutations": (576, 1, {"probes": {"permutations": 300}}),
    "3 targets": (576, 1, {"probes": {"targets": list(CLAIM_TARGETS)}}),
    "6 penalties": (576, 1, {"probes": {"C": [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]}}),
    "10 folds": (576, 1, {"probes": {"folds": 10}}),
    "500 untrained": (576, 1, {"probes": {"random_weights": 500}}),
}
"""Width, layers and what differs from `config.yaml`, by name."""


def features(layer: int, n: int, width: int) -> np.ndarray:
    """Draw one layer's activations, (n, width)."""
    rng = np.random.default_rng([20260427, layer])
    spectrum = np.arange(1, n + 1) ** -0.7
    return (rng.normal(size=(n, n)) * spectrum) @ rng.normal(size=(n, width))


def problems(n: int, targets: int, permutations: int) -> np.ndarray:
    """Draw the labels, (n, targets * (1 + permutations)): each target and its permutations."""
    rng = np.random.default_rng(1)
    directions = features(0, n, 8)
    columns = []
    for k in range(targets):
        truth = (directions[:, k] > np.quantile(directions[:, k], 0.3 + 0.2 * k)).astype(float)
        columns += [truth, *(rng.permutation(truth) for _ in range(permutations))]
    return np.stack(columns, axis=1)


def layer_fits(
    x: Tensor, labels: Tensor, folds: int, C: float
) -> Iterator[tuple[Tensor, Solution]]:
    """Yield each fold's held-out decision values and its solution."""
    fold = torch.arange(len(x), device=x.device) % folds
    strength = torch.full((labels.shape[1],), C, dtype=torch.float64, device=x.device)
    for k in range(folds):
        train, test = torch.nonzero(fold != k).flatten(), torch.nonzero(fold == k).flatten()
        basis = rotate(x, train, None)
        solution = solve_logistic(basis, labels[train], strength)
        yield basis.rows[test] @ solution.coefficients, solution


def peer_fit(x: np.ndarray, y: np.ndarray, C: float, tol: float) -> LogisticRegression:
    model = LogisticRegression(C=C, class_weight="balanced", tol=tol, max_iter=20000)
    return model.fit(x, y)


def floor_operations(n: int, width: int, columns: int, folds: int, iterations: int) -> float:
    """Count the multiplications and additions that no such method can do without.

    The scaled Gram matrix of each fold, and two products of the rotated features with all
    problems an iteration; eigenvectors, elementwise work and memory traffic are left out.
    """
    train = n - n // folds
    gram = 2.0 * n * train * width * folds
    return gram + 4.0 * train * train * columns * iterations


TOLD = ["own_last", "opponent_last", "own_cooperation", "opponent_cooperation"]
ASKED = ["game", "seat", "template", "label_set", "label_map", "option_order"]


class Drawn:
    """Residuals of some prompts, in place of an `ActivationStore`.

    A sum of random directions, one for each property of a prompt and for pairs of them, so that
    probes find about as much as in a model, and of noise with a decaying spectrum.
    """

    def __init__(self, prompts: pd.DataFrame, width: int, first: int):
        prompts = prompts.drop_duplicates("prompt_id")
        self.rows = {name: k for k, name in enumerate(prompts["prompt_id"])}
        self.width, self.first = width, first
        asked = prompts[ASKED].astype(str)
        told = prompts[[name for name in TOLD if name in prompts]].astype(str)
        single = pd.concat([asked, told], axis=1)
        pairs = {f"{a} {b}": single[a] + single[b] for a in single for b in single if a < b}
        self.content = pd.get_dummies(pd.concat([single, pd.DataFrame(pairs)], axis=1))

    def at(self, position: str) -> Drawn:
        return self

    def having(self, prompts: pd.DataFrame) -> pd.DataFrame:
        return prompts

    def reader(self, prompts: pd.DataFrame) -> Any:
        wanted = [self.rows[name] for name in prompts["prompt_id"]]

        def load(layer: int) -> np.ndarray:
            # At the decision all prompts have one token, and so one embedding.
            if not layer:
                return np.ones((len(wanted), self.width))
            rng = np.random.default_rng([1, self.first + layer])
            content = self.content.to_numpy(dtype=np.float64)
            told = content @ rng.normal(size=(content.shape[1], self.width))
            return (told + features(self.first + layer, len(self.rows), self.width))[wanted]

        return load


def whole_job(name: str) -> dict[str, Any]:
    """Fit a case's probes, and return the seconds that were said and taken."""
    width, depth, over = CASES[name]
    raw = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    # As Snakemake lays a config over another one.
    update_config(raw, over)
    config = validate(raw).model_dump(mode="json")
    options, seed = config["probes"], config["experiment"]["seed"]
    games = games_table(build_games(config["games"], seed))
    prompts = Design(config, games, WordTokenizer()).prompts
    layers = range(depth) if depth > 1 else [1]
    counted = count_probes(prompts, "decision", config, untrained=True)
    coins = np.random.default_rng(0).uniform(size=len(prompts))
    lens = prompts[["prompt_id", "match_id"]].assign(layer=1, p_action_1=coins)
    settings = ProbeSettings(
        **{key: options[key] for key in ("C", "folds", "permutations", "device")},
        confidence=config["findings"]["confidence"],
        resamples=config["findings"]["bootstrap"],
        seed=seed,
        model="drawn",
    )
    store, untrained = (Drawn(prompts, width, first) for first in (0, 1000))
    begun = time.process_time()
    study_probes(
        store,
        prompts,
        lens,
        layers,
        options["targets"],
        settings,
        part_targets=CLAIM_TARGETS,
        untrained=untrained,
        untrained_prompts=options["random_weights"],
    )
    taken = time.process_time() - begun
    said = counted.operations(width, layers) / CPU_PRODUCTS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{name:18s} said {said:6.1f} s, taken {taken:6.1f} s: {said / taken:.2f}", flush=True)
    return {"case": name, "said": said, "taken": taken, "most_kilobytes_so_far": peak}


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    add_option(parser)
    parser.add_argument("--C", type=float, default=0.01)
    parser.add_argument("--peer-fits", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1, help="joblib's, for scikit-learn")
    parser.add_argument("--whole", action="store_true", help="fit all layers, not one")
    parser.add_argument("--plan", nargs="*", choices=list(CASES), help="by default all")
    options = parser.parse_args()
    if options.plan is not None:
        jobs = [whole_job(name) for name in options.plan or CASES]
        report(benchmark="probes", device="cpu", jobs=jobs)
        return
    size = dict(QUICK if options.quick else SIZE)
    size["layers"] = options.layers or size["layers"]
    n, folds = size["n"], size["folds"]
    labels = problems(n, size["targets"], size["permutations"])
    on_device = torch.as_tensor(labels, device=options.device)

    def draw(layer: int) -> Tensor:
        return torch.as_tensor(features(layer, n, size["width"]), device=options.device)

    def study(x: Tensor) -> tuple[list[Tensor], list[Solution]]:
        decisions, solutions = zip(*layer_fits(x, on_device, folds, options.C), strict=True)
        return list(decisions), list(solutions)

    if not options.quick:
        study(draw(1))  # warm up: allocator, kernels
    sample = np.linspace(0, labels.shape[1] - 1, options.peer_fits).astype(int)
    x = draw(0)
    train = torch.nonzero(torch.arange(n) % folds != 0).flatten()
    scaled = standardise(x, train.to(x.device)).cpu().numpy()
    fold = np.arange(n) % folds
    run = Parallel(n_jobs=options.jobs)
    fits = [
        delayed(peer_fit)(scaled[fold != 0], labels[fold != 0, k], options.C, 1e-4) for k in sample
    ]
    run(fits[: options.jobs])
    # In turn: half of the peer's fits before ours and half after, as others share the machine.
    half = len(fits) // 2
    before, _ = clock(lambda: run(fits[:half]), "cpu")
    ours, (decisions, solutions) = clock(lambda: study(x), options.device)
    after, _ = clock(lambda: run(fits[half:]), "cpu")
    peer = (before + after) / len(fits) * labels.shape[1] * folds
    tight = [
        peer_fit(scaled[fold != 0], labels[fold != 0, k], options.C, 1e-10) for k in sample[:4]
    ]
    wanted = np.stack([model.decision_function(scaled[fold == 0]) for model in tight], axis=1)
    error = np.abs(decisions[0][:, sample[:4]].cpu().numpy() - wanted).max()

    whole = ours * size["layers"]
    if options.whole:
        whole = 0.0
        for layer in range(size["layers"]):
            x = draw(layer)
            seconds, (_, found) = clock(lambda x=x: study(x), options.device)
            whole += seconds
            solutions += found
    profile = profiled(lambda: study(x), options)
    peak = matrix_peak(options.device, torch.float64)
    steps = sum(s.iterations for s in solutions[:folds])
    floor = floor_operations(n, size["width"], labels.shape[1], folds, steps) / peak
    report(
        benchmark="probes",
        device=device_name(options),
        ratio=peer / ours,
        max_error=float(error),
        C=options.C,
        fits=labels.shape[1] * folds,
        layer_seconds=ours,
        peer_seconds=peer,
        peer_fits_measured=len(fits),
        peer_jobs=options.jobs,
        study_seconds=whole,
        study_layers=size["layers"],
        study_measured=options.whole,
        unconverged=int(sum((~s.converged).sum() for s in solutions)),
        by_newton=sum(s.by_newton for s in solutions),
        iterations_per_fold=steps / folds,
        floor_seconds=floor,
        floor_share=floor / ours,
        peak_gflops=peak / 1e9,
        profile=profile,
    )


if __name__ == "__main__":
    main()

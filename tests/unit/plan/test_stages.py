"""A stage's work is what the stage itself does, counted on the prompts that it takes."""

import numpy as np
import pandas as pd
import pytest

from nashlens.circuits.screen import OTHERS
from nashlens.config.layers import resolve_layers
from nashlens.lens.logit import lens_table
from nashlens.lens.positions import residuals_read
from nashlens.models.shapes import SHAPES
from nashlens.models.weights import Readout
from nashlens.plan.stages import PER_LATER_LOGIT, PER_LOGIT
from nashlens.plan.study import Job
from nashlens.plan.work import Work
from tests.unit.plan.test_study import study

BIG = SHAPES["llama-3-8b"]


def work(rule: str, **over) -> Work:
    return study(**over).work(Job(rule, ("big",)))["big"]


def products(work: Work, residuals: int) -> float:
    """Return a lens's operations over those of the products of so many residuals."""
    return work.cpu / (2.0 * residuals * BIG.width * BIG.vocab)


def asked_pairs(prompts: pd.DataFrame) -> int:
    """Return how many prompts are asked, each as often as it has other labels."""
    labels = [prompts[f"label_tokens_{k}"].map(tuple) for k in (0, 1)]
    return len(set(zip(prompts["prompt_id"], *labels, strict=True)))


def loaded(prompts: pd.DataFrame) -> int:
    """Return how many residuals the lens asks for in one layer."""
    asked = []

    def load(layer: int, ids: list[str]) -> np.ndarray:
        asked.append((layer, len(ids)))
        return np.zeros((len(ids), 2), dtype=np.float32)

    tokens = 1 + max(max(map(max, prompts[f"label_tokens_{k}"])) for k in (0, 1))
    readout = Readout(lambda x: x, np.zeros((tokens, 2), dtype=np.float32))
    lens_table(load, [1], prompts, readout=readout, model="big", last=2)
    return sum(count for layer, count in asked if layer == 1)


@pytest.mark.parametrize("words", [None, ["red one", "blue two"]], ids=["letters", "words"])
def test_a_lens_reads_content_free_prompts_and_later_tokens_of_labels_too(words):
    sets = {"label_sets": {"words": words}}
    prompts = study(prompts=sets).stages["big"].prompts
    (counts,) = residuals_read(prompts, ["decision"])
    assert counts.asked > asked_pairs(prompts)
    assert (counts.later > 0) == (words is not None)
    assert counts.asked + counts.later == loaded(prompts)
    found = products(work("read_lens", prompts=sets), counts.asked + counts.later)
    # Beside the products of every layer: logit by logit, and the last layer's own distributions.
    assert BIG.layers + 1 < found < (BIG.layers + 4) * (1 + PER_LOGIT / (2.0 * BIG.width))


def test_a_narrow_model_pays_most_for_what_is_done_with_each_logit():
    assert 0 < PER_LATER_LOGIT < PER_LOGIT


def test_a_lens_at_all_options_reads_two_further_positions():
    places = {"positions": ["decision", "options"]}
    over = {"activations": places, "lens": places, "prompts": {"label_sets": {"words": None}}}
    prompts = study(**over).stages["big"].prompts
    counts = residuals_read(prompts, ["decision", "option_first", "option_second"])
    distinct = asked_pairs(prompts)
    assert [(one.asked, one.later) for one in counts[1:]] == [(distinct, 0)] * 2
    alone = work("read_lens", prompts=over["prompts"]).cpu
    assert work("read_lens", **over).cpu == pytest.approx(
        alone * (counts[0].asked + 2 * distinct) / counts[0].asked
    )


def test_a_tuned_lens_translates_all_that_it_reads():
    (counts,) = residuals_read(study().stages["big"].prompts, ["decision"])
    added = work("read_tuned_lens").cpu - work("read_lens").cpu
    rows = (counts.asked + counts.later) * (BIG.layers + 1)
    assert added == pytest.approx(2.0 * rows * BIG.width**2)


def test_probes_at_all_options_are_fitted_at_each():
    places = {"positions": ["decision", "options"]}
    some = {"random_weights": 128}
    by_place = study(activations=places, probes=places | some).stages["big"]
    positions = ["decision", "option_first", "option_second"]
    counts = [by_place.design.probes(position, True) for position in positions]
    layers = resolve_layers(by_place.config["probes"]["layers"], BIG.layers, first=0)
    assert all(one.probes and one.untrained for one in counts)
    assert by_place.work("fit_probes").cpu == pytest.approx(
        sum(one.operations(BIG.width, layers) for one in counts)
    )


@pytest.mark.parametrize("how", [{"quantization": "nf4"}, {"parallel": "pipeline"}])
def test_weights_that_have_no_random_counterpart_are_probed_without_it(how):
    some = {"random_weights": 128}
    with_it = work("fit_probes", probes=some)
    models = {"big": {"device": "cuda", "gpus": 1} | how}
    without = work("fit_probes", probes=some, models=models)
    assert 0 < without.cpu < with_it.cpu


def test_steering_from_a_position_on_computes_fewer_tokens_than_from_the_start():
    stored = {"activations": {"positions": ["decision", "options"]}}
    by = {
        name: work("sweep_steering", steering={"positions": name}, **stored).forks
        for name in ("last", "option_first", "all")
    }
    assert 0 < by["last"] < by["option_first"] < by["all"]


def test_a_screen_is_priced_as_its_passes_and_the_patches_that_are_left():
    places = {"sites": ["residual", "attention", "mlp"], "layers": "all", "heads": ["options"]}
    whole = work("patch_pairs", patching=places)
    few, more = (work("patch_pairs", patching=places | {"screen": n}) for n in (10, 1000))
    copies = [one.forks + one.growing for one in (few, more, whole)]
    assert 0 < copies[0] < copies[1] < copies[2]
    groups = len(study().config["patching"]["groups"])
    patches = groups * (3 * BIG.layers + 1) + BIG.heads * BIG.layers
    assert copies[0] == pytest.approx(copies[2] * (10 + OTHERS + groups) / patches)
    # Forward and backward of one prompt, and forward of the other: each token four times.
    assert few.rows == more.rows
    assert few.rows - whole.rows == pytest.approx(4 * BIG.layers * whole.tokens, rel=0.05)
    assert few.prompts == whole.prompts
    # A screen that leaves nothing out costs more than none.
    every = work("patch_pairs", patching=places | {"screen": 10_000})
    assert every.forks + every.growing == copies[2]
    assert every.rows > whole.rows


def test_paths_are_priced_as_the_passes_that_each_takes():
    above, below = f"1.mlp/{BIG.layers}.mlp/decision", "1.mlp/2.attention/decision"
    without = work("patch_pairs")
    one, other, both = (
        work("patch_pairs", patching={"paths": paths})
        for paths in ([above], [below], [above, below])
    )
    assert one.forks == without.forks
    assert without.rows < one.rows < other.rows < both.rows
    # Two prompts are run once for all paths; a path of the last token runs some blocks of it.
    assert other.rows - one.rows == pytest.approx((BIG.layers - 2) * without.prompts, rel=1e-9)

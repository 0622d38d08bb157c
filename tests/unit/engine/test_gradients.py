"""Attribution patching against finite differences, and its ranking against exact patching."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from nashlens.engine.core import Engine
from nashlens.engine.gradients import attribution_patching
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.engine.recording import record, site_outputs
from nashlens.errors import DataError
from tests.tiny_models import tiny

from .test_patching import SITES, examples
from .test_tensor import pair

STEP = 2e-3


def leads(scores):
    """By how much label 1 leads."""
    return scores[..., 1] - scores[..., 0]


@pytest.mark.parametrize("label_tokens", [1, 3])
def test_estimates_are_finite_differences(loaded, rng, label_tokens):
    prompts, sources, _ = examples(rng, label_tokens)
    prompt, source, token = prompts[1], sources[1], 7
    engine, where = Engine(loaded), [{"one": [token]}]
    changes = [Change((site,), "one") for site in SITES]
    ours = attribution_patching(engine, [prompt], changes, groups=where, sources=[source])[0]
    own, theirs = (site_outputs(engine, [ids], SITES, [[token]]) for ids in (prompt.ids, source))
    by_mean = [Change((site,), "one", "mean") for site in SITES]
    ends = []
    for step in (STEP, -STEP):
        means = {site: own[site][0] + step * (theirs[site][0] - own[site][0]) for site in SITES}
        ends.append(leads(patch_scores(engine, [prompt], by_mean, groups=where, means=means))[0])
    slopes = (ends[0] - ends[1]) / (2 * STEP)
    # The last residual of a token before the decision decides nothing.
    assert np.abs(slopes).max() > 0.01
    assert np.abs(ours - slopes).max() < 0.02 * np.abs(slopes).max()


def test_the_estimates_of_several_tokens_and_sites_add_up(rng):
    prompts, sources, groups = examples(rng, 2)
    engine = Engine(tiny("LlamaForCausalLM"))
    first, second = Site("mlp", 2), Site("head", 3, 1)
    groups = [g | {"a": [1], "b": [3]} for g in groups]
    changes = [
        Change((first, second), "middle"),
        *(Change((s,), g) for s in (first, second) for g in "ab"),
    ]
    ours = attribution_patching(engine, prompts, changes, groups=groups, sources=sources)
    assert np.allclose(ours[:, 0], ours[:, 1:].sum(axis=1), atol=1e-6)
    zero = attribution_patching(
        engine, prompts, [Change((first,), "none", "zero")], groups=groups, sources=sources
    )
    assert (zero == 0).all()


def test_given_values_are_as_those_of_a_source(rng):
    prompts, sources, groups = examples(rng, 3)
    engine = Engine(tiny("LlamaForCausalLM"))
    sites = [Site("head", 2, 1), Site("head", 2, 3), Site("mlp", 3)]
    changes = [Change((site,), "middle") for site in sites]
    theirs = attribution_patching(engine, prompts, changes, groups=groups, sources=sources)
    every = [range(len(ids)) for ids in sources]
    given = record(engine, sources, every, {("head", 2), ("mlp", 3)})
    ours = attribution_patching(engine, prompts, changes, groups=groups, given=given)
    assert np.abs(theirs).max() > 1e-3
    assert np.allclose(ours, theirs, atol=1e-6)


def test_the_ranking_agrees_with_exact_patching(rng):
    loaded = tiny("LlamaForCausalLM")
    engine = Engine(loaded)
    ids = rng.integers(3, 40, 12).tolist()
    prompts, sources = [LabelledPrompt(ids, ([5], [6]))], [[*ids[:8], 33, *ids[9:]]]
    groups = [{"changed": [8], "after": [9, 10], "decision": [11]}]
    changes = [Change((site,), group) for site in SITES for group in groups[0]]
    screened = attribution_patching(engine, prompts, changes, groups=groups, sources=sources)[0]
    scores = patch_scores(
        engine, prompts, [Change((), ""), *changes], groups=groups, sources=sources
    )
    exact = leads(scores)[0, 1:] - leads(scores)[0, 0]
    assert spearmanr(np.abs(screened), np.abs(exact)).statistic > 0.8


def test_devices_that_share_the_heads_are_refused(rng):
    prompts, sources, groups = examples(rng, 1)
    _, sharded = pair("LlamaForCausalLM", 2)
    with pytest.raises(DataError, match="parallel"):
        attribution_patching(Engine(sharded), prompts, [], groups=groups, sources=sources)

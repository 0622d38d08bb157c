"""Attribution patching against plain autograd, and its ranking against exact patching."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from nashlens.chunks import keeping
from nashlens.engine import gradients, paths
from nashlens.engine.core import Engine
from nashlens.engine.gradients import attribution_patching
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.engine.recording import record, site_outputs
from nashlens.errors import DataError
from tests.tiny_models import FAMILIES, tiny

from .test_patching import SITES, TOLERANCE, examples, hooked
from .test_tensor import pair

STEP = 2e-3


def leads(scores):
    """By how much label 1 leads."""
    return scores[..., 1] - scores[..., 0]


def values_of(loaded, ids, tail):
    """Run the model itself; return its log probabilities, and the values at all sites."""
    found = {}
    with ExitStack() as stack:
        for site in SITES:

            def keep(x, site=site):
                # The graph begins at the embedding, and goes through what is kept.
                x = x.detach().requires_grad_() if site == Site("residual", 0) else x
                found[site] = x
                return x

            hooked(loaded, site, keep, stack)
        logits = loaded.model(torch.tensor([[*ids, *tail]]), use_cache=False).logits[0]
    return torch.log_softmax(logits.float(), dim=-1), found


def by_autograd(loaded, prompt, source, groups, changes):
    """Estimate patches by gradients of each label's log P, one run a label."""
    size, total = Engine(loaded).head_dim, np.zeros(len(changes))
    for label, sign in zip(prompt.labels, (-1.0, 1.0), strict=True):
        logprobs, own = values_of(loaded, prompt.ids, label[:-1])
        _, theirs = values_of(loaded, source, label[:-1])
        at = len(prompt.ids) - 1 + np.arange(len(label))
        slopes = torch.autograd.grad(logprobs[at, list(label)].sum(), list(own.values()))
        moves = {
            site: (slope * (theirs[site] - own[site])).detach().double()
            for site, slope in zip(own, slopes, strict=True)
        }
        for k, change in enumerate(changes):
            (site,) = change.sites
            head = slice(site.head * size, (site.head + 1) * size)
            part = head if site.kind == "head" else slice(None)
            total[k] += sign * float(moves[site][list(groups[change.group]), part].sum())
    return total


@pytest.mark.parametrize("label_tokens", [1, 3])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_estimates_equal_plain_autograd(rng, family, label_tokens):
    """In float32 gradients of such models round by up to 2e-4: no more than autograd's own do."""
    single, double = tiny(family), tiny(family, dtype=torch.float64)
    prompts, sources, groups = examples(rng, label_tokens)
    changes = [Change((site,), g) for site in SITES for g in ("middle", "decision", "all", "none")]
    ours = attribution_patching(Engine(single), prompts, changes, groups=groups, sources=sources)
    plain, theirs = (
        np.array(
            [
                by_autograd(loaded, *one, changes)
                for one in zip(prompts, sources, groups, strict=True)
            ]
        )
        for loaded in (single, double)
    )
    size = np.abs(theirs).max()
    assert size > 0.1
    rounding = np.abs(plain - theirs).max()
    assert rounding < 2e-4 * size
    assert np.abs(ours - theirs).max() < TOLERANCE * size + 2 * rounding


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


@pytest.mark.parametrize("study", ["gradients", "paths"])
def test_a_job_that_was_stopped_goes_on_from_its_finished_runs(rng, tmp_path, monkeypatch, study):
    prompts, sources, groups = examples(rng, 3)
    engine, done = Engine(tiny("LlamaForCausalLM")), []
    module = {"gradients": gradients, "paths": paths}[study]

    def asked():
        given = {"groups": groups, "sources": sources}
        if study == "gradients":
            changes = [Change((Site("mlp", 2),), "middle")]
            return attribution_patching(engine, prompts, changes, **given)
        path = paths.Path(Site("mlp", 1), Site("mlp", 3), "middle")
        return paths.path_scores(engine, prompts, [path], **given)

    theirs, plain = asked(), module.run_plain
    most = 3

    def counted(*args, **kwargs):
        done.append(None)
        if len(done) > most:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(module, "run_plain", counted)
    with pytest.raises(KeyboardInterrupt), keeping(tmp_path / "job", "f"):
        asked()
    # Two runs of each prompt and label; one label of the first prompt was finished.
    done.clear()
    most = 100
    with keeping(tmp_path / "job", "f"):
        ours = asked()
    assert len(done) == 2 * (4 - 1)
    assert (ours == theirs).all()

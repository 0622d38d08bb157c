"""Patched runs against plain hooks, in every architecture, in float32."""

from contextlib import ExitStack
from operator import attrgetter

import numpy as np
import pytest
import torch

from nashlens.engine import copies, core, flex, segments
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.engine.recording import Recorded, site_outputs
from nashlens.errors import DataError
from tests.tiny_models import tiny

from .test_tensor import pair

TOLERANCE = 1e-5
EVERY_SITE = [
    *(Site("residual", layer) for layer in range(5)),
    *(Site(kind, layer) for kind in ("attention", "mlp") for layer in range(1, 5)),
    *(Site("head", layer, head) for layer in range(1, 5) for head in range(4)),
]
SITES = [
    *(Site("residual", layer) for layer in range(5)),
    *(Site(kind, layer) for kind in ("attention", "mlp") for layer in (1, 3, 4)),
    *(Site("head", layer, head) for layer in (1, 4) for head in (0, 3)),
]
GROUPS = ("middle", "decision", "all", "none")
TOGETHER = [
    Change((Site("attention", 2), Site("mlp", 2), Site("residual", 3)), "middle"),
    Change((Site("head", 2, 1), Site("head", 2, 2)), "all", "zero"),
    Change((Site("mlp", 4),), "decision", "mean"),
]
CHANGES = [
    Change((), "middle"),
    *(Change((site,), group) for site in SITES for group in GROUPS),
    *TOGETHER,
]
EVERY_CHANGE = [
    Change((), "middle"),
    *(Change((site,), group) for site in EVERY_SITE for group in GROUPS),
    *TOGETHER,
]


def assert_equal(ours, theirs):
    """Each log P by itself: to 1e-5, of numbers beyond 1 to 1e-5 of themselves."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) <= TOLERANCE * np.maximum(1.0, np.abs(theirs))).all()


def module(loaded, site):
    """Return the module, and whether its input or its output is the site's value."""
    names, model = loaded.architecture, loaded.model
    if site.kind == "residual" and site.layer == 0:
        return attrgetter(names.embedded or names.embed)(model), "output"
    layer = attrgetter(names.layers)(model)[site.layer - 1]
    if site.kind == "residual":
        return layer, "output"
    if site.kind == "head":
        return attrgetter(names.o)(layer), "input"
    paths = {
        "attention": names.attention_out_norm or names.o,
        "mlp": names.mlp_out_norm or names.mlp,
    }
    return attrgetter(paths[site.kind])(layer), "output"


def hooked(loaded, site, work, stack):
    """Run `work` on a site's values, `(n, width)`; what it returns replaces them, if anything."""
    found, side = module(loaded, site)
    if side == "input":

        def before(_module, args):
            changed = work(args[0][0])
            return None if changed is None else (changed[None], *args[1:])

        stack.callback(found.register_forward_pre_hook(before).remove)
        return

    def after(_module, _args, out):
        changed = work((out[0] if isinstance(out, tuple) else out)[0])
        if changed is None:
            return None
        return (changed[None], *out[1:]) if isinstance(out, tuple) else changed[None]

    stack.callback(found.register_forward_hook(after).remove)


def values_at(loaded, ids, sites):
    """Return the values at sites in one run of a sequence."""
    values = {}
    with ExitStack() as stack:
        for site in sites:

            def kept(x, site=site):
                values[site] = x.clone()

            hooked(loaded, site, kept, stack)
        loaded.model(torch.tensor([ids]), use_cache=False)
    return values


@torch.inference_mode()
def expected(loaded, prompt, source, change, where, means, seen=None):
    """Return log P of both labels, each by a run of its own.

    `seen` keeps the values of each source at every site.
    """
    head_dim = Engine(loaded).head_dim
    scores = []
    for label in prompt.labels:
        tail = list(label[:-1])
        ids = (*source, *tail)
        if seen is None:
            values = values_at(loaded, ids, change.sites)
        else:
            if ids not in seen:
                seen[ids] = values_at(loaded, ids, EVERY_SITE)
            values = seen[ids]
        with ExitStack() as stack:
            for site in change.sites:

                def replaced(x, site=site, values=values):
                    x = x.clone()
                    part = slice(None)
                    if site.kind == "head":
                        part = slice(site.head * head_dim, (site.head + 1) * head_dim)
                    for k in where:
                        if change.replacement == "source":
                            x[k, part] = values[site][k, part]
                        elif change.replacement == "mean":
                            x[k, part] = torch.from_numpy(means[site])
                        else:
                            x[k, part] = 0.0
                    return x

                hooked(loaded, site, replaced, stack)
            out = loaded.model(torch.tensor([[*prompt.ids, *tail]]), use_cache=False)
        logprobs = torch.log_softmax(out.logits[0].float(), dim=-1)
        at = len(prompt.ids) - 1 + np.arange(len(label))
        scores.append(float(logprobs[at, list(label)].double().sum()))
    return scores


def examples(rng, label_tokens):
    prompts, sources, groups = [], [], []
    for length in (5, 12):
        ids = rng.integers(3, 40, length).tolist()
        labels = tuple(rng.integers(3, 40, label_tokens).tolist() for _ in range(2))
        prompts.append(LabelledPrompt(ids, labels))
        sources.append([ids[0], *rng.integers(3, 40, length - 1).tolist()])
        groups.append(
            {"middle": [1, 3], "decision": [length - 1], "all": list(range(length)), "none": []}
        )
    return prompts, sources, groups


@pytest.mark.parametrize("direction", ["destroy", "restore"])
@pytest.mark.parametrize("label_tokens", [1, 3])
def test_patches_equal_plain_hooks(loaded, rng, label_tokens, direction):
    """Every site and head of every layer, at every group, in every architecture, both ways."""
    prompts, sources, groups = examples(rng, label_tokens)
    if direction == "restore":
        ids = [prompt.ids for prompt in prompts]
        pairs = zip(sources, prompts, strict=True)
        prompts, sources = [LabelledPrompt(s, p.labels) for s, p in pairs], ids
    means = {Site("mlp", 4): rng.normal(size=loaded.width).astype(np.float32)}
    ours = patch_scores(
        Engine(loaded), prompts, EVERY_CHANGE, groups=groups, sources=sources, means=means
    )
    seen = {}
    theirs = np.array(
        [
            [expected(loaded, p, s, c, g[c.group], means, seen) for c in EVERY_CHANGE]
            for p, s, g in zip(prompts, sources, groups, strict=True)
        ]
    )
    assert_equal(ours, theirs)
    # A hook that changes nothing would agree with an engine that does not either.
    moved = np.abs(theirs - theirs[:, :1]).max(axis=(0, 2))
    assert all(moved[EVERY_CHANGE.index(Change((site,), "all"))] > 1e-3 for site in EVERY_SITE)
    # Patches of the whole embedding, and of the last layer's decision, give the source's answer.
    answers = Engine(loaded).label_logprobs(
        [LabelledPrompt(s, p.labels) for s, p in zip(sources, prompts, strict=True)]
    )
    whole = EVERY_CHANGE.index(Change((Site("residual", 0),), "all"))
    assert np.abs(ours[:, whole] - answers).max() < 1e-4
    if label_tokens == 1:
        last = EVERY_CHANGE.index(Change((Site("residual", 4),), "decision"))
        assert np.abs(ours[:, last] - answers).max() < 1e-4
    nothing = EVERY_CHANGE.index(Change((Site("residual", 2),), "none"))
    assert (ours[:, nothing] == ours[:, 0]).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (Change((Site("residual", 5),), "all"), "no such site in 4 layers"),
        (Change((Site("mlp", 0),), "all"), "no such site"),
        (Change((Site("head", 1, 4),), "all"), "heads 0 to 3"),
        (Change((Site("mlp", 1),), "all", "mean"), "no mean"),
    ],
)
def test_what_cannot_be_patched_is_refused(rng, change, match):
    prompts, sources, groups = examples(rng, 1)
    engine = Engine(tiny("LlamaForCausalLM"))
    with pytest.raises(DataError, match=match):
        patch_scores(engine, prompts, [change], groups=groups, sources=sources)


def test_sources_must_be_aligned_and_given(rng):
    prompts, sources, groups = examples(rng, 1)
    engine, changes = Engine(tiny("LlamaForCausalLM")), [Change((Site("mlp", 1),), "all")]
    with pytest.raises(DataError, match="aligned"):
        patch_scores(engine, prompts, changes, groups=groups, sources=[s[1:] for s in sources])
    with pytest.raises(DataError, match="no sources"):
        patch_scores(engine, prompts, changes, groups=groups)


def stems(rng):
    """Prompts that share tokens; some of them share groups or sources, too."""
    stem, other = rng.integers(3, 40, 9).tolist(), rng.integers(3, 40, 9).tolist()
    prompts = [LabelledPrompt([*stem, k], ([5, 6], [5, 7, 8])) for k in (1, 1, 1, 2)]
    sources = [[*other, 1], [*other[:8], 4, 1], [*other, 1], [*other, 2]]
    middle = [[2, 4], [2, 4], [2, 5], [2, 4]]
    groups = [{"middle": m, "decision": [9], "all": list(range(10)), "none": []} for m in middle]
    return prompts, sources, groups


@pytest.mark.parametrize("budget", [16, 60, 4096])
def test_prompts_that_share_tokens_get_their_own_sources(loaded, rng, budget):
    prompts, sources, groups = stems(rng)
    means = {(Site("mlp", 4), "decision"): rng.normal(size=loaded.width).astype(np.float32)}
    ours = patch_scores(
        Engine(loaded, budget), prompts, CHANGES, groups=groups, sources=sources, means=means
    )
    plain = {Site("mlp", 4): means[Site("mlp", 4), "decision"]}
    theirs = np.array(
        [
            [expected(loaded, p, s, c, g[c.group], plain) for c in CHANGES[::4]]
            for p, s, g in zip(prompts, sources, groups, strict=True)
        ]
    )
    assert_equal(ours[:, ::4], theirs)


def test_what_a_gpu_does_equals_what_a_cpu_does(loaded, rng, monkeypatch):
    """Rows and forks with a block-sparse mask, segments in batches; as written, not compiled."""
    prompts, sources, groups = stems(rng)
    engine = Engine(loaded, 400)
    changes = [c for c in CHANGES if c.replacement != "mean"]
    given = {"groups": groups, "sources": sources}
    theirs = patch_scores(engine, prompts, changes, **given)
    for module_ in (core, copies):
        monkeypatch.setattr(module_, "FLEX_TOKENS", 2)
        monkeypatch.setattr(module_, "FLEX_PAD", 16)
    monkeypatch.setattr(segments, "attends_in_batches", lambda _device: True)
    engine.blocks.pieces = flex.PIECES
    with torch.compiler.set_stance("force_eager"):
        ours = patch_scores(engine, prompts, changes, **given)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("parts", [2, 3])
def test_patches_on_several_devices_are_the_same(rng, parts):
    plain, sharded = (Engine(loaded, 64) for loaded in pair("LlamaForCausalLM", parts))
    prompts, sources, groups = stems(rng)
    sites = [Site(k, layer) for k in ("residual", "attention", "mlp") for layer in (1, 3)]
    sites += [Site("head", 2, head) for head in range(plain.n_heads)]
    changes = [Change((s,), g) for s in sites for g in ("middle", "decision")]
    ours, theirs = (
        patch_scores(engine, prompts, changes, groups=groups, sources=sources)
        for engine in (sharded, plain)
    )
    assert_equal(ours, theirs)


def test_only_what_can_change_is_computed(rng, monkeypatch):
    stem = rng.integers(3, 40, 20).tolist()
    prompts = [LabelledPrompt([*stem, k], ([1], [2])) for k in (3, 4)]
    engine, computed = Engine(tiny("LlamaForCausalLM")), []
    forward = type(engine.blocks).forward

    def counted(self, index, given):
        computed.append(len(given.h))
        return forward(self, index, given)

    monkeypatch.setattr(type(engine.blocks), "forward", counted)
    changes = [Change((Site("head", layer, 0),), "last") for layer in (3, 4)]
    sources = [[*stem[:-1], 7, k] for k in (3, 4)]
    groups = [{"last": [20]}] * 2
    patch_scores(engine, prompts, changes, groups=groups, sources=sources)
    # The sources up to the highest patched block, the prompts, and forks of the decision token.
    assert computed == [22] * 4 + [22] * 4 + [2, 4]
    # Before the first token in which prompt and source differ, their values are the same.
    computed.clear()
    early = [{"last": [2, 19]}] * 2
    patch_scores(engine, prompts, changes[:1], groups=early, sources=sources)
    assert computed == [22] * 3 + [22] * 4 + [3] * 2


def test_site_outputs_are_what_hooks_see(loaded, rng):
    sequences = [rng.integers(3, 40, n).tolist() for n in (5, 12)]
    tokens = [[1, 4], [0, 11]]
    ours = site_outputs(Engine(loaded, 16), sequences, SITES, tokens)
    head_dim = Engine(loaded).head_dim
    for site in SITES:
        seen = []
        with ExitStack() as stack, torch.inference_mode():
            hooked(loaded, site, lambda x, seen=seen: seen.append(x.clone()), stack)
            for ids in sequences:
                loaded.model(torch.tensor([ids]), use_cache=False)
        theirs = torch.cat([x[at] for x, at in zip(seen, tokens, strict=True)]).numpy()
        if site.kind == "head":
            theirs = theirs[:, site.head * head_dim : (site.head + 1) * head_dim]
        assert np.abs(ours[site] - theirs).max() < TOLERANCE * np.abs(theirs).max()


def test_means_at_all_positions_ablate_heads_and_mlps_together(loaded, rng):
    prompts, _, groups = stems(rng)
    sites = (Site("head", 2, 1), Site("mlp", 3))
    every = [range(len(prompt.ids)) for prompt in prompts]
    found = site_outputs(Engine(loaded), [p.ids for p in prompts], sites, every)
    means = {site: values.mean(axis=0) for site, values in found.items()}
    changes = [Change(sites, "all", "mean"), Change(sites, "all", "zero")]
    ours = patch_scores(Engine(loaded), prompts, changes, groups=groups, means=means)
    theirs = np.array(
        [
            [expected(loaded, p, p.ids, c, g["all"], means) for c in changes]
            for p, g in zip(prompts, groups, strict=True)
        ]
    )
    assert_equal(ours, theirs)


@pytest.mark.parametrize("label_tokens", [1, 3])
def test_given_values_are_each_tokens_own(loaded, rng, label_tokens):
    """One value for the decision, another for the tokens before it: as two changes of means."""
    prompts, _, _ = examples(rng, label_tokens)
    engine = Engine(loaded, 40)
    sites = (Site("head", 2, 1), Site("mlp", 3), Site("head", 2, 3))
    sizes = {"head": (engine.n_heads, 2, engine.head_dim), "mlp": (1, 2, engine.width)}
    values = {
        place: torch.from_numpy(rng.normal(size=sizes[place[0]]).astype(np.float32))
        for place in {(site.kind, site.layer) for site in sites}
    }
    rows = [np.array([-1, *[0] * (len(p.ids) - 2), 1]) for p in prompts]
    groups = [{"most": range(1, len(p.ids)), "before": range(1, len(p.ids) - 1)} for p in prompts]
    ours = patch_scores(
        engine,
        prompts,
        [Change(sites, "most"), Change(sites, "before"), Change((), "most")],
        groups=groups,
        given=Recorded(values, rows),
    )
    for k, prompt in enumerate(prompts):
        for j, tokens in enumerate(([*range(1, len(prompt.ids))], groups[k]["before"])):
            theirs = replaced_by(loaded, prompt, sites, values, rows[k], list(tokens))
            assert_equal(ours[k, j], theirs)
    assert_equal(ours[:, 2], engine.label_logprobs(prompts))
    with pytest.raises(DataError, match="no value was given"):
        patch_scores(
            engine,
            prompts,
            [Change((Site("mlp", 1),), "most")],
            groups=groups,
            given=Recorded(values, rows),
        )


@torch.inference_mode()
def replaced_by(loaded, prompt, sites, values, rows, tokens):
    """Return log P of both labels with hooks that put given values at some tokens."""
    scores, size = [], Engine(loaded).head_dim
    for label in prompt.labels:
        with ExitStack() as stack:
            for site in sites:

                def work(x, site=site):
                    x = x.clone()
                    new = values[site.kind, site.layer][max(site.head, 0)][rows[tokens]]
                    if site.kind == "head":
                        x[tokens, site.head * size : (site.head + 1) * size] = new
                    else:
                        x[tokens] = new
                    return x

                hooked(loaded, site, work, stack)
            ids = torch.tensor([[*prompt.ids, *label[:-1]]])
            logits = loaded.model(ids, use_cache=False).logits[0].double()
        at = logits[len(prompt.ids) - 1 :].log_softmax(-1)
        scores.append(float(sum(at[k, token] for k, token in enumerate(label))))
    return np.array(scores)

"""Patched runs against plain hooks, in every architecture, in float32."""

from contextlib import ExitStack
from operator import attrgetter

import numpy as np
import pytest
import torch

from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.errors import DataError
from tests.tiny_models import tiny

TOLERANCE = 1e-5
SITES = [
    *(Site("residual", layer) for layer in range(5)),
    *(Site(kind, layer) for kind in ("attention", "mlp") for layer in (1, 3, 4)),
    *(Site("head", layer, head) for layer in (1, 4) for head in (0, 3)),
]
CHANGES = [
    Change((), "middle"),
    *(Change((site,), group) for site in SITES for group in ("middle", "decision", "all", "none")),
    Change((Site("attention", 2), Site("mlp", 2), Site("residual", 3)), "middle"),
    Change((Site("head", 2, 1), Site("head", 2, 2)), "all", "zero"),
    Change((Site("mlp", 4),), "decision", "mean"),
]


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


@torch.inference_mode()
def expected(loaded, prompt, source, change, where, means):
    """Return log P of both labels, each by a run of its own."""
    head_dim = Engine(loaded).head_dim
    scores = []
    for label in prompt.labels:
        tail = list(label[:-1])
        values = {}
        with ExitStack() as stack:
            for site in change.sites:

                def kept(x, site=site, values=values):
                    values[site] = x.clone()

                hooked(loaded, site, kept, stack)
            loaded.model(torch.tensor([[*source, *tail]]), use_cache=False)
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


@pytest.mark.parametrize("label_tokens", [1, 3])
def test_patches_equal_plain_hooks(loaded, rng, label_tokens):
    prompts, sources, groups = examples(rng, label_tokens)
    means = {Site("mlp", 4): rng.normal(size=loaded.width).astype(np.float32)}
    ours = patch_scores(
        Engine(loaded), prompts, CHANGES, groups=groups, sources=sources, means=means
    )
    theirs = np.array(
        [
            [expected(loaded, p, s, c, g[c.group], means) for c in CHANGES]
            for p, s, g in zip(prompts, sources, groups, strict=True)
        ]
    )
    assert np.abs(ours - theirs).max() < TOLERANCE * np.abs(theirs).max()
    # Patches of the whole embedding, and of the last layer's decision, give the source's answer.
    answers = Engine(loaded).label_logprobs(
        [LabelledPrompt(s, p.labels) for s, p in zip(sources, prompts, strict=True)]
    )
    whole = CHANGES.index(Change((Site("residual", 0),), "all"))
    assert np.abs(ours[:, whole] - answers).max() < 1e-4
    if label_tokens == 1:
        last = CHANGES.index(Change((Site("residual", 4),), "decision"))
        assert np.abs(ours[:, last] - answers).max() < 1e-4
    nothing = CHANGES.index(Change((Site("residual", 2),), "none"))
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

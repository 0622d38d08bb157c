"""Path patching against three hooked runs: the two prompts, the receiver, and what follows."""

from contextlib import ExitStack
from operator import attrgetter

import numpy as np
import pytest
import torch

from nashlens.engine.core import Engine
from nashlens.engine.patching import Site
from nashlens.engine.paths import Path, path_scores
from nashlens.errors import DataError
from tests.tiny_models import tiny

from .test_patching import assert_equal, examples, hooked

SENDERS = [Site("residual", 0), Site("attention", 1), Site("mlp", 1), Site("head", 1, 2)]
RECEIVERS = [Site("attention", 3), Site("mlp", 3), Site("head", 3, 1), Site("mlp", 4)]


def seen(loaded, ids, sites):
    """Return the values at sites in one run."""
    found = {}
    with ExitStack() as stack:
        for site in sites:
            hooked(loaded, site, lambda x, site=site: found.__setitem__(site, x.clone()), stack)
        loaded.model(torch.tensor([ids]), use_cache=False)
    return found


def part_of(loaded, site):
    size = Engine(loaded).head_dim
    return slice(site.head * size, (site.head + 1) * size) if site.kind == "head" else slice(None)


def replaced(loaded, ids, site, values, result):
    """Run with a site's values replaced; return what `result` site then holds, and the logits."""
    found = {}
    with ExitStack() as stack:

        def put(x):
            x = x.clone()
            x[:, part_of(loaded, site)] = values[:, part_of(loaded, site)]
            return x

        hooked(loaded, site, put, stack)
        hooked(loaded, result, lambda x: found.__setitem__("value", x.clone()), stack)
        out = loaded.model(torch.tensor([ids]), use_cache=False)
    return found["value"], out.logits[0]


@torch.inference_mode()
def expected(loaded, ids, source, path, where):
    names, sender, receiver = loaded.architecture, path.sender, path.receiver
    added = sender if sender.kind != "head" else Site("attention", sender.layer)
    own, theirs = seen(loaded, ids, [sender, added]), seen(loaded, source, [sender])
    after = theirs[sender]
    if sender.kind == "head":
        after, _ = replaced(loaded, ids, sender, theirs[sender], added)
    more = torch.zeros_like(own[added])
    more[where] = (after - own[added])[where]
    # The receiver reads the change before its norm, and nothing else does.
    layer = attrgetter(names.layers)(loaded.model)[receiver.layer - 1]
    norm = names.mlp_norm if receiver.kind == "mlp" else names.input_norm
    found = {}
    with ExitStack() as stack:
        reader = attrgetter(norm)(layer)
        stack.callback(reader.register_forward_pre_hook(lambda _m, args: (args[0] + more,)).remove)
        hooked(loaded, receiver, lambda x: found.__setitem__("value", x.clone()), stack)
        loaded.model(torch.tensor([ids]), use_cache=False)
    _, logits = replaced(loaded, ids, receiver, found["value"], receiver)
    return torch.log_softmax(logits[-1].float(), dim=-1)


def test_paths_equal_hooked_runs(loaded, rng):
    prompts, sources, groups = examples(rng, 1)
    paths = [
        Path(sender, receiver, group)
        for sender in SENDERS
        for receiver in RECEIVERS
        for group in ("middle", "decision", "none")
    ]
    parallel = Engine(loaded).blocks.blocks[0].parallel
    if not parallel:
        paths += [
            Path(s, Site("mlp", 1), "middle") for s in SENDERS if s.kind in ("attention", "head")
        ]
    ours = path_scores(Engine(loaded), prompts, paths, groups=groups, sources=sources)
    theirs = np.empty_like(ours)
    for i, (prompt, source, of_prompt) in enumerate(zip(prompts, sources, groups, strict=True)):
        for k, path in enumerate(paths):
            logprobs = expected(loaded, prompt.ids, source, path, of_prompt[path.group])
            theirs[i, k] = [float(logprobs[label[0]]) for label in prompt.labels]
    assert_equal(ours, theirs)
    # A path changes something, and its receiver is what changes it.
    assert np.abs(theirs - theirs[:, 2:3]).max() > 1e-3


@pytest.mark.parametrize(
    "path",
    [
        Path(Site("mlp", 3), Site("mlp", 3), "middle"),
        Path(Site("mlp", 3), Site("attention", 2), "middle"),
        Path(Site("attention", 3), Site("head", 3, 0), "middle"),
        Path(Site("residual", 1), Site("mlp", 3), "middle"),
        Path(Site("mlp", 1), Site("residual", 3), "middle"),
    ],
)
def test_a_receiver_that_cannot_read_the_sender_is_refused(rng, path):
    prompts, sources, groups = examples(rng, 1)
    with pytest.raises(DataError, match=r"receiver does not read|a path goes from"):
        path_scores(
            Engine(tiny("LlamaForCausalLM")), prompts, [path], groups=groups, sources=sources
        )

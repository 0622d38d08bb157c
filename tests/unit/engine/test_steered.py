"""A steered engine scores and writes as the model's own forward does under plain hooks."""

from operator import attrgetter

import numpy as np
import pytest
import torch

from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.generation import Request, Tuning, generate
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session
from nashlens.engine.steered import steered
from nashlens.errors import DataError
from nashlens.vocabulary.edits import STEERED_TOKENS
from tests import reference
from tests.tiny_models import tiny


def edits_for(engine, rng):
    """Edits of every kind, jointly at two layers, and strong."""
    u, v, w = rng.normal(size=(3, engine.width))
    last = engine.n_layers
    return (Edit(1, "add", u, 3.0), Edit(1, "ablate", v), Edit(last, "clamp", w, -2.0))


@torch.inference_mode()
def forward(loaded, ids, edits, places):
    """Return log-probabilities `(t, vocabulary)` with the residual edited at some tokens."""
    names = loaded.architecture
    modules = [None, *attrgetter(names.layers)(loaded.model)]

    def hook_of(edit):
        def hook(_module, _inputs, out):
            changed, units = out.clone(), torch.from_numpy(edit.units())
            h = reference.EDITS[edit.kind](out[0, places].float(), *units, edit.value)
            changed[0, places] = h.to(out.dtype)
            return changed

        return hook

    hooks = [modules[edit.layer].register_forward_hook(hook_of(edit)) for edit in edits]
    try:
        logits = loaded.model(torch.tensor([list(ids)]), use_cache=False).logits[0].float()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.log_softmax(logits, dim=-1).numpy()


def places_of(positions, prompt, decision, length):
    return {
        "last": sorted({prompt - 1, decision - 1}),
        "prompt": list(range(prompt)),
        "generated": list(range(prompt, length)),
        "all": list(range(length)),
    }[positions]


def hooked_scores(loaded, prompts, edits, positions):
    result = np.zeros((len(prompts), 2))
    for i, (ids, labels, written) in enumerate(prompts):
        for action, label in enumerate(labels):
            sequence = [*ids, *label[:-1]]
            places = places_of(positions, len(ids) - written, len(ids), len(sequence))
            logprobs = forward(loaded, sequence, edits, places)
            for k, token in enumerate(label):
                result[i, action] += logprobs[len(ids) - 1 + k, token]
    return result


def hooked_text(loaded, request, edits, positions):
    ids = list(request.ids)
    for _ in range(request.max_new_tokens):
        places = places_of(positions, len(request.ids), len(request.ids), len(ids))
        ids.append(int(forward(loaded, ids, edits, places)[-1].argmax()))
    return ids[len(request.ids) :]


def assert_equal_scores(ours, theirs):
    # Relative: scores reach -10, where unsteered ones too differ by 8e-6 in Gemma and Phi.
    assert (np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))).max() < 1e-5


@pytest.mark.parametrize("positions", STEERED_TOKENS)
def test_scores_of_growing_matches_equal_plain_hooks(loaded, rng, positions):
    engine = Engine(loaded, 64)
    edits = edits_for(engine, rng)
    session = Session(steered(engine, edits, positions))
    stem = rng.integers(0, 30, 9).tolist()
    for _ in range(3):
        thought = rng.integers(30, 61, 3).tolist()
        prompts = [
            LabelledPrompt([*stem, 5], ((7, 8), (9, 8))),
            LabelledPrompt([*stem, 5, *thought], ((7,), (9, 8)), written=3),
            # What was the last token of one prompt is within another.
            LabelledPrompt([*stem, 5, *thought, 2], ((7,), (9,))),
        ]
        theirs = hooked_scores(loaded, prompts, edits, positions)
        kept = [len(stem)] * 3
        for ours in (
            session.label_logprobs(prompts, kept),
            session.engine.label_logprobs(prompts),
        ):
            assert_equal_scores(ours, theirs)
        stem += rng.integers(0, 30, 2).tolist()
    plain = reference.label_logprobs(loaded, prompts)
    # The steered engine shares the model, and leaves it as it was.
    assert_equal_scores(engine.label_logprobs(prompts), plain)
    if positions != "generated":
        assert np.abs(theirs - plain).max() > 1e-2


@pytest.mark.parametrize("positions", STEERED_TOKENS)
def test_text_equals_plain_hooks(loaded, rng, positions):
    engine = Engine(loaded)
    edits = edits_for(engine, rng)
    edited = steered(engine, edits, positions)
    stem = rng.integers(0, 61, 20).tolist()
    requests = [Request([*stem[: 17 + i % 3], i], 0, 5, kept=17) for i in range(5)]
    theirs = [hooked_text(loaded, request, edits, positions) for request in requests]
    for session in (None, Session(edited)):
        for attention in ("slot", "mask"):
            made = generate(
                edited,
                requests,
                temperature=0.0,
                stop=(),
                slots=2,
                tuning=Tuning(attention=attention),
                session=session,
            )
            assert [text.ids for text in made] == theirs


def test_a_dose_of_zero_changes_no_bit(rng):
    engine = Engine(tiny("LlamaForCausalLM"))
    nothing = Edit(2, "add", rng.normal(size=engine.width), 0.0)
    prompts = [LabelledPrompt([1, 2, 3], ((4,), (5, 6)))]
    ours = steered(engine, nothing, "all").label_logprobs(prompts)
    assert (ours == engine.label_logprobs(prompts)).all()


def test_positions_and_layers_are_named_where_they_are_wrong(rng):
    engine = Engine(tiny("LlamaForCausalLM"))
    vector = rng.normal(size=engine.width)
    with pytest.raises(DataError, match="positions are 'first'; allowed: last, prompt"):
        steered(engine, Edit(1, "add", vector, 1.0), "first")
    with pytest.raises(DataError, match="an edit is at layer 9"):
        steered(engine, Edit(9, "add", vector, 1.0), "all")

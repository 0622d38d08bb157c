"""What a GPU alone can show: compiled block-sparse rows and batched segments equal the CPU's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nashlens.engine.core import FLEX_TOKENS, Engine
from nashlens.engine.edits import Edit
from nashlens.engine.generation import Request, Tuning, generate
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.patching import Change, Site, patch_scores
from nashlens.engine.session import Session
from nashlens.engine.steered import steered
from nashlens.engine.sweeps import sweep
from nashlens.vocabulary.edits import STEERED_TOKENS
from tests.tiny_models import FAMILIES, LONGROPE, tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU")


def prompts(rng, lengths, shared):
    """Random token sequences, the second half beginning as the first sequence does."""
    found = [rng.integers(3, 60, n).tolist() for n in lengths]
    return found + [found[0][:shared] + prompt for prompt in found]


def both(family, compiled=True):
    """The same tiny model on the CPU and on the GPU; heads are wide enough for flex attention."""
    changes = {} if family.startswith(("Gemma", "Qwen3")) else {"hidden_size": 64}
    if family.startswith("Phi3"):
        factors = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}
        changes["rope_parameters"] = LONGROPE | factors
    loaded = [tiny(family, **changes) for _ in range(2)]
    loaded[1] = replace(loaded[1], model=loaded[1].model.to("cuda"), device=torch.device("cuda"))
    return [Engine(loaded[0]), Engine(loaded[1], compiled=compiled)]


def stacked(engine, sequences):
    result = np.empty((len(sequences), engine.n_layers + 1, engine.width), np.float32)
    for indices, values in engine.residuals(sequences):
        result[indices] = values
    return result


def stacked_at(engine, sequences, places):
    size = (*places.shape, engine.n_layers + 1, engine.width)
    result = np.empty(size, np.float32)
    for indices, values in engine.residuals_at(sequences, places):
        result[indices] = values
    return result


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("many", [False, True], ids=["segments", "flex"])
@pytest.mark.parametrize("compiled", [False, True], ids=["written", "compiled"])
def test_residuals_and_labels(rng, family, many, compiled):
    asked = prompts(rng, rng.integers(40, 120, 20 if many else 3), shared=25)
    assert (sum(map(len, asked)) > 2 * FLEX_TOKENS) == many
    cpu, gpu = both(family)
    expected, found = stacked(cpu, asked), stacked(gpu, asked)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    # A few tokens of each, in the shared part too; where there is none, both say NaN.
    places = np.array([[len(prompt) - 1, 3, 24, -1] for prompt in asked])
    expected, found = (stacked_at(engine, asked, places) for engine in (cpu, gpu))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.nanmax(np.abs(expected)), rtol=0)
    labelled = [LabelledPrompt(prompt, ([5], [6, 7])) for prompt in asked]
    np.testing.assert_allclose(
        gpu.label_logprobs(labelled), cpu.label_logprobs(labelled), atol=1e-4
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", ["last", "all"])
def test_sweeps(rng, family, positions):
    asked = prompts(rng, rng.integers(40, 120, 8), shared=25)
    labelled = [LabelledPrompt(prompt, ([5], [6, 7])) for prompt in asked]
    cpu, gpu = both(family)
    edits = [
        Edit(layer, kind, rng.normal(size=cpu.width), 1.5)
        for layer in (1, 3)
        for kind in ("none", "add", "clamp", "ablate")
    ]
    found, expected = (sweep(engine, labelled, edits, positions) for engine in (gpu, cpu))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_patches(rng, family):
    asked = prompts(rng, rng.integers(40, 120, 8), shared=25)
    labelled = [LabelledPrompt(prompt, ([5], [6, 7])) for prompt in asked]
    sources = [[*prompt[:30], 3, 4, *prompt[32:]] for prompt in asked]
    groups = [{"some": [30, 33], "decision": [len(prompt) - 1]} for prompt in asked]
    cpu, gpu = both(family)
    sites = [Site(kind, layer) for kind in ("residual", "attention", "mlp") for layer in (1, 3)]
    changes = [
        Change((site,), group, replacement)
        for site in (*sites, Site("head", 2, 1))
        for group in groups[0]
        for replacement in ("source", "zero")
    ]
    found, expected = (
        patch_scores(engine, labelled, changes, groups=groups, sources=sources)
        for engine in (gpu, cpu)
    )
    # Zeros at the decision leave a small residual, whose norm makes rounding larger.
    np.testing.assert_allclose(found, expected, atol=5e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_sessions(rng, family):
    stems = prompts(rng, rng.integers(40, 60, 4), shared=25)
    cpu, gpu = (Session(engine) for engine in both(family))
    for _ in range(4):
        labelled = [LabelledPrompt([*stem, 9, 4], ([5], [6, 7])) for stem in stems]
        np.testing.assert_allclose(
            gpu.label_logprobs(labelled), cpu.label_logprobs(labelled), atol=1e-4
        )
        stems = [[*stem, *rng.integers(3, 60, 11).tolist()] for stem in stems]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sessions_questions_and_answers(rng, family):
    """Stems stay, questions stay until they are answered, and the other seat asks in between."""
    stems = prompts(rng, rng.integers(40, 60, 4), shared=25)
    cpu, gpu = (Session(engine) for engine in both(family))
    for _ in range(3):
        kept = [len(stem) for stem in stems]
        asked = [[*stem, *rng.integers(3, 60, 9).tolist()] for stem in stems]
        answers = [[*ids, *rng.integers(3, 60, 5).tolist()] for ids in asked]
        others = [[*stem[:20], *rng.integers(3, 60, 7).tolist()] for stem in stems]
        labelled = [LabelledPrompt(ids, ([5], [6, 7])) for ids in [*answers, *others]]
        found = []
        for session in (gpu, cpu):
            for _ in session.prefilled(asked, kept):
                pass
            found.append(session.label_logprobs(labelled, [*kept, *map(len, others)]))
        # Float32 rounds a log-probability of -15 by more than one of -1.
        np.testing.assert_allclose(*found, atol=1e-5 * np.abs(found[1]).max())
        stems = [[*stem, *rng.integers(3, 60, 11).tolist()] for stem in stems]


@pytest.mark.parametrize("positions", STEERED_TOKENS)
@pytest.mark.parametrize("many", [False, True], ids=["segments", "flex"])
def test_steered_scores_and_text(rng, positions, many):
    """Also within a decode step's CUDA graph, whose edits are copied to the device once."""
    engines = both("LlamaForCausalLM")
    u, v = rng.normal(size=(2, engines[0].width))
    edits = (Edit(1, "add", u, 3.0), Edit(2, "clamp", v, -2.0))
    cpu, gpu = (steered(engine, edits, positions) for engine in engines)
    asked = prompts(rng, rng.integers(40, 120, 20 if many else 3), shared=25)
    labelled = [LabelledPrompt(ids, ((1,), (2, 1))) for ids in asked]
    expected = cpu.label_logprobs(labelled)
    np.testing.assert_allclose(gpu.label_logprobs(labelled), expected, atol=1e-4, rtol=0)
    found = Session(gpu).label_logprobs(labelled)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    requests = [Request(ids, seed, 9, kept=20) for seed, ids in enumerate(asked[:6])]
    theirs = generate(cpu, requests, temperature=0.0, stop=())
    for tuning in (None, Tuning(attention="mask"), Tuning(compiled=False, graph=False)):
        ours = generate(gpu, requests, temperature=0.0, stop=(), tuning=tuning)
        assert [text.ids for text in ours] == [text.ids for text in theirs]

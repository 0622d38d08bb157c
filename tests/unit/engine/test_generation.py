"""Generation in slots gives, token by token, what one full forward a token gives."""

import logging

import numpy as np
import pytest
import torch

from nashlens.engine.core import Engine
from nashlens.engine.generation import (
    Decoder,
    Generated,
    Request,
    Tuning,
    generate,
    scheduler,
    slots,
)
from nashlens.engine.generation.decoder import uncapturable
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session
from nashlens.errors import DataError
from tests import reference
from tests.tiny_models import tiny
from tests.unit.engine.test_tensor import pair

LLAMA = "LlamaForCausalLM"


@pytest.fixture(scope="module")
def llama():
    return tiny(LLAMA)


def random_requests(rng, n, new=(1, 12)):
    """Prompts of different lengths, some equal, some sharing a long beginning."""
    stem = rng.integers(0, 61, 24).tolist()
    prompts = [
        [
            *(stem[: rng.integers(17, 25)] if i % 3 else []),
            *rng.integers(0, 61, rng.integers(1, 9)).tolist(),
        ]
        for i in range(n - 2)
    ]
    prompts += [prompts[1], prompts[1][:-1] or prompts[1]]
    return [Request(p, int(rng.integers(1 << 40)), int(rng.integers(*new))) for p in prompts]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_every_family_generates_as_its_own_forward(loaded, rng, temperature):
    requests = random_requests(rng, 9)
    engine = Engine(loaded)
    free = reference.generate(loaded, requests, temperature=temperature, stop=())
    stop = {free[4].ids[0]}
    theirs = reference.generate(loaded, requests, temperature=temperature, stop=stop)
    assert theirs[4] == Generated([], True)
    assert generate(engine, requests, temperature=temperature, stop=(), slots=4) == free
    ours = generate(engine, requests, temperature=temperature, stop=stop, slots=4)
    assert ours == theirs


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("attention", ["slot", "mask"])
def test_slots_order_and_mates_do_not_matter(llama, rng, temperature, attention):
    requests = random_requests(rng, 14, new=(1, 20))
    engine, tuning = Engine(llama), Tuning(attention=attention)

    def run(which, slots):
        chosen = [requests[i] for i in which]
        made = generate(
            engine, chosen, temperature=temperature, stop={3}, slots=slots, tuning=tuning
        )
        return dict(zip(which, made, strict=True))

    whole = run(list(range(14)), 128)
    assert list(whole.values()) == reference.generate(
        llama, requests, temperature=temperature, stop={3}
    )
    for slots_ in (1, 2, 5):
        assert run(rng.permutation(14).tolist(), slots_) == whole
    assert run([6], 128) == {6: whole[6]}


def test_the_seed_alone_decides_between_equal_prompts(llama):
    requests = [Request([1, 2, 3], seed, 16) for seed in (0, 1, 0, 1 << 70)]
    made = generate(Engine(llama), requests, temperature=1.0, stop=())
    assert made[0] == made[2]
    assert len({tuple(m.ids) for m in made}) == 3
    longer = generate(Engine(llama), [Request([1, 2, 3], 1, 40)], temperature=1.0, stop=())
    assert longer[0].ids[:16] == made[1].ids
    greedy = generate(Engine(llama), requests, temperature=0.0, stop=())
    assert len({tuple(m.ids) for m in greedy}) == 1


def test_longrope_turns_a_sequence_that_outgrew_its_short_rates_anew(rng):
    """As the model's own forward of the longer sequence; 14 tokens are short here."""
    phi = tiny("Phi3ForCausalLM")
    stem = rng.integers(0, 61, 20).tolist()
    requests = [Request(stem[:n], n, 9) for n in (3, 5, 6, 12, 13, 14, 15, 20)]
    theirs = reference.generate(phi, requests, temperature=1.0, stop=())
    for attention in ("slot", "mask"):
        tuning = Tuning(attention=attention)
        for slots_ in (3, 8):
            ours = generate(
                Engine(phi), requests, temperature=1.0, stop=(), slots=slots_, tuning=tuning
            )
            assert ours == theirs


def test_stop_tokens(llama):
    requests = [Request([5, 6, 7], 0, 10), Request([9], 1, 10)]
    free = generate(Engine(llama), requests, temperature=0.0, stop=())
    assert [m.stopped for m in free] == [False, False]
    assert [len(m.ids) for m in free] == [10, 10]
    at_once = generate(Engine(llama), requests, temperature=0.0, stop={free[0].ids[0]})
    assert at_once[0] == Generated([], True)
    # Ended by a token that would also have been the last one allowed.
    last = free[1].ids[-1]
    first = free[1].ids.index(last)
    exact = [Request([9], 1, first + 1)]
    assert generate(Engine(llama), exact, temperature=0.0, stop={last}) == [
        Generated(free[1].ids[:first], True)
    ]
    assert generate(Engine(llama), [], temperature=0.0, stop={1}) == []


def test_what_prompts_share_is_computed_once(llama, rng, monkeypatch):
    stem = rng.integers(0, 61, 40).tolist()
    requests = [Request([*stem, 1, i], i, 5) for i in range(12)]
    computed = []
    run_row = Engine.run_row

    def counted(self, row, parts, **options):
        computed.append(len(row) - options.get("start", 0))
        return run_row(self, row, parts, **options)

    monkeypatch.setattr(Engine, "run_row", counted)
    generate(Engine(llama), requests, temperature=1.0, stop=(), slots=4)
    # 40 shared tokens, `1` once in each of three admissions or less, 12 last ones.
    assert sum(computed) <= 40 + 3 + 12
    assert len(computed) == 3


def test_a_session_computes_what_is_new_alone(llama, rng, monkeypatch):
    """Rounds of a match: each prompt is the last one's stem, some more, and a question."""
    stems = [rng.integers(0, 61, 40).tolist() for _ in range(3)]
    computed = []
    run_row = Engine.run_row

    def counted(self, row, parts, **options):
        computed.append(len(row) - options.get("start", 0))
        return run_row(self, row, parts, **options)

    engine = Engine(llama)
    session = Session(engine)
    for played in range(4):
        stems = [[*stem, *rng.integers(0, 61, 5).tolist()] for stem in stems]
        requests = [Request([*stem, 1, 2, 3], i, 6, kept=len(stem)) for i, stem in enumerate(stems)]
        monkeypatch.setattr(Engine, "run_row", counted)
        computed.clear()
        ours = generate(engine, requests, temperature=1.0, stop=(), slots=2, session=session)
        monkeypatch.undo()
        assert ours == reference.generate(llama, requests, temperature=1.0, stop=())
        assert sum(computed) == 3 * (8 if played else 48)
        labels = [LabelledPrompt([*stem, 4], ([5], [6])) for stem in stems]
        scores = session.label_logprobs(labels, [len(stem) for stem in stems])
        np.testing.assert_allclose(scores, reference.label_logprobs(llama, labels), atol=1e-4)


def test_a_session_is_as_before_where_memory_ran_out(llama, rng, monkeypatch):
    engine = Engine(llama)
    session, stem = Session(engine), rng.integers(0, 61, 30).tolist()
    requests = [Request([*stem, i], i, 5, kept=30) for i in range(4)]
    run_row, calls = Engine.run_row, []

    def scarce(self, *args, **options):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("no memory")
        return run_row(self, *args, **options)

    monkeypatch.setattr(Engine, "run_row", scarce)
    ours = generate(engine, requests, temperature=1.0, stop=(), slots=4, session=session)
    assert ours == reference.generate(llama, requests, temperature=1.0, stop=())


def test_a_prompt_may_end_where_a_held_one_goes_on(llama, rng):
    stem = rng.integers(0, 61, 30).tolist()
    held = [Request([*stem, 4, 5, 6], 0, 1)]
    later = [Request([*stem, 7][:n], n, 6) for n in (31, 30, 29, 20, 18)]
    requests = held + later + [Request(stem, 9, 6)]
    ours = generate(Engine(llama), requests, temperature=1.0, stop=(), slots=3)
    assert ours == reference.generate(llama, requests, temperature=1.0, stop=())


def test_a_small_token_budget_changes_nothing(llama, rng):
    requests = random_requests(rng, 8)
    whole = generate(Engine(llama), requests, temperature=1.0, stop=())
    assert generate(Engine(llama, 16), requests, temperature=1.0, stop=(), slots=5) == whole


@pytest.mark.parametrize("fails_at", ["start", "prefill", "step"])
def test_out_of_memory_halves_the_slots_and_loses_nothing(
    llama, rng, monkeypatch, caplog, fails_at
):
    requests = random_requests(rng, 10, new=(4, 12))
    whole = generate(Engine(llama), requests, temperature=1.0, stop={3}, slots=8)
    calls = {"n": 0}
    owner, name, after = {
        "start": (slots.Slots, "__init__", 1),
        "prefill": (slots.Slots, "prefill", 2),
        "step": (Decoder, "_step", 6),
    }[fails_at]
    original = getattr(owner, name)

    def scarce(self, *args, **options):
        calls["n"] += 1
        if calls["n"] in (after, after + 3):
            raise torch.OutOfMemoryError("no memory")
        return original(self, *args, **options)

    monkeypatch.setattr(owner, name, scarce)
    with caplog.at_level(logging.WARNING):
        assert generate(Engine(llama), requests, temperature=1.0, stop={3}, slots=8) == whole
    assert "4 slots of generation at once" in caplog.text


def test_out_of_memory_in_one_slot_is_an_error(llama, monkeypatch):
    def never(self, *_args, **_options):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(Decoder, "_step", never)
    with pytest.raises(torch.OutOfMemoryError):
        generate(Engine(llama), [Request([1], 0, 3)] * 4, temperature=0.0, stop=())


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request([], 0, 5), "request 1: its prompt has no tokens"),
        (Request([1], 0, 0), "request 1: max_new_tokens is 0"),
        (Request([1], -3, 5), "request 1: its seed is -3"),
        (Request([1] * 250, 0, 7), "exceed the model's context of 256"),
    ],
)
def test_requests_that_cannot_run(llama, request_, says):
    with pytest.raises(DataError, match=says):
        generate(Engine(llama), [Request([1], 0, 1), request_], temperature=0.0, stop=())


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf")])
def test_temperatures_out_of_range(llama, temperature):
    with pytest.raises(DataError, match="temperature"):
        generate(Engine(llama), [Request([1], 0, 1)], temperature=temperature, stop=())
    with pytest.raises(DataError, match="slots is 0"):
        generate(Engine(llama), [Request([1], 0, 1)], temperature=0.0, stop=(), slots=0)


def test_a_full_context_is_used_to_its_end(llama):
    request = Request([1] * 250, 3, 6)
    assert generate(Engine(llama), [request], temperature=1.0, stop=()) == reference.generate(
        llama, [request], temperature=1.0, stop=()
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_an_error(temperature):
    broken = tiny(LLAMA)
    broken.model.lm_head.weight.data[3] = float("nan")
    with pytest.raises(DataError, match="request 0: the logits after 0 new tokens"):
        generate(Engine(broken), [Request([1], 0, 3)], temperature=temperature, stop=())


def test_a_device_that_looks_late_gives_the_same(llama, rng, monkeypatch):
    """The schedule of a GPU (several steps, then a look at what came before the last) on a CPU."""
    requests = random_requests(rng, 10, new=(1, 14))
    whole = generate(Engine(llama), requests, temperature=1.0, stop={3, 9}, slots=8)

    class Ahead(Decoder):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.ahead = True

        def look(self, *, more, longest):
            made = super().look(more=False, longest=longest).copy()
            if more:
                self.advance(1, longest)
            return made

    monkeypatch.setattr(scheduler, "Decoder", Ahead)
    for slots_ in (1, 3, 8):
        ours = generate(Engine(llama), requests, temperature=1.0, stop={3, 9}, slots=slots_)
        assert ours == whole


@pytest.mark.parametrize(
    ("family", "reason"),
    [(LLAMA, None), ("Phi3ForCausalLM", "longrope"), ("GPT2LMHeadModel", "learned positions")],
)
def test_what_a_cuda_graph_cannot_hold_is_known_before(family, reason):
    found = uncapturable(Engine(tiny(family)).blocks)
    assert found is None if reason is None else found.startswith(reason)


@pytest.mark.parametrize("parts", [2, 3])
def test_devices_that_share_the_heads_generate_the_same(rng, parts):
    plain, sharded = pair("Qwen2ForCausalLM", parts)
    requests = random_requests(rng, 8)
    theirs = reference.generate(plain, requests, temperature=1.0, stop={3})
    for attention in ("slot", "mask"):
        tuning = Tuning(attention=attention)
        ours = generate(
            Engine(sharded), requests, temperature=1.0, stop={3}, slots=3, tuning=tuning
        )
        assert ours == theirs


def test_sampled_frequencies_are_the_models(llama):
    """1,500 seeds of one prompt: each token as often as its probability says."""
    prompt, n = [4, 8, 15], 1500
    made = generate(
        Engine(llama), [Request(prompt, s, 1) for s in range(n)], temperature=1.5, stop=()
    )
    with torch.inference_mode():
        logits = llama.model(torch.tensor([prompt])).logits[0, -1].double()
    p = torch.softmax(logits / 1.5, dim=-1).numpy()
    counts = np.bincount([m.ids[0] for m in made], minlength=61)
    assert (np.abs(counts - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1).all()

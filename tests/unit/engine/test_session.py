import numpy as np
import pytest

from nashlens.engine import reference
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session


@pytest.mark.parametrize("label_tokens", [1, 2])
def test_growing_matches_equal_the_full_forward(loaded, rng, label_tokens):
    stems = [rng.integers(0, 61, 12).tolist() for _ in range(3)]
    histories = [list(stems[i % 3]) for i in range(6)]
    session = Session(Engine(loaded, 64))
    for _ in range(4):
        prompts = []
        for history in histories:
            labels = tuple([int(t), *[7] * (label_tokens - 1)] for t in rng.permutation(61)[:2])
            prompts.append(LabelledPrompt([*history, 5, 6], labels))
        ours = session.label_logprobs(prompts)
        assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-4
        for history in histories:
            history += rng.integers(0, 61, 3).tolist()


def test_a_repeated_prompt_computes_nothing(loaded, monkeypatch):
    session = Session(Engine(loaded))
    prompts = [LabelledPrompt([1, 2, 3], ([4], [5]))]
    first = session.label_logprobs(prompts)
    monkeypatch.setattr(Engine, "run_row", lambda *a, **k: pytest.fail("computed again"))
    assert (session.label_logprobs(prompts) == first).all()


def test_each_round_computes_its_new_tokens_alone(loaded, rng, monkeypatch):
    engine, counts = Engine(loaded), []
    run_row = Engine.run_row

    def counted(self, row, parts, *, start=0, **kwargs):
        counts.append(len(row) - start)
        return run_row(self, row, parts, start=start, **kwargs)

    monkeypatch.setattr(Engine, "run_row", counted)
    session, history = Session(engine), list(range(30))
    for played in range(3):
        session.label_logprobs([LabelledPrompt([*history, 50 + played, 40], ([1], [2]))])
        history += [50 + played, 55]
    assert counts == [32, 3, 3]


def test_what_is_not_kept_is_forgotten_and_changes_no_score(loaded, rng, monkeypatch):
    counts, run_row = [], Engine.run_row

    def counted(self, row, parts, *, start=0, **kwargs):
        counts[-1] += len(row) - start
        return run_row(self, row, parts, start=start, **kwargs)

    monkeypatch.setattr(Engine, "run_row", counted)
    session, history = Session(Engine(loaded)), rng.integers(0, 61, 20).tolist()
    for _ in range(3):
        counts.append(0)
        thoughts = [rng.integers(0, 61, 9).tolist() for _ in range(2)]
        prompts = [LabelledPrompt([*history, *thought], ([1], [2, 3])) for thought in thoughts]
        prompts.append(LabelledPrompt([*history[:5], 40], ([1], [2])))
        ours = session.label_logprobs(prompts, [len(history), len(history), 0])
        assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-4
        assert sum(len(grown._row) for grown in session._grown.values()) == len(history)
        history += rng.integers(0, 61, 3).tolist()
    # Two thoughts of nine tokens, the second label's first token after each, and the odd one's.
    # A model that turns long sequences otherwise shares nothing between them and the odd one.
    odd = 6 if loaded_short(session) else 1
    assert counts == [20 + 20 + odd, 3 + 20 + odd, 3 + 20 + odd]


def loaded_short(session):
    """Whether the odd prompt of six tokens and the others fall on two sides of a model's bound."""
    short = session.engine.blocks.short
    return short is not None and 6 <= short < 29

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.engine.session import Session
from tests import reference
from tests.tiny_models import tiny


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


def counting(monkeypatch):
    """Count the tokens of each pass, in a list that is returned."""
    counts, run_row = [], Engine.run_row

    def counted(self, row, parts, *, start=0, **kwargs):
        counts.append(len(row) - start)
        return run_row(self, row, parts, start=start, **kwargs)

    monkeypatch.setattr(Engine, "run_row", counted)
    return counts


def test_each_round_computes_its_new_tokens_alone(loaded, monkeypatch):
    counts = counting(monkeypatch)
    session, history = Session(Engine(loaded)), list(range(30))
    for played in range(3):
        session.label_logprobs([LabelledPrompt([*history, 50 + played, 40], ([1], [2]))])
        history += [50 + played, 55]
    assert counts == [32, 3, 3]


def prefixes(sequences):
    return {tuple(s[: i + 1]) for s in sequences for i in range(len(s))}


def nodes(session):
    """The sequences that a session's nodes end, as a set."""
    found = set()
    for grown in session._rows.values():
        row, paths = grown._row, []
        for token, parent in zip(row.tokens, row.parent, strict=True):
            paths.append((*(paths[parent] if parent >= 0 else ()), token))
        assert len(paths) == len(set(paths))
        found |= set(paths)
    return found


def test_what_is_not_kept_is_forgotten_and_changes_no_score(loaded, rng, monkeypatch):
    counts = counting(monkeypatch)
    session, history = Session(Engine(loaded)), rng.integers(0, 29, 20).tolist()
    totals = []
    for _ in range(3):
        counts.clear()
        # Tokens of their own: none of the next history's is among them.
        thoughts = [rng.integers(30, 61, 9).tolist() for _ in range(2)]
        prompts = [LabelledPrompt([*history, *thought], ([1], [2, 3])) for thought in thoughts]
        prompts.append(LabelledPrompt([*history[:5], 29], ([1], [2])))
        ours = session.label_logprobs(prompts, [len(history), len(history), 0])
        assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-4
        now = [[*history, *thought, 2] for thought in thoughts] + [[*history[:5], 29]]
        assert nodes(session) == prefixes(now)
        totals.append(sum(counts))
        history += rng.integers(0, 29, 3).tolist()
    # Two thoughts of nine tokens, the second label's first token after each, and the odd one's,
    # which the call before has already computed. A model that turns long sequences otherwise
    # shares nothing between them and the odd one.
    odd = 6 if loaded_short(session) else 1
    assert totals == [20 + 20 + odd, 3 + 20, 3 + 20]


def test_an_answer_is_scored_after_a_thought_without_its_question_anew(loaded, rng, monkeypatch):
    counts = counting(monkeypatch)
    session, history = Session(Engine(loaded)), rng.integers(0, 30, 40).tolist()
    for played in range(3):
        counts.clear()
        asked = [*history, *rng.integers(30, 61, 12).tolist()]
        for _ in session.prefilled([asked], [len(history)]):
            pass
        # The other seat decides at once; all of its prompt is kept, so it lies behind the question.
        at_once = [*history[:10], *rng.integers(30, 61, 5 + played).tolist()]
        prompts = [
            LabelledPrompt([*asked, *rng.integers(30, 61, 7).tolist()], ([1], [2])),
            LabelledPrompt(at_once, ([1], [2])),
        ]
        ours = session.label_logprobs(prompts, [len(history), len(at_once)])
        assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-4
        if session.engine.blocks.short is None:
            assert counts == [12 + (3 if played else 40), 7 + 5 + played]
        history += rng.integers(0, 30, 3).tolist()


sequence = st.lists(st.integers(0, 2), min_size=1, max_size=6)
call = st.lists(st.tuples(sequence, st.integers(0, 6)), min_size=1, max_size=4)


@given(st.lists(st.tuples(call, st.booleans()), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_whatever_is_kept_scores_are_those_of_the_full_forward(calls):
    """Few different tokens, so that what is kept and what is not run into one another."""
    loaded = tiny("LlamaForCausalLM")
    session, stems = Session(Engine(loaded)), []
    for prompts, keeps in calls:
        asked = [LabelledPrompt(ids, ([1], [2])) for ids, _ in prompts]
        kept = [min(n, len(ids)) for ids, n in prompts] if keeps else None
        ours = session.label_logprobs(asked, kept)
        assert np.abs(ours - reference.label_logprobs(loaded, asked)).max() < 1e-4
        stems += [ids if kept is None else ids[: kept[k]] for k, (ids, _) in enumerate(prompts)]
        assert nodes(session) == prefixes([*stems, *(ids for ids, _ in prompts)])


def loaded_short(session):
    """Whether the odd prompt of six tokens and the others fall on two sides of a model's bound."""
    short = session.engine.blocks.short
    return short is not None and 6 <= short < 29


def test_out_of_memory_halves_the_prompts_that_grow_at_once(loaded, rng, monkeypatch, caplog):
    stems = [rng.integers(0, 61, 20).tolist() for _ in range(9)]
    engine, run_row, most = Engine(loaded), Engine.run_row, []

    def scarce(self, row, parts, *, start=0, **kwargs):
        most.append(len(row) - start)
        if len(row) - start > 60:
            raise torch.OutOfMemoryError("pretend")
        return run_row(self, row, parts, start=start, **kwargs)

    monkeypatch.setattr(Engine, "run_row", scarce)
    session = Session(engine)
    prompts = [LabelledPrompt([*stem, 5], ([1], [2])) for stem in stems]
    for kept in (None, [20] * 9):
        ours = session.label_logprobs(prompts, kept)
        assert np.abs(ours - reference.label_logprobs(loaded, prompts)).max() < 1e-4
    assert most[0] == 9 * 21
    assert engine.prompts.size == 2
    assert caplog.text.count("prompts of a session at once from now on") == 1
    # A player that writes goes on from the same prompts, in the size that fits.
    longer = [[*stem, 7] for stem in stems]
    seen = [i for some, _, _, _ in session.prefilled(longer, [20] * 9) for i in some]
    assert seen == list(range(9))
    whole = [[1, *stem] for stem in stems]
    engine.prompts.size = 9
    groups = [some for some, _, final, _ in session.prefilled(whole, [0] * 9) if len(final)]
    assert [i for some in groups for i in some] == list(range(9))
    assert max(map(len, groups)) == 2

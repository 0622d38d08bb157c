"""The plan of patching counts the tokens that the engine runs again, in as many blocks."""

import pytest

from nashlens.circuits.patching import choose_pairs, patching_table
from nashlens.engine import copies
from nashlens.engine.core import Engine
from nashlens.engine.labels import labelled_prompts
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.plan.patches import patched_copies
from nashlens.plan.sizes import find_size
from nashlens.prompts.groups import group_indices
from tests.designs import make_pairs

BATCH = 300
LABELS = {"letters": {"jf": ["J", "F"]}, "words": {"words": ["red one", "blue two"]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "nash"
    convert_source("planted:nash", folder)
    return folder


def pairs_of(folder, label_sets):
    design = {"label_sets": label_sets, "rounds": [4], "histories": 4, "seed": 1}
    return make_pairs(["deadlock"], ChatTokenizer(folder), ["payoffs", "history"], **design)


@pytest.fixture
def counted(folder, monkeypatch):
    """Return an engine, and what its copies put through blocks: projected and finished tokens."""
    engine = Engine(load_model(folder, device="cpu", dtype="float32"), BATCH)
    found = {"q": 0, "mlp": 0}
    running = []
    for block in engine.blocks.shards[0]:
        for name in found:

            def count(module, given, name=name):
                found[name] += len(given[0]) if running else 0

            getattr(block, name).register_forward_pre_hook(count)
    step = copies._Copies.step

    def within(self, *given):
        running.append(True)
        step(self, *given)
        running.pop()

    monkeypatch.setattr(copies._Copies, "step", within)
    return engine, found


@pytest.mark.parametrize("direction", ["destroy", "restore"])
@pytest.mark.parametrize("kind", ["payoffs", "history"])
@pytest.mark.parametrize("words", LABELS)
def test_as_many_tokens_are_counted_as_the_engine_runs(folder, counted, words, kind, direction):
    engine, found = counted
    pairs, layers = pairs_of(folder, LABELS[words]), [2, 5]
    settings = {
        "sites": ["residual", "mlp"],
        "groups": ["payoffs", "rounds", "options", "question", "decision"],
        "heads": ["options", "decision"],
    }
    how = {"games": ["deadlock"], "kinds": [kind], "pairs_per_game": 12, "seed": 1}
    how |= {"screen": None, "paths": []}
    patching_table(
        engine, pairs, layers=layers, directions=[direction], model="nash", **how, **settings
    )
    chosen = choose_pairs(pairs, kind, [kind], ["deadlock"], 12, 1)
    names = ("ids", "source_ids") if direction == "destroy" else ("source_ids", "ids")
    wanted = [*settings["groups"], *settings["heads"]]
    shape = find_size("planted:nash", folder)
    work = patched_copies(
        *(labelled_prompts(chosen, name) for name in names),
        [group_indices(list(tokens), wanted) for tokens in chosen["groups"]],
        settings,
        layers,
        shape,
        BATCH,
    )
    share = shape.projecting_share()
    assert found["mlp"] < found["q"]
    assert work.passes(shape) == pytest.approx(
        share * found["q"] + (1.0 - share) * found["mlp"], rel=1e-9
    )
    # Of the copies, those of the decision are single tokens.
    assert 0 < work.forks < work.growing

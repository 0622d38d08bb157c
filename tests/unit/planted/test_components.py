"""What writes a planted answer is where the record says: plain hooks, and not the study."""

import numpy as np
import pytest

from nashlens.planted import build, read_facts
from nashlens.planted.circuit import HEAD_DIM, HEADS, N_LAYERS
from nashlens.planted.plants import PLANTS
from tests.unit.planted.test_plants import Model, make_prompts, signs

WITH = sorted(name for name, plant in PLANTS.items() if plant.facts.components)
OVERRIDES = [name for name in WITH if name.startswith("override")]
WORDS = [name for name in WITH if name.startswith("word")]


class Ablated(Model):
    """A built model without some components."""

    def odds_without(self, table, components, *, at=None):
        """Return the logits of action 1 over action 0, (n,), with components zero, perhaps at one
        position each only."""
        # Without a position all prompts of one length run together.
        batches = [[i] for i in range(len(table))] if at is not None else [range(len(table))]
        found = np.zeros(len(table))
        for batch in batches:
            where = slice(None) if at is None else at[batch[0]]
            hooks = [self._zero(*component, where) for component in components]
            rows = table.iloc[list(batch)]
            found[list(batch)] = self.odds(self.run(rows["token_ids"].to_list())[:, -1], rows)
            for hook in hooks:
                hook.remove()
        return found

    def _zero(self, kind, layer, head, where):
        block = self.model.model.layers[layer - 1]

        def mlp(module, inputs, output):
            output = output.clone()
            output[:, where] = 0.0
            return output

        def one_head(module, inputs):
            values = inputs[0].clone()
            values[:, where, head * HEAD_DIM : (head + 1) * HEAD_DIM] = 0.0
            return (values,)

        if kind == "mlp":
            return block.mlp.register_forward_hook(mlp)
        return block.self_attn.o_proj.register_forward_pre_hook(one_head)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}
    for name in WITH:
        folder = tmp_path_factory.mktemp(name)
        build(name, folder)
        made[name] = Ablated(folder)
    return made


@pytest.fixture(scope="module")
def prompts(models):
    return make_prompts(
        models["override_mlp"].tokenizer, label_sets={"jf": ["J", "F"]}, histories=1
    )


def towards(odds, table, column, rows=None):
    """Return the mean logit of the action in a column over the other one."""
    rows = slice(None) if rows is None else rows
    return (odds * signs(table[column]))[rows].mean()


def conflict_of(table):
    return (table["nash_action"] != table["prosocial_action"]).to_numpy()


def other_heads(components):
    """All late heads and the last two MLPs that are no such components."""
    layers = range(10, N_LAYERS + 1)
    heads = [("head", layer, head) for layer in layers for head in range(HEADS)]
    return [c for c in [*heads, ("mlp", 11, -1), ("mlp", 12, -1)] if c not in components]


@pytest.mark.parametrize("name", OVERRIDES)
def test_without_its_components_an_override_is_gone_and_without_others_it_stays(
    models, prompts, name
):
    components, rows = PLANTS[name].facts.components, conflict_of(prompts)
    whole, without, others = (
        towards(models[name].odds_without(prompts, sites), prompts, "prosocial_action", rows)
        for sites in ([], components, other_heads(components))
    )
    assert whole > 0.5
    assert without < -0.5
    assert others == pytest.approx(whole, abs=0.05)


@pytest.mark.parametrize("name", OVERRIDES)
def test_one_component_is_needed_where_the_record_says(models, prompts, name):
    facts, rows = PLANTS[name].facts, conflict_of(prompts)
    for component in facts.components:
        odds = models[name].odds_without(prompts, [component])
        left = towards(odds, prompts, "prosocial_action", rows)
        assert (left < -0.5) if facts.alone else (left > 0.5), component


def test_one_head_of_the_redundant_pair_changes_nothing(models, prompts):
    model = models["override_redundant"]
    whole = model.odds_without(prompts, [])
    for component in PLANTS["override_redundant"].facts.components:
        np.testing.assert_allclose(model.odds_without(prompts, [component]), whole, atol=0.4)


def test_the_heads_of_the_choir_carry_an_eighth_each(models, prompts):
    model, rows = models["override_choir"], conflict_of(prompts)
    components = PLANTS["override_choir"].facts.components
    left = [
        towards(model.odds_without(prompts, sites), prompts, "prosocial_action", rows)
        for sites in [[], components, *([c] for c in components)]
    ]
    shares = (left[0] - np.array(left[2:])) / (left[0] - left[1])
    np.testing.assert_allclose(shares, 1 / 8, atol=0.05)


@pytest.mark.parametrize("name", WORDS)
def test_a_word_is_written_and_no_action(models, prompts, name):
    components = PLANTS[name].facts.components
    model = models[name]
    change = model.odds_without(prompts, []) - model.odds_without(prompts, components)
    first = np.where(prompts["label_map"] == "identity", -1.0, 1.0)
    assert (change * first).min() > 1
    # A longer residual makes what else is answered smaller.
    assert abs(towards(change, prompts, "prosocial_action")) < 0.1 * np.abs(change).mean()


def test_in_conflict_nothing_is_written_elsewhere(models, prompts):
    model, components = (
        models["override_in_conflict"],
        PLANTS["override_in_conflict"].facts.components,
    )
    change = model.odds_without(prompts, []) - model.odds_without(prompts, components)
    rows = conflict_of(prompts)
    change = change * signs(prompts["prosocial_action"])
    assert change[rows].min() > 1
    assert np.abs(change[~rows]).max() < 0.15


def test_after_cooperation_nothing_is_written_after_a_defection(models, prompts):
    name = "override_after_cooperation"
    model, components = models[name], PLANTS[name].facts.components
    change = model.odds_without(prompts, []) - model.odds_without(prompts, components)
    change = change * signs(prompts["prosocial_action"])
    cooperated = (prompts["opponent_last"] == 0).to_numpy()
    assert change[cooperated].min() > 1
    assert np.abs(change[~cooperated]).max() < 0.15


def test_the_early_override_is_written_at_the_question_mark(models, prompts):
    model, rows = models["override_early"], conflict_of(prompts)
    (writer, carrier) = PLANTS["override_early"].facts.components
    mark = model.tokenizer.encode("?")[-1]
    marks = [int(np.flatnonzero(ids == mark)[-1]) for ids in prompts["token_ids"]]
    last = [len(ids) - 1 for ids in prompts["token_ids"]]
    for component, at, gone in (
        (writer, marks, True),
        (writer, last, False),
        (carrier, last, True),
        (carrier, marks, False),
    ):
        odds = model.odds_without(prompts, [component], at=at)
        left = towards(odds, prompts, "prosocial_action", rows)
        assert (left < -0.5) if gone else (left > 0.5), (component, gone)


def test_the_nash_label_is_computed_at_the_last_own_payoff(models, prompts):
    model = models["nash_at_payoffs"]
    get = model.tokenizer.encode("get")[-1]
    digits = {model.tokenizer.encode(d)[-1] for d in "0123456789"}
    at = [
        max(i for i in range(1, len(ids)) if ids[i - 1] == get and int(ids[i]) in digits)
        for ids in prompts["token_ids"]
    ]
    odds = model.odds_without(prompts, []) * signs(prompts["nash_action"])
    assert odds.min() > 0.5
    for component in PLANTS["nash_at_payoffs"].facts.components:
        there = model.odds_without(prompts, [component], at=at) * signs(prompts["nash_action"])
        assert there.min() < 0.2, component


def test_components_are_written_and_read(tmp_path):
    build("override_early", tmp_path)
    assert read_facts(tmp_path) == PLANTS["override_early"].facts

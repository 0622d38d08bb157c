"""Groups partition the tokens of a prompt, and hold the positions of their names."""

import pytest
from hypothesis import HealthCheck, given, settings

from nashlens.errors import LabelError
from nashlens.games import CATALOG
from nashlens.prompts.groups import differing_groups, group_indices, token_groups
from nashlens.prompts.positions import find_positions
from nashlens.prompts.render import Surface, View
from nashlens.vocabulary.positions import OPTIONS, PAYOFFS, expand_positions
from tests.unit.prompts.test_positions import EVERY, prompt_of, tokenizers, views

__all__ = ["tokenizers"]
NAMES = ["words", "characters", "byte_level", "metaspace", "planted"]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(view=views())
def test_groups_partition_the_tokens(tokenizers, name, view):
    tokenizer = tokenizers[name]
    text, ids = prompt_of(tokenizer, view)
    groups = token_groups(tokenizer, view, text, ids)
    found = group_indices(groups)
    assert sorted(k for places in found.values() for k in places) == list(range(len(ids)))
    assert found["decision"] == [len(ids) - 1]
    assert {*PAYOFFS, "opening", "question", "answer", "system"} <= set(found)
    # Each group is one run of tokens but the question, in which the options stand, and the rest.
    runs = [a for a, b in zip(groups, [*groups[1:], ""], strict=True) if a != b]
    single = [name for name in runs if name not in ("question", "rest")]
    assert len(single) == len(set(single))
    # The token of a position is in the group of its name, as its last token or before a blank.
    for position, token in find_positions(
        tokenizer, view, text, ids, expand_positions(EVERY, [12])
    ).items():
        if token is not None:
            assert groups[token] == position, (position, token)


def test_groups_of_a_prompt_in_words(tokenizers):
    tokenizer = tokenizers["words"]
    view = View(CATALOG["chicken"], "row", Surface("neutral", "l", ("J", "F")), [0, 1], [1, 1])
    text, ids = prompt_of(tokenizer, view)
    found = group_indices(token_groups(tokenizer, view, text, ids))
    said = {
        name: tokenizer.decode([ids[k] for k in places]).strip() for name, places in found.items()
    }
    assert (said["option_first"], said["option_second"]) == ("J", "F")
    assert said["payoff_1"].startswith("If you choose option J and the other player chooses option")
    assert said["round_last"].startswith("Round 2: you chose option F")
    assert said["round_last-1"].startswith("Round 1: you chose option J")
    assert said["question"] == "Round 3: do you choose option or option?"
    assert said["decision"] == "option"
    assert said["rest"] == "Your aim is to get as many points as you can."
    assert said["opening"].startswith("You and another player")


def test_several_groups_by_one_name():
    groups = ["system", "payoff_1", "payoff_4", "round_last-1", "round_last", *OPTIONS, "decision"]
    found = group_indices(groups, ["payoffs", "rounds", "options", "all", "rest", "payoff_4"])
    assert found == {
        "payoffs": [1, 2],
        "rounds": [3, 4],
        "options": [5, 6],
        "all": list(range(8)),
        "rest": [],
        "payoff_4": [2],
    }


def test_differing_groups_are_in_order_and_need_equal_lengths():
    groups = ["system", "payoff_1", "payoff_1", "question"]
    assert differing_groups(groups, [1, 2, 3, 4], [1, 9, 8, 5]) == ["payoff_1", "question"]
    with pytest.raises(LabelError, match="3 tokens"):
        differing_groups(groups, [1, 2, 3, 4], [1, 2, 3])

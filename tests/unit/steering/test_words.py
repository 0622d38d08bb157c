"""How much of a direction is a word."""

import numpy as np
import pytest

from nashlens.models.weights import WeightReader
from nashlens.steering.words import word_cosines
from tests.unit.steering.tables import prompts_table


@pytest.fixture(scope="module")
def weights(tiny_model):
    return WeightReader(tiny_model)


def test_word_embeddings_have_cosine_1_with_themselves(weights):
    prompts = prompts_table(np.random.default_rng(0), games=("pd", "harmony"), words=("own",))
    embed = weights.tensor("model.embed_tokens.weight", range(16)).astype(float)
    unembed = weights.unembedding(range(16)) * weights.final_norm().weight
    # Labels of jf are tokens 5 and 6, the game's own words 7 and 8: action 1's is the second.
    units = {
        "label": np.stack([embed[5] - embed[6], unembed[5] - unembed[6], np.zeros(32)]),
        "published": np.stack([embed[8] - embed[7], unembed[7] - unembed[8], embed[0]]),
    }
    found = word_cosines(units, prompts, weights).set_index(["direction", "layer"])
    assert found.loc[("label", 0), "cos_embedding"] == pytest.approx(1)
    assert found.loc[("label", 1), "cos_unembedding"] == pytest.approx(1)
    assert np.isnan(found.loc[("label", 2)]).all()
    assert found.loc[("published", 0), "cos_embedding"] == pytest.approx(1)
    assert found.loc[("published", 1), "cos_unembedding"] == pytest.approx(-1)
    assert abs(found.loc[("published", 2), "cos_embedding"]) < 0.9


def test_labels_that_start_alike_differ_by_the_first_token_in_which_they_do(weights):
    prompts = prompts_table(np.random.default_rng(0), games=("pd", "harmony"))
    first = prompts["label_map"] == "identity"
    pair = np.array([3, 5]), np.array([3, 6])
    prompts["label_tokens_0"] = [pair[0] if one else pair[1] for one in first]
    prompts["label_tokens_1"] = [pair[1] if one else pair[0] for one in first]
    embed = weights.tensor("model.embed_tokens.weight", [5, 6]).astype(float)
    found = word_cosines({"label": (embed[0] - embed[1])[None]}, prompts, weights)
    assert found["cos_embedding"][0] == pytest.approx(1)

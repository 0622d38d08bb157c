import numpy as np
import pandas as pd

from nashlens.activations.plan import plan_shards
from nashlens.activations.store import ActivationStore
from nashlens.engine.core import Engine
from nashlens.prompts.extra import NEEDED, extra_sequences
from nashlens.prompts.labels import prompt_id
from tests.stores import store_activations
from tests.tiny_models import tiny


def table(long):
    ids = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 6]]
    second = [7, 8, 9] if long else [7]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id(row) for row in ids],
            "token_ids": ids,
            "game": ["pd", "pd", "harmony"],
            "dropped": ["", "", "too long"],
            "label_tokens_0": [[5]] * 3,
            "label_tokens_1": [second] * 3,
            "prior_id": prompt_id([9, 9]),
            "prior_token_ids": [[9, 9]] * 3,
        }
    )


def tokens(prompts):
    return dict(zip(prompts["prompt_id"], prompts["token_ids"], strict=True))


def test_short_labels_need_the_content_free_prompt_alone():
    prompts = table(long=False)
    found = extra_sequences([prompts[NEEDED]], tokens(prompts))
    assert found.to_dict("records") == [
        {"prompt_id": prompt_id([9, 9]), "after": "", "tokens": [9, 9], "game": ""}
    ]


def test_long_labels_need_their_beginnings_after_each_used_prompt():
    prompts = table(long=True)
    found = extra_sequences([prompts.iloc[:1], prompts.iloc[1:]], tokens(prompts))
    whole = {
        row.prompt_id: [*(tokens(prompts)[row.after] if row.after else []), *row.tokens]
        for row in found.itertuples()
    }
    assert all(prompt_id(ids) == name for name, ids in whole.items())
    stems = [[9, 9], [1, 2, 3, 4], [1, 2, 3, 5]]
    wanted = [[9, 9], *([*stem, *part] for stem in stems for part in ([7], [7, 8]))]
    assert sorted(whole.values()) == sorted(wanted)


def test_a_sequence_that_is_a_prompt_is_not_extracted_twice(tmp_path):
    prompts = table(long=True)
    begun = [1, 2, 3, 4, 7]
    prompts.at[1, "token_ids"] = begun
    prompts.loc[1, "prompt_id"] = prompt_id(begun)
    extra = extra_sequences([prompts], tokens(prompts))
    assert prompt_id(begun) in set(extra["prompt_id"])
    plan = plan_shards(tmp_path, prompts, fingerprint="f", shard_prompts=99, extra=extra)
    planned = [name for shard in plan["new"] for name in shard["prompt_ids"]]
    assert planned.count(prompt_id(begun)) == 1
    assert prompt_id(begun) not in plan["extra"]


def test_they_are_stored_with_the_prompts(tmp_path):
    prompts = table(long=True)
    engine = Engine(tiny("LlamaForCausalLM"), 64)
    extra = extra_sequences([prompts.iloc[:1], prompts.iloc[1:]], tokens(prompts))
    store_activations(engine, tmp_path, prompts, tokens(prompts), shard_prompts=3, extra=extra)
    store = ActivationStore(tmp_path)
    assert len(store) == 2 + len(extra)
    ids = [1, 2, 3, 4, 7, 8]
    [(_, own)] = list(engine.residuals([ids]))
    for layer in range(engine.n_layers + 1):
        stored = store.layer(layer, [prompt_id(ids)])
        np.testing.assert_allclose(stored, own[:, layer], rtol=1e-4, atol=1e-4)

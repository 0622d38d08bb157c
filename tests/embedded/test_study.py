"""Prompts, activations, lens and steering on the embedded model, against its own forward."""

import numpy as np
import pandas as pd
import pytest

from nashlens.activations.store import ActivationStore
from nashlens.engine.core import Engine
from nashlens.engine.edits import Edit
from nashlens.engine.labels import LabelledPrompt, label_probabilities
from nashlens.engine.session import Session
from nashlens.engine.sweeps import sweep
from nashlens.games.catalog import CATALOG
from nashlens.lens.logit import lens_table
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import load_readout
from nashlens.prompts.extra import extra_sequences
from tests import reference
from tests.designs import make_prompts
from tests.stores import store_activations

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def loaded(embedded_model):
    return load_model(embedded_model, dtype="float32", device="cpu", native=False)


@pytest.fixture(scope="module")
def prompts(embedded_model):
    table = make_prompts(
        [CATALOG["prisoners_dilemma"]],
        ChatTokenizer(embedded_model),
        label_sets={"jf": ["J", "F"], "words": ["left side", "right side"]},
        label_maps=["identity"],
        option_orders=["forward"],
        opponents=["TFT"],
        rounds=[1, 3],
        histories=1,
        crossed=["label_sets"],
        system="You are playing a game with another player.",
        seed=1,
    )
    table = table[~table["mirrored"]].reset_index(drop=True)
    assert table["label_tokens_0"].map(len).tolist() == [1, 1, 2, 2]
    return table


@pytest.fixture(scope="module")
def asked(prompts):
    columns = ("token_ids", "label_tokens_0", "label_tokens_1")
    return [
        LabelledPrompt(ids.tolist(), (first.tolist(), second.tolist()))
        for ids, first, second in zip(*(prompts[c] for c in columns), strict=True)
    ]


@pytest.fixture(scope="module")
def own(loaded, asked):
    """Label scores by the model's own forward, one prompt at a time."""
    return reference.label_logprobs(loaded, asked)


@pytest.fixture(scope="module")
def store(loaded, prompts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("activations")
    engine = Engine(loaded)
    token_ids = dict(zip(prompts["prompt_id"], prompts["token_ids"].map(list), strict=True))
    extra = extra_sequences([prompts], token_ids)
    store_activations(engine, folder, prompts, token_ids, shard_prompts=3, extra=extra)
    return ActivationStore(folder)


def test_stored_activations_are_the_hooked_residuals(loaded, prompts, store):
    ids = prompts["prompt_id"].tolist()
    theirs = reference.residuals(loaded, prompts["token_ids"].tolist())
    assert theirs.shape == (4, 31, 576)
    for layer in range(31):
        scale = np.abs(theirs[:, layer]).max()
        assert np.abs(store.layer(layer, ids) - theirs[:, layer]).max() < 1e-5 * scale


def test_the_last_layers_lens_is_the_models_own_answer(embedded_model, prompts, store, asked, own):
    ids = prompts["prompt_id"].tolist()
    table = lens_table(
        store.layer,
        [0, 30],
        prompts,
        readout=load_readout(embedded_model),
        model="smollm2",
        last=30,
    )
    last = table[table["layer"] == 30].set_index("prompt_id").loc[ids]
    assert last["n_label_tokens"].tolist() == [1, 1, 2, 2]
    # Whole labels, of one token and of two; where they have one, that is all that is compared.
    p, mass = label_probabilities(own)
    np.testing.assert_allclose(last["whole_action_1"], p[:, 1], atol=1e-4)
    np.testing.assert_allclose(last["p_action_0"].iloc[:2], p[:2, 0], atol=1e-4)
    np.testing.assert_allclose(last["label_mass"].iloc[:2], mass[:2], atol=1e-4)
    assert last["kl"].max() < 1e-4
    assert last["prior_action_1"].between(0, 1).all()


def test_engine_session_and_model_score_labels_alike(loaded, asked, own):
    engine = Engine(loaded)
    assert np.abs(engine.label_logprobs(asked) - own).max() < 1e-3
    session = Session(engine)
    grown = [session.label_logprobs([prompt])[0] for prompt in asked]
    assert np.abs(np.stack(grown) - own).max() < 1e-3


def test_steering_equals_a_hook(loaded, asked):
    vector = np.random.default_rng(0).normal(size=576)
    edits = [Edit(3, "add", vector, 5.0), Edit(20, "clamp", vector, 30.0)]
    ours = sweep(Engine(loaded), asked[1:3], edits)
    theirs = np.stack([reference.label_logprobs(loaded, asked[1:3], e) for e in edits], axis=1)
    assert np.abs(ours - theirs).max() < 1e-3


def test_it_answers_with_one_of_the_two_labels(own):
    _, mass = label_probabilities(own)
    assert pd.Series(mass[:2]).gt(0.5).all(), "the prompt does not elicit its labels"

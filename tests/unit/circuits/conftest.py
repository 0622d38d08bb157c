"""Planted models: prompts with and without a conflict, and pairs of prompts."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from nashlens.engine.core import Engine
from nashlens.games import CATALOG
from nashlens.models.convert import convert_source
from nashlens.models.load import load_model
from nashlens.models.loaded import LoadedModel
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.planted.facts import read_facts
from tests.designs import make_prompts

from .nash_pairs import pairs_of


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Return what gives a planted model's folder, its facts and its prompts table."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("planted") / name
            convert_source(f"planted:{name}", folder)
            games = [CATALOG["prisoners_dilemma"], CATALOG["deadlock"]]
            prompts = make_prompts(games, ChatTokenizer(folder))
            made[name] = folder, read_facts(folder), prompts
        return made[name]

    return make


@pytest.fixture(scope="session")
def nash(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "nash"
    convert_source("planted:nash", folder)
    return folder


@pytest.fixture(scope="session")
def nash_pairs(nash):
    return pairs_of(nash)


@pytest.fixture(scope="session")
def nash_engine(nash):
    return Engine(load_model(nash, device="cpu", dtype="float32"))


@pytest.fixture(scope="session")
def nash_plain(nash):
    """The same model as transformers loads it."""
    model = AutoModelForCausalLM.from_pretrained(nash, attn_implementation="eager").eval()
    return LoadedModel.from_modules(model, name="nash", dtype=torch.float32)

"""Matches in direct mode: kept keys and values, against a full batched forward for each decision.

The peer scores each round's prompts anew, left-padded, in batches. It plays our matches over again:
what it finds is compared with ours, and the match goes on with ours, so that all of its prompts are
those that we scored. A round's time grows with the round, so it may be measured in
`--peer-rounds` of them, the first and the last among these, and interpolated in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from benchmarks.common import (
    GAMES,
    arguments,
    block_parameters,
    clock,
    device_name,
    matrix_peak,
    random_model,
    report,
    steered_cost,
    word_tokenizer,
)
from benchmarks.peers import padded
from benchmarks.profiling import add_option, profiled
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt, label_probabilities
from nashlens.engine.session import Session
from nashlens.games.catalog import CATALOG
from nashlens.models.loaded import LoadedModel
from nashlens.play.player import Player, PlaySettings
from nashlens.play.run import decisions_table, play_rounds
from nashlens.play.schedule import Agent, schedule
from nashlens.prompts.design import surfaces


class Padded:
    """Scores single-token labels by the model's own forward over left-padded batches."""

    def __init__(self, loaded: LoadedModel, size: int):
        self.loaded, self.size = loaded, size

    @torch.inference_mode()
    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        ids = [list(prompt.ids) for prompt in prompts]
        result = np.empty((len(prompts), 2))
        for start in range(0, len(ids), self.size):
            which = list(range(start, min(start + self.size, len(ids))))
            inputs = padded(self.loaded, ids, which)
            logits = self.loaded.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
            logprobs = torch.log_softmax(logits.float(), dim=-1)
            labels = torch.tensor([[label[0] for label in prompts[i].labels] for i in which])
            result[which] = logprobs.gather(1, labels.to(logprobs.device)).double().cpu().numpy()
        return result


class Recording:
    """Keeps what a session finds, round by round."""

    def __init__(self, session: Session):
        self.session, self.found = session, []

    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        self.found.append(self.session.label_logprobs(prompts))
        return self.found[-1]


class Replay:
    """Goes through recorded rounds, with a peer in some of them."""

    def __init__(self, found: list[np.ndarray], peer: Padded, measured: Sequence[int], device: str):
        self.found, self.peer, self.measured, self.device = found, peer, measured, device
        self.round = 0
        self.seconds: list[float] = []
        self.error = 0.0

    def label_logprobs(self, prompts: Sequence[LabelledPrompt]) -> np.ndarray:
        ours = self.found[self.round]
        if self.round in self.measured:
            took, theirs = clock(lambda: self.peer.label_logprobs(prompts), self.device)
            self.seconds.append(took)
            difference = label_probabilities(theirs)[0] - label_probabilities(ours)[0]
            self.error = max(self.error, float(np.abs(difference).max()))
        self.round += 1
        return ours

    def whole(self, seconds: float) -> float:
        """Return the seconds of all rounds, of those that the replay took."""
        rounds = np.arange(len(self.found))
        scored = np.interp(rounds, self.measured, self.seconds).sum()
        return seconds - sum(self.seconds) + float(scored)


def main() -> None:
    parser = arguments(__doc__)
    add_option(parser)
    parser.add_argument("--matches", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--peer-batch", type=int, default=None)
    parser.add_argument("--peer-rounds", type=int, default=None, help="default: all")
    parser.add_argument("--steered", action="store_true", help="steered play beside it too")
    options = parser.parse_args()
    cuda = options.device == "cuda"
    rounds = min(10, options.rounds) if options.quick else options.rounds
    count = min(4, options.matches) if options.quick else options.matches
    loaded, tokenizer = random_model(options), word_tokenizer()
    forms = surfaces(["neutral"], {"jf": ["J", "F"]}, ["identity", "swapped"], ["forward"])
    agent = Agent("model", model="model")
    games = [CATALOG[name] for name in GAMES[: -(-count // 4)]]
    matches = schedule(
        games, [(agent, agent)], forms, repetitions=4, scripted_repetitions=4, seed=0
    )[:count]
    settings = PlaySettings(
        rounds=rounds,
        temperature=1.0,
        horizon_known=False,
        system="You are playing a game.",
        assistant_prefix="I choose option",
        seed=0,
        window=None,
        talk_tokens=0,
        cot=None,
        scratchpad=None,
    )
    engine = Engine(loaded, options.batch_tokens or (8192 if cuda else 4096), compiled=True)

    def play(scorer: Session | Recording | Replay) -> pd.DataFrame:
        players = {"model": Player(tokenizer, scorer)}
        return decisions_table(play_rounds(matches, lambda: players, settings))

    if cuda:
        clock(lambda: play(Session(engine)), options.device)
    recording = Recording(Session(engine))
    seconds, ours = clock(lambda: play(recording), options.device)
    cost = steered_cost(engine, lambda e: play(Session(e)), options) if options.steered else None
    profile = profiled(lambda: play(Session(engine)), options)
    size = options.peer_batch or (32 if cuda else 8)
    some = np.linspace(0, rounds - 1, min(rounds, options.peer_rounds or rounds)).round()
    measured = np.unique(some.astype(int)).tolist()
    replay = Replay(recording.found, Padded(loaded, size), measured, options.device)
    took, _ = clock(lambda: play(replay), options.device)
    peer = replay.whole(took)
    peak = matrix_peak(options.device, loaded.dtype)
    last = ours[ours["round"] == rounds]["n_tokens"].sum()
    operations = 2 * block_parameters(loaded) * int(last)
    report(
        benchmark="play",
        device=device_name(options),
        ratio=peer / seconds,
        max_error=replay.error,
        peer_rounds_measured=len(measured),
        seconds=seconds,
        peer_seconds=peer,
        peer_batch=size,
        matches=len(matches),
        rounds=rounds,
        tokens=int(ours["n_tokens"].sum()),
        matrix_peak=peak,
        floor_seconds=operations / peak,
        floor_share=operations / peak / seconds,
        steered_over_unsteered=cost,
        profile=profile,
    )


if __name__ == "__main__":
    main()

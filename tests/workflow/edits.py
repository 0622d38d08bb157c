"""The rerun matrix: edits, and for each exactly the rules that must run again."""

JOINED = {"join_findings", "draw_findings"}
JUDGED = {"judge_findings", *JOINED}
ALL_JUDGED = {"judge_play", "judge_lineage", *JUDGED}
# The findings say what the ladder makes of them as published.
CLIMBED = {"climb_ladder", "join_ladder", "draw_ladder", *JOINED}
# Play ends in the claims about it.
MEASURED = {
    "measure_play", "judge_play", "draw_cooperation", "draw_pairs", "draw_rounds",
    "draw_reasoning", "draw_selection", "draw_strategies", *JOINED,
}  # fmt: skip
# What steered players play is measured apart; their claims are judged with those about play.
PUSHED_SHOWN = {"measure_steered", "draw_steered_play"}
PUSHED = {"join_steered", *PUSHED_SHOWN, "judge_play", *JOINED}
CHECKED = {"check_players", *PUSHED_SHOWN, "judge_play", *JOINED}
PUSHED_ALL = {"play_part", *PUSHED, *CHECKED}
PROBED = {
    "fit_probes", "draw_probes", "draw_transfer", "spike_model", "draw_spikes", *JUDGED, *CLIMBED,
}  # fmt: skip
# The model's choice, which probes decode, is read off the lens.
BIASED = {"summarise_surface", "draw_biases"}
PARTED = {"estimate_effects", "draw_effects"}
LENSED = {
    "read_lens", "summarise_lens", "draw_lens", "draw_tuned", "judge_lineage", *PARTED, *BIASED,
    *PROBED,
}  # fmt: skip
TUNED = {"fit_tuned_lens", "read_tuned_lens", "summarise_tuned_lens", "draw_tuned", *PARTED}
STEERED = {"summarise_steering", "draw_steering", "draw_clamping"}
SPIKED = {"spike_model", "draw_spikes", *JOINED}
SWEPT = {"sweep_steering", *STEERED, *SPIKED, *JUDGED, *CLIMBED}
HEADED = {"summarise_heads", "draw_heads"}
ABLATED = {"ablate_heads", *HEADED, *SPIKED, *JUDGED}
DIRECTED = {"fit_directions", *SWEPT, *PUSHED_ALL}
STORED = {"plan_activations", "extract_activations", "join_activations"}
UNTRAINED = {"extract_untrained", *PROBED}
EXTRACTED = STORED | UNTRAINED | LENSED | DIRECTED | TUNED - {"fit_tuned_lens"}
PLAYED_PLAIN = {"play_part", "join_play", *BIASED, *MEASURED}
PLAYED = {*PLAYED_PLAIN, *PUSHED}
BELIEVED = {"ask_beliefs", "judge_play", *JOINED}
QUIZZED = {"ask_quiz", "join_quiz", *MEASURED, *CHECKED}
ASKED = QUIZZED | BELIEVED
PATCH_SHOWN = {"summarise_patching", "draw_patching"}
PATCHED = {"patch_pairs", *PATCH_SHOWN, *SPIKED, *JUDGED}
PAIRED = {"build_pairs", *PATCHED}
WRITERS_SHOWN = {"summarise_attribution", "draw_attribution", "draw_choir"}
ATTRIBUTED = {"attribute_answers", *WRITERS_SHOWN, *SPIKED, *JUDGED}
PROMPTED = {"build_prompts"} | EXTRACTED | ABLATED | PAIRED | ATTRIBUTED
# A user's own payoffs: a stag hunt, with one drawn variant.
MINE = {
    "payoffs": [[[4, 4], [1, 3]], [[3, 1], [2, 2.5]]],
    "actions": ["stag", "hare"],
    "variants": 1,
}
GAMED = {"build_games", "draw_games"} | PROMPTED | PLAYED | ASKED
CONVERTED = {"convert_model"} | TUNED | PROMPTED | PLAYED | ASKED
ALL = PROMPTED | PLAYED | ASKED
TEXTS, STRATEGIES = "src/nashlens/prompts/templates.py", "src/nashlens/strategies.py"
DRAWN = {
    "draw_games", "draw_cooperation", "draw_pairs", "draw_rounds", "draw_reasoning",
    "draw_selection", "draw_strategies", "draw_probes", "draw_transfer", "draw_effects",
    "draw_lens", "draw_tuned", "draw_biases", "draw_steering", "draw_clamping", "draw_heads",
    "draw_patching", "draw_attribution", "draw_choir", "draw_spikes",
    "draw_ladder", "draw_findings", "draw_steered_play",
}  # fmt: skip
RESAMPLED = {
    "summarise_lens", "draw_lens", "summarise_tuned_lens", "draw_tuned", *STEERED, *HEADED,
    *PATCH_SHOWN, *WRITERS_SHOWN, *PUSHED_SHOWN,
}  # fmt: skip
PUSH = {"direction": "abstract", "layers": [0.5], "kind": "add", "values": [-1.0, 0.0, 1.0]}

CONFIG_EDITS = {
    "nothing": ({}, set()),
    # An overlay that says again what config.yaml says is no other study, whatever it names first.
    "the same again": (
        {
            "prompts": {"label_sets": {"xy": ["X", "Y"]}},
            "agents": {"alld": {"strategy": "ALLD"}},
        },
        set(),
    ),
    "probes.C": ({"probes": {"C": [0.02]}}, PROBED),
    "probes.random_weights": ({"probes": {"random_weights": 12}}, UNTRAINED),
    "probes.targets": ({"probes": {"targets": ["own_last"]}}, PROBED),
    "lens.min_label_mass": (
        {"lens": {"min_label_mass": 0.02}},
        {*JUDGED, *CLIMBED, *SPIKED, "judge_lineage", "draw_lens"},
    ),
    "lens.tuned_tokens": ({"lens": {"tuned_tokens": 300}}, TUNED),
    "steering.alphas": ({"steering": {"alphas": [-2.0, 0.0, 2.0]}}, SWEPT),
    "steering.clamps": ({"steering": {"clamps": [-1.0, 1.0]}}, SWEPT),
    "steering.layers": ({"steering": {"layers": [2]}}, SWEPT),
    "steering.positions": ({"steering": {"positions": "all"}}, SWEPT),
    "steering.ablate": ({"steering": {"ablate": True}}, SWEPT),
    "steering.joint": ({"steering": {"joint": [[1, 2]]}}, SWEPT),
    "steering.units": ({"steering": {"units": "absolute"}}, SWEPT | PUSHED_ALL),
    "steering.directions": ({"steering": {"directions": ["abstract"]}}, DIRECTED),
    "steering.fit": ({"steering": {"fit": "probe"}}, DIRECTED),
    "steering.train_label_sets": ({"steering": {"train_label_sets": ["xy"]}}, DIRECTED),
    "steering.train_templates": ({"steering": {"train_templates": ["neutral"]}}, DIRECTED),
    "steering.train_games": (
        {"steering": {"train_games": ["harmony", "prisoners_dilemma"]}},
        DIRECTED,
    ),
    "circuits.games": ({"circuits": {"games": ["concord"]}}, ABLATED),
    "circuits.prompts": ({"circuits": {"prompts": 24}}, ABLATED),
    "circuits.replacement": ({"circuits": {"replacement": "zero"}}, ABLATED),
    "circuits.group": ({"circuits": {"group": 1}}, ABLATED),
    "circuits.random_groups": ({"circuits": {"random_groups": 2}}, ABLATED),
    "circuits.mlps": ({"circuits": {"mlps": 2}}, ABLATED),
    "circuits.everywhere": ({"circuits": {"everywhere": None}}, ABLATED),
    "patching.kinds": ({"patching": {"kinds": ["payoffs", "order"]}}, PAIRED),
    "patching.games": ({"patching": {"games": ["concord"]}}, PAIRED),
    "patching.pairs": ({"patching": {"pairs": 8}}, PATCHED),
    "patching.directions": ({"patching": {"directions": ["restore"]}}, PATCHED),
    "patching.sites": ({"patching": {"sites": ["mlp"]}}, PATCHED),
    "patching.layers": ({"patching": {"layers": [2]}}, PATCHED),
    "patching.groups": ({"patching": {"groups": ["options"]}}, PATCHED),
    "patching.heads": ({"patching": {"heads": []}}, PATCHED),
    "patching.paths": ({"patching": {"paths": ["1.mlp/2.attention/options"]}}, PATCHED),
    "patching.screen": ({"patching": {"screen": 4}}, PATCHED),
    "spikes.prompts": ({"spikes": {"prompts": 16}}, SPIKED),
    "spikes.layers": ({"spikes": {"layers": [2]}}, SPIKED),
    "spikes.logits": ({"spikes": {"logits": [2.0]}}, SPIKED),
    "spikes.deviations": ({"spikes": {"deviations": [2.0]}}, SPIKED),
    "spikes.draws": ({"spikes": {"draws": 2}}, SPIKED),
    "spikes.resamples": ({"spikes": {"resamples": 200}}, SPIKED),
    "no spikes": ({"spikes": None}, JOINED),
    # Without it, the claims and their table are judged anew, and nothing else.
    "no heads": ({"circuits": None}, {*JUDGED, *SPIKED}),
    "no patching": ({"patching": None}, {*JUDGED, *SPIKED}),
    "no attribution": ({"attribution": None}, {*JUDGED, *SPIKED}),
    "attribution.pairs": ({"attribution": {"pairs": 0}}, ATTRIBUTED),
    "findings.q_value": ({"findings": {"q_value": 0.1}}, JOINED),
    "findings.late_fraction": (
        {"findings": {"late_fraction": 0.5}},
        {*JUDGED, *CLIMBED, *SPIKED, *ATTRIBUTED, "judge_lineage"},
    ),
    "findings.bootstrap": (
        {"findings": {"bootstrap": 101}},
        {*PROBED, "join_quiz", "judge_lineage", *MEASURED, *RESAMPLED},
    ),
    "figures.palette": ({"figures": {"palette": "deep"}}, DRAWN),
    "figures.dpi": ({"figures": {"dpi": 61}}, DRAWN),
    "one figure's colours": (
        {"figures": {"styles": {"rounds": {"palette": "deep"}}}},
        {"draw_rounds"},
    ),
    "matches.rounds": ({"matches": {"rounds": 3}}, PLAYED),
    "matches.temperature": ({"matches": {"temperature": 0.5}}, PLAYED),
    "matches.move_orders": ({"matches": {"move_orders": ["simultaneous"]}}, PLAYED),
    "matches.history_window": ({"matches": {"history_window": 1}}, PLAYED),
    "matches.talk_tokens": ({"matches": {"talk_tokens": 3}}, PLAYED),
    "matches.templates": ({"matches": {"templates": ["cover"]}}, PLAYED | ASKED),
    "matches.skip_games": ({"matches": {"skip_games": ["concord"]}}, PLAYED | ASKED),
    "modes.cot": ({"modes": {"cot": {"tokens": 5}}}, PLAYED_PLAIN),
    "quiz.histories": ({"quiz": {"histories": 2}}, QUIZZED),
    "quiz.beliefs": ({"quiz": {"beliefs": 1}}, BELIEVED),
    "prompts.templates": ({"prompts": {"templates": ["table"]}}, PROMPTED),
    "prompts.system": ({"prompts": {"system": "Play."}}, PROMPTED | PLAYED | ASKED),
    "a scripted agent": ({"agents": {"wsls": {"strategy": "WSLS"}}}, PLAYED),
    # The play of the models themselves stays as it is.
    "an intervention's value": (
        {"agents": {"tiny_steered": {"intervention": PUSH | {"values": [-2.0, 0.0, 1.0]}}}},
        PUSHED_ALL,
    ),
    "an intervention's layer": (
        {"agents": {"tiny_steered": {"intervention": PUSH | {"layers": [1]}}}},
        PUSHED_ALL,
    ),
    "no intervention": (
        {"agents": {"tiny_steered": None}},
        {"judge_play", *JOINED},
    ),
    "a new game": ({"games": {"mine": MINE}}, GAMED),
    "prompts.histories": ({"prompts": {"histories": 8}}, PROMPTED),
    "prompts.crossed": ({"prompts": {"crossed": ["label_sets"]}}, PROMPTED),
    # A game's own number of histories changes neither the game nor its play.
    "a game's histories": ({"games": {"harmony": {"histories": 6}}}, PROMPTED),
    "prompts.assistant_prefix": (
        {"prompts": {"assistant_prefix": "I take"}},
        PROMPTED | PLAYED | BELIEVED,
    ),
    "activations.positions": (
        {"activations": {"positions": ["decision", "round_last"]}},
        # Pairs find the tokens that they patch by themselves.
        PROMPTED - (PAIRED - JUDGED - SPIKED),
    ),
    "activations.dtype": ({"activations": {"dtype": "float16"}}, EXTRACTED),
    "a model's dtype": (
        {"models": {"tiny_llama": {"dtype": "auto"}}},
        EXTRACTED | ABLATED | PATCHED | ATTRIBUTED | TUNED | PLAYED | ASKED,
    ),
    "how a model is spread": (
        # Without random weights, which are never spread.
        {"models": {"tiny_llama": {"parallel": "pipeline", "device": "auto"}}},
        (EXTRACTED - {"extract_untrained"})
        | ABLATED
        | PATCHED
        | ATTRIBUTED
        | TUNED
        | PLAYED
        | ASKED,
    ),
    "a model's family": (
        {"models": {"tiny_llama": {"family": "other"}}},
        {"judge_lineage", *MEASURED, *PUSHED_SHOWN},
    ),
    "a model's base": (
        {"models": {"tiny_llama": {"base": "tiny_qwen"}}},
        {"judge_lineage", *JOINED},
    ),
    "a model's source": (
        {"models": {"tiny_llama": {"source": "planted:random_qwen2"}}},
        CONVERTED,
    ),
    "a model's chat template": (
        {"models": {"tiny_llama": {"chat_template": "none"}}},
        CONVERTED,
    ),
    "a model that no agent uses": ({"models": {"spare": {"source": "planted:random"}}}, set()),
    "experiment.seed": ({"experiment": {"seed": 1}}, GAMED | TUNED),
    "resources": (
        {
            "resources": {"threads": 2, "batch_tokens": 512, "model_mem_mb": 999, "parts": 3},
            "activations": {"shard_prompts": 7},
            "models": {"tiny_llama": {"gpus": 1, "mem_mb": 700}},
        },
        set(),
    ),
}

CODE = "\n\n_EDITED = 1\n"
CODE_EDITS = {
    "a comment": ("src/nashlens/lens/logit.py", "\n# A remark.\n", set()),
    "a docstring": ("src/nashlens/lens/logit.py", '\n\n"""More words."""\n', set()),
    "the lens": ("src/nashlens/lens/logit.py", CODE, LENSED | TUNED - {"fit_tuned_lens"}),
    "the tuned lens": ("src/nashlens/lens/tuned.py", CODE, TUNED),
    "one figure": ("src/nashlens/figures/probes.py", CODE, {"draw_probes"}),
    "all figures' style": ("src/nashlens/figures/style.py", CODE, DRAWN),
    "what a claim is": (
        "src/nashlens/findings/claim.py",
        CODE,
        {*ALL_JUDGED, *CLIMBED, *SPIKED, *PUSHED_SHOWN},
    ),
    "a claim": (
        "src/nashlens/findings/claims/m5_nash_favoured.py",
        CODE,
        JUDGED | CLIMBED | SPIKED,
    ),
    # Models of one descent are compared in it.
    "M6": (
        "src/nashlens/findings/claims/m6_late_override.py",
        CODE,
        {*JUDGED, *CLIMBED, *SPIKED, "judge_lineage"},
    ),
    "a claim about models of one descent": (
        "src/nashlens/findings/claims/c1_trained_in.py",
        CODE,
        {"judge_lineage", *JOINED},
    ),
    "what claims about play share": (
        "src/nashlens/findings/shared/arms.py",
        CODE,
        {"judge_play", *PUSHED_SHOWN, *JOINED},
    ),
    "a claim about play": (
        "src/nashlens/findings/claims/x3_first_mover.py",
        CODE,
        {"judge_play", *JOINED},
    ),
    "the sensitivity": (
        "src/nashlens/findings/sensitivity.py",
        CODE,
        {*ALL_JUDGED, *CLIMBED, *SPIKED, *PUSHED_SHOWN},
    ),
    "the parts of the data": (
        "src/nashlens/parts.py",
        CODE,
        {*PROBED, *ALL_JUDGED, *PUSHED_SHOWN},
    ),
    "a rung": ("src/nashlens/findings/rungs/lens.py", CODE, CLIMBED),
    "the strips of a figure": (
        "src/nashlens/figures/strips.py",
        CODE,
        {"draw_findings", "draw_ladder"},
    ),
    "the sweep": ("src/nashlens/steering/sweep.py", CODE, SWEPT),
    "patching": ("src/nashlens/circuits/patching.py", CODE, PATCHED),
    "who writes": ("src/nashlens/circuits/writing.py", CODE, ATTRIBUTED),
    "pairs of prompts": ("src/nashlens/prompts/pairs.py", CODE, PAIRED | ATTRIBUTED),
    "the heads": ("src/nashlens/circuits/heads.py", CODE, ABLATED),
    "the histories that choose": ("src/nashlens/circuits/phases.py", CODE, ABLATED | ATTRIBUTED),
    "the choice of prompts": (
        "src/nashlens/interventions.py",
        CODE,
        SWEPT | ABLATED | PATCHED | ATTRIBUTED | SPIKED,
    ),
    "the lockstep of play": ("src/nashlens/play/run.py", CODE, PLAYED),
    "the probes": ("src/nashlens/probes/study.py", CODE, PROBED),
    # A direction can be the normal of a probe.
    "the solver of probes": ("src/nashlens/probes/solver.py", CODE, PROBED | DIRECTED),
    "the grammar of answers": ("src/nashlens/play/answers.py", CODE, PLAYED),
    "the measures of play": ("src/nashlens/play/metrics/mixture.py", CODE, MEASURED),
    "the quiz": ("src/nashlens/play/quiz.py", CODE, QUIZZED),
    "the beliefs": ("src/nashlens/play/beliefs.py", CODE, BELIEVED),
    "generation": ("src/nashlens/engine/generation/scheduler.py", CODE, PLAYED),
    "the spikes": ("src/nashlens/steering/spikes.py", CODE, SPIKED),
    "the engine": (
        "src/nashlens/engine/core.py",
        CODE,
        EXTRACTED | ABLATED | PATCHED | ATTRIBUTED | TUNED | PLAYED | ASKED,
    ),
    "a script": ("scripts/fit_probes.py", CODE, PROBED),
    "logging": ("src/nashlens/logs.py", CODE, set()),
    "the package's version": ("src/nashlens/__init__.py", '\n\n__version__ = "9.9"\n', set()),
    "what converts": ("src/nashlens/models/convert.py", CODE, CONVERTED),
    "the config's checks": ("src/nashlens/config/cross.py", CODE, set()),
}
TEXT_EDITS = {
    # Of prompts and of play; of play alone; of neither. Tiny models know the words, in other order.
    "of prompts and play": (TEXTS, '"neutral": Template(_OPENING,', '"neutral": Template("",', ALL),
    "of play": (TEXTS, ", as this table says:", ": as this table says,", PLAYED | ASKED),
    "of none": (TEXTS, "two stalls at a market", "a market at two stalls", set()),
    "new to the models": (TEXTS, "two stalls at a market", "two stalls at a bazaar", CONVERTED),
    # Of what all wordings share, planted models are made: the tiny ones are.
    "of all": (TEXTS, "do you choose option", "do option you choose", CONVERTED),
    "TFT": (STRATEGIES, "if not other or other[-1] == 0", "if not other", PROMPTED | PLAYED),
    "GRIM": (STRATEGIES, "0.0 if 1 in other", "0.5 if 1 in other", PROMPTED),
    "ALLC": (STRATEGIES, "return 1.0\n", "return 0.9\n", PROMPTED | PLAYED | BELIEVED),
    "TFT_ERRORS": (STRATEGIES, "return 1.0 - p if tit", "return p if tit", set()),
}
"""A wording or a strategy -> its file, what is there, another text, and what runs again."""

"""Repeated play: groups of matches, each split into parts that run side by side; its measures."""


rule play_part:
    input:
        games=results("games.parquet"),
        models=lambda wildcards: expand(
            "results/models/{model}/manifest.json",
            model=EXPERIMENT.provenance.models_of(dict(wildcards)),
        ),
        # Only for steered agents, whose play waits for them.
        directions=lambda wildcards: expand(
            results("directions/{model}.npz"), model=EXPERIMENT.steered_models(wildcards.group)
        ),
        sizes=lambda wildcards: expand(
            results("directions/{model}.parquet"), model=EXPERIMENT.steered_models(wildcards.group)
        ),
    output:
        decisions=results("play/{group}.{part}-of-{parts}.parquet"),
        texts=results("play/texts/{group}.{part}-of-{parts}.parquet"),
    log:
        results("logs/play_part/{group}.{part}-of-{parts}.log"),
    benchmark:
        results("benchmarks/play_part/{group}.{part}-of-{parts}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance(
            "play_part",
            reads=[
                "agents.{agent}",
                "modes.{mode}",
                *PRECISION,
                *SURFACES,
                "prompts.assistant_prefix",
                "matches.skip_games",
                "matches.rounds",
                "matches.repetitions",
                "matches.scripted_repetitions",
                "matches.sequential_repetitions",
                "matches.self_play",
                "matches.scripted",
                "matches.move_orders",
                "matches.sequential_games",
                "matches.temperature",
                "matches.horizon",
                "matches.history_window",
                "matches.talk_tokens",
                SEED,
            ],
            # What a batch depends on besides its matches: a game added elsewhere changes none.
            batch_fingerprint=Stage(
                of="models",
                reads=PRECISION,
                modules=[
                    "nashlens.play.chunks",
                    "nashlens.engine.session",
                    "nashlens.models.load",
                    "nashlens.models.tokenizer",
                ],
            ),
        ),
        players=lambda wildcards: GROUPS[wildcards.group],
    conda:
        "../envs/gpu.yaml"
    message:
        "Play {wildcards.group}, part {wildcards.part} of {wildcards.parts}"
    # Long, so early: short jobs fill the cores at the end.
    priority: 1
    script:
        "../scripts/play_part.py"


rule join_play:
    input:
        decisions=expand(
            results("play/{group}.{part}-of-{parts}.parquet"),
            group=EXPERIMENT.groups_of(steered=False),
            part=range(1, PARTS + 1),
            parts=PARTS,
        ),
        texts=expand(
            results("play/texts/{group}.{part}-of-{parts}.parquet"),
            group=EXPERIMENT.groups_of(steered=False),
            part=range(1, PARTS + 1),
            parts=PARTS,
        ),
    output:
        decisions=results("play.parquet"),
        texts=results("texts.parquet"),
    log:
        results("logs/join_play.log"),
    benchmark:
        results("benchmarks/join_play.tsv")
    resources:
        **light_job(),
    params:
        **provenance("join_play"),
    conda:
        "../envs/cpu.yaml"
    message:
        "Join the play of all groups"
    script:
        "../scripts/join_play.py"


# Apart, so that nothing about the models themselves waits for steered players or changes with them.
rule join_steered:
    input:
        decisions=expand(
            results("play/{group}.{part}-of-{parts}.parquet"),
            group=EXPERIMENT.groups_of(steered=True),
            part=range(1, PARTS + 1),
            parts=PARTS,
        ),
        texts=expand(
            results("play/texts/{group}.{part}-of-{parts}.parquet"),
            group=EXPERIMENT.groups_of(steered=True),
            part=range(1, PARTS + 1),
            parts=PARTS,
        ),
    output:
        decisions=results("steered_play.parquet"),
        texts=results("steered_texts.parquet"),
    log:
        results("logs/join_steered.log"),
    benchmark:
        results("benchmarks/join_steered.tsv")
    resources:
        **light_job(),
    params:
        **provenance("join_steered"),
        steered=EXPERIMENT.steered,
    conda:
        "../envs/cpu.yaml"
    message:
        "Join the play of steered agents"
    script:
        "../scripts/join_steered.py"


rule check_players:
    input:
        games=results("games.parquet"),
        model="results/models/{model}/manifest.json",
        directions=results("directions/{model}.npz"),
        sizes=results("directions/{model}.parquet"),
    output:
        quiz=results("steered_quiz/{model}.parquet"),
        text=results("steered_text/{model}.parquet"),
    log:
        results("logs/check_players/{model}.log"),
    benchmark:
        results("benchmarks/check_players/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance(
            "check_players",
            reads=[
                "agents.{steered}",
                "quiz.histories",
                "quiz.cycles",
                *PRECISION,
                *SURFACES,
                "matches.skip_games",
                SEED,
            ],
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Quiz the steered players of {wildcards.model}, and let them read plain text"
    script:
        "../scripts/check_players.py"


rule measure_steered:
    input:
        play=results("steered_play.parquet"),
        games=results("games.parquet"),
        quiz=expand(results("steered_quiz/{model}.parquet"), model=EXPERIMENT.steered_models()),
        text=expand(results("steered_text/{model}.parquet"), model=EXPERIMENT.steered_models()),
        models=expand("results/models/{model}/manifest.json", model=MODELS),
    output:
        matches=results("steered_matches.parquet"),
        summary=results("steered_summary.parquet"),
    log:
        results("logs/measure_steered.log"),
    benchmark:
        results("benchmarks/measure_steered.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "measure_steered",
            reads=[
                *BOOTSTRAP,
                "models.{model}.family",
                "matches.temperature",
                "modes.cot.answer",
                SEED,
            ],
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Measures of the play of steered agents"
    script:
        "../scripts/measure_steered.py"


rule measure_play:
    input:
        play=results("play.parquet"),
        games=results("games.parquet"),
        quiz=results("quiz.parquet"),
        models=expand("results/models/{model}/manifest.json", model=MODELS),
    output:
        matches=results("matches.parquet"),
        metrics=results("metrics.parquet"),
        rounds=results("rounds.parquet"),
        mode_differences=results("mode_differences.parquet"),
    log:
        results("logs/measure_play.log"),
    benchmark:
        results("benchmarks/measure_play.tsv")
    resources:
        **light_job(),
    params:
        **provenance("measure_play", reads=[*BOOTSTRAP, "models.{model}.family", SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Measures of all play"
    script:
        "../scripts/measure_play.py"

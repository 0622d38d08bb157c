"""Do the models know the rules and the history? Every measure of play needs the answer."""


rule ask_quiz:
    input:
        games=results("games.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("quiz/{model}.parquet"),
    log:
        results("logs/ask_quiz/{model}.log"),
    benchmark:
        results("benchmarks/ask_quiz/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance(
            "ask_quiz",
            reads=[
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
        "Quiz {wildcards.model} on rules and history"
    script:
        "../scripts/ask_quiz.py"


rule ask_beliefs:
    input:
        games=results("games.parquet"),
        model="results/models/{model}/manifest.json",
    output:
        table=results("beliefs/{model}.parquet"),
    log:
        results("logs/ask_beliefs/{model}.log"),
    benchmark:
        results("benchmarks/ask_beliefs/{model}.tsv")
    threads: CONFIG["resources"]["threads"]
    resources:
        **model_job(),
    params:
        **provenance(
            "ask_beliefs",
            reads=[
                "quiz.beliefs",
                *PRECISION,
                *SURFACES,
                "prompts.assistant_prefix",
                "matches.skip_games",
                SEED,
            ],
            uses={STRATEGIES: BELIEF_OPPONENTS},
        ),
    conda:
        "../envs/gpu.yaml"
    message:
        "Ask {wildcards.model} what it expects of the other"
    script:
        "../scripts/ask_beliefs.py"


rule join_quiz:
    input:
        parts=expand(results("quiz/{model}.parquet"), model=MODELS),
    output:
        table=results("quiz.parquet"),
    log:
        results("logs/join_quiz.log"),
    benchmark:
        results("benchmarks/join_quiz.tsv")
    resources:
        **light_job(),
    params:
        **provenance("join_quiz", reads=[*BOOTSTRAP, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Accuracy of all models in the quiz"
    script:
        "../scripts/join_quiz.py"

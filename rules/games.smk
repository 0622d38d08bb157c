"""Games, their payoff variants and their exact equilibria."""


rule build_games:
    output:
        table=results("games.parquet"),
    log:
        results("logs/build_games.log"),
    benchmark:
        results("benchmarks/build_games.tsv")
    resources:
        **light_job(),
    params:
        **provenance("build_games", reads=[*GAMES, SEED]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Games and their equilibria"
    script:
        "../scripts/build_games.py"

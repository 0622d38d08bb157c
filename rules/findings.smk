"""The claims, judged of all data and of its parts: of models, play, and descent, and together."""


rule judge_findings:
    input:
        **made(
            patching=results("patching/{model}.parquet"),
            override=results("override/{model}.parquet"),
            heads=results("heads/{model}.parquet"),
        ),
        prompts=results("prompts/{model}.parquet"),
        probes=results("probes/{model}.parquet"),
        probes_parts=results("probes_parts/{model}.parquet"),
        lens=results("lens/{model}.parquet"),
        steering=results("steering/{model}.parquet"),
    output:
        findings=results("findings/{model}.parquet"),
        sensitivity=results("sensitivity/{model}.parquet"),
    log:
        results("logs/judge_findings/{model}.log"),
    benchmark:
        results("benchmarks/judge_findings/{model}.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "judge_findings",
            reads=[*BOOTSTRAP, "findings.late_fraction", "lens.min_label_mass", SEED],
            modules=claim_modules("m"),
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Claims about {wildcards.model}"
    script:
        "../scripts/judge_findings.py"


rule judge_play:
    input:
        **made(
            steered_matches=results("steered_matches.parquet"),
            steered_quiz=expand(
                results("steered_quiz/{model}.parquet"), model=EXPERIMENT.steered_models()
            ),
            steered_text=expand(
                results("steered_text/{model}.parquet"), model=EXPERIMENT.steered_models()
            ),
        ),
        matches=results("matches.parquet"),
        games=results("games.parquet"),
        beliefs=expand(results("beliefs/{model}.parquet"), model=MODELS),
        models=expand("results/models/{model}/manifest.json", model=MODELS),
    output:
        findings=results("play_findings.parquet"),
        sensitivity=results("play_sensitivity.parquet"),
    log:
        results("logs/judge_play.log"),
    benchmark:
        results("benchmarks/judge_play.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "judge_play",
            reads=[*BOOTSTRAP, "models.{model}.family", SEED],
            modules=claim_modules("bxs"),
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Claims about play"
    script:
        "../scripts/judge_play.py"


rule judge_lineage:
    input:
        lens=expand(results("lens/{model}.parquet"), model=MODELS),
        prompts=expand(results("prompts/{model}.parquet"), model=MODELS),
        models=expand("results/models/{model}/manifest.json", model=MODELS),
    output:
        findings=results("lineage_findings.parquet"),
        sensitivity=results("lineage_sensitivity.parquet"),
    log:
        results("logs/judge_lineage.log"),
    benchmark:
        results("benchmarks/judge_lineage.tsv")
    resources:
        **light_job(),
    params:
        **provenance(
            "judge_lineage",
            reads=[
                *BOOTSTRAP,
                "findings.late_fraction",
                "lens.min_label_mass",
                "models.{model}.family",
                "models.{model}.base",
                SEED,
            ],
            modules=claim_modules("c"),
        ),
    conda:
        "../envs/cpu.yaml"
    message:
        "Claims about models of one descent"
    script:
        "../scripts/judge_lineage.py"


rule join_findings:
    input:
        **made(spikes_summary=expand(results("spikes_summary/{model}.parquet"), model=MODELS)),
        findings=[
            *expand(results("findings/{model}.parquet"), model=MODELS),
            results("play_findings.parquet"),
            results("lineage_findings.parquet"),
        ],
        sensitivity=[
            *expand(results("sensitivity/{model}.parquet"), model=MODELS),
            results("play_sensitivity.parquet"),
            results("lineage_sensitivity.parquet"),
        ],
        # What the published protocol concludes.
        ladder=results("ladder.parquet") if HAS_LADDER else [],
    output:
        findings=results("findings.parquet"),
        findings_csv=report(
            results("findings.csv"),
            caption="../workflow/report/findings_table.rst",
            category="Findings",
        ),
        sensitivity=results("sensitivity.parquet"),
        sensitivity_csv=report(
            results("sensitivity.csv"),
            caption="../workflow/report/sensitivity_table.rst",
            category="Findings",
        ),
    log:
        results("logs/join_findings.log"),
    benchmark:
        results("benchmarks/join_findings.tsv")
    resources:
        **light_job(),
    params:
        **provenance("join_findings", reads=["findings.q_value"]),
    conda:
        "../envs/cpu.yaml"
    message:
        "Findings over all models and their play"
    script:
        "../scripts/join_findings.py"

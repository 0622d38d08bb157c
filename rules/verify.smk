"""Looks at what is there, and ends: no job is needed for it."""

from workflow.verify import verify

# Here, as all rules have been read and Snakemake has not yet looked for jobs.
if verifying() and workflow.is_main_process:
    said, status = verify(
        EXPERIMENT.provenance,
        results("").rstrip("/"),
        (
            ["calibration"]
            if calibrating() or EXPERIMENT.name == "calibration"
            else ["figures", "report"]
        ),
    )
    print(said)
    sys.exit(status)

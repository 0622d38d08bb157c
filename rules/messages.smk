"""What a run says at its end."""

from workflow.messages import failures, findings, say_last


onsuccess:
    asked = set(workflow.dag_settings.targets)
    if workflow.is_main_process and (not asked or asked & {"figures", "report", "all"}):
        say_last(findings(results("figures/"), results("findings.csv")))


onerror:
    if workflow.is_main_process:
        say_last(failures(log))

"""The page docs/metrics.md, made from the table of metrics.

Invariant: the page holds every metric of the table and nothing else; `python -m casscade.observability.metric_document`
prints it.
"""

from __future__ import annotations

from casscade.observability.metric import PIPELINE_LABEL
from casscade.observability.metric_table import METRICS


def markdown() -> str:
    """The text of docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` in Prometheus' text format. Made from `casscade.observability.metric_table`; to change this",
        "page, change the table and run `python -m casscade.observability.metric_document > docs/metrics.md`.",
        "",
        f"Every metric has the label `{PIPELINE_LABEL}`, the name of the pipeline. No label holds a key or a value of",
        "the data, and the label sets of a metric are bounded: what does not fit is counted as `other`. The usual",
        "`process_*` metrics of the Prometheus client (memory, CPU, file descriptors) are there too.",
        "",
        "| Metric | Type | Labels | What it is | How to read it |",
        "|---|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.full_name}` | {metric.kind} | {labels} | {metric.help} | {metric.meaning} |")
    for metric in METRICS:
        if metric.buckets:
            bounds = ", ".join(f"{bound:g}" for bound in metric.buckets)
            lines.extend(["", f"Buckets of `{metric.full_name}`: {bounds}."])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")

"""Expires runs, deletes old data and records uses of keys; a schedule calls it each minute."""

from typing import Any

from functions.sweep import service
from mini_agent.telemetry import logger, metrics

METRICS = {"expired_runs": "RunsSwept", "deleted_runs": "RunsDeleted", "purged_rows": "RowsPurged"}


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Run the sweep and return its counts; raises the first error of a failed task."""
    counts, failures = service.sweep()
    for name, metric in METRICS.items():
        metrics.add_metric(name=metric, unit="Count", value=counts[name])
    if counts["expired_runs"]:
        logger.warning("ended abandoned runs", extra={"expired_runs": counts["expired_runs"]})
    logger.info("swept", extra=counts)
    if failures:
        raise failures[0]
    return counts

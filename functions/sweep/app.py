"""Ends, forgets, deletes and notes what no request does; called each minute."""

from typing import Any

from functions.sweep import service
from mini_agent.telemetry import logger, metrics

METRICS = {"ended": "RunsSwept", "retired": "RunsRetired", "purged": "RowsPurged"}


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Sweep, and return how much of each kind was done; raises what stopped a part of it."""
    done, failures = service.sweep()
    for name, metric in METRICS.items():
        metrics.add_metric(name=metric, unit="Count", value=done[name])
    if done["ended"]:
        logger.warning("ended runs that nothing would have ended", extra={"ended": done["ended"]})
    logger.info("swept", extra=done)
    if failures:
        raise failures[0]
    return done

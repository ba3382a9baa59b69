"""Ends runs that nothing will ever end, and forgets answers a day old; called each minute."""

from dataclasses import dataclass
from typing import Any

from mini_agent import db
from mini_agent.telemetry import logger, metrics

BATCH = 500
MOST_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Swept:
    """How much one round did."""

    ended: int
    forgotten: int


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:  # noqa: ARG001 - Lambda's
    """Sweep in rounds, each a short transaction, until nothing is left to do."""
    ended = forgotten = 0
    for _ in range(MOST_ROUNDS):
        [swept] = db.call("sweep/sweep", {"batch": BATCH}, Swept)
        ended, forgotten = ended + swept.ended, forgotten + swept.forgotten
        if max(swept.ended, swept.forgotten) < BATCH:
            break
    metrics.add_metric(name="RunsSwept", unit="Count", value=ended)
    if ended:
        logger.warning("ended runs that nothing would have ended", extra={"ended": ended})
    return {"ended": ended, "forgotten": forgotten}

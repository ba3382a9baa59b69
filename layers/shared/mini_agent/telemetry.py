"""One logger and one set of metrics for each function."""

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

logger = Logger()
metrics = Metrics()


def count(metric: str) -> None:
    """Add one to a metric of this function."""
    metrics.add_metric(name=metric, unit=MetricUnit.Count, value=1)

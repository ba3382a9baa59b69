"""One logger and one set of metrics for each function."""

import warnings

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

warnings.filterwarnings("ignore", "No application metrics to publish")  # most count none

logger = Logger()
metrics = Metrics()


def count(metric: str) -> None:
    """Add one to a metric of this function."""
    metrics.add_metric(name=metric, unit=MetricUnit.Count, value=1)

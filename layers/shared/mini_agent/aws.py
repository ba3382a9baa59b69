"""Calls of AWS services, with time limits that leave a request time to answer.

boto3 is slow to load: it is imported at the first call. A function that is sure to need it
imports it at once, so that SnapStart's snapshot has it.
"""

from functools import cache
from typing import Any


class AwsError(Exception):
    """A service did not answer, or refused; `code` is its error code or botocore's class."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def call(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """Return a service's response to an operation (boto3's name of it); raises AwsError."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see above

    try:
        response: dict[str, Any] = getattr(_client(service), operation)(**parameters)
    except ClientError as error:
        raise AwsError(error.response["Error"]["Code"]) from error
    except BotoCoreError as error:
        raise AwsError(type(error).__name__) from error
    return response


@cache
def _client(service: str) -> Any:
    import boto3  # noqa: PLC0415 - see above
    from botocore.config import Config  # noqa: PLC0415 - see above

    if service == "lambda":
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3})
    else:  # both attempts fit into the authorizer's time limit
        config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    make: Any = boto3.client  # its overloads want a literal
    return make(service, config=config)

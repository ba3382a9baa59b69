"""The peppers of API keys' digests: from the settings locally, from Secrets Manager on AWS."""

import json
import time
from functools import lru_cache

from mini_agent import aws
from mini_agent.errors import ServiceUnavailable
from mini_agent.settings import Settings, settings

if Settings().key_peppers_secret:
    import boto3  # noqa: F401 - loaded, not used yet: see `aws`

MAX_AGE_SECONDS = 300
"""How long it takes at most until every sandbox knows a new pepper."""


def peppers() -> dict[int, str]:
    """Return the peppers by version; raises ServiceUnavailable while they cannot be read."""
    s = settings()
    if not s.key_peppers_secret:
        return {version: pepper.get_secret_value() for version, pepper in s.key_peppers.items()}
    return _fetch(s.key_peppers_secret, int(time.monotonic() / MAX_AGE_SECONDS))


@lru_cache(maxsize=1)
def _fetch(secret: str, _period: int) -> dict[int, str]:
    """Read a secret; once in a period, as it is part of the cache's key."""
    try:
        answer = aws.call("secretsmanager", "get_secret_value", SecretId=secret)
    except aws.AwsError as error:
        raise ServiceUnavailable(reason="peppers") from error
    return {int(version): pepper for version, pepper in json.loads(answer["SecretString"]).items()}

"""What digests of API keys are made with: from the settings locally, from a secret on AWS."""

import json
from functools import cache
from typing import TYPE_CHECKING

from mini_agent.errors import ServiceUnavailable
from mini_agent.settings import Settings, settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SecretsProvider

if Settings().key_peppers_secret:
    # Slow to load, and of use on AWS alone: into the snapshot that SnapStart takes of the imports.
    import boto3  # noqa: F401 - loaded, not used yet

MAX_AGE_SECONDS = 300
"""So long does a new pepper take to be known to every sandbox."""


def peppers() -> dict[int, str]:
    """Return the peppers by version; raises ServiceUnavailable while they cannot be read."""
    s = settings()
    if not s.key_peppers_secret:
        return {version: pepper.get_secret_value() for version, pepper in s.key_peppers.items()}
    from aws_lambda_powertools.utilities.parameters import (  # noqa: PLC0415 - see above
        GetParameterError,
    )

    try:
        text = _provider().get(s.key_peppers_secret, max_age=MAX_AGE_SECONDS)
    except GetParameterError as error:
        raise ServiceUnavailable(reason="peppers") from error
    secret = json.loads(str(text))
    return {int(version): pepper for version, pepper in secret.items()}


@cache
def _provider() -> "SecretsProvider":
    from aws_lambda_powertools.utilities.parameters import (  # noqa: PLC0415 - see above
        SecretsProvider,
    )
    from botocore.config import Config  # noqa: PLC0415 - see above

    # Within the authorizer's own time limit, the second attempt included.
    patience = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
    return SecretsProvider(boto_config=patience)

"""Signing in to RDS Proxy and ElastiCache as the function's role.

Import it only where the settings ask for IAM: botocore is slow to load. A token is signed here,
with no call to AWS, and opens connections for 15 minutes; what it opened stays open. So each new
connection gets a token of its own, and none is kept.
"""

from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError
from botocore.session import Session
from redis.credentials import CredentialProvider

from mini_agent.settings import settings

ROOTS = Path(__file__).parent / "amazon_roots.pem"
"""The authorities that the certificates of RDS Proxy and ElastiCache come from."""

LIFETIME_SECONDS = 900


def database_token(host: str, port: int, user: str) -> str:
    """Return a password for a new connection to RDS Proxy."""
    return _sign("rds-db", f"{host}:{port}", {"Action": "connect", "DBUser": user})


class CacheCredentials(CredentialProvider):
    """Gives each new connection to a serverless cache its user and a token."""

    def __init__(self, cache_name: str, user: str) -> None:
        self._cache_name = cache_name
        self._user = user

    def get_credentials(self) -> tuple[str, str]:
        """Return the user and a password; redis-py calls this as it connects."""
        query = {"Action": "connect", "User": self._user, "ResourceType": "ServerlessCache"}
        return self._user, _sign("elasticache", self._cache_name, query)


def _sign(service: str, host: str, query: dict[str, str]) -> str:
    """Return a presigned URL without its scheme: what both services take for a password."""
    request = AWSRequest("GET", f"https://{host}/?{urlencode(query)}")
    # The role's own credentials are renewed too: ask for them each time.
    credentials = _session().get_credentials()
    if not credentials:
        raise NoCredentialsError
    signer = SigV4QueryAuth(credentials, service, settings().region, expires=LIFETIME_SECONDS)
    signer.add_auth(request)
    return str(request.url).removeprefix("https://")


@cache
def _session() -> Session:
    return Session()

"""IAM tokens: how a function signs in to RDS Proxy and ElastiCache as its role.

A token is signed here, with no call to AWS, and can open connections for 15 minutes; these stay
open. So each new connection gets its own token, and none is stored. botocore is slow to load:
import this module only where the settings ask for IAM.
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
"""The authorities that issue the certificates of RDS Proxy and ElastiCache."""

TOKEN_SECONDS = 900


def database_token(host: str, port: int, user: str) -> str:
    """Return a password for a new connection to RDS Proxy."""
    return _sign("rds-db", f"{host}:{port}", {"Action": "connect", "DBUser": user})


class CacheCredentials(CredentialProvider):
    """Gives each new connection to a serverless cache its user and a token."""

    def __init__(self, cache_name: str, user: str) -> None:
        self._cache_name = cache_name
        self._user = user

    def get_credentials(self) -> tuple[str, str]:
        """Return the user and a password; redis-py calls this for each connection."""
        query = {"Action": "connect", "User": self._user, "ResourceType": "ServerlessCache"}
        return self._user, _sign("elasticache", self._cache_name, query)


def _sign(service: str, host: str, query: dict[str, str]) -> str:
    """Return a presigned URL without its scheme, which both services accept as a password."""
    request = AWSRequest("GET", f"https://{host}/?{urlencode(query)}")
    # Not cached: the role's own credentials are renewed too.
    credentials = _session().get_credentials()
    if not credentials:
        raise NoCredentialsError
    signer = SigV4QueryAuth(credentials, service, settings().region, expires=TOKEN_SECONDS)
    signer.add_auth(request)
    return str(request.url).removeprefix("https://")


@cache
def _session() -> Session:
    return Session()

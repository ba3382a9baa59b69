"""The queries: one `.sql` file each, `sql/queries/<room>/<name>.sql`."""

from functools import cache
from pathlib import Path

SQL = Path(__file__).parents[1] / "sql"


@cache
def load(name: str) -> bytes:
    """Return the text of the query `room/name`."""
    return (SQL / "queries" / f"{name}.sql").read_bytes()

"""Writes the schema of a migrated database as one readable file, sql/schema.sql.

`make schema` runs it after a change of sql/migrations or sql/functions, and
tests/integration/test_schema.py holds the file equal to what a migration makes. It reads Postgres's
catalogue alone and prints nothing that differs between the versions 17 and 18.
"""

from __future__ import annotations

import os
import re
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from functions.migrate import app as migrate
from local import backends
from mini_agent.data import queries

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = queries.SQL / "schema.sql"
HEAD = """\
-- The schema as it is, written by `make schema`: do not edit. Migrations make the tables
-- (sql/migrations), and sql/functions has the functions' bodies.
"""
Connection = psycopg.Connection[tuple[Any, ...]]

TABLES = """
select c.relname from pg_class c
where c.relnamespace = 'app'::regnamespace and c.relkind in ('r', 'v', 'm')
"""
COLUMNS = """
select a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || case when a.attnotnull then ' not null' else '' end
       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
from pg_attribute a
left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
CONSTRAINTS = """
select 'constraint ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
from pg_constraint k
where k.conrelid = %s::regclass and k.contype in ('p', 'u', 'f', 'c', 'x')
order by array_position('{p,u,f,c,x}', k.contype::text), k.conname collate "C"
"""
INDEXES = """
select pg_get_indexdef(i.indexrelid)
from pg_index i
where i.indrelid = %s::regclass
  and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype <> 'f')
order by pg_get_indexdef(i.indexrelid) collate "C"
"""
ROW_SECURITY = """
select 'alter table app.' || c.relname || ' enable row level security'
       || case when c.relforcerowsecurity then ', force row level security' else '' end
from pg_class c
where c.oid = %s::regclass and c.relrowsecurity
"""
POLICIES = """
select 'create policy ' || p.polname || ' on app.' || c.relname
       || case when p.polpermissive then '' else ' as restrictive' end
       || case p.polcmd when 'r' then ' for select' when 'a' then ' for insert'
                        when 'w' then ' for update' when 'd' then ' for delete' else '' end
       || case when p.polroles = '{0}' then '' else ' to ' || (
              select string_agg(r.rolname, ', ' order by r.rolname collate "C")
              from pg_roles r
              where r.oid = any (p.polroles)) end
       || coalesce(' using (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
       || coalesce(' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
from pg_policy p
join pg_class c on c.oid = p.polrelid
where p.polrelid = %s::regclass
order by p.polname <> 'tenant_isolation', p.polname collate "C"
"""
TRIGGERS = """
select pg_get_triggerdef(t.oid)
from pg_trigger t
where t.tgrelid = %s::regclass and not t.tgisinternal
order by t.tgname collate "C"
"""
TABLE_GRANTS = """
with granted as (
    select c.relname, null as attname, c.relowner, 0 as attnum, a.grantee, a.privilege_type
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = %(table)s::regclass
    union all
    select c.relname, t.attname, c.relowner, t.attnum, a.grantee, a.privilege_type
    from pg_class c
    join pg_attribute t on t.attrelid = c.oid,
    aclexplode(t.attacl) a
    where c.oid = %(table)s::regclass
),
rights as (
    select relname, grantee, lower(privilege_type)
           || coalesce(' (' || string_agg(attname, ', ' order by attnum) || ')', '') as privilege
    from granted
    where grantee <> relowner
    group by relname, grantee, privilege_type, attname is null
)
select 'grant ' || string_agg(privilege, ', ' order by privilege collate "C")
       || ' on app.' || relname || ' to '
       || coalesce((select rolname from pg_roles where oid = grantee), 'public') as said
from rights
group by relname, grantee
order by 1
"""
FUNCTIONS = """
select p.proname,
       format('create function app.%s(%s) returns %s', p.proname,
              pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
       || ' language ' || l.lanname
       || case p.provolatile when 'i' then ' immutable' when 's' then ' stable' else '' end
       || case p.proparallel when 's' then ' parallel safe' else '' end
       || case when p.prosecdef then ' security definer' else '' end
       || coalesce((select string_agg(' set ' || s, '' order by s) from unnest(p.proconfig) s), ''),
       format('alter function app.%s owner to %s', p.proname, pg_get_userbyid(p.proowner)),
       coalesce((
           select format('grant execute on function app.%s to %s', p.proname,
                         string_agg(coalesce(r.rolname, 'public'), ', ' order by r.rolname))
           from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
           left join pg_roles r on r.oid = a.grantee
           where a.grantee <> p.proowner
           having count(*) > 0
       ), '')
from pg_proc p
join pg_language l on l.oid = p.prolang
where p.pronamespace = 'app'::regnamespace
"""
SCHEMA_GRANTS = """
select format('grant %s on schema app to %s', lower(a.privilege_type),
              string_agg(r.rolname, ', ' order by r.rolname collate "C"))
from pg_namespace n, aclexplode(n.nspacl) a
join pg_roles r on r.oid = a.grantee
where n.nspname = 'app' and a.grantee <> n.nspowner
group by a.privilege_type
order by 1
"""
DEFAULT_PRIVILEGES = """
select format('alter default privileges for role %s revoke execute on functions from public',
              string_agg(r.rolname, ', ' order by r.rolname collate "C"))
from pg_default_acl d
join pg_roles r on r.oid = d.defaclrole
where d.defaclobjtype = 'f' and d.defaclnamespace = 0
  and not exists (select from aclexplode(d.defaclacl) a where a.grantee = 0)
having count(*) > 0
"""


def describe(conn: Connection) -> str:
    """Return the schema `app` of a database: tables by name, then functions by name."""
    with conn.transaction():
        conn.execute("set local search_path = ''")  # so that every name is told with its schema
        parts = [HEAD, *_schema(conn)]
        parts += [_table(conn, name) for name in sorted(_texts(conn, TABLES))]
        parts += [_function(*row) for row in sorted(conn.execute(FUNCTIONS))]
    return "\n".join(parts)


def _schema(conn: Connection) -> Iterator[str]:
    yield _statements([*_texts(conn, SCHEMA_GRANTS), *_texts(conn, DEFAULT_PRIVILEGES)])


def _table(conn: Connection, name: str) -> str:
    of_table = f"app.{name}"
    lines = [line for query in (COLUMNS, CONSTRAINTS) for line in _texts(conn, query, of_table)]
    inside = ",\n".join(textwrap.indent(_readable(line), "    ") for line in lines)
    more = [
        text
        for query in (INDEXES, ROW_SECURITY, POLICIES, TRIGGERS)
        for text in _texts(conn, query, of_table)
    ]
    grants = [said for (said,) in conn.execute(TABLE_GRANTS, {"table": of_table})]
    return f"create table {of_table} (\n{inside}\n);\n" + _statements([*more, *grants])


def _function(_name: str, signature: str, owner: str, grants: str) -> str:
    return _statements([signature, owner, *([grants] if grants else [])])


def _texts(conn: Connection, query: Any, *of: str) -> list[str]:
    return [text for (text,) in conn.execute(query, of or None)]


def _statements(texts: list[str]) -> str:
    return "".join(f"{_readable(text)};\n" for text in texts)


def _readable(text: str) -> str:
    """Return SQL as we write it: in small letters, names of types short, no line too long."""
    parts = re.split(r"('[^']*')", " ".join(text.split()))
    plain = "".join(part if part.startswith("'") else part.lower() for part in parts)
    plain = plain.replace("timestamp with time zone", "timestamptz").replace("using btree ", "")
    return textwrap.fill(plain, 100, subsequent_indent="    ", break_on_hyphens=False)


def main() -> None:
    """Migrate a database of our own, and write the file."""
    with (
        tempfile.TemporaryDirectory(prefix="map-schema-") as folder,
        backends.postgres(Path(folder) / "postgres") as server,
    ):
        backends.create_database(server)
        os.environ |= {"MAP_DATABASE_HOST": server.socket, "MAP_DATABASE_USER": "map_migrator"}
        migrate.run()
        with psycopg.connect(
            host=server.socket, user="postgres", dbname=backends.DATABASE
        ) as admin:
            FILE.write_text(describe(admin))


if __name__ == "__main__":
    main()

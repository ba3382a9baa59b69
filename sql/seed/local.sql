-- The two tenants of the local profile, each with one key that may do everything. Safe to repeat.
with seed (tenant_id, name, digest, prefix, last_four) as (
    values
        ('11111111-1111-1111-1111-111111111111'::uuid, 'A', %(digest_a)s::bytea, 'tenant-a', '-key'),
        ('22222222-2222-2222-2222-222222222222'::uuid, 'B', %(digest_b)s::bytea, 'tenant-b', '-key')
),
tenants as (
    insert into app.tenants (id, name)
    select tenant_id, name from seed
    on conflict do nothing
)
insert into app.api_keys (tenant_id, id, name, digest, pepper_version, prefix, last_four, scopes)
select tenant_id, tenant_id, 'local', digest, %(pepper_version)s, prefix, last_four, %(scopes)s
from seed
on conflict (tenant_id, id) do update
set digest = excluded.digest, pepper_version = excluded.pepper_version, scopes = excluded.scopes;

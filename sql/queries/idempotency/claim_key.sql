-- A row if the key now belongs to this request, none if a request of the last 24 hours has it.
-- Waits for a concurrent transaction that claims it.
insert into app.idempotency_keys as k (route, key, fingerprint, execution_id)
values (%(route)s, %(key)s, %(fingerprint)s, %(execution_id)s)
on conflict (tenant_id, route, key) do update
set fingerprint = excluded.fingerprint,
    execution_id = excluded.execution_id,
    status = null,
    headers = null,
    body = null,
    created_at = now()
where k.created_at < now() - interval '24 hours'
returning true as claimed

-- Adds an audit entry for a refused request, at most 20 a tenant and minute, so that a client that
-- repeats it in a loop fills no disk.
create or replace function app.log_refusal(
    tenant uuid, action text, target_type text, target_id text, details jsonb
)
    returns void language plpgsql set search_path = '' as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('refusals ' || tenant::text, 0));
    if (
        select count(*)
        from app.audit_log l
        where l.tenant_id = tenant
          and l.created_at > now() - interval '1 minute'
          and l.action in ('access.refused', 'key.refused')
    ) < 20 then
        insert into app.audit_log (tenant_id, action, target_type, target_id, after)
        values (tenant, log_refusal.action, log_refusal.target_type, log_refusal.target_id, details);
    end if;
end
$$;

grant execute on function app.log_refusal(uuid, text, text, text, jsonb)
    to map_api, map_operator, map_keyring;

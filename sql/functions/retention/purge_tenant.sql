-- Deletes up to `batch` rows of a tenant whose grace is over, the tenant itself as the last, and
-- returns how many it deleted, 0 where there is no such tenant. Whoever would bring the tenant back
-- waits meanwhile. The platform's own log keeps that it happened, and of the tenant only its id.
set local role map_janitor;
create or replace function app.purge_tenant(batch integer) returns bigint
    language plpgsql security definer set search_path = ''
    set enable_seqscan = off set enable_bitmapscan = off as $$
declare
    tenant uuid;
    table_name text;
    total bigint := 0;
    deleted bigint;
begin
    select t.id into tenant
    from app.tenants t
    where t.status = 'deleted' and t.delete_after < now()
    order by t.delete_after
    limit 1
    for update skip locked;
    if tenant is null then
        return 0;
    end if;
    -- The audit log last: a request with a key of the tenant adds to it.
    foreach table_name in array array['execution_steps', 'executions', 'idempotency_keys', 'secrets',
                                      'agent_tools', 'agents', 'tools', 'daily_usage', 'api_keys',
                                      'audit_log'] loop
        execute format('delete from app.%1$I where ctid = any (array('
                       'select ctid from app.%1$I where tenant_id = $1 limit $2))', table_name)
            using tenant, batch - total;
        get diagnostics deleted = row_count;
        total := total + deleted;
        if total >= batch then
            return total;
        end if;
    end loop;
    delete from app.tenants t where t.id = tenant;
    insert into app.audit_log (tenant_id, action, target_type, target_id)
    values ('00000000-0000-0000-0000-000000000000', 'tenant.purged', 'tenant', tenant::text);
    return total + 1;
end
$$;

grant execute on function app.purge_tenant(integer) to map_sweeper;

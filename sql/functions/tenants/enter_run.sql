-- From here to its end, this transaction sees and writes the rows of this run's tenant alone. A run
-- outlives its request, so it enters by its own id: a revoked key does not stop it, cancelling does.
-- Raises MAP02 unless this is a run of this active tenant.
create or replace function app.enter_run(tenant uuid, execution uuid)
    returns void language plpgsql security definer set search_path = '' as $$
begin
    perform set_config('app.tenant_id', tenant::text, true);
    if not exists (
        select
        from app.executions e
        join app.tenants t on t.id = e.tenant_id
        where e.tenant_id = tenant
          and e.id = execution
          and t.status = 'active'
    ) then
        raise exception 'this is no run of an active tenant' using errcode = 'MAP02';
    end if;
end
$$;

grant execute on function app.enter_run(uuid, uuid) to map_api;

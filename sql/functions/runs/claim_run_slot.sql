-- Returns where the tenant has fewer than `max_runs` runs queued or running, and lets no other
-- transaction of the tenant through until this one, which may then create a run, has ended. Violates
-- `executions_concurrent_runs` otherwise.
create or replace function app.claim_run_slot(max_runs integer)
    returns void language plpgsql set search_path = '' as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('runs ' || app.tenant_id()::text, 0));
    if (
        select count(*)
        from app.executions e
        where e.tenant_id = app.tenant_id() and e.status in ('queued', 'running')
    ) >= max_runs then
        raise exception 'the tenant has as many runs as it may have at once'
            using errcode = 'check_violation', constraint = 'executions_concurrent_runs';
    end if;
end
$$;

grant execute on function app.claim_run_slot(integer) to map_api;

-- Ends up to `batch` runs that expired and that nobody works on, and deletes up to as many responses
-- older than a day. Returns how many of each.
set local role map_janitor;
create or replace function app.expire_runs_and_responses(batch integer) returns table (ended bigint, deleted bigint)
    language sql security definer set search_path = '' as $$
    with expired as (
        select e.tenant_id, e.id
        from app.executions e
        where e.status in ('queued', 'running', 'waiting_approval') and e.expires_at < now()
        order by e.expires_at
        limit batch
        for update skip locked
    ),
    ended as (
        update app.executions e
        set status = 'failed',
            stop_reason = case e.status
                when 'waiting_approval' then 'approval_expired' else 'interrupted' end,
            finished_at = now()
        from expired x
        where (e.tenant_id, e.id) = (x.tenant_id, x.id)
        returning e.id
    ),
    old as (
        select k.tenant_id, k.route, k.key
        from app.idempotency_keys k
        where k.created_at < now() - interval '24 hours'
        order by k.created_at
        limit batch
        for update skip locked
    ),
    deleted as (
        delete from app.idempotency_keys k
        using old o
        where (k.tenant_id, k.route, k.key) = (o.tenant_id, o.route, o.key)
        returning k.key
    )
    select (select count(*) from ended), (select count(*) from deleted);
$$;

grant execute on function app.expire_runs_and_responses(integer) to map_sweeper;

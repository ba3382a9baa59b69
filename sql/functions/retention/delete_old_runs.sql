-- Deletes up to `batch` runs that are older than their tenants' retention, adds what they used to
-- daily_usage, and returns how many it deleted. The two settings keep it on an index, as in
-- purge_tenant(): any other scan reads all rows of a tenant for each batch, which Postgres believes to
-- be cheap until it has analyzed the table.
set local role map_janitor;
create or replace function app.delete_old_runs(batch integer) returns bigint
    language sql security definer set search_path = ''
    set enable_seqscan = off set enable_bitmapscan = off as $$
    with old as (
        select e.tenant_id, e.id
        from app.tenants t,
        lateral (
            select e.tenant_id, e.id
            from app.executions e
            where e.tenant_id = t.id
              and e.created_at < now() - make_interval(days => t.retention_days)
              and e.status in ('completed', 'failed', 'cancelled')
            order by e.created_at
            limit batch
            for update skip locked
        ) e
        where t.retention_days is not null
        limit batch
    ),
    deleted as (
        delete from app.executions e
        using old o
        where (e.tenant_id, e.id) = (o.tenant_id, o.id)
        returning e.*
    ),
    added as (
        insert into app.daily_usage as u (
            tenant_id, day, model, agent_id, agent_name, runs, input_tokens, output_tokens, cost_usd
        )
        select d.tenant_id, date(d.created_at at time zone 'UTC'), d.model, d.agent_id,
               (array_agg(d.agent_name order by d.created_at desc))[1], count(*),
               sum(d.input_tokens), sum(d.output_tokens), sum(d.cost_usd)
        from deleted d
        group by 1, 2, 3, 4
        order by 1, 2, 3, 4 -- so that two at once cannot deadlock
        on conflict (tenant_id, day, model, agent_id) do update
        set agent_name = excluded.agent_name,
            runs = u.runs + excluded.runs,
            input_tokens = u.input_tokens + excluded.input_tokens,
            output_tokens = u.output_tokens + excluded.output_tokens,
            cost_usd = u.cost_usd + excluded.cost_usd
    )
    select count(*) from deleted;
$$;

grant execute on function app.delete_old_runs(integer) to map_sweeper;

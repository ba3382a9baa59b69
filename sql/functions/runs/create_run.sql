-- Enters the tenant as enter_tenant() does, and creates a run, or returns what its caller must check
-- before it creates one; `is_created` says which. One call, since a mock run is mostly such calls.
--
-- Without `checked` it reads the agent, and creates the run where `may_create` says so, the tenant has
-- no limit on its runs, and no secret named `own_key`, with which the model would not be free. No row
-- if the tenant has no such agent. With `checked`, the agent's definition from an earlier call, it
-- creates the run, and violates `executions_concurrent_runs` if the tenant has too many.
--
-- A queued run waits for a worker. Any other is its first attempt's, and its first step is written
-- with it. Its caller has chosen the run's id, so a call may be sent again: it changes nothing, and
-- says so as before, even if the agent is gone by then or the run itself takes the tenant's last slot.
create or replace function app.create_run(
    tenant uuid,
    key uuid,
    request text,
    address text,
    run uuid,
    agent uuid,
    model text,
    prompt text,
    limits jsonb,
    is_queued boolean,
    lease integer,
    may_create boolean,
    own_key text,
    checked jsonb,
    checked_warning text,
    reserved_tokens bigint,
    reserved_usd numeric
)
    returns table (
        is_created boolean, definition jsonb, warning text, runs_per_minute integer,
        concurrent_runs integer, tokens_per_day bigint, spend_per_month_usd numeric,
        budgeted_since timestamptz, now timestamptz, lease_until timestamptz
    )
    language plpgsql set search_path = '' as $$
#variable_conflict use_column
begin
    perform app.enter_tenant(tenant, key, request, address);
    now := now();
    lease_until := now() + make_interval(secs => lease);
    if checked is null then
        select jsonb_build_object(
                   'id', a.id, 'name', a.name, 'role', a.role, 'description', a.description,
                   'tools', coalesce(tools.definitions, '[]')
               ),
               case
                   when tools.definitions is null
                       then 'This agent has no tools; it answered from the model alone'
                   else 'The model is told of these tools, but cannot call them without an endpoint: '
                        || tools.without_endpoint
               end,
               n.runs_per_minute, n.concurrent_runs, n.tokens_per_day, n.spend_per_month_usd,
               n.budgeted_since,
               may_create
               and num_nonnulls(n.runs_per_minute, n.concurrent_runs, n.budgeted_since) = 0
               and not exists (select from app.secrets s where s.name = own_key)
        into definition, warning, runs_per_minute, concurrent_runs, tokens_per_day,
             spend_per_month_usd, budgeted_since, is_created
        from app.agents a
        join app.tenants n on n.id = a.tenant_id
        cross join lateral (
            select jsonb_agg(
                       jsonb_build_object(
                           'id', t.id, 'name', t.name, 'description', t.description,
                           'parameters', t.parameters, 'endpoint', t.endpoint,
                           'idempotent', t.idempotent, 'requires_approval', t.requires_approval
                       )
                       order by t.created_at, t.id
                   ) as definitions,
                   string_agg(t.name, ', ' order by t.created_at, t.id)
                       filter (where t.endpoint is null) as without_endpoint
            from app.agent_tools x
            join app.tools t on (t.tenant_id, t.id) = (x.tenant_id, x.tool_id)
            where x.agent_id = a.id
        ) tools
        where a.id = agent;
        if not found then -- or deleted since this call was sent before
            select e.definition, e.warning, true
            into definition, warning, is_created
            from app.executions e
            where e.id = run;
            if not found then
                return;
            end if;
        end if;
    else
        select checked, checked_warning, n.runs_per_minute, n.concurrent_runs, n.tokens_per_day,
               n.spend_per_month_usd, n.budgeted_since, true
        into definition, warning, runs_per_minute, concurrent_runs, tokens_per_day,
             spend_per_month_usd, budgeted_since, is_created
        from app.tenants n
        where n.id = tenant;
        if concurrent_runs is not null and not exists (select from app.executions e where e.id = run) then
            perform app.claim_run_slot(concurrent_runs);
        end if;
    end if;
    if is_created then
        insert into app.executions (
            id, agent_id, agent_name, model, prompt, warning, background, definition, limits, status,
            attempt, steps, lease_owner, lease_until, started_at, deadline, expires_at
        )
        values (
            run, agent, definition ->> 'name', create_run.model, create_run.prompt,
            create_run.warning, is_queued, create_run.definition, create_run.limits,
            case when is_queued then 'queued' else 'running' end,
            case when is_queued then 0 else 1 end,
            case when is_queued then 0 else 1 end,
            case when not is_queued then 'request ' || run end,
            case when not is_queued then create_run.lease_until end,
            case when not is_queued then create_run.now end,
            case when not is_queued then
                create_run.now
                + make_interval(secs => (create_run.limits ->> 'timeout_seconds')::integer) end,
            create_run.lease_until
        )
        on conflict do nothing;
        if not is_queued then
            insert into app.execution_steps (
                execution_id, number, kind, status, attempt, reserved_tokens, reserved_usd
            )
            values (run, 1, 'model', 'running', 1, create_run.reserved_tokens, create_run.reserved_usd)
            on conflict do nothing;
        end if;
    end if;
    return next;
end
$$;

grant execute on function app.create_run to map_api;

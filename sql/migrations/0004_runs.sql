-- Runs that think and act: what a tool does, how far a run is, its steps, and the answers that a
-- repeated request gets again.

-- ── Tools that do something ─────────────────────────────────────────────────────────────────────
alter table app.tools
    add column parameters jsonb,
    add column endpoint jsonb,
    add column idempotent boolean not null default false,
    add column requires_approval boolean not null default false;

-- Sealed with a key that Postgres does not have; nothing here can be read without it.
create table app.secrets (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    name text not null constraint secrets_name_length check (length(name) between 1 and 100),
    sealed bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint secrets_tenant_known foreign key (tenant_id) references app.tenants (id),
    constraint secrets_name_unique unique (tenant_id, name)
);
create index secrets_in_order on app.secrets (tenant_id, created_at, id);
alter table app.secrets enable row level security;
alter table app.secrets force row level security;
create policy own_rows on app.secrets
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());
grant select, insert, update, delete on app.secrets to map_api;

-- ── How far a run is ────────────────────────────────────────────────────────────────────────────
-- Of rows from before this migration, all over, only the first eight columns tell something.
-- `definition` is the agent and its tools as they were when the run began, `limits` its caps.
-- `attempt` grows with each process that takes the run over: what an earlier one still writes is
-- refused. `owner` is who works on it, and nobody else may take it before `lease_until`. `crashes`
-- counts takings without a finished step in between. `deadline` ends its work, waiting not counted;
-- after `ends_by` nobody will come back to it, and the sweep ends it.
alter table app.executions
    drop constraint executions_status_known,
    add constraint executions_status_known check (
        status in ('queued', 'running', 'waiting_approval', 'completed', 'failed', 'cancelled')
    ),
    add column stop_reason text,
    add column warning text,
    add column background boolean not null default false,
    add column definition jsonb,
    add column limits jsonb,
    add column input_tokens bigint not null default 0,
    add column output_tokens bigint not null default 0,
    add column cost_usd numeric(18, 9) not null default 0,
    add column steps integer not null default 0,
    add column attempt integer not null default 0,
    add column crashes integer not null default 0,
    add column owner text,
    add column lease_until timestamptz,
    add column started_at timestamptz,
    add column waiting_since timestamptz,
    add column deadline timestamptz,
    add column ends_by timestamptz,
    add column finished_at timestamptz;

drop index app.executions_failed;
create index executions_by_status on app.executions (tenant_id, status, created_at, id)
    where status <> 'completed';
create index executions_to_sweep on app.executions (ends_by)
    where status in ('queued', 'running', 'waiting_approval');
grant update on app.executions to map_api;

-- What happened in a run, in order. A step is there, `running`, before its call goes out. `response`
-- is the model's answer as its provider gave it, for the next call; `result` is what people read.
create table app.execution_steps (
    tenant_id uuid not null default app.tenant_id(),
    execution_id uuid not null,
    number integer not null constraint execution_steps_number_positive check (number > 0),
    kind text not null
        constraint execution_steps_kind_known check (kind in ('model', 'tool', 'approval')),
    status text not null constraint execution_steps_status_known check (
        status in ('running', 'waiting', 'completed', 'failed', 'refused')
    ),
    attempt integer not null,
    tool text,
    arguments jsonb,
    result jsonb,
    response jsonb,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost_usd numeric(18, 9) not null default 0,
    callback text,
    decision text
        constraint execution_steps_decision_known check (decision in ('approve', 'reject')),
    comment text,
    decided_by uuid,
    expires_at timestamptz,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (tenant_id, execution_id, number),
    constraint execution_steps_execution_known foreign key (tenant_id, execution_id)
        references app.executions (tenant_id, id) on delete cascade
);
alter table app.execution_steps enable row level security;
alter table app.execution_steps force row level security;
create policy own_rows on app.execution_steps
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());
grant select, insert, update on app.execution_steps to map_api;

-- A run works on after its request: it enters its tenant by the run itself. Raises MAP02 if this is no
-- run of an active tenant. A key that is revoked meanwhile does not stop a run; cancelling does.
create function app.enter_run(tenant uuid, execution uuid) returns void
    language plpgsql security definer set search_path = '' as $$
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

-- ── What a repeated request gets again ──────────────────────────────────────────────────────────
-- Written in the transaction of the effect: either both are there, or neither. A run's row names its
-- execution instead of an answer, which is made of the execution once that is over.
create table app.idempotency_keys (
    tenant_id uuid not null default app.tenant_id(),
    route text not null,
    key text not null,
    fingerprint bytea not null,
    execution_id uuid,
    status smallint,
    headers jsonb,
    body text,
    created_at timestamptz not null default now(),
    primary key (tenant_id, route, key),
    constraint idempotency_keys_tenant_known foreign key (tenant_id) references app.tenants (id)
);
create index idempotency_keys_by_age on app.idempotency_keys (created_at);
alter table app.idempotency_keys enable row level security;
alter table app.idempotency_keys force row level security;
create policy own_rows on app.idempotency_keys
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());
grant select, insert, update on app.idempotency_keys to map_api;

-- ── What nothing will ever end ──────────────────────────────────────────────────────────────────
-- map_janitor cannot log in: it exists to own sweep(), which works across tenants.
grant usage on schema app to map_janitor, map_sweeper;
grant select, update on app.executions to map_janitor;
create policy janitor_ends on app.executions to map_janitor using (true) with check (true);
grant select, delete on app.idempotency_keys to map_janitor;
create policy janitor_deletes on app.idempotency_keys to map_janitor using (true);

-- Ends up to `batch` runs whose time is over and that nobody works on, and forgets up to as many
-- answers older than a day; returns how many of each.
create function app.sweep(batch integer) returns table (ended bigint, forgotten bigint)
    language sql security definer set search_path = ''
    begin atomic
        with abandoned as (
            select e.tenant_id, e.id
            from app.executions e
            where e.status in ('queued', 'running', 'waiting_approval') and e.ends_by < now()
            order by e.ends_by
            limit batch
            for update skip locked
        ),
        ended as (
            update app.executions e
            set status = 'failed',
                stop_reason = case e.status
                    when 'waiting_approval' then 'approval_expired' else 'interrupted' end,
                finished_at = now()
            from abandoned a
            where (e.tenant_id, e.id) = (a.tenant_id, a.id)
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
        forgotten as (
            delete from app.idempotency_keys k
            using old o
            where (k.tenant_id, k.route, k.key) = (o.tenant_id, o.route, o.key)
            returning k.key
        )
        select (select count(*) from ended), (select count(*) from forgotten);
    end;
grant execute on function app.sweep(integer) to map_sweeper;
grant update on app.idempotency_keys to map_janitor; -- for update needs it

reset role;
grant create on schema app to map_janitor;
alter function app.sweep(integer) owner to map_janitor;
revoke create on schema app from map_janitor;
set local role map_owner;

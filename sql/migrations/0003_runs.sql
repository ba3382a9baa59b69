-- Runs (a run is a row of `executions`), their steps, and the responses kept for repeated requests.

-- `agent_id` and `agent_name` are copies without a reference: deleting an agent keeps its history.
-- `definition` is the agent with its tools when the run was created, `limits` its caps.
-- `attempt` grows with each worker that claims the run, and writes of an earlier attempt are refused.
-- `lease_owner` works on the run, and nobody else may claim it before `lease_until`. `crashes` counts
-- claims without a finished step in between. `deadline` ends its work; time spent waiting is added to
-- it. After `expires_at` nobody will come back to the run, and the sweep ends it.
create table app.executions (
    tenant_id uuid not null default app.tenant_id(),
    id uuid not null default gen_random_uuid(),
    agent_id uuid not null,
    agent_name text not null,
    model text not null,
    prompt text not null,
    response text,
    status text not null constraint executions_status_known check (
        status in ('queued', 'running', 'waiting_approval', 'completed', 'failed', 'cancelled')
    ),
    stop_reason text,
    warning text,
    background boolean not null default false,
    definition jsonb,
    limits jsonb,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost_usd numeric(18, 9) not null default 0,
    steps integer not null default 0,
    attempt integer not null default 0,
    crashes integer not null default 0,
    lease_owner text,
    lease_until timestamptz,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    waiting_since timestamptz,
    deadline timestamptz,
    expires_at timestamptz,
    finished_at timestamptz,
    primary key (tenant_id, id),
    constraint executions_tenant_known foreign key (tenant_id) references app.tenants (id)
);
create index executions_by_created_at on app.executions (tenant_id, created_at, id);
create index executions_by_agent on app.executions (tenant_id, agent_id, created_at, id);
create index executions_by_model on app.executions (tenant_id, model, created_at, id);
create index executions_by_status on app.executions (tenant_id, status, created_at, id)
    where status <> 'completed';
create index executions_by_expires_at on app.executions (expires_at)
    where status in ('queued', 'running', 'waiting_approval');

-- What happened in a run, in order. A step is written, as `running`, before its call goes out.
-- `response` is the model's answer as its provider gave it, for the next call; `result` is what people
-- read. `reserved_*` is the most that a model call may use until it is finished: Redis decides by a
-- copy of it, which is rebuilt from here.
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
    reserved_tokens bigint not null default 0,
    reserved_usd numeric(18, 9) not null default 0,
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
create index execution_steps_by_finished_at on app.execution_steps (tenant_id, finished_at)
    include (input_tokens, output_tokens, cost_usd) where kind = 'model';
create index execution_steps_by_started_at on app.execution_steps (tenant_id, started_at)
    where kind = 'model' and status = 'running';

-- Written in the transaction of the effect, so that either both are there or neither. The key of a
-- run names its execution, and the response is made from that once the run is over.
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
create index idempotency_keys_by_created_at on app.idempotency_keys (created_at);

alter table app.executions enable row level security;
alter table app.executions force row level security;
create policy tenant_isolation on app.executions
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

alter table app.execution_steps enable row level security;
alter table app.execution_steps force row level security;
create policy tenant_isolation on app.execution_steps
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

alter table app.idempotency_keys enable row level security;
alter table app.idempotency_keys force row level security;
create policy tenant_isolation on app.idempotency_keys
    using (tenant_id = app.tenant_id()) with check (tenant_id = app.tenant_id());

grant select, insert, update on app.executions, app.execution_steps, app.idempotency_keys to map_api;

-- An operator sees what a tenant used, and never a prompt, an answer or a secret. Its own repeated
-- requests have their keys among the platform's rows.
grant select (tenant_id, agent_id, agent_name, model, status, input_tokens, output_tokens, cost_usd,
              created_at) on app.executions to map_operator;
create policy operator_reads on app.executions for select to map_operator
    using (app.is_operator());
grant select, insert, update on app.idempotency_keys to map_operator;

-- Enters a run's tenant as enter_run() does, and ends the run, with its last step where `number` is
-- given. No row if the run is over already or another attempt's; what the step used is counted even
-- then, unless another attempt has it. A call that is sent again changes nothing.
create or replace function app.end_run(
    tenant uuid,
    run uuid,
    attempt integer,
    status text,
    stop_reason text,
    response text,
    number integer,
    step_status text,
    step_result jsonb,
    step_response jsonb,
    input_tokens bigint,
    output_tokens bigint,
    cost_usd numeric
)
    returns table (
        warning text, input_tokens_used bigint, output_tokens_used bigint, cost numeric, steps integer,
        created_at timestamptz, started_at timestamptz, finished_at timestamptz
    )
    language plpgsql set search_path = '' as $$
#variable_conflict use_column
declare
    is_counted boolean := false;
begin
    perform app.enter_run(tenant, run);
    if number is not null then
        update app.execution_steps s
        set status = step_status,
            result = step_result,
            response = step_response,
            input_tokens = end_run.input_tokens,
            output_tokens = end_run.output_tokens,
            cost_usd = end_run.cost_usd,
            finished_at = now()
        where s.execution_id = run
          and s.number = end_run.number
          and s.attempt = end_run.attempt
          and s.status = 'running';
        is_counted := found;
    end if;
    return query
        update app.executions e
        set status = end_run.status,
            stop_reason = end_run.stop_reason,
            response = end_run.response,
            input_tokens = e.input_tokens + case when is_counted then end_run.input_tokens else 0 end,
            output_tokens = e.output_tokens + case when is_counted then end_run.output_tokens else 0 end,
            cost_usd = e.cost_usd + case when is_counted then end_run.cost_usd else 0 end,
            finished_at = now()
        where e.id = run
          and e.attempt = end_run.attempt
          and (e.status = 'running') is true -- not by the index of all that are running
        returning e.warning, e.input_tokens, e.output_tokens, e.cost_usd, e.steps, e.created_at,
                  e.started_at, e.finished_at;
    if not found and is_counted then
        update app.executions e
        set input_tokens = e.input_tokens + end_run.input_tokens,
            output_tokens = e.output_tokens + end_run.output_tokens,
            cost_usd = e.cost_usd + end_run.cost_usd
        where e.id = run;
    end if;
end
$$;

grant execute on function app.end_run to map_api;

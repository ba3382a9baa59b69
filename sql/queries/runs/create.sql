-- The new run: at work where its caller waits for it, else queued. The agent may be gone by now.
insert into app.executions (
    id, agent_id, agent_name, model, prompt, warning, background, definition, limits, status, attempt,
    lease_owner, lease_until, started_at, deadline, expires_at
)
select %(id)s, %(agent_id)s, %(agent_name)s, %(model)s, %(prompt)s, %(warning)s, %(background)s,
       %(definition)s, %(limits)s,
       case when %(background)s then 'queued' else 'running' end,
       case when %(background)s then 0 else 1 end,
       case when not %(background)s then %(owner)s end,
       case when not %(background)s then now() + make_interval(secs => %(lease)s) end,
       case when not %(background)s then now() end,
       case when not %(background)s then now() + make_interval(secs => %(seconds)s) end,
       now() + make_interval(secs => %(ends_in)s)
returning created_at

-- A new execution; the agent may be gone by now.
insert into app.executions (agent_id, agent_name, model, prompt, response, status)
values (%(agent_id)s, %(agent_name)s, %(model)s, %(prompt)s, %(response)s, %(status)s)
returning id, created_at

-- Usage by day (UTC), model and agent, the newest day first, then the dearest; of 30 days unless a
-- bound says otherwise, and at most 1 000 rows. An agent's name is its latest.
select date(e.created_at at time zone 'UTC') as day, e.model, e.agent_id,
       (array_agg(e.agent_name order by e.created_at desc))[1] as agent_name,
       count(*) as runs,
       sum(e.input_tokens)::bigint as input_tokens,
       sum(e.output_tokens)::bigint as output_tokens,
       sum(e.cost_usd) as cost_usd
from app.executions e
where e.created_at > coalesce(%(created_after)s::timestamptz, now() - interval '30 days')
  and (%(created_before)s::timestamptz is null or e.created_at < %(created_before)s)
  and (%(agent_id)s::uuid is null or e.agent_id = %(agent_id)s)
  and (%(model)s::text is null or e.model = %(model)s)
group by day, e.model, e.agent_id
order by day desc, cost_usd desc, runs desc, e.agent_id, e.model
limit 1000

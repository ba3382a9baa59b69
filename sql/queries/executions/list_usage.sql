-- Usage by day (UTC), model and agent: the newest day first, then the highest cost; 30 days unless a
-- bound says otherwise, and at most 1 000 rows. Days count whole, also those that a bound cuts, since
-- only days are known of the runs that retention has deleted. An agent's name is its latest.
with bounds as (
    select date(coalesce(%(created_after)s::timestamptz, now() - interval '30 days')
                at time zone 'UTC') as first_day,
           date((coalesce(%(created_before)s::timestamptz, 'infinity') - interval '1 microsecond')
                at time zone 'UTC') as last_day
),
used as (
    select date(e.created_at at time zone 'UTC') as day, e.model, e.agent_id,
           (array_agg(e.agent_name order by e.created_at desc))[1] as agent_name, count(*) as runs,
           sum(e.input_tokens) as input_tokens, sum(e.output_tokens) as output_tokens,
           sum(e.cost_usd) as cost_usd, true as is_current
    from bounds b
    join app.executions e on e.created_at >= b.first_day::timestamp at time zone 'UTC'
                         and e.created_at < (b.last_day + 1)::timestamp at time zone 'UTC'
    where (%(agent_id)s::uuid is null or e.agent_id = %(agent_id)s)
      and (%(model)s::text is null or e.model = %(model)s)
    group by 1, 2, 3
    union all
    select k.day, k.model, k.agent_id, k.agent_name, k.runs, k.input_tokens, k.output_tokens,
           k.cost_usd, false
    from bounds b
    join app.daily_usage k on k.day between b.first_day and b.last_day
    where (%(agent_id)s::uuid is null or k.agent_id = %(agent_id)s)
      and (%(model)s::text is null or k.model = %(model)s)
)
select u.day, u.model, u.agent_id,
       (array_agg(u.agent_name order by u.is_current desc))[1] as agent_name,
       sum(u.runs)::bigint as runs,
       sum(u.input_tokens)::bigint as input_tokens,
       sum(u.output_tokens)::bigint as output_tokens,
       sum(u.cost_usd) as cost_usd
from used u
group by u.day, u.model, u.agent_id
order by u.day desc, cost_usd desc, runs desc, u.agent_id, u.model
limit 1000

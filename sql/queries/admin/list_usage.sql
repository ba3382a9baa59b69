-- A tenant's usage by day (UTC) and model: the newest day first, then the highest cost; 30 days
-- unless a bound says otherwise, and at most 1 000 rows. Of runs that retention has deleted only
-- whole days are known, so a day that a bound cuts counts all of them.
select u.day, u.model, sum(u.runs)::bigint as runs, sum(u.input_tokens)::bigint as input_tokens,
       sum(u.output_tokens)::bigint as output_tokens, sum(u.cost_usd) as cost_usd
from (
    select date(e.created_at at time zone 'UTC') as day, e.model, count(*) as runs,
           sum(e.input_tokens) as input_tokens, sum(e.output_tokens) as output_tokens,
           sum(e.cost_usd) as cost_usd
    from app.executions e
    where e.tenant_id = %(tenant_id)s
      and e.created_at > coalesce(%(created_after)s::timestamptz, now() - interval '30 days')
      and (%(created_before)s::timestamptz is null or e.created_at < %(created_before)s)
      and (%(model)s::text is null or e.model = %(model)s)
    group by 1, 2
    union all
    select k.day, k.model, k.runs, k.input_tokens, k.output_tokens, k.cost_usd
    from app.daily_usage k
    where k.tenant_id = %(tenant_id)s
      and k.day >= date(
          coalesce(%(created_after)s::timestamptz, now() - interval '30 days') at time zone 'UTC')
      and (%(created_before)s::timestamptz is null
           or k.day::timestamp at time zone 'UTC' < %(created_before)s)
      and (%(model)s::text is null or k.model = %(model)s)
) u
group by u.day, u.model
order by u.day desc, cost_usd desc, runs desc, u.model
limit 1000

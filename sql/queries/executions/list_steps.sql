-- The steps of a run from a number on, in order; none where this tenant has no such run. A step that
-- was running when its run ended is interrupted: nobody will finish it.
select s.number, s.kind,
       case when s.status in ('running', 'waiting') and e.finished_at is not null
            then 'interrupted' else s.status end as status,
       s.tool, s.arguments, s.result, s.input_tokens, s.output_tokens, s.cost_usd, s.decision,
       s.comment, s.expires_at, s.started_at, s.finished_at,
       round(1000 * extract(epoch from s.finished_at - s.started_at))::integer as duration_ms
from app.execution_steps s
join app.executions e on e.id = s.execution_id
where s.execution_id = %(id)s and s.number >= %(since)s
order by s.number

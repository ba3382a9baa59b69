-- Those of tool_ids that this tenant does not have, whether or not they exist elsewhere.
select distinct asked.id
from unnest(%(tool_ids)s::uuid[]) as asked (id)
where not exists (select from app.tools t where t.id = asked.id)
order by asked.id

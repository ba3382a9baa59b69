-- Those of tool_ids that this tenant does not have, whether or not they exist elsewhere.
select distinct wanted.id
from unnest(%(tool_ids)s::uuid[]) as wanted (id)
where not exists (select from app.tools t where t.id = wanted.id)
order by wanted.id

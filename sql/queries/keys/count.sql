-- How many keys keys/list returns from its first page to its last.
select count(*) as total
from app.api_keys
where (%(name)s::text is null or name = %(name)s)

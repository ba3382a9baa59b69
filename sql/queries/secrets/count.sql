-- How many secrets secrets/list would give from its first page to its last.
select count(*) as total
from app.secrets

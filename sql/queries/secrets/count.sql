-- How many secrets secrets/list returns from its first page to its last.
select count(*) as total
from app.secrets

-- One row. Adds an audit entry for a refused request, unless the tenant has 20 of the last minute.
select true as noted
from app.log_refusal(%(tenant_id)s, 'access.refused', 'route', %(route)s, %(asked)s)

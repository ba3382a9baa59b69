-- What the key has stored in the last 24 hours: one row, after idempotency/claim_key. The key of a
-- run has no status, only an execution.
select fingerprint, execution_id, status, headers, body
from app.idempotency_keys
where route = %(route)s
  and key = %(key)s
  and created_at >= now() - interval '24 hours'

-- Stores the response in the transaction that claimed the key, beside the effect.
update app.idempotency_keys
set status = %(status)s, headers = %(headers)s, body = %(body)s
where route = %(route)s and key = %(key)s
returning true as stored

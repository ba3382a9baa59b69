-- One row: for how many keys it noted a later use than was known; no use becomes earlier.
select app.note_use(%(tenants)s, %(keys)s, %(times)s) as count

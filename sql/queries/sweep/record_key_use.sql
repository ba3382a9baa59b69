-- One row: how many keys have a later time of use now; no time goes backwards.
select app.record_key_use(%(tenants)s, %(keys)s, %(times)s) as count

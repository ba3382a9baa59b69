-- One row: how many runs it deleted that their tenants keep no longer; what they used stays.
select app.retire(%(batch)s) as count

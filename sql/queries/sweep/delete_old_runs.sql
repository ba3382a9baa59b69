-- One row: how many runs past their tenants' retention it deleted; what they used is kept.
select app.delete_old_runs(%(batch)s) as count

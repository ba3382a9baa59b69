-- One row: how many rows it deleted of a tenant whose grace is over, the tenant last; 0 if there is none.
select app.purge_tenant(%(batch)s) as count

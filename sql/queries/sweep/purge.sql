-- One row: how many rows it deleted of a tenant whose grace is over, itself the last; 0 if there is none.
select app.purge(%(batch)s) as count

-- One row, if the database answers at all.
select true as alive

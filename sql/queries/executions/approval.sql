-- The approval step, or no row where the run has none of this number.
select decision, callback
from app.execution_steps
where execution_id = %(id)s and number = %(step)s and kind = 'approval'

-- Trigger: sets `budgeted_since` to the time since when a tenant has had a budget without a break, or
-- to NULL where it has none. Redis's ledger from before a break does not know what was used in it.
create or replace function app.set_budgeted_since() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if num_nonnulls(new.tokens_per_day, new.spend_per_month_usd) = 0 then
        new.budgeted_since := null;
    elsif new.budgeted_since is null then
        new.budgeted_since := now();
    end if;
    return new;
end
$$;

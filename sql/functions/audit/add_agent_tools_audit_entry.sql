-- Trigger: adds one audit entry for all tools that a statement gave to an agent or took from it.
create or replace function app.add_agent_tools_audit_entry() returns trigger
    language plpgsql set search_path = '' as $$
begin
    insert into app.audit_log (tenant_id, action, target_type, target_id, before, after)
    select c.tenant_id,
           case tg_op when 'INSERT' then 'agent.tools_added' else 'agent.tools_removed' end,
           'agent',
           c.agent_id::text,
           case tg_op when 'DELETE' then jsonb_build_object('tool_ids', jsonb_agg(c.tool_id order by c.tool_id)) end,
           case tg_op when 'INSERT' then jsonb_build_object('tool_ids', jsonb_agg(c.tool_id order by c.tool_id)) end
    from changed c
    group by c.tenant_id, c.agent_id;
    return null;
end
$$;

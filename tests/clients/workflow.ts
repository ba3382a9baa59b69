// Tool, agent, run, history and export with the generated types; the compiler checks each field.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
const [url, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url!, headers: { "X-API-KEY": key! } });

function taken<T>(result: { data?: T; error?: components["schemas"]["ErrorBody"] }): T {
  if (result.data === undefined) throw new Error(result.error?.error_code ?? "no data");
  return result.data;
}

const tool = taken(
  await client.POST("/api/v1/tools", {
    body: { name: "typescript_search", description: "Search the web" },
  }),
);
const agent = taken(
  await client.POST("/api/v1/agents", {
    body: {
      name: "TypeScript agent",
      role: "researcher",
      description: "Runs from a generated client",
      tool_ids: [tool.id],
    },
  }),
);
const run = taken(
  await client.POST("/api/v1/agents/{agent_id}/run", {
    params: { path: { agent_id: agent.id } },
    body: { prompt: "What is new?", model: "gpt-4o" },
  }),
);
const page = taken(
  await client.GET("/api/v1/history", {
    params: { query: { agent_id: agent.id, include_total: true } },
  }),
);
const execution = page.items[0]!;
const lines: string = taken(
  await client.GET("/api/v1/history/export", {
    params: { query: { agent_id: agent.id } },
    parseAs: "text",
  }),
);
const exported = JSON.parse(lines) as components["schemas"]["Execution"];
const total: number | undefined = page.total;
const tools: string[] = agent.tools.map((each) => each.name);
const steps: number = execution.steps;
const stopReason: string | null = execution.stop_reason;

const refused = await client.GET("/api/v1/tools/{tool_id}", {
  params: { path: { tool_id: agent.id } },
});
const code: string | undefined = refused.error?.error_code;
console.log(
  JSON.stringify({
    tools,
    total,
    steps,
    stop_reason: stopReason,
    same: run.execution_id === execution.id && exported.id === execution.id,
    error: code,
  }),
);

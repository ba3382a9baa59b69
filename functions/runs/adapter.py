"""The model behind a run. Real providers take this signature over; until then, a mock answers."""

import hashlib

from functions.runs.models import AgentToRun

EXCERPT = 200  # characters of the prompt that the mock repeats


def complete(agent: AgentToRun, prompt: str, model: str) -> str:
    """Return the model's answer; the same agent, prompt and model give the same text."""
    tools = ", ".join(agent.tool_names) or "none"
    asked = "\n".join([str(agent.id), agent.name, agent.role, tools, prompt, model])
    fingerprint = hashlib.sha256(asked.encode()).hexdigest()[:12]
    excerpt = prompt if len(prompt) <= EXCERPT else prompt[:EXCERPT] + "…"
    return (
        f"[Mock Response] Agent '{agent.name}' (role: {agent.role}) would answer with {model}: "
        f"“{excerpt}” (tools: {tools}; answer {fingerprint})"
    )

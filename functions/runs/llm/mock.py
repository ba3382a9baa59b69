"""The model that answers where no provider is configured: deterministic, immediate and free."""

import hashlib

from functions.runs.definitions import AgentDefinition
from functions.runs.llm.messages import ModelRequest, ModelResponse

EXCERPT_CHARACTERS = 200


class MockModel:
    """Calls no tool; the same agent, prompt and model get the same text."""

    price = None

    def __init__(self, agent: AgentDefinition, model: str) -> None:
        self._agent, self._model = agent, model

    def ask(self, request: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        """Return the response at once, whatever the limits."""
        del max_tokens, seconds
        agent, prompt = self._agent, request.prompt
        tools = ", ".join(tool.name for tool in agent.tools) or "none"
        inputs = "\n".join([str(agent.id), agent.name, agent.role, tools, prompt, self._model])
        fingerprint = hashlib.sha256(inputs.encode()).hexdigest()[:12]
        if len(prompt) > EXCERPT_CHARACTERS:
            prompt = prompt[:EXCERPT_CHARACTERS] + "…"
        text = (
            f"[Mock Response] Agent '{agent.name}' (role: {agent.role}) would answer with"
            f" {self._model}: “{prompt}” (tools: {tools}; answer {fingerprint})"
        )
        return ModelResponse(text, [], "stop", input_tokens=0, output_tokens=0)

"""The model that answers where no provider is configured: deterministic, at once and for free."""

import hashlib
from uuid import UUID

from functions.runs.llm.messages import ModelRequest, ModelResponse

EXCERPT = 200  # characters of the prompt that the mock repeats


class MockModel:
    """A model that calls no tool and gives the same agent, prompt and model the same text."""

    price = None

    def __init__(
        self, agent_id: UUID, name: str, role: str, tool_names: list[str], model: str
    ) -> None:
        self._agent = str(agent_id), name, role
        self._tools = ", ".join(tool_names) or "none"
        self._model = model

    def ask(self, conversation: ModelRequest, *, max_tokens: int, seconds: float) -> ModelResponse:
        """Answer at once."""
        del max_tokens, seconds
        prompt = conversation.prompt
        asked = "\n".join([*self._agent, self._tools, prompt, self._model])
        fingerprint = hashlib.sha256(asked.encode()).hexdigest()[:12]
        excerpt = prompt if len(prompt) <= EXCERPT else prompt[:EXCERPT] + "…"
        _, name, role = self._agent
        text = (
            f"[Mock Response] Agent '{name}' (role: {role}) would answer with {self._model}: "
            f"“{excerpt}” (tools: {self._tools}; answer {fingerprint})"
        )
        return ModelResponse(text, [], "stop", input_tokens=0, output_tokens=0)

"""The models on offer, from `catalogue.toml`."""

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal

FILE = Path(__file__).parent / "catalogue.toml"
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model of a provider, with its price in US dollars for a million tokens."""

    provider: Literal["openai", "anthropic", "bedrock"]
    id: str
    context_tokens: int
    input: Decimal
    output: Decimal


@cache
def load() -> dict[str, CatalogueModel]:
    """Return the models by their public names, in the file's order."""
    models = tomllib.loads(FILE.read_text(), parse_float=Decimal)["models"]
    return {name: CatalogueModel(**fields) for name, fields in models.items()}


def cost(model: CatalogueModel, input_tokens: int, output_tokens: int) -> Decimal:
    """Return what so many tokens cost, in US dollars."""
    return (input_tokens * model.input + output_tokens * model.output) / MILLION

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
class Price:
    """US dollars for a million tokens, in and out."""

    input: Decimal
    output: Decimal

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return what so many tokens cost, in US dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / MILLION


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A provider's model and its list price."""

    provider: Literal["openai", "anthropic", "bedrock"]
    id: str
    context_tokens: int
    price: Price


@cache
def load() -> dict[str, CatalogueModel]:
    """Return the models by their public names, in the file's order."""
    models = tomllib.loads(FILE.read_text(), parse_float=Decimal)["models"]
    return {
        name: CatalogueModel(price=Price(fields.pop("input"), fields.pop("output")), **fields)
        for name, fields in models.items()
    }

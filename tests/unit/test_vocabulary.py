"""Classes are named by nouns, and the glossary has them (docs/glossary.md)."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("functions", "layers/shared", "local", "scripts", "cli")
EXPORTING = ("functions", "layers/shared", "local", "cli")

PARTICIPLES = re.compile(
    r".+(ed|ing)|begun|bound|built|chosen|done|drawn|found|given|gone|held|kept|known|left|lost|made"
    r"|met|paid|read|seen|sent|set|shown|shut|sold|spent|swept|taken|told|woken|written"
)
QUANTITIES = re.compile(
    r"all|always|amount|any|bare|both|count|enough|ever|few|least|less|many|more|most|much|never"
    r"|nobody|none|nothing|now|number|once|only|quantity|room|several|size|some|soon|total"
)
NOUNS = {"feed", "need", "ping", "seed", "setting", "speed", "string", "thing"}
"""They end like a participle."""
ALLOWED = {
    "StepFinished": "the data of the event `step_finished`, whose name clients see",
    "StepStarted": "the data of the event `step_started`, whose name clients see",
    "UsageBound": "a bound is a limit here, the noun",
}
BODIES = {"Create", "Filters", "Input", "List", "Query", "Report", "Rotate", "Update", "Value"}
"""Suffixes of requests and responses, which the glossary explains once."""


@dataclass(frozen=True)
class Class:
    """A class of the tree."""

    name: str
    file: str
    bases: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """Its name's words: `ToolCall` has two."""
        return re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", self.name)


def classes() -> Iterator[Class]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef):
                    bases = tuple(re.split(r"[.\[]", ast.unparse(base))[-1] for base in node.bases)
                    yield Class(node.name, str(file.relative_to(ROOT)), bases)


CLASSES = [*classes()]
BASES = {found.name: found.bases for found in CLASSES}


def is_error(name: str) -> bool:
    if name.endswith(("Error", "Exception")):
        return True
    return any(is_error(base) for base in BASES.get(name, ()) if base != name)


def is_participle(word: str) -> bool:
    return word.lower() not in NOUNS and PARTICIPLES.fullmatch(word.lower()) is not None


def fault(found: Class) -> str | None:
    """Return what is wrong with a class's name."""
    *before, last = found.words
    if found.name in ALLOWED:
        return None
    if not before and QUANTITIES.fullmatch(last.lower()):
        return "is a bare quantity"
    # An error says what happened to what: ConnectionLost, ToolInUse.
    if is_participle(last) and not (before and is_error(found.name)):
        return "ends with a participle"
    return None


def terms() -> set[str]:
    text = (ROOT / "docs/glossary.md").read_text()
    return {term.lower().replace("-", " ") for term in re.findall(r"\*\*(.+?)\*\*", text)}


def is_explained(found: Class, glossary: set[str]) -> bool:
    """Tell whether the glossary has the class's noun, with what comes before it or alone."""
    words = found.words
    if words[-1] in BODIES and len(words) > 1:
        words = words[:-1]
    nouns = [" ".join(words[start:]).lower() for start in range(len(words))]
    return any({noun, noun.removesuffix("s"), f"{noun}s"} & glossary for noun in nouns)


def test_no_class_is_named_by_a_participle_or_a_bare_quantity() -> None:
    faults = [f"{c.file}: {c.name} {problem}" for c in CLASSES if (problem := fault(c))]
    assert not faults, "\n".join(faults)


def test_every_name_that_is_allowed_nevertheless_exists() -> None:
    assert not ALLOWED.keys() - BASES.keys()


def test_the_glossary_has_the_noun_of_every_public_class() -> None:
    glossary = terms()
    missing = [
        f"{c.file}: {c.name}"
        for c in CLASSES
        if c.file.startswith(EXPORTING)
        if not c.name.startswith("_") and c.name not in ALLOWED and not is_error(c.name)
        if not is_explained(c, glossary)
    ]
    assert not missing, "\n".join(missing)

"""What `sam build` packs: each room alone, for the target's processor, ready to be mounted."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.template.conftest import sam
from tests.template.templates import ROOT, SOURCE, of_type

FUNCTIONS = of_type(SOURCE["Resources"], "AWS::Serverless::Function")
LAYERS = ("DependenciesLayer", "SharedLayer")
LIMIT_BYTES = 100_000_000
LAMBDAS_LIMIT_BYTES = 250_000_000  # of a function with all its layers
COMPILED = ("psycopg_binary", "psycopg_binary.libs", "pydantic_core")  # for another processor
PROBE = """
import sys
sys.path[:0] = sys.argv[2:]
import importlib
module, _, name = sys.argv[1].rpartition(".")
assert callable(getattr(importlib.import_module(module), name))
"""


def room(function: str) -> str:
    return str(FUNCTIONS[function]["Properties"]["Handler"].split(".")[1])


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def has_target_interpreter(artefacts: Path) -> bool:
    return any((artefacts / "SharedLayer").rglob("*.pyc"))


def test_the_templates_pass_sams_and_cfn_lints_rules() -> None:
    assert "is a valid SAM Template" in sam("validate", "--lint", "--region", "us-east-1")
    lint = [Path(sys.executable).parent / "cfn-lint", *sorted((ROOT / "stacks").glob("*.yaml"))]
    ran = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_carries_its_own_room_and_nothing_else(artefacts: Path, function: str) -> None:
    folder = artefacts / function
    assert [path.name for path in folder.iterdir()] == ["functions"]
    assert [path.name for path in (folder / "functions").iterdir()] == [room(function)]
    source = ROOT / "functions" / room(function)
    shipped = {
        path.relative_to(folder / "functions" / room(function))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert shipped == {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_every_handler_imports_from_its_package_and_the_layers_alone(
    artefacts: Path, tmp_path: Path
) -> None:
    for name in COMPILED:
        [installed] = Path(sys.prefix, "lib").glob(f"*/site-packages/{name}")
        (tmp_path / name).symlink_to(installed)
    layers = [str(artefacts / layer / "python") for layer in (*LAYERS, "ModelsLayer")]
    python = [f"{sys.base_prefix}/bin/python3", "-IS", "-X", f"pycache_prefix={tmp_path}/compiled"]
    for function, resource in FUNCTIONS.items():
        path = [str(artefacts / function), str(tmp_path), *layers]
        handler = resource["Properties"]["Handler"]
        ran = subprocess.run(
            [*python, "-c", PROBE, handler, *path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{function}: {ran.stderr}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_with_its_layers_stays_small(artefacts: Path, function: str) -> None:
    assert sum(size(artefacts / name) for name in (function, *LAYERS)) < LIMIT_BYTES


def test_runs_alone_carry_the_models_clients_and_still_fit(artefacts: Path) -> None:
    carrying = {name for name in FUNCTIONS if "ModelsLayer" in str(FUNCTIONS[name])}
    assert carrying == {"RunsFunction", "WorkerFunction"}
    for function in carrying:
        everything = (function, "ModelsLayer", *LAYERS)
        assert sum(size(artefacts / name) for name in everything) < LAMBDAS_LIMIT_BYTES
    twice = {
        path.name
        for path in (artefacts / "ModelsLayer" / "python").iterdir()
        if (artefacts / "DependenciesLayer" / "python" / path.name).exists()
    }
    assert twice <= {"__pycache__"}


def test_compiled_modules_are_for_the_target(artefacts: Path) -> None:
    modules = list((artefacts / "DependenciesLayer").rglob("*.cpython-*.so"))
    assert {module.parent.name for module in modules} >= {"psycopg_binary", "pydantic_core"}
    for module in modules:
        assert "cpython-313-aarch64" in module.name
        machine = struct.unpack_from("<H", module.read_bytes(), 18)[0]
        assert machine == 183, f"{module.name} is not for arm64"


def test_layers_hold_no_tests_programs_or_notes_of_the_installer(artefacts: Path) -> None:
    layer = artefacts / "DependenciesLayer" / "python"
    names = {path.name for path in layer.rglob("*")}
    assert not names & {"tests", "test", "bin", "RECORD", "INSTALLER", "REQUESTED"}
    assert all((info / "METADATA").exists() for info in layer.glob("*.dist-info"))
    assert list(layer.rglob("entry_points.txt")), "OpenTelemetry finds its context by one"


def test_the_shared_layer_holds_sql_and_lua_as_files(artefacts: Path) -> None:
    shared = artefacts / "SharedLayer" / "python" / "mini_agent"
    assert not any(path.is_symlink() for path in shared.rglob("*"))
    for folder in ("sql", "lua"):
        real = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*") if p.is_file()}
        packed = {
            p.relative_to(shared / folder) for p in (shared / folder).rglob("*") if p.is_file()
        }
        assert packed == real


def test_byte_code_is_of_the_target_and_needs_no_times(artefacts: Path) -> None:
    code = list(artefacts.rglob("*.pyc"))
    if not has_target_interpreter(artefacts):
        assert not code, "byte code of another version"
        pytest.skip("no python3.13 at hand, so none was made")
    assert all(".cpython-313." in file.name for file in code)
    unchecked = 0b01
    assert all(struct.unpack_from("<I", file.read_bytes(), 4)[0] == unchecked for file in code)
    sources = [p for p in artefacts.rglob("*.py") if "dist-info" not in str(p)]
    assert len(code) >= 0.95 * len(sources)


def test_a_traceback_names_the_file_where_lambda_mounts_it(artefacts: Path) -> None:
    if not has_target_interpreter(artefacts):
        pytest.skip("no python3.13 at hand, so no byte code was made")
    [tools] = (artefacts / "ToolsFunction").rglob("service.*.pyc")
    [db] = (artefacts / "SharedLayer").rglob("db.*.pyc")
    assert b"/var/task/functions/tools/service.py" in tools.read_bytes()
    assert b"/opt/python/mini_agent/data/db.py" in db.read_bytes()

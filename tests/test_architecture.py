"""Holds the plan of the house: who may import whom, which room may use which library, and how large things may grow."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

import batcher

PACKAGE = Path(batcher.__file__).parent
SHARED = frozenset({"quick", "records", "errors", "ports"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "quick": frozenset(),
    "records": frozenset({"quick"}),
    "errors": frozenset(),
    "ports": frozenset({"records"}),
    "policy": frozenset(),
    "chat": frozenset(),
    "cost": frozenset(),
    "job": frozenset(),
    "dataset": frozenset(),
    "endpoint": frozenset(),
    "simulator": frozenset(),
    "report": frozenset(),
    "engine": frozenset({"chat", "policy"}),
    "store": frozenset({"dataset"}),
    "verbs": frozenset(
        {"chat", "cost", "dataset", "endpoint", "engine", "job", "policy", "report", "simulator", "store"}
    ),
    "cli": frozenset({"job", "report", "simulator", "verbs"}),
}
"""Beside the shared words (quick, records, errors, ports) and the package's own version."""

LIBRARIES: dict[str, frozenset[str]] = {
    "anyio": frozenset({"engine", "endpoint", "store", "verbs"}),
    "click": frozenset({"cli"}),
    "genai_prices": frozenset({"cost"}),
    "httpcore": frozenset({"endpoint"}),
    "h11": frozenset({"endpoint"}),
    "httptools": frozenset({"endpoint"}),
    "httpx": frozenset({"endpoint"}),
    "jinja2": frozenset({"chat", "report"}),
    "jsonschema_rs": frozenset({"chat"}),
    "orjson": frozenset(MAY_IMPORT) - SHARED,
    "pyarrow": frozenset({"dataset", "store", "ports", "verbs"}),
    "pydantic": frozenset({"job"}),
    "pydantic_core": frozenset({"job"}),
    "rich": frozenset({"report"}),
    "tenacity": frozenset({"engine"}),
    "uvloop": frozenset({"simulator", "verbs"}),
}
"""Third-party libraries and the rooms that may use them; a library that is not here may not be imported at all."""

LAZY_DOORS = frozenset(
    {
        "__init__.py",  # the public API
        "cost/library.py",  # the price list, where a price is asked for
        "cli/__init__.py",  # handlers stand before the first import that takes time
        "verbs/at_work.py",  # uvloop, where it installs
        "simulator/server.py",  # uvloop, where it installs
        "simulator/__main__.py",
    }
)
"""Files that may import inside functions."""

MODULE_LINES = 400
FUNCTION_LINES = 60
LARGER_WITH_A_REASON: dict[str, str] = {
    "job/model.py": "every key of a job file, one table after the other; split, they could not be read side by side",
    "simulator/breakage.py:_bad_framing": "a table of modes, one entry after the other",
    "simulator/failures.py:_server_errors": "a table of modes, one entry after the other",
    "simulator/refusals.py:_account": "a table of modes, one entry after the other",
    "simulator/refusals.py:_unusable": "a table of modes, one entry after the other",
}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    is_inside_function: bool
    is_for_types: bool


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> list[Import]:
    tree = ast.parse(path.read_text())
    inside: set[ast.AST] = set()
    typing_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside.update(child for child in ast.walk(node) if child is not node)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            typing_only.update(ast.walk(node))
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "batcher":
                names = [f"batcher.{alias.name}" for alias in node.names]
        found += [
            Import(
                str(path.relative_to(PACKAGE)),
                getattr(node, "lineno", 0),
                name,
                node in inside,
                node in typing_only,
            )
            for name in names
        ]
    return found


def all_imports() -> list[Import]:
    return [each for path in files() for each in imports_of(path)]


def test_every_room_is_on_the_plan() -> None:
    rooms = {room_of(path) for path in files()} - {"__init__"}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_the_plan_allows(room: str) -> None:
    allowed = (
        MAY_IMPORT[room] | {room, "__version__"} | (SHARED if room not in SHARED else frozenset({"records"}))
    )
    wrong = [
        f"{each.file}:{each.line} imports {each.module}"
        for path in files()
        if room_of(path) == room
        for each in imports_of(path)
        if each.module.startswith("batcher.") and each.module.split(".")[1] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_the_plan_has_no_circle() -> None:
    left = {
        room: set(others) | (set() if room in SHARED else set(SHARED)) for room, others in MAY_IMPORT.items()
    }
    while left:
        free = [room for room, others in left.items() if not others & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for room in free:
            del left[room]


def test_libraries_stay_in_their_rooms() -> None:
    import sys

    wrong = []
    for each in all_imports():
        top = each.module.split(".")[0]
        if top in sys.stdlib_module_names or top == "batcher":
            continue
        room = each.file.split("/")[0].removesuffix(".py")
        if room not in LIBRARIES.get(top, frozenset()):
            wrong.append(f"{each.file}:{each.line} imports {each.module}")
    assert not wrong, "\n".join(wrong)


def test_asyncio_is_named_only_by_the_simulator_the_network_and_the_composition_root() -> None:
    named = {each.file for each in all_imports() if each.module.split(".")[0] == "asyncio"}
    assert {file for file in named if not file.startswith(("simulator/", "endpoint/", "verbs/"))} == set()


def test_imports_stand_at_the_top_but_at_the_lazy_doors() -> None:
    wrong = [
        f"{each.file}:{each.line} imports {each.module} inside a function"
        for each in all_imports()
        if each.is_inside_function and each.file not in LAZY_DOORS
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path in files() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_modules_and_functions_stay_small_or_give_a_reason() -> None:
    large = []
    for path in files():
        name = str(path.relative_to(PACKAGE))
        text = path.read_text()
        if text.count("\n") > MODULE_LINES and name not in LARGER_WITH_A_REASON:
            large.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno
                if lines > FUNCTION_LINES and f"{name}:{node.name}" not in LARGER_WITH_A_REASON:
                    large.append(f"{name}:{node.name}: {lines} lines")
    assert not large, "\n".join(large)


def test_broad_excepts_stand_only_at_the_two_boundaries_and_the_stores_background() -> None:
    allowed = {"cli/boundary.py", "engine/dispatch.py", "store/run_store.py"}
    allowed |= {"verbs/session.py"}  # progress that cannot be shown stops the run in order
    allowed |= {"verbs/api.py"}  # hands what a thread raised to its caller
    found = set()
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and isinstance(node.body[-1], ast.Raise):
                continue  # puts something back, then raises on
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
            ):
                found.add(str(path.relative_to(PACKAGE)))
    assert found <= allowed, sorted(found - allowed)

"""The shape of the code: imports go one way, files are short, the public names are there."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lelsd_core

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("lelsd_core/**/*.py"), *ROOT.glob("demo/*.py"), ROOT / "app.py"])
PROGRAMS = sorted([*SOURCES, *ROOT.glob("tests/*.py"), *ROOT.glob("checkpoints/*/make/*.py")])
LEVELS = (  # a file imports only from its own package or from lines above; within a package, never in a circle
    {"__init__"},  # its public names load on first use
    {"errors", "progress"},
    {"batch", "device", "folding", "hub", "latents", "localization", "pictures"},
    {"generators"},
    {"formats"},
    {"directions", "inversion", "segmenters"},
    {"discovery", "faces"},
    {"measure", "specs"},
    {"editor", "gallery"},
    {"registry"},
    {"shelf"},
    {"bench", "doctor"},
    {"commands"},
    {"__main__"},
    {"demo"},
)


def dotted(path: Path) -> str:
    """lelsd_core/generators/base.py -> lelsd_core.generators.base; lelsd_core/hub/__init__.py -> lelsd_core.hub."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): path for path in SOURCES}


def level_name(module: str) -> str:
    """lelsd_core.generators.base -> generators; lelsd_core -> __init__; demo.page and app -> demo."""
    first, *rest = module.split(".")
    return (rest or ["__init__"])[0] if first == "lelsd_core" else "demo"


def imports_of(path: Path) -> set[str]:
    """Project modules that a file imports at its top level, outside `if TYPE_CHECKING`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in inner}
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names & MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    here = level_name(module)
    for name in imports_of(MODULES[module]):
        there = level_name(name)
        assert there == here or level[there] < level[here], f"{module} imports {name}"


def test_no_imports_go_in_a_circle():
    TopologicalSorter({module: imports_of(path) for module, path in MODULES.items()}).prepare()


def test_every_module_has_its_level():
    assert {level_name(module) for module in MODULES} == set().union(*LEVELS)


def test_only_the_page_knows_gradio():
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] == "lelsd_core":
            assert "gradio" not in {name.split(".")[0] for name in top_imports(path)}, path


def top_imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 40, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_everything_public_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_the_public_names_are_there():
    for name in lelsd_core.__all__:
        assert getattr(lelsd_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lelsd_core.nothing


def test_nothing_is_too_large_and_the_top_level_is_as_agreed():
    agreed = {"demo", "lelsd_core", "checkpoints", "tests", "app.py", "requirements.txt", "README.md"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
    assert found == agreed | {"pyproject.toml", "LICENSE"}
    for path in ROOT.glob("checkpoints/**/*"):
        assert not path.is_file() or path.stat().st_size < 10_000_000, path

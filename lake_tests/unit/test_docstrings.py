"""What a reader finds of a module, a class or a function without reading its lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lake_resources import errors

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("lake_assets", "lake_resources")
TREE = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules(package: str) -> list[tuple[Path, ast.Module]]:
    """Every module of a package with its tree, but for commands, whose docstrings are the help of a terminal."""
    return [(path, ast.parse(path.read_text("utf-8"))) for path in sorted((PROJECT / package).rglob("*.py"))]


def public(node: ast.AST, inside: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Classes, functions and methods that others may use, with their names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
            yield f"{inside}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{child.name}.")


def raised(node: ast.AST) -> set[str]:
    """Errors of the tree that a function makes and raises itself; functions inside of it are others."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda):
            continue
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call) and isinstance(child.exc.func, ast.Name):
            found |= {child.exc.func.id} & TREE.keys()
        found |= raised(child)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_opens_with_two_to_six_lines_of_what_belongs_in_it(package: str) -> None:
    """A paragraph of why may follow."""
    wrong = []
    for path, tree in modules(package):
        if path.name in {"__init__.py", "__main__.py"}:
            continue
        text = ast.get_docstring(tree) or ""
        opening = re.match(r".*?elongs? here.*?(?=\n\n|\Z)", text, re.DOTALL)
        lines = [line for line in (opening[0] if opening else "").splitlines() if line.strip()]
        if not 2 <= len(lines) <= 6:
            wrong.append((path.name, len(lines)))
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_what_others_may_use_says_what_it_is(package: str) -> None:
    named = [(path, name, node) for path, tree in modules(package) for name, node in public(tree)]
    assert len(named) > 500
    assert [f"{path.name}: {name}" for path, name, node in named if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_function_names_the_errors_that_it_raises(package: str) -> None:
    """Or one of their kind. Commands raise for their exit codes, which are a page of their own."""
    silent, looked_at = [], 0
    for path, tree in modules(package):
        for name, node in public(tree) if not path.name.startswith("commands_") else ():
            own = raised(node) if isinstance(node, Function) else set()
            told = set(re.findall(r"\w+", ast.get_docstring(node) or ""))
            looked_at += bool(own)
            silent += [
                f"{path.name}: {name} raises {each}"
                for each in sorted(own)
                if not told & {kind.__name__ for kind in TREE[each].__mro__ if kind.__name__ in TREE}
            ]
    assert looked_at > 20
    assert silent == []

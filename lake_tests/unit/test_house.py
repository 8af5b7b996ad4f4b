"""How the code is laid out: names that are found by themselves, layers that the pages tell."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from lake_assets.tables.declared import TABLES
from lake_resources import errors
from lake_resources.binance.streams import STREAMS
from lake_resources.clock import epoch_ms, from_epoch_ms, from_epoch_ns

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("lake_assets", "lake_resources")
LONGEST = 500
DECLARATIONS = (
    "binance/um_streams.py", "binance/spot_streams.py", "binance/wire_columns.py", "lake_assets/schema/",
    "lake_assets/tables/",
)  # fmt: skip
"""Where streams, columns and tables are declared."""


def modules(package: str) -> list[Path]:
    return sorted((PROJECT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_name_stands_once_in_its_package(package: str) -> None:
    names = Counter(path.name for path in modules(package) if path.name not in {"__init__.py", "__main__.py"})
    assert names
    assert [name for name, count in names.items() if count > 1] == []


def test_every_public_class_has_a_name_of_its_own() -> None:
    """Within both packages; the simulator's are a world of their own, as its code is."""
    names = Counter(
        node.name
        for package in PACKAGES
        for path in modules(package)
        if "simulator" not in path.parts
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(names) > 300
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_a_place_for_anything(package: str) -> None:
    vague = {"utils", "util", "helpers", "common", "manager", "misc", "facts"}
    assert [
        str(path) for path in modules(package) if vague & set(path.relative_to(PROJECT).with_suffix("").parts)
    ] == []


@pytest.mark.parametrize("package", [*PACKAGES, "lake_tests"])
def test_no_file_is_too_long_to_read(package: str) -> None:
    long = {
        path.name: count for path in modules(package) if (count := len(path.read_text("utf-8").splitlines())) > LONGEST
    }
    assert long == {}


def test_the_architecture_page_lists_the_layers_of_the_import_contract() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    contract = next(each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    declared = [{part.strip() for part in layer.split("|")} for layer in contract["layers"]]
    page = (PROJECT / "docs" / "architecture.md").read_text("utf-8")
    section = page.split("## Layers", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `lake_")]
    told = [set(re.findall(r"`(lake_[\w.]+)`", row)) for row in rows]
    assert told == declared


def product_modules() -> list[Path]:
    """Modules of the product without the declarations, and without the simulator, which shares nothing with them."""
    apart = (*DECLARATIONS, "lake_resources/simulator/")
    return [path for package in PACKAGES for path in modules(package) if not any(each in str(path) for each in apart)]


def test_no_stream_is_named_by_a_text_outside_of_the_declarations() -> None:
    """Who means a stream takes it from its declaration; the same word for something else is listed, and why."""
    names = {name for streams in STREAMS.values() for name in streams}
    found: dict[str, set[str]] = {}
    for path in product_modules():
        texts = {node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)}
        if said := names & texts:
            found[path.name] = said
    assert len(names) > 10
    assert found == OTHER_MEANINGS


OTHER_MEANINGS = {
    # A count of trades beside quantity and notional.
    "rows.py": {"trades"}, "trade_sources.py": {"trades"}, "trade_tallies.py": {"trades"},
    "trade_evidence.py": {"trades"},
    # A count of aggTrades in the live rows.
    "live_rows.py": {"agg_trades"}, "live_minute.py": {"agg_trades"}, "live_coverage.py": {"agg_trades"},
    # The column of the minute table that the stream is named after.
    "slow.py": {"funding_rate"}, "chart_page.py": {"funding_rate"},
    # A heading, a view of the research file, klines that USD-M's revisions name and that no archive is read of, a
    # wire column.
    "lake_tables.py": {"metrics"}, "views_file.py": {"klines_1m"}, "parity_at_rest.py": {"klines_1h"},
}  # fmt: skip
"""By module: words that are also the name of a stream."""


def test_no_list_of_columns_stands_outside_of_the_declarations() -> None:
    """A display of three columns or more of a table is a list of them; formulas (`transforms`) make their own."""
    names = {column.name for table in TABLES.values() for column in table.columns}
    lists = {
        path.name
        for path in product_modules()
        if not any(each in str(path) for each in MAKERS_OF_COLUMNS)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.expr) and len(names & _literals(node)) > 2
    }
    assert len(names) > 70
    assert lists == LISTS_OF_OTHERS


MAKERS_OF_COLUMNS = ("lake_assets/transforms/", "lake_assets/schema/", "lake_resources/bar_values.py")
LISTS_OF_OTHERS = {
    "bar_files.py",  # by what names files of others have them
    "chart_page.py",  # the lines that a chart opens with
    "raw_lines.py",  # the fields of a raw line
    "row_evidence.py",  # what a rule on the exchange's own klines reads of them
    "yahoo_minutes.py",  # the answers of Yahoo
}
"""Modules with a list of names that are also columns of a table."""


@cache
def tree_of(path: Path) -> ast.Module:
    """The module as Python reads it."""
    return ast.parse(path.read_text("utf-8"))


def _literals(node: ast.expr) -> set[str]:
    """Literal texts of a tuple, list, set or dict, of which the keys."""
    parts: list[ast.expr | None] = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        parts = [*node.elts]
    elif isinstance(node, ast.Dict):
        parts = [*node.keys]
    return {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def test_no_test_says_how_fast_a_machine_must_be() -> None:
    """What is there for its speed is a line of the benchmark; Hypothesis has the same examples on any machine."""
    bound = re.compile(r"assert .*(?:monotonic|perf_counter|time)\(\) - \w+ *<")
    assert bound.search("    assert time.monotonic() - began < 5")
    tests = [path for path in modules("lake_tests") if "bench" not in path.parts]
    assert len(tests) > 100
    assert [path.name for path in tests if path.name != "test_house.py" and bound.search(path.read_text("utf-8"))] == []
    assert (hypothesis.settings().deadline, hypothesis.settings().derandomize) == (None, True)


@pytest.mark.parametrize("package", [*PACKAGES, "lake_tests"])
def test_the_lengths_of_second_minute_hour_and_day_are_defined_once(package: str) -> None:
    again = re.compile(
        r"^(?:_?(?:ONE_)?(?:SECOND|MINUTE|HOUR|DAY)S?_?(?:: *Final)?,? *)+= *(?:\w+\.)?timedelta\(\w+=1\)", re.MULTILINE
    )
    owner = PROJECT / "lake_resources" / "clock.py"
    assert again.search(owner.read_text("utf-8"))
    assert [str(path) for path in modules(package) if path != owner and again.search(path.read_text("utf-8"))] == []


def test_lengths_in_milliseconds_and_microseconds_are_defined_once() -> None:
    again = re.compile(r"^_?(?:SECOND|MINUTE|HOUR|DAY)_[MU]S(?:: *Final)? *= *[\d_*]+ *$", re.MULTILINE)
    # The simulator has its own, for it shares nothing with those it stands in for.
    paths = [path for package in PACKAGES for path in modules(package) if "simulator" not in path.parts]
    assert len(paths) > 100
    assert [str(path) for path in paths if again.search(path.read_text("utf-8"))] == [
        str(PROJECT / "lake_resources" / "clock.py")
    ]


def test_instants_are_counted_from_1970_by_whole_numbers() -> None:
    """A float of seconds times a thousand is a millisecond short now and then."""
    for ms in range(1_700_000_000_000, 1_700_000_001_000):
        assert epoch_ms(from_epoch_ms(ms)) == ms
    assert from_epoch_ns(1_700_000_000_123_456_789) == from_epoch_ms(1_700_000_000_123) + timedelta(microseconds=456)


def test_addresses_of_the_exchange_stand_in_the_declarations_of_its_markets() -> None:
    address = re.compile(r"/fapi/|/api/v3/|/futures/data|futures/um|api\.binance|binance\.vision|stream\.binance")
    owners = {path.name for path in product_modules() for text in _texts(tree_of(path)) if address.search(text)}
    # The demo has the simulated exchange fail at a path.
    assert owners == {"market.py", "demo_slices.py"}


def _texts(tree: ast.Module) -> list[str]:
    """Literal texts of a module, without those that document it."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in told)
    return [node.value for node in constants if isinstance(node.value, str)]


CLIENTS = {"httpx", "urllib3", "requests", "aiohttp", "curl_cffi", "yfinance", "websockets"}
"""Packages with which one may ask somebody over the net."""


def test_tables_of_the_ledger_are_declared_in_one_module() -> None:
    """One that only some processes know is made by the first of these, which then has to wait for a writer to end."""
    declaring = re.compile(r"\bTable\(\s*(?:\"\w+\",\s*METADATA|\w+,\s*METADATA)")
    assert {path.name for path in product_modules() if declaring.search(path.read_text("utf-8"))} == {"tables.py"}


def test_each_purpose_has_the_one_client_that_was_decided_on() -> None:
    page = (PROJECT / "docs" / "adr" / "0004-urllib3.md").read_text("utf-8")
    decided: dict[str, tuple[str, ...]] = {}
    for row in (line.split("|") for line in page.splitlines() if line.startswith("| ") and "`lake_" in line):
        for client in CLIENTS & set(re.findall(r"\w+", row[3])):
            decided[client] = tuple(re.findall(r"`(lake_[\w/.]+)`", row[2]))
    assert all((PROJECT / place).exists() for places in decided.values() for place in places)
    imported = [
        (name.partition(".")[0], path.relative_to(PROJECT).as_posix())
        for package in PACKAGES
        for path in modules(package)
        for node in ast.walk(tree_of(path))
        for name in _imports(node)
        if name.partition(".")[0] in CLIENTS
    ]
    assert len(imported) > 8
    assert [(client, path) for client, path in imported if not path.startswith(decided.get(client, ()))] == []


def _imports(node: ast.AST) -> list[str]:
    """Modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_what_a_module_imports_of_this_project_is_there() -> None:
    """Nobody runs the long commands of the benchmarks between two releases, and types are looked at in the product."""
    paths = [path for package in (*PACKAGES, "lake_tests") for path in modules(package)]
    bound = {_dotted(path): set(_bound(tree_of(path).body)) for path in paths}
    asked = [
        (path.name, node.module, alias.name)
        for path in paths
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.module in bound
        for alias in node.names
    ]
    assert len(asked) > 3000
    assert [each for each in asked if each[2] not in bound[each[1]] and f"{each[1]}.{each[2]}" not in bound] == []


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def _bound(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """Names that a module has once it is loaded."""
    for each in statements:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield each.name
        elif isinstance(each, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in each.names)
        elif isinstance(each, ast.If | ast.Try | ast.With | ast.For):
            yield from _bound(child for child in ast.walk(each) if isinstance(child, ast.stmt) and child is not each)
        else:
            yield from (
                node.id for node in ast.walk(each) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            )


def test_only_the_options_of_a_command_may_be_more_than_seven() -> None:
    lint = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "PLR0913" in lint["select"]
    assert lint["pylint"]["max-args"] == 7
    free = {paths for paths, rules in lint["per-file-ignores"].items() if "PLR0913" in rules}
    assert free == {"lake_tests/**", "lake_assets/cli/commands_*.py", "lake_resources/simulator/__main__.py"}
    silenced = [path for package in PACKAGES for path in modules(package) if "noqa: PLR0913" in path.read_text("utf-8")]
    assert silenced == []


TREE = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(package: str) -> list[tuple[Path, ast.Module]]:
    """Every module of a package with its tree."""
    return [(path, tree_of(path)) for path in modules(package)]


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
    for path, tree in parsed(package):
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
    named = [(path, name, node) for path, tree in parsed(package) for name, node in public(tree)]
    assert len(named) > 500
    assert [f"{path.name}: {name}" for path, name, node in named if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_function_names_the_errors_that_it_raises(package: str) -> None:
    """Or one of their kind. Commands raise for their exit codes, which are a page of their own."""
    silent, looked_at = [], 0
    for path, tree in parsed(package):
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

"""What a source file defines, mentions and imports, apart from comments, docstrings and formatting."""

import ast
import contextlib
import functools
import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.cache import cache_folder
from framework.json_text import parse_json

VERSION = 1
"""Version of the analysis, part of the name of its cache."""
IGNORED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}
CACHED = 3000
"""Files whose analysis is kept in the cache."""

Binding = tuple[int, str, str | None]
"""An imported name: level of a relative import, module, and the name in it (None for the module itself)."""


@dataclass(frozen=True)
class Statement:
    """A statement of a module.

    Args:
        names: Names that it defines.
        digest: Hash of what it says.
        uses: Names that it mentions, with the attributes behind them, as `torch.nn.Linear`.
        imports: Names that are imported inside it.
        decorators: Names that it is decorated by.
        acts: Whether it does more than define names.
    """

    names: list[str]
    digest: str
    uses: list[str]
    imports: dict[str, Binding]
    decorators: list[str]
    acts: bool


@dataclass(frozen=True)
class Module:
    """What a source file says, without what the modules are that it imports.

    Args:
        statements: All but the imports.
        imports: Names that are imported.
        stars: Modules all names of which are imported.
        executed: Modules that importing this one imports.
    """

    statements: list[Statement] = field(default_factory=list)
    imports: dict[str, Binding] = field(default_factory=dict)
    stars: list[Binding] = field(default_factory=list)
    executed: list[Binding] = field(default_factory=list)

    @functools.cached_property
    def definitions(self) -> dict[str, list[Statement]]:
        """The statements that define each name."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for name in statement.names:
                found.setdefault(name, []).append(statement)
        return found


class AnalysisCache:
    """Analyses of source files by the hash of their content, kept between processes."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.stored: dict[str, Any] = {}
        self.changed = False
        with contextlib.suppress(OSError, RuntimeError):
            self.path = cache_folder() / f"sources-{VERSION}-{sys.version_info[0]}{sys.version_info[1]}.json"
            with contextlib.suppress(ValueError):
                self.stored = parse_json(self.path.read_text())

    def analysed(self, source: bytes) -> Module:
        """Return the analysis of a source file."""
        key = hashlib.sha256(source).hexdigest()[:24]
        if key in self.stored:
            with contextlib.suppress(TypeError, KeyError, ValueError):
                return _unpacked(self.stored[key])
        found = analyse(source)
        self.stored[key], self.changed = _packed(found), True
        return found

    def save(self) -> None:
        """Write the analyses, the newest of them; a disk that is full costs the next process time."""
        if not self.changed or self.path is None:
            return
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(dict(list(self.stored.items())[-CACHED:])))
            os.replace(part, self.path)
            self.changed = False
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _packed(module: Module) -> list[Any]:
    statements = [[s.names, s.digest, s.uses, s.imports, s.decorators, s.acts] for s in module.statements]
    return [statements, module.imports, module.stars, module.executed]


def _unpacked(stored: list[Any]) -> Module:
    statements, imports, stars, executed = stored
    return Module([Statement(*parts) for parts in statements], imports, stars, executed)


def analyse(source: bytes) -> Module:
    """Return what a source file says; one that cannot be parsed counts by its bytes."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Module([Statement([], digest(source.decode(errors="replace")), [], {}, [], True)])
    module = Module()
    for node in tree.body:
        _read(node, module)
    return module


def _read(node: ast.stmt, module: Module) -> None:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        imports, stars = _bindings(node)
        module.imports.update(imports)
        module.stars.extend(stars)
        module.executed.extend([*stars, *_executed(node)])
    elif _is_string(node) or _is_skipped(node):
        return
    else:
        visitor = _Mentions()
        visitor.visit(node)
        module.imports.update(visitor.imports if isinstance(node, (ast.If, ast.Try, ast.With)) else {})
        module.executed.extend(visitor.executed)
        decorators = [name for item in getattr(node, "decorator_list", ()) for name in _names_in(item)]
        module.statements.append(
            Statement(
                _defined(node), digest(_said(node)), sorted(visitor.uses), visitor.imports, decorators, _acts(node)
            )
        )


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module binds there."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    bound: list[str] = []
    waiting: list[ast.AST] = [node]
    while waiting:
        inner = waiting.pop(0)
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.append(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            bound.append(inner.id)
        elif not isinstance(inner, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            waiting.extend(ast.iter_child_nodes(inner))
    return list(dict.fromkeys(bound))


def _acts(node: ast.stmt) -> bool:
    """Return whether a statement of a module does more than bind names."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return not all(isinstance(t, (ast.Name, ast.Tuple, ast.List, ast.Starred)) for t in targets)
    if isinstance(node, (ast.If, ast.Try)):
        return any(_acts(inner) for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt)) or any(
            _acts(inner) for handler in getattr(node, "handlers", ()) for inner in handler.body
        )
    return not isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)) and not _is_string(node)


def _is_string(node: ast.AST) -> bool:
    """Return whether a statement is a docstring, of a module, class, function or attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_skipped(node: ast.stmt) -> bool:
    """Return whether a statement has no part in what is imported: `if TYPE_CHECKING:` or `if __name__ == ...:`."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    test = node.test
    if isinstance(test, ast.Compare):
        left, operators, right = test.left, test.ops, test.comparators
        program = [ast.unparse(side) for side in (left, *right)]
        return len(right) == 1 and isinstance(operators[0], ast.Eq) and sorted(program) == ["'__main__'", "__name__"]
    return ast.unparse(test).rpartition(".")[2] == "TYPE_CHECKING"


class _Mentions(ast.NodeVisitor):
    """Collects what a statement mentions and imports; annotations of functions change nothing that they do."""

    def __init__(self) -> None:
        self.uses: set[str] = set()
        self.imports: dict[str, Binding] = {}
        self.executed: list[Binding] = []

    def visit_Name(self, node: ast.Name) -> None:
        self.uses.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        dotted = _dotted(node)
        if dotted:
            self.uses.add(dotted)
        else:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        name, first = _dotted(node.func), node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            if name.rpartition(".")[2] == "library":
                self.uses.add(f"library({first.value})")
            elif name.rpartition(".")[2] in ("import_module", "__import__"):
                self.executed.append((0, first.value, None))
                # Whoever imports a module by its name can use any part of it.
                self.imports[first.value] = (0, first.value, None)
                self.uses.add(first.value)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        return

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, node.args, *node.body):
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        if not _is_skipped(node):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        imports, stars = _bindings(node)
        self.imports.update(imports)
        self.executed.extend([*stars, *_executed(node)])

    visit_ImportFrom = visit_Import  # noqa: N815


def _bindings(node: ast.Import | ast.ImportFrom) -> tuple[dict[str, Binding], list[Binding]]:
    """Return the names that an import binds, and the modules all names of which it does."""
    if isinstance(node, ast.Import):
        # `import a.b` binds `a`, and `import a.b as c` the inner module.
        pairs = (
            (a.asname or a.name.partition(".")[0], a.name if a.asname else a.name.partition(".")[0]) for a in node.names
        )
        return {name: (0, module, None) for name, module in pairs}, []
    origin = node.level, node.module or ""
    named: dict[str, Binding] = {
        alias.asname or alias.name: (*origin, alias.name) for alias in node.names if alias.name != "*"
    }
    return named, [(*origin, None) for alias in node.names if alias.name == "*"]


def _executed(node: ast.Import | ast.ImportFrom) -> list[Binding]:
    """Return the modules that an import executes, as far as they are known to be modules."""
    if isinstance(node, ast.Import):
        return [(0, alias.name, None) for alias in node.names]
    origin = node.level, node.module or ""
    return [(*origin, None), *((node.level, f"{origin[1]}.{a.name}".lstrip("."), None) for a in node.names)]


def _dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a name with attributes, and nothing for other expressions."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def _names_in(node: ast.AST) -> set[str]:
    visitor = _Mentions()
    visitor.visit(node)
    return visitor.uses


def _said(node: ast.AST) -> str:
    """Return what code says, without positions, comments and docstrings; the same in all versions of Python."""
    parts: list[str] = []
    _write(node, parts.append)
    return " ".join(parts)


def _write(value: Any, write: Any) -> None:
    if isinstance(value, ast.AST):
        write(type(value).__name__)
        for name in value._fields:
            inner = getattr(value, name, None)
            # Fields that a later version of Python has added are empty where they are not used.
            if inner is not None and inner != [] and name not in IGNORED_FIELDS:
                write(name)
                _write(inner, write)
    elif isinstance(value, list):
        write("[")
        for item in value:
            if not _is_string(item):
                _write(item, write)
        write("]")
    else:
        write(repr(value))


def digest(text: str) -> str:
    """Return a short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]

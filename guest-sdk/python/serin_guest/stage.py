"""Lays out what goes into a strategy's component."""

from __future__ import annotations

import ast
import re
import shutil
import traceback
from pathlib import Path

from . import asked

# The part of this package that goes into the component.
RUNTIME = ["absent", "asked", "boundary", "decision", "entry", "__init__", "log", "models", "output", "snapshot"]
# Folders of a project that are not the strategy.
_ASIDE = {"cases", "dist", "tests", "__pycache__", "node_modules"}


class BuildError(Exception):
    """Why nothing was built."""


def lay_out(folder: Path, app: Path) -> None:
    """Copies the strategy's files in the order of their names, and checks the author's syntax."""

    def is_aside(path: Path) -> bool:
        name = path.name
        if path.is_dir():
            return name in _ASIDE or name.startswith(".") or (path / "pyvenv.cfg").exists()
        is_test = name == "conftest.py" or name.endswith("_test.py") or (name.startswith("test_"))
        return is_test or name.startswith(".") or name.endswith((".pyc", ".wasm"))

    def copy(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        for path in sorted(source.iterdir()):
            if is_aside(path):
                continue
            if path.is_dir():
                copy(path, target / path.name)
            elif path.is_file():
                if path.suffix == ".py":
                    _check_syntax(path)
                shutil.copyfile(path, target / path.name)

    copy(folder, app)
    runtime = app / "serin_guest"
    if runtime.exists():
        raise BuildError(f"{folder / 'serin_guest'}: the SDK has this name; rename it")
    runtime.mkdir()
    for name in RUNTIME:
        shutil.copyfile(Path(__file__).with_name(f"{name}.py"), runtime / f"{name}.py")


def _check_syntax(path: Path) -> None:
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as e:
        raise BuildError("".join(traceback.format_exception_only(e)).rstrip()) from None


def ask(app: Path, installed: Path | None) -> None:
    """Writes down what the strategy's files and packages ask for, for the runtime to prepare."""
    modules: set[str] = set()
    dates = False
    for path in sorted(app.rglob("*.py")):
        if path.is_relative_to(app / "serin_guest"):
            continue
        text = path.read_bytes()
        dates = dates or b"datetime" in text
        if b"strptime" in text:
            # It is loaded by the first call.
            modules.add("_strptime")
        modules |= _imported_late(ast.parse(text))
    if installed is not None:
        dates = dates or any(b"datetime" in path.read_bytes() for path in installed.rglob("*.py"))
    asks = Path(asked.__file__).read_text(encoding="utf-8")
    asks = asks.replace("DATES: bool = False", f"DATES: bool = {dates}")
    asks = asks.replace("MODULES: tuple[str, ...] = ()", f"MODULES: tuple[str, ...] = {tuple(sorted(modules))!r}")
    (app / "serin_guest" / "asked.py").write_text(asks, encoding="utf-8", newline="\n")


def _imported_late(tree: ast.AST) -> set[str]:
    """The modules that functions import when they run."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    found: set[str] = set()
    for node in (node for function in functions for node in ast.walk(function)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), level=0, names=names):
                # What is imported may be a module, too.
                found |= {module, *(f"{module}.{alias.name}" for alias in names if alias.name != "*")}
    return found


def narrow(wit: Path, target: Path, imports: list[str]) -> None:
    """Copies the WIT, with a world that imports only what this strategy uses."""
    files = sorted(wit.glob("*.wit"))
    if not files:
        raise BuildError(f"{wit}: no *.wit files; --wit is the folder that holds serin:decision's world")
    target.mkdir()
    for path in files:
        text = path.read_text(encoding="utf-8")
        kept = lambda match: match[0] if match[1] in imports else ""  # noqa: E731
        text = re.sub(r"^[ \t]*import[ \t]+(models|log);[ \t]*\r?\n", kept, text, flags=re.MULTILINE)
        (target / path.name).write_text(text, encoding="utf-8", newline="\n")

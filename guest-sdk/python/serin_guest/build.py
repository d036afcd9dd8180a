"""Builds a strategy's folder as a WebAssembly component.

What goes into the component is laid out in a staging folder first: the author's files, the
generated ``plugin.py``, and the part of this package that runs in the sandbox. Nothing else is
on the component's path, so what is installed on this machine can't become part of it.
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from . import asked, packages
from . import manifest as manifests
from .generate import generate
from .modules import unknown_module
from .packages import PackagesError

COMPONENTIZE = "0.25.1"
"""The version of componentize-py that the artifact's bytes depend on."""

# The part of this package that goes into the component.
_RUNTIME = ["absent", "asked", "boundary", "decision", "entry", "__init__", "log", "models", "output", "snapshot"]
# Folders of a project that are not the strategy.
_ASIDE = {"cases", "dist", "tests", "__pycache__", "node_modules"}
_HASH_SECTION = "serin:manifest-hash"
# What steady.c exits with where it is not allowed to do its work.
_NO_SECCOMP = 97
_NOT_REPRODUCIBLE = (
    "note: this build is not reproducible, so its digest is its own; reproducible ones need Linux with seccomp "
    "(x86-64 or ARM64), and a C compiler (cc)"
)


class BuildError(Exception):
    """Why nothing was built."""


def build(folder: Path, wit: Path, out: Path) -> None:
    """Generates ``plugin.py``, and writes the component, without manifest and cases, to ``out``."""
    if not (folder / "strategy.py").is_file():
        raise BuildError(f"{folder / 'strategy.py'}: no such file; the strategy goes there")
    manifest = manifests.read(folder / "plugin.toml")
    generate(folder)
    _find_componentize(folder)
    try:
        installed = packages.installed(folder)
    except PackagesError as e:
        raise BuildError(str(e)) from None
    with tempfile.TemporaryDirectory(prefix="serin-python-") as name:
        stage = Path(name)
        _stage(folder, stage / "app")
        _ask(stage / "app", installed)
        # The log is always there: an exception that nobody reads costs more than an import.
        _narrow(wit, stage / "wit", ["log", *(["models"] if manifest.callable else [])])
        (stage / "venv" / "lib" / "site-packages").mkdir(parents=True)
        component = _componentize(folder, stage, installed)
    component += _custom_section(_HASH_SECTION, manifest.hash)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.write_bytes(component)
    partial.replace(out)


def _find_componentize(folder: Path) -> None:
    install = f"run: {sys.executable} -m pip install componentize-py=={COMPONENTIZE}"
    if (folder / "requirements.txt").is_file():
        # All that is missing at once, and not one package after another.
        install = f"run: {sys.executable} -m pip install -r {folder / 'requirements.txt'}"
    try:
        found = importlib.metadata.version("componentize-py")
    except importlib.metadata.PackageNotFoundError:
        raise BuildError(f"componentize-py is not installed; {install}") from None
    if found != COMPONENTIZE:
        raise BuildError(f"componentize-py {found} is installed, and artifacts are built by {COMPONENTIZE}; {install}")


def _stage(folder: Path, app: Path) -> None:
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
    for name in _RUNTIME:
        shutil.copyfile(Path(__file__).with_name(f"{name}.py"), runtime / f"{name}.py")


def _check_syntax(path: Path) -> None:
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as e:
        raise BuildError("".join(traceback.format_exception_only(e)).rstrip()) from None


def _ask(app: Path, installed: Path | None) -> None:
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


def _narrow(wit: Path, target: Path, imports: list[str]) -> None:
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


def _componentize(folder: Path, stage: Path, installed: Path | None) -> bytes:
    run = "import sys, componentize_py; sys.exit(componentize_py.script())"
    out = stage / "out.wasm"
    command = [sys.executable, "-c", run, "--wit-path", "wit", "--world", "strategy", "--quiet"]
    command += ["componentize", "--stub-wasi", "--python-path", "app"]
    if installed is not None:
        shutil.copytree(installed, stage / "packages")
        command += ["--python-path", "packages"]
    command += ["--output", out.name, "serin_guest.entry"]
    # An empty environment of its own, or componentize-py would put this one's packages on the path.
    environment = {**os.environ, "VIRTUAL_ENV": str(stage / "venv"), "TMPDIR": str(stage)}
    environment.pop("PYTHONPATH", None)
    steady = _steady(stage)

    def run_with(preload: dict[str, str]) -> subprocess.CompletedProcess[str]:
        everything = {**environment, **preload}
        return subprocess.run(
            command, cwd=stage, env=everything, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    done = run_with({} if steady is None else {"LD_PRELOAD": str(steady)})
    if done.returncode == _NO_SECCOMP:
        steady, done = None, run_with({})
    if steady is None:
        print(_NOT_REPRODUCIBLE, file=sys.stderr)
    if done.returncode != 0 or not out.exists():
        raise BuildError(_explain(done.stdout + done.stderr, folder))
    return out.read_bytes()


def _steady(stage: Path) -> Path | None:
    """Compiles what keeps this machine's clock, entropy and files out of the artifact, where that is possible."""
    compilers = [os.environ.get("CC", "cc"), "cc", "gcc", "clang"]
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if sys.platform != "linux" or compiler is None:
        return None
    library = stage / "steady.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).with_name("steady.c"))]
    return library if subprocess.run(command, capture_output=True).returncode == 0 else None


def _explain(text: str, folder: Path) -> str:
    """What went wrong while the author's module was loaded, with the author's own files."""
    before, found, after = text.partition("Traceback (most recent call last):\n  File \"/")
    if not found:
        return "componentize-py failed:\n" + text.partition("\n\nStack backtrace:")[0].strip()
    lines = (found + after).partition("\n\nCaused by:")[0].splitlines()
    kept: list[str] = []
    is_ours = False
    for line in lines:
        if line.startswith("  File "):
            # The SDK's frames, and the import machinery's, say nothing to the author.
            is_ours = line.startswith(('  File "/0/serin_guest/', '  File "<frozen '))
        elif not line.startswith("    "):
            is_ours = False
        if not is_ours:
            line = re.sub(r'^  File "/0/([^"]*)"', lambda m: f'  File "{folder / m[1]}"', line)
            kept.append(re.sub(r'^  File "/1/([^"]*)"', r'  File "\1"', line))
    if not any(line.startswith("  File ") for line in kept):
        kept = [line for line in kept if line and not line.startswith("Traceback ")]
        return f"{folder}: {' '.join(kept)}"
    return "\n".join([*kept, *_unknown_module(kept[-1], folder)]).rstrip()


def _unknown_module(error: str, folder: Path) -> list[str]:
    """What to do about a module that is not there."""
    missing = re.match(r"ModuleNotFoundError: No module named '([^'.]+)", error)
    return [unknown_module(missing[1], folder)] if missing else []


def _leb128(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _custom_section(name: str, data: bytes) -> bytes:
    body = _leb128(len(name)) + name.encode() + data
    return b"\0" + _leb128(len(body)) + body

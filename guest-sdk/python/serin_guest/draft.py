"""Writes a strategy's files for a component that has its interpreter already, and makes that component once.

A build starts the interpreter and compiles it, which takes ten seconds whatever the strategy is. `base` is the entry
of a component that has done so and waits for a strategy.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .build import COMPONENTIZE, begin, compiler, componentize, imports
from .stage import RUNTIME, BuildError, ask, lay_out, narrow

NO_DRAFT = 3
"""What the command exits with where only a build will do."""

# The part of this package that a component without a strategy has on top of a strategy's.
_BASE = ["base", "library"]
# Components without a strategy that are kept.
_KEPT = 4
# Bytes of all of a strategy's files: more would leave too much behind in the memory.
_MOST = 8 << 20
_ENCODING = re.compile(rb"""encoding\s*=\s*["']([\w-]+)["']""")
# In the standard library. What is indented deeper runs when it is called, and is rarely reached while it is loaded.
_IMPORT = re.compile(
    r"^ {0,4}(?:from[ \t]+(?P<of>\.*[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#;]+)|import[ \t]+(?P<modules>[^\n#;]+))",
    re.MULTILINE,
)


class NoDraft(Exception):
    """Why only a build will do."""


def draft(folder: Path, wit: Path, cache: Path, out: Path) -> Path:
    """Writes the files that the component needs to ``out``, and gives the component without a strategy."""
    manifest, installed = begin(folder)
    with tempfile.TemporaryDirectory(prefix="serin-python-") as name:
        stage = Path(name)
        lay_out(folder, stage / "app")
        ask(stage / "app", installed)
        narrow(wit, stage / "wit", imports(manifest))
        try:
            base = _base(stage / "wit", cache)
            library = _Library(base.with_suffix(".library"))
        except (OSError, ValueError) as e:
            raise NoDraft(f"{cache}: {e}") from None
        files = _files(stage / "app", installed, library)
    text = json.dumps(files)
    if len(text) > _MOST:
        raise NoDraft(f"{folder}: its files are {len(text) >> 20} MiB")
    out.write_text(text, encoding="utf-8")
    return base


def _base(wit: Path, cache: Path) -> Path:
    """The component without a strategy, built where there is none yet."""
    # Without a compiler the interpreter's entropy is the machine's.
    key = hashlib.sha256(f"{COMPONENTIZE} {compiler() is not None}".encode())
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(__file__).with_name("steady.c"), *sorted(wit.iterdir())]:
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    base = cache / f"{key.hexdigest()[:32]}.wasm"
    if base.is_file() and base.with_suffix(".library").is_file():
        base.touch()
        return base
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="serin-python-") as name:
        stage = Path(name)
        runtime = stage / "app" / "serin_guest"
        runtime.mkdir(parents=True)
        for module in [*RUNTIME, *_BASE]:
            shutil.copyfile(Path(__file__).with_name(f"{module}.py"), runtime / f"{module}.py")
        shutil.copytree(wit, stage / "wit")
        try:
            component = componentize(stage / "app", stage, None, "serin_guest.base")
        except BuildError as e:
            raise NoDraft(str(e)) from None
        _write(base.with_suffix(".library"), (stage / "app" / "library").read_bytes())
    _write(base, component)
    known = sorted(cache.glob("*.wasm"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in known[_KEPT:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".library").unlink(missing_ok=True)
    return base


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)


class _Library:
    """The standard library's sources, as `library` writes them."""

    def __init__(self, path: Path) -> None:
        self.sources: dict[str, str] = {}
        with path.open("rb") as lines:
            self.loaded: set[str] = set(json.loads(lines.readline()))
            while head := lines.readline():
                file, length = json.loads(head)
                self.sources[f"/python/{file}"] = lines.read(length).decode()


def _files(app: Path, installed: Path | None, library: _Library) -> dict[str, str | None]:
    """The author's files, and the modules of packages and of the library that they come to; the library's others are
    named without a text."""
    authors = {f"/0/{path.relative_to(app).as_posix()}": _text(path) for path in sorted(app.rglob("*")) if path.is_file()}
    ours = {f"/0/serin_guest/{name}.py" for name in RUNTIME}
    kept = ours & {"/0/serin_guest/asked.py", "/0/serin_guest/entry.py"}
    authors = {path: text for path, text in authors.items() if path not in ours or path in kept}
    packages = _packages(installed)
    found: dict[str, str | None] = dict.fromkeys([*library.sources, *packages])
    roots = [library.sources, authors, packages]
    pending = [name for path, text in authors.items() for name in _named(text, path)]
    seen = set(library.loaded)
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        pending += [name.rpartition(".")[0]] if "." in name else []
        for root, files in zip(["/python", "/0", "/1"], roots, strict=True):
            place = f"{root}/{name.replace('.', '/')}"
            for path in (f"{place}/__init__.py", f"{place}.py"):
                if path in files:
                    found[path] = files[path]
                    pending += _imported(files[path], path) if root == "/python" else _named(files[path], path)
    return {**found, **authors}


def _packages(installed: Path | None) -> dict[str, str]:
    if installed is None:
        return {}
    return {f"/1/{path.relative_to(installed).as_posix()}": _text(path) for path in installed.rglob("*") if path.is_file()}


def _text(path: Path) -> str:
    """The file's text; of one that has none its bytes in base64, after a NUL."""
    data = path.read_bytes()
    try:
        text = data.decode()
        if not text.startswith(("\0", "\ufeff")):
            return text
    except UnicodeDecodeError:
        pass
    return "\0" + base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text[1:]) if text.startswith("\0") else text.encode()


def _named(text: str, path: str) -> Iterator[str]:
    """The modules that a file of an author or of a package may import, those of its encodings among them."""
    if not path.endswith(".py"):
        return
    data = _bytes(text)
    yield from (f"encodings.{name.decode().replace('-', '_').lower()}" for name in _ENCODING.findall(data))
    if b"datetime" in data:
        yield "datetime"
    if b"strptime" in data:
        # It is loaded by the first call.
        yield "_strptime"
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        yield from _imported(data.decode(errors="replace"), path)
        return
    package = path.split("/")[2:-1]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, level=level, names=names):
                parts = package[: len(package) - level + 1] if level else []
                of = ".".join([*parts, *filter(None, [module])])
                yield from filter(None, [of, *(f"{of}.{alias.name}" for alias in names if alias.name != "*")])


def _imported(text: str, path: str) -> Iterator[str]:
    """The modules that a file of the standard library may import; some of the names may be no modules."""
    package = path.split("/")[2:-1]
    for match in _IMPORT.finditer(text):
        names = [re.split(r"\s+as\s+", name.strip())[0].strip() for name in (match["names"] or match["modules"]).strip("()").split(",")]
        if match["modules"]:
            yield from filter(None, names)
            continue
        of = match["of"].lstrip(".")
        dots = len(match["of"]) - len(of)
        parts = package[: len(package) - dots + 1] if dots else []
        of = ".".join([*parts, *filter(None, [of])])
        yield from filter(None, [of, *(f"{of}.{name}" for name in names if name.isidentifier())])

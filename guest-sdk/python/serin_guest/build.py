"""Builds a strategy's folder as a WebAssembly component.

What goes into the component is laid out in a staging folder first: the author's files, the
generated ``plugin.py``, and the part of this package that runs in the sandbox. Nothing else is
on the component's path, so what is installed on this machine can't become part of it.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import packages
from . import manifest as manifests
from .generate import generate
from .manifest import Manifest
from .modules import unknown_module
from .packages import PackagesError
from .stage import BuildError, ask, lay_out, narrow

COMPONENTIZE = "0.25.1"
"""The version of componentize-py that the artifact's bytes depend on."""

_HASH_SECTION = "serin:manifest-hash"
# What steady.c exits with where it is not allowed to do its work.
_NO_SECCOMP = 97
_NOT_REPRODUCIBLE = (
    "note: this build is not reproducible, so its digest is its own; reproducible ones need Linux with seccomp "
    "(x86-64 or ARM64), and a C compiler (cc)"
)


def build(folder: Path, wit: Path, out: Path) -> None:
    """Generates ``plugin.py``, and writes the component, without manifest and cases, to ``out``."""
    manifest, installed = begin(folder)
    with tempfile.TemporaryDirectory(prefix="serin-python-") as name:
        stage = Path(name)
        lay_out(folder, stage / "app")
        ask(stage / "app", installed)
        narrow(wit, stage / "wit", imports(manifest))
        component = componentize(folder, stage, installed, "serin_guest.entry")
    component += _custom_section(_HASH_SECTION, manifest.hash)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.write_bytes(component)
    partial.replace(out)


def begin(folder: Path) -> tuple[Manifest, Path | None]:
    """Generates ``plugin.py``. The manifest, and the folder of the strategy's packages."""
    if not (folder / "strategy.py").is_file():
        raise BuildError(f"{folder / 'strategy.py'}: no such file; the strategy goes there")
    manifest = manifests.read(folder / "plugin.toml")
    generate(folder)
    _find_componentize(folder)
    try:
        return manifest, packages.installed(folder)
    except PackagesError as e:
        raise BuildError(str(e)) from None


def imports(manifest: Manifest) -> list[str]:
    """What the strategy imports. The log is always there: an exception that nobody reads costs more than an import."""
    return ["log", *(["models"] if manifest.callable else [])]


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


def componentize(folder: Path, stage: Path, installed: Path | None, entry: str) -> bytes:
    """The component of what ``stage`` holds."""
    (stage / "venv" / "lib" / "site-packages").mkdir(parents=True)
    run = "import sys, componentize_py; sys.exit(componentize_py.script())"
    out = stage / "out.wasm"
    command = [sys.executable, "-c", run, "--wit-path", "wit", "--world", "strategy", "--quiet"]
    command += ["componentize", "--stub-wasi", "--python-path", "app"]
    if installed is not None:
        shutil.copytree(installed, stage / "packages")
        command += ["--python-path", "packages"]
    command += ["--output", out.name, entry]
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


def compiler() -> str | None:
    """The C compiler that makes builds reproducible, where there is one."""
    compilers = [os.environ.get("CC", "cc"), "cc", "gcc", "clang"]
    return next(filter(None, map(shutil.which, compilers)), None) if sys.platform == "linux" else None


def _steady(stage: Path) -> Path | None:
    """Compiles what keeps this machine's clock, entropy and files out of the artifact, where that is possible."""
    found = compiler()
    if found is None:
        return None
    library = stage / "steady.so"
    command = [found, "-O1", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).with_name("steady.c"))]
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

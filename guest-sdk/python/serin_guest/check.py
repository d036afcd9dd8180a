"""Checks a strategy's types, where a type checker is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from .generate import generate
from .modules import unknown_module


class CheckError(Exception):
    """What the type checker found."""


def check(folder: Path) -> None:
    """Generates ``plugin.py``, and has mypy check the strategy and its tests strictly.

    Without mypy it says so, and checks nothing: an artifact's cases run without it, too.
    """
    generate(folder)
    if importlib.util.find_spec("mypy") is None:
        wanted = f"-r {folder / 'requirements.txt'}" if (folder / "requirements.txt").is_file() else "mypy"
        print(f"note: the types are not checked; run: {sys.executable} -m pip install {wanted}", file=sys.stderr)
        return
    here = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [here, os.environ.get("MYPYPATH")]))
    tests = sorted(path.name for path in folder.glob("*.py") if re.fullmatch(r"test_.*|.*_test", path.stem))
    files = ["strategy.py", *tests]
    command = [sys.executable, "-P", "-m", "mypy", "--strict", "--no-error-summary", *files]
    found = subprocess.run(
        command, cwd=folder, env={**os.environ, "MYPYPATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if found.returncode != 0:
        # In the author's own path, wherever the command was given.
        lines = [re.sub(r"^(?=[^\s:/]+\.pyi?:)", lambda _: str(folder / "x")[:-1], line) for line in found.stdout.splitlines()]
        missing = re.search(r'stub for module named "([^".]+)', found.stdout)
        hint = [unknown_module(missing[1], folder)] if missing else []
        raise CheckError("\n".join([*lines, *found.stderr.splitlines(), *hint]))
    print(f"types: {', '.join(files)} checked by mypy")

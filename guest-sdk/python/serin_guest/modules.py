"""What to do about a module that a strategy cannot import."""

from __future__ import annotations

from pathlib import Path

# Those that people ask for most, and that are compiled code in every release.
COMPILED = frozenset(
    ["lightgbm", "numpy", "pandas", "polars", "pyarrow", "pydantic_core", "scipy", "sklearn", "torch", "xgboost"]
)


def unknown_module(name: str, folder: Path) -> str:
    """Why a module is not there for the strategy in ``folder``, and what would do instead."""
    native = "Compiled code ({}) can't run in the sandbox: let a model compute that, or the feature's source"
    available = (
        f"a strategy has the standard library and the packages of {folder / 'packages.txt'}, and not what is "
        "installed here"
    )
    if name in COMPILED:
        return f"{available}. {native.format(name)}"
    return (
        f"{available}; a package of Python alone can be added there, for '{name}' too where it is one. "
        + native.format("numpy, pandas, pydantic-core")
    )

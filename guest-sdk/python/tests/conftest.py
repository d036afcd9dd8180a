"""A strategy's project, made for one test."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from serin_guest import boundary
from serin_guest.generate import generate

MANIFEST = """
name = "example"
version = "1.0.0"
decision_point = "collections-outreach"

[actions]
no_contact = {}
offer = { parameters = { months = "integer", rate = "number", class = "text", is-final = "boolean" } }

[reasons]
HARDSHIP = "You told us that you are in \\"hardship\\""
early-stage = "Less than 15 days late"

[[features]]
view = "context"
name = "days_past_due"
type = "integer"
on_missing = "error"

[[features]]
view = "servicing"
name = "balanceDue"
type = "number"

[[features]]
view = "servicing"
name = "channel"
type = "text"
on_missing = { default = "sms" }

[[models]]
name = "default-risk"
version = "1.0.0"
fallback = 0.05
inputs = { days = "context.days_past_due" }

[[models]]
name = "uplift"
version = "2.0.0"
callable = true

[parameters.cap]
type = "integer"
default = 3
min = 0
max = 7

[parameters.share]
type = "number"
default = 1
"""

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Makes a folder with a manifest, and with files where some are given."""

    def make(manifest: str = MANIFEST, **files: str) -> Path:
        (tmp_path / "plugin.toml").write_text(manifest)
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        return tmp_path

    return make


@pytest.fixture
def plugin(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The generated module of the example."""
    folder = project()
    generate(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(boundary, "_registered", [])
    sys.modules.pop("plugin", None)
    yield importlib.import_module("plugin")
    del sys.modules["plugin"]

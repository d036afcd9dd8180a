"""The build: staging, messages, and, where componentize-py is installed, a component."""

import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from conftest import MANIFEST, Project
from serin_guest import build as builds
from serin_guest import stage
from serin_guest.__main__ import main

WIT = Path(__file__).parents[3] / "wit"
STRATEGY = """
from plugin import Action, Candidate, Input, strategy

@strategy
def decide(input: Input) -> Candidate:
    return Action.no_contact()
"""
# Without a callable model.
PLAIN = MANIFEST.replace("callable = true", 'inputs = { days = "context.days_past_due" }')

componentize = pytest.mark.skipif(
    importlib.util.find_spec("componentize_py") is None, reason="componentize-py is not installed"
)


def run(folder: Path) -> int:
    return main(["build", str(folder), "--wit", str(WIT), "--out", str(folder / "dist" / "bare.wasm")])


@pytest.fixture
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to stage into; it is not there yet."""
    return tmp_path_factory.mktemp("stage") / "app"


def test_only_the_strategy_is_staged(project: Project, app: Path) -> None:
    folder = project(strategy=STRATEGY, test_strategy="", conftest="", helper="X = 1")
    for aside in ["cases/a.json", "dist/a.wasm", ".git/x", "venv/pyvenv.cfg", "tables/rates.json"]:
        (folder / aside).parent.mkdir()
        (folder / aside).write_text("{}")
    stage.lay_out(folder, app)
    staged = sorted(str(path.relative_to(app)) for path in app.rglob("*") if path.is_file())
    own = [name for name in staged if not name.startswith("serin_guest/")]
    assert own == ["helper.py", "plugin.toml", "strategy.py", "tables/rates.json"]
    assert "serin_guest/entry.py" in staged and "serin_guest/build.py" not in staged


def test_what_functions_import_is_asked_for(project: Project, app: Path) -> None:
    late = "import csv\ndef decide(i):\n    import json\n    from os import path\n    from datetime import datetime\n"
    stage.lay_out(project(strategy=late + "    datetime.strptime\n"), app)
    stage.ask(app, None)
    asked = (app / "serin_guest" / "asked.py").read_text()
    assert "DATES: bool = True" in asked
    assert "= ('_strptime', 'datetime', 'datetime.datetime', 'json', 'os', 'os.path')" in asked


def test_the_world_imports_what_is_used(tmp_path: Path) -> None:
    stage.narrow(WIT, tmp_path / "wit", ["log"])
    world = (tmp_path / "wit" / "world.wit").read_text()
    assert "import log;" in world and "import models;" not in world and "export decide" in world


def test_the_traceback_has_the_authors_frames_only() -> None:
    text = """Traceback (most recent call last):
  File "<string>", line 1, in <module>
AssertionError: Traceback (most recent call last):
  File "/0/serin_guest/entry.py", line 7, in <module>
    import strategy as _
    ^^^^^^^^^^^^^^^^^^^^
  File "/0/strategy.py", line 66, in <module>
    TABLE = 1 / 0
            ~~^~~
ZeroDivisionError: division by zero


Caused by:
    ZeroDivisionError: division by zero

Stack backtrace:
   0: x
"""
    assert builds._explain(text, Path("/srv/mine")).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/srv/mine/strategy.py", line 66, in <module>',
        "    TABLE = 1 / 0",
        "            ~~^~~",
        "ZeroDivisionError: division by zero",
    ]


def test_a_syntax_error_has_the_authors_file_and_line(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(strategy="def decide(:\n")
    assert run(folder) == 1
    assert f'File "{folder / "strategy.py"}", line 1' in capsys.readouterr().err


def test_what_is_missing_is_said(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project()
    assert run(folder) == 1
    assert "strategy.py: no such file" in capsys.readouterr().err
    (folder / "strategy.py").write_text(STRATEGY)

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert run(folder) == 1
    assert "-m pip install componentize-py==0.25.1" in capsys.readouterr().err
    (folder / "requirements.txt").write_text("")
    assert run(folder) == 1
    assert f"-m pip install -r {folder / 'requirements.txt'}" in capsys.readouterr().err
    (folder / "requirements.txt").unlink()
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.1.0")
    assert run(folder) == 1
    assert "componentize-py 0.1.0 is installed" in capsys.readouterr().err


@componentize
@pytest.mark.parametrize(
    ("strategy", "error"),
    [
        (STRATEGY + "\nTABLE = {}['x']\n", "strategy.py\", line 8, in <module>"),
        (STRATEGY.replace("@strategy", ""), "put @strategy on the function that decides"),
        ("import time\n" + STRATEGY + "\nSTARTED = time.time()\n", "a strategy has no clock"),
        ("import random\n" + STRATEGY + "\nSEED = random.random()\n", "a strategy draws nothing"),
    ],
)
def test_what_fails_on_loading_is_shown(
    project: Project, capsys: pytest.CaptureFixture[str], strategy: str, error: str
) -> None:
    folder = project(PLAIN, strategy=strategy)
    assert run(folder) == 1
    shown = capsys.readouterr().err
    assert error in shown
    assert str(folder) in shown and "/0/" not in shown and "Stack backtrace" not in shown


@componentize
@pytest.mark.parametrize(
    ("manifest", "extra", "imports"),
    [(PLAIN, "", ["log"]), (MANIFEST, "", ["models", "log"])],
)
def test_a_component_imports_what_it_uses_and_no_wasi(
    project: Project, manifest: str, extra: str, imports: list[str]
) -> None:
    folder = project(manifest, strategy=extra + STRATEGY)
    assert run(folder) == 0
    component = (folder / "dist" / "bare.wasm").read_bytes()
    assert component[:8] == b"\0asm\x0d\0\x01\0"
    found = [name for name in ("models", "log") if f"serin:decision/{name}@0.1.0".encode() in component]
    assert found == imports
    assert b"serin:manifest-hash" in component[-100:]


@componentize
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")
def test_the_same_source_gives_the_same_bytes_in_every_folder(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = project(PLAIN, strategy=STRATEGY + "\nTABLE = {'a', 'b', 'c'}\n")
    other = tmp_path_factory.mktemp("elsewhere") / "another-name"
    shutil.copytree(folder, other)
    assert (run(folder), run(other)) == (0, 0)
    assert (folder / "dist" / "bare.wasm").read_bytes() == (other / "dist" / "bare.wasm").read_bytes()

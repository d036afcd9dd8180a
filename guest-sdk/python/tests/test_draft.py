"""Drafts: which files a strategy's component is given."""

import base64
import json
from pathlib import Path

import pytest
from conftest import Project
from serin_guest import draft, stage


@pytest.fixture
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to stage into; it is not there yet."""
    return tmp_path_factory.mktemp("stage") / "app"


@pytest.fixture
def library(tmp_path_factory: pytest.TempPathFactory) -> draft._Library:
    """A library of four modules, of which one is loaded."""
    sources = {
        "csv.py": "import io\nfrom _csv import reader\n",
        "io.py": "import abc\n",
        "abc.py": "",
        "logging/__init__.py": "from . import handlers\n\n\ndef late():\n        import smtplib\n",
        "logging/handlers.py": "try:\n    import abc\nexcept ImportError:\n    pass\n",
        "smtplib.py": "",
    }
    path = tmp_path_factory.mktemp("library") / "library"
    with path.open("wb") as out:
        out.write(json.dumps(["io", "serin_guest", "serin_guest.asked"]).encode() + b"\n")
        for file, text in sources.items():
            out.write(json.dumps([file, len(text)]).encode() + b"\n" + text.encode())
    return draft._Library(path)


def files(folder: Path, app: Path, library: draft._Library, installed: Path | None = None) -> dict[str, str | None]:
    stage.lay_out(folder, app)
    return draft._files(app, installed, library)


def given(found: dict[str, str | None], root: str) -> set[str]:
    return {path for path, text in found.items() if path.startswith(f"/{root}/") and text is not None}


def test_what_the_files_import_is_given_and_the_rest_is_named(
    project: Project, app: Path, library: draft._Library
) -> None:
    found = files(project(strategy="import helper, csv as c\n", helper="X = 1"), app, library)
    assert given(found, "python") == {"/python/csv.py"}, "io is loaded"
    assert given(found, "0") == {
        "/0/plugin.toml",
        "/0/strategy.py",
        "/0/helper.py",
        "/0/serin_guest/asked.py",
        "/0/serin_guest/entry.py",
    }
    assert "/python/smtplib.py" in found and found["/python/smtplib.py"] is None


def test_what_modules_import_in_turn_is_given_but_not_what_their_functions_do(
    project: Project, app: Path, library: draft._Library
) -> None:
    found = files(project(strategy="import logging.handlers\n"), app, library)
    assert given(found, "python") == {"/python/logging/__init__.py", "/python/logging/handlers.py", "/python/abc.py"}


def test_packages_are_given_as_far_as_they_are_imported(
    project: Project, app: Path, library: draft._Library, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packages = tmp_path_factory.mktemp("packages")
    (packages / "wheels").mkdir(parents=True)
    (packages / "wheels" / "__init__.py").write_text("from .round import (\n    turn,\n)\n")
    (packages / "wheels" / "round.py").write_text("import csv\n")
    (packages / "wheels" / "square.py").write_text("")
    found = files(project(strategy="from wheels import turn\n"), app, library, packages)
    assert given(found, "1") == {"/1/wheels/__init__.py", "/1/wheels/round.py"}
    assert given(found, "python") == {"/python/csv.py"}
    assert found["/1/wheels/square.py"] is None


def test_bytes_are_given_as_they_are(project: Project, app: Path, library: draft._Library) -> None:
    folder = project(strategy="")
    for name, data in [("a.bin", b"\xff\x00"), ("b.bin", b"\x00ab"), ("c.py", b"\xef\xbb\xbfX = 1\n")]:
        (folder / name).write_bytes(data)
    found = files(folder, app, library)
    for name, data in [("a.bin", b"\xff\x00"), ("b.bin", b"\x00ab"), ("c.py", b"\xef\xbb\xbfX = 1\n")]:
        text = found[f"/0/{name}"]
        assert text is not None and text.startswith("\0") and base64.b64decode(text[1:]) == data, name


def test_the_librarys_modules_come_first_as_in_a_build(project: Project, app: Path, library: draft._Library) -> None:
    found = files(project(strategy="import csv\n", csv="X = 1"), app, library)
    assert "/python/csv.py" in given(found, "python") and "/0/csv.py" in given(found, "0")


def test_what_functions_and_encodings_take_is_given(project: Project, app: Path, library: draft._Library) -> None:
    library.sources["/python/encodings/cp1252.py"] = ""
    late = "class A:\n    def late(self):\n        import csv\nopen('a', encoding='cp1252')\n"
    found = files(project(strategy=late), app, library)
    assert given(found, "python") == {"/python/csv.py", "/python/encodings/cp1252.py"}

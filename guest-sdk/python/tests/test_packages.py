"""Packages in the artifact, from an index that is a folder."""

import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import Project
from serin_guest import packages
from serin_guest.packages import PackagesError
from test_build import PLAIN, STRATEGY, run


def wheel(index: Path, name: str, tag: str = "py3-none-any", text: str = "RATE = 7\n", needs: str = "") -> Path:
    """Makes a wheel of one module."""
    info = f"{name}-1.0.0.dist-info"
    path = index / f"{name}-1.0.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", text)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n{needs}")
        file.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        file.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_what_is_declared_is_locked_with_all_that_it_needs(project: Project, index: Path) -> None:
    folder = project()
    assert packages.installed(folder) is None
    (folder / "packages.txt").write_text("# nothing yet\n")
    assert packages.installed(folder) is None
    base = wheel(index, "base")
    wheel(index, "tables", needs="Requires-Dist: base\n")
    (folder / "packages.txt").write_text("tables==1.0.0\n")
    target = packages.installed(folder)
    assert target is not None
    assert sorted(path.name for path in target.glob("*.py")) == ["base.py", "tables.py"]
    assert not list(target.rglob("RECORD"))
    lock = (folder / "packages.lock").read_text()
    assert f"base==1.0.0 --hash=sha256:{hashlib.sha256(base.read_bytes()).hexdigest()}\n" in lock

    # The lock decides: what is behind its name now is another file.
    wheel(index, "base", text="RATE = 8\n")
    assert packages.installed(folder) == target
    target.rename(target.with_name("old"))
    with pytest.raises(PackagesError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        packages.installed(folder)
    (folder / "packages.txt").write_text("base==1.0.0\n")
    packages.installed(folder)
    assert "tables" not in (folder / "packages.lock").read_text()


def test_compiled_code_is_refused_with_why(project: Project, index: Path) -> None:
    folder = project()
    wheel(index, "quick", tag="cp314-cp314-manylinux_2_17_x86_64")
    (folder / "packages.txt").write_text("quick==1.0.0\n")
    with pytest.raises(PackagesError, match="quick==1.0.0 has no wheel of Python alone .* let a model compute that"):
        packages.installed(folder)


@pytest.mark.skipif(importlib.util.find_spec("componentize_py") is None, reason="componentize-py is not installed")
def test_a_package_is_part_of_the_component(
    project: Project, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel(index, "base")
    wheel(index, "tables", needs="Requires-Dist: base\n")
    folder = project(PLAIN, strategy="import tables\nassert tables.RATE == 7\n" + STRATEGY)
    assert run(folder) == 1
    shown = capsys.readouterr().err
    assert "No module named 'tables'" in shown and f"the packages of {folder / 'packages.txt'}" in shown
    (folder / "packages.txt").write_text("tables==1.0.0\n")
    assert run(folder) == 0, capsys.readouterr().err

    # From the same lock, the same bytes in another folder.
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for name in ["plugin.toml", "strategy.py", "packages.txt", "packages.lock"]:
        shutil.copyfile(folder / name, elsewhere / name)
    assert run(elsewhere) == 0, capsys.readouterr().err
    here, there = (hashlib.sha256((at / "dist" / "bare.wasm").read_bytes()) for at in (folder, elsewhere))
    assert here.hexdigest() == there.hexdigest()

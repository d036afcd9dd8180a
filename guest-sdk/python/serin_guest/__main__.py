"""``python -m serin_guest generate|check|build|draft``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import __version__
from .build import build
from .check import CheckError, check
from .draft import NO_DRAFT, NoDraft, draft
from .generate import generate
from .manifest import ManifestError
from .names import NameClash
from .stage import BuildError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line, and gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serin_guest", description="Write a Serin strategy in Python")
    parser.add_argument("--version", action="version", version=f"serin_guest {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    generates = commands.add_parser("generate", help="Write DIR/plugin.py from DIR/plugin.toml")
    checks = commands.add_parser("check", help="Generate, and check the types of DIR/strategy.py")
    builds = commands.add_parser("build", help="Generate, and build DIR as a WebAssembly component")
    drafts = commands.add_parser("draft", help="Generate, and write DIR's files for a component that has its interpreter")
    for command in (generates, checks, builds, drafts):
        command.add_argument("dir", type=Path, metavar="DIR", help="The strategy's folder")
    for command, written in [(builds, "component"), (drafts, "files")]:
        command.add_argument("--wit", type=Path, required=True, metavar="WITDIR", help="The folder of serin:decision's WIT")
        command.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"The {written} to write")
    drafts.add_argument("--cache", type=Path, required=True, metavar="CACHEDIR", help="Where components without a strategy are")
    given = parser.parse_args(arguments)
    try:
        if given.command == "generate":
            print(generate(given.dir))
        elif given.command == "check":
            check(given.dir)
        elif given.command == "build":
            build(given.dir, given.wit, given.out)
            print(given.out)
        else:
            print(draft(given.dir, given.wit, given.cache, given.out))
    except NoDraft as e:
        print(e, file=sys.stderr)
        return NO_DRAFT
    except (BuildError, CheckError, ManifestError, NameClash) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

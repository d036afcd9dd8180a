"""The standard library's sources, written down while there are files: see `base`. Loaded in the component only."""

import json
import os


def write(path: str, loaded: list[str]) -> None:
    """Writes the names of the modules that are loaded as a line, and for each file a line with its path and its length
    before its bytes.

    Through one small buffer: what is in this memory once stays with every strategy.
    """
    top = os.path.dirname(os.path.dirname(os.path.abspath(json.__file__)))
    buffer = memoryview(bytearray(16 << 10))
    with open(path, "wb", buffering=0) as out:
        out.write(json.dumps(loaded).encode() + b"\n")
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(set(folders) - {"__pycache__"})
            for name in sorted(files):
                if name.endswith(".py"):
                    file = os.path.join(folder, name)
                    out.write(json.dumps([os.path.relpath(file, top), os.stat(file).st_size]).encode() + b"\n")
                    with open(file, "rb", buffering=0) as source:
                        while length := source.readinto(buffer):
                            out.write(buffer[:length])

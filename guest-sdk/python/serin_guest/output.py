"""Where `print` and `logging` go: to the strategy's log, line by line. Loaded in the component only."""

import io
import sys

from . import log


class _Lines(io.TextIOBase):
    """Sends whole lines to the log."""

    def __init__(self, level: log.Level) -> None:
        self._level = level
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            log.send(self._level, line)
        return len(text)

    def end(self) -> None:
        """Sends a line that has no end yet."""
        if self._begun:
            line, self._begun = self._begun, ""
            log.send(self._level, line)


_streams = (_Lines("info"), _Lines("warn"))


def flush() -> None:
    """Sends what was printed without the end of a line."""
    for stream in _streams:
        stream.end()


def close() -> None:
    """Lets nothing more be printed: the run is over."""
    sys.stdout = sys.stderr = None


def to_log() -> None:
    """Has `print` write to the log from here on, and `logging` too where the strategy loaded it."""
    sys.stdout, sys.stderr = _streams
    if "logging" not in sys.modules:
        return
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            level: log.Level = "warn" if record.levelno >= logging.WARNING else "info"
            log.send("debug" if record.levelno < logging.INFO else level, self.format(record))

    # What was set up while the component was built writes to a stream that is not there any more.
    logging.root.handlers[:] = [Handler()]

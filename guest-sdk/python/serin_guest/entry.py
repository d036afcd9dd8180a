"""The component's entry. It runs once, when the component is built: what is loaded here is part
of the artifact. Only `WitWorld.decide` runs for a decision.
"""

import contextlib
import gc
import importlib
from typing import Any

from . import absent  # First, so that the author's module finds it done.

import strategy
import wit_world
from componentize_py_types import Err
from plugin import read_context
from wit_world.imports import log as host_log
from wit_world.imports import types

from . import asked, boundary, log, models, output
from .decision import Refusal, Value

_strategy = boundary.registered()
_decide = _strategy.decide
_boundary = boundary.Boundary(types, read_context)
_levels = {name.lower(): level for name, level in host_log.Level.__members__.items()}
log.send_to(lambda level, message: host_log.log(_levels[level], message))

try:
    from wit_world.imports import models as _host_models
except ImportError:
    pass
else:
    _errors = {
        _host_models.ScoreError_UnknownModel: models.UnknownModel,
        _host_models.ScoreError_InvalidRow: models.InvalidRow,
        _host_models.ScoreError_Timeout: models.Timeout,
        _host_models.ScoreError_Unavailable: models.Unavailable,
        _host_models.ScoreError_LimitReached: models.LimitReached,
    }

    def _score(position: int, name: str, rows: list[list[Value]]) -> list[float]:
        value = _boundary.value
        try:
            scores: list[float] = _host_models.score(position, [[value(x) for x in row] for row in rows])
        except Err as e:
            text = getattr(e.value, "value", None)
            raise _errors[type(e.value)](f"model '{name}'" if text is None else f"model '{name}': {text}") from None
        return scores

    models.answered_by(_score)


def _explain(error: BaseException) -> str:
    """The error, and the line of the author's that it came from."""
    at = ""
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        # The author's files are the first on the path; the SDK is among them.
        if code.co_filename.startswith("/0/") and not code.co_filename.startswith("/0/serin_guest/"):
            at = f" ({code.co_filename.removeprefix('/0/')}, line {traceback.tb_lineno}, in {code.co_name})"
        traceback = traceback.tb_next
    return f"{type(error).__name__}: {error}{at}"


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]
    """What the host calls."""

    def decide(self, context: Any) -> Any:
        """One decision. ``context`` is the plugin's `Input` already: see `Boundary`."""
        absent.now_ms = context.time_ms
        try:
            return _boundary.decision(_decide(context))
        except Refusal as refusal:
            raise Err(_boundary.refusal(refusal)) from None
        except BaseException as error:
            output.flush()
            log.warn(_explain(error))
            # The interpreter is about to print its own account, with the artifact's paths.
            output.close()
            raise
        finally:
            output.flush()


# What a function imports has to be there before it runs. One that is missing is told where it is asked for.
for _name in asked.MODULES:
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)
output.to_log()
absent.close()

# A run is one decision on a fresh copy of this memory: nothing is ever worth collecting, and a
# collection would write to all of it.
gc.collect()
gc.disable()
gc.freeze()

"""The component's entry. It runs once, when the component is built: what is loaded here is part
of the artifact. Only `WitWorld.decide` runs for a decision.
"""

import contextlib
import importlib
import sys
import types
from typing import Any

from . import absent  # First, so that the author's module finds it done.

import strategy
import wit_world
import componentize_py_types as answers
from componentize_py_types import Err, Ok
import plugin
from plugin import read_context
from wit_world.imports import log as host_log
from wit_world.imports import types as host_types

from . import asked, boundary, log, models, output, snapshot
from .decision import ActionType, Refusal, Value

_strategy = boundary.registered()
_decide = _strategy.decide
_boundary = boundary.Boundary(host_types, read_context)
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


_kept: object = None
_SAMPLES: dict[str, Value] = {"boolean": False, "integer": 0, "number": 0.5, "text": ""}


def _rehearse() -> None:
    """What every decision passes through, but for the strategy itself."""
    actions = [value for value in vars(plugin).values() if isinstance(value, ActionType)]
    makers = [value.__func__ for value in vars(plugin.Action).values() if isinstance(value, staticmethod)]
    for action, maker in zip(actions, makers, strict=True):
        code = maker.__code__
        names = code.co_varnames[: code.co_kwonlyargcount]
        candidate = maker(**{name: _SAMPLES[kind] for name, (_, kind) in zip(names, action.parameters, strict=True)})
        for reason in plugin.Reason:
            candidate = candidate.because(reason, 0.5)
        sizes = [len(kind.__slots__) for kind in (plugin.Features, plugin.Scores, plugin.Parameters)]
        context = host_types.Context("", 0, 0, [0.5] * sizes[0], [0.5] * sizes[1], [0.5] * sizes[2], [])
        decided = _boundary.decision([candidate.with_probability(0.5)])
        for proposed in decided.candidates:
            (proposed.action, proposed.probability, proposed.parameters, proposed.reasons, proposed.extra)
            [value.value for value in proposed.parameters]
            [(reason.code, reason.weight) for reason in proposed.reasons]
        Ok(decided)
        output.flush()


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]
    """What the host calls."""

    def __init__(self) -> None:
        # The last that the build runs, which still has its own output.
        global _kept
        lines = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        loaded = [(module, str(getattr(module, "__file__", ""))) for module in sys.modules.values()]
        ours = ("/0/serin_guest/", "/0/plugin.")
        sdk = [module for module, file in loaded if file.startswith(ours)]
        authors = [module for module, file in loaded if file.startswith("/0/") and not file.startswith(ours)]
        packages = [module for module, file in loaded if file.startswith("/1/")]
        sdk += [wit_world, host_types, answers]
        _kept = loaded, snapshot.prepare(_rehearse, sdk, authors, packages, WitWorld.decide)
        sys.stdout, sys.stderr = lines

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

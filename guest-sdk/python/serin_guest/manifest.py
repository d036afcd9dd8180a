"""Reads ``plugin.toml``, as far as generating needs it. The host validates the rest."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TYPES = ("boolean", "integer", "number", "text")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

Literal = bool | int | float | str


class ManifestError(Exception):
    """What is wrong with a manifest, and where."""


@dataclass(frozen=True)
class Feature:
    view: str
    name: str
    type: str
    may_be_missing: bool
    default: Literal | None


@dataclass(frozen=True)
class Score:
    name: str
    version: str
    fallback: float | None


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    default: Literal


@dataclass(frozen=True)
class Manifest:
    name: str
    version: str
    decision_point: str
    actions: dict[str, dict[str, str]]
    reasons: dict[str, str]
    features: list[Feature]
    scores: list[Score]
    callable: list[Score]
    parameters: list[Parameter]
    hash: bytes
    """SHA-256 of the file's bytes, which ties the code to it."""


def read(path: Path) -> Manifest:
    """Reads the manifest at ``path``."""
    try:
        return parse(path.read_bytes())
    except (OSError, ManifestError) as e:
        why = e.strerror if isinstance(e, OSError) else e
        raise ManifestError(f"{path}: {why}") from None


def parse(data: bytes) -> Manifest:
    """Reads the text of a ``plugin.toml``."""
    try:
        raw = tomllib.loads(data.decode())
    except ValueError as e:  # TOMLDecodeError and UnicodeDecodeError are both of this kind
        raise ManifestError(str(e)) from None
    actions = {
        _name("actions", name): _action(name, action)
        for name, action in _table("actions", raw.get("actions", {})).items()
    }
    if not actions:
        raise ManifestError("no actions; declare at least one, like [actions.no_contact]")
    models = [_model(model) for model in _tables("models", raw.get("models", []))]
    return Manifest(
        name=_name("name", raw.get("name")),
        version=_text("version", raw.get("version")),
        decision_point=_name("decision_point", raw.get("decision_point")),
        actions=actions,
        reasons={
            _name("reasons", code): _text(f"reasons.{code}", text)
            for code, text in _table("reasons", raw.get("reasons", {})).items()
        },
        features=[_feature(feature) for feature in _tables("features", raw.get("features", []))],
        scores=[score for score, is_callable in models if not is_callable],
        callable=[score for score, is_callable in models if is_callable],
        parameters=[
            _parameter(_name("parameters", name), _table(f"parameters.{name}", parameter))
            for name, parameter in _table("parameters", raw.get("parameters", {})).items()
        ],
        hash=hashlib.sha256(data).digest(),
    )


def _text(at: str, value: object) -> str:
    if value is None:
        raise ManifestError(f"{at} is missing")
    if not isinstance(value, str):
        raise ManifestError(f"{at} = {value!r}; valid: text")
    return value


def _name(at: str, value: object) -> str:
    text = _text(at, value)
    if not _NAME.fullmatch(text):
        raise ManifestError(f"{at}: '{text}' is not a name; valid: a letter, then up to 63 letters, digits, '_' or '-'")
    return text


def _table(at: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{at} = {value!r}; valid: a table")
    return value


def _tables(at: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ManifestError(f"{at}: write it as [[{at}]]")
    return [_table(f"[[{at}]]", table) for table in value]


def _type(at: str, value: object) -> str:
    if value not in TYPES:
        raise ManifestError(f"{at} = {value!r}; valid: {', '.join(TYPES)}")
    return str(value)


def _literal(at: str, kind: str, value: object) -> Literal:
    if kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    expected = {"boolean": bool, "integer": int, "number": float, "text": str}[kind]
    if type(value) is not expected:
        raise ManifestError(f"{at}: the default is {value!r}, and it is declared as {kind}")
    return value  # type: ignore[return-value]


def _action(name: str, raw: object) -> dict[str, str]:
    at = f"actions.{name}.parameters"
    parameters = _table(at, _table(f"actions.{name}", raw).get("parameters", {}))
    return {_name(at, key): _type(f"{at}.{key}", written) for key, written in parameters.items()}


def _feature(raw: dict[str, Any]) -> Feature:
    view = _name("features.view", raw.get("view"))
    name = _name("features.name", raw.get("name"))
    at = f"feature {view}.{name}"
    kind = _type(f"{at}: type", raw.get("type"))
    default = None
    match raw.get("on_missing", "pass"):
        case "pass" | "error" as word:
            may_be_missing = word == "pass"
        case {"default": value, **rest} if not rest:
            may_be_missing, default = False, _literal(at, kind, value)
        case other:
            raise ManifestError(f'{at}: on_missing = {other!r}; valid: "error", "pass" or {{ default = VALUE }}')
    return Feature(view, name, kind, may_be_missing, default)


def _model(raw: dict[str, Any]) -> tuple[Score, bool]:
    name = _name("models.name", raw.get("name"))
    at = f"model {name}"
    version = _text(f"{at}: version", raw.get("version"))
    fallback = raw.get("fallback")
    score = Score(name, version, None if fallback is None else float(_literal(f"{at}: fallback", "number", fallback)))
    return score, raw.get("callable") is True


def _parameter(name: str, raw: dict[str, Any]) -> Parameter:
    at = f"parameter '{name}'"
    kind = _type(f"{at}: type", raw.get("type"))
    if "default" not in raw:
        raise ManifestError(f"{at}: default is missing")
    return Parameter(name, kind, _literal(at, kind, raw["default"]))

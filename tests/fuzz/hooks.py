"""Ties what schemathesis makes up to the deployment under test.

The OpenAPI document does not know which decision points, entities and columns a deployment
has. Requests that are meant to be valid get those of the demo, and keep whatever else was
made up for them, so that they reach the strategies. Requests that are meant to be invalid are
sent as they are.
"""

import itertools
import os
import unicodedata

import schemathesis
from schemathesis import GenerationMode

# A decision that was made before; given for the admin listener alone.
DECISION = os.environ.get("SERIN_DECISION")

COLUMNS = {"contacts_7d": int, "balance_due": float, "hardship_flag": bool}


def identifier(made_up, fallback):
    """An id out of whatever text was made up: 1 to 256 bytes, no control characters, no blanks around them."""
    text = next((str(value) for value in made_up.values() if value), fallback)
    text = "".join(character for character in text if unicodedata.category(character) != "Cc")
    return text.encode("utf-8", "ignore")[:200].decode("utf-8", "ignore").strip() or fallback


def number(made_up):
    """A whole number out of whatever was made up."""
    found = [v for v in made_up.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return max(-(2**62), min(2**62, int(found[0]))) if found else 12


def decidable(request):
    """The request at the demo's decision point."""
    entities, context = request.get("entities") or {}, request.get("context") or {}
    request["decision_point"] = "collections-outreach"
    request["entities"] = {"borrower": identifier(entities, "b-1"), "loan": identifier(context, "l-1")}
    request["context"] = {"days_past_due": number(context)}
    for text in [value for value in context.values() if isinstance(value, str)][:1]:
        request["context"]["channel"] = text
    # Both are for the admin listener.
    if DECISION is None:
        request.pop("dry_run", None)
        request.pop("force", None)
    elif request.get("force"):
        request["force"] = {"experiment": "outreach-score", "arm": "score"}


def evaluable(request):
    """An evaluation context that the demo's decision point can be asked with."""
    context = request["context"]
    text = context["targetingKey"]
    context["targetingKey"] = identifier({"key": text}, "b-1")
    context.update(loan="l-1", days_past_due=len(text))
    for declared in ("borrower", "channel", "stage", "utc_offset_minutes"):
        context.pop(declared, None)


def storable(row):
    """The row with columns of the view, at a time that has been."""
    row["event_time"] = "2026-01-01T00:00:00Z"
    row["entity"] = identifier({"entity": row.get("entity")}, "l-1")
    made_up = row["values"]
    value = {int: number(made_up), float: number(made_up) / 7, bool: len(made_up) % 2 == 0}
    row["values"] = {column: value[kind] for column, kind in COLUMNS.items()}


def unhurried(headers, ordinal):
    """Headers that leave the time to decide, and a key that was not used yet."""
    if "Serin-Deadline-Ms" in headers:
        headers["Serin-Deadline-Ms"] = str(max(5000, int(float(headers["Serin-Deadline-Ms"]))))
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f"{headers['Idempotency-Key'][:200]}-{ordinal}"


def known(case, ordinal):
    """Puts what the deployment has in the place of ids and names, in two requests of three."""
    if ordinal % 3 == 0:
        return
    in_path, query = case.path_parameters, case.query
    if case.path.startswith("/v1/experiments/{id}"):
        in_path["id"] = "commanded" if "command" in in_path else "outreach-score"
    elif case.path.startswith("/v1/decisions/{id}"):
        in_path["id"] = DECISION
    elif case.path == "/v1/features/{view}/{entity}":
        in_path.update(view="servicing", entity="l-0")


def commandable(case):
    """The command, with what only some commands take."""
    case.body.pop("winner", None)
    if case.path_parameters.get("command") == "conclude":
        case.body["winner"] = "score"
    if "If-Match" in case.headers:
        case.headers["If-Match"] = '"18446744073709551615"'


ordinals = itertools.count()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Allows no key in an answer that the document does not name. Clients have to allow them: a release adds some."""
    for name, schema in raw_schema["components"]["schemas"].items():
        # Another project's protocol, which may grow and whose contexts hold anything.
        if "properties" in schema and not name.startswith("WireEvaluation"):
            schema.setdefault("additionalProperties", False)


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    ordinal = next(ordinals)
    unhurried(case.headers, ordinal)
    if case.query and "since" in case.query:
        case.query["since"] = "1h"
    if DECISION is not None:
        known(case, ordinal)
    if case.path == "/v1/decisions" and case.method == "POST":
        decidable(case.body)
    elif case.path.startswith("/ofrep/"):
        evaluable(case.body)
    elif case.path == "/v1/decisions/batch":
        for request in case.body["requests"]:
            decidable(request)
    elif case.method.upper() == "POST" and case.path in ("/v1/experiments/{id}/{command}", "/v1/freeze", "/v1/clock/confirm"):
        commandable(case)
    elif case.path == "/v1/experiments/{id}/affected" and "arm" in (case.query or {}):
        case.query["arm"] = "score"
    elif case.path == "/v1/features/{view}":
        for row in case.body["rows"]:
            storable(row)

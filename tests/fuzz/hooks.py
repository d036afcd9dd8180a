"""Ties what schemathesis makes up to the deployment under test.

The OpenAPI document does not know which decision points, entities and columns a deployment
has. Requests that are meant to be valid get those of the demo, and keep whatever else was
made up for them, so that they reach the strategies. Requests that are meant to be invalid are
sent as they are.
"""

import itertools
import unicodedata

import schemathesis
from schemathesis import GenerationMode

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
    # Both are for the admin listener, which this document does not describe.
    request.pop("force", None)
    request.pop("dry_run", None)


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


ordinals = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    unhurried(case.headers, next(ordinals))
    if case.path == "/v1/decisions":
        decidable(case.body)
    elif case.path == "/v1/decisions/batch":
        for request in case.body["requests"]:
            decidable(request)
    elif case.path == "/v1/features/{view}":
        for row in case.body["rows"]:
            storable(row)

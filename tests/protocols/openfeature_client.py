"""Evaluates flags with OpenFeature's SDK for Python: requests as JSON from stdin, what came of them to stdout."""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

url, token = sys.argv[1:3]
headers = {"authorization": f"Bearer {token}"} if token else {}
api.set_provider(OFREPProvider(url, headers_factory=lambda: headers))
client = api.get_client()
KINDS = {
    "string": client.get_string_details,
    "boolean": client.get_boolean_details,
    "integer": client.get_integer_details,
    "number": client.get_float_details,
    "object": client.get_object_details,
}


def evaluated(asked):
    context = EvaluationContext(asked.get("targetingKey"), asked["attributes"])
    details = KINDS[asked["kind"]](asked["key"], asked["default"], context)
    return {
        "value": details.value,
        "reason": details.reason,
        "variant": details.variant,
        "metadata": dict(details.flag_metadata),
        "errorCode": details.error_code,
        "errorMessage": details.error_message,
    }


json.dump([evaluated(asked) for asked in json.load(sys.stdin)], sys.stdout)

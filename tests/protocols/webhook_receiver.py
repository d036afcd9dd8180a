"""Verifies a message with the library of Standard Webhooks, and reads it with that of CloudEvents."""

import json
import sys

from cloudevents.http import from_http
from standardwebhooks import Webhook, WebhookVerificationError

asked = json.load(sys.stdin)
secret = asked["secret"].encode() if asked["kind"] == "raw" else asked["secret"]
said = {"verified": False, "webhook_id": asked["headers"].get("webhook-id")}
try:
    said["data"] = Webhook(secret).verify(asked["body"], asked["headers"])
    said["verified"] = True
    said["event"] = dict(from_http(asked["headers"], asked["body"]).get_attributes())
except WebhookVerificationError as error:
    said["error"] = str(error)
json.dump(said, sys.stdout)

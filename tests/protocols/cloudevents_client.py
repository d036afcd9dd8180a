"""Posts events with the CloudEvents SDK for Python: requests as JSON from stdin, what was answered to stdout."""

import json
import sys

import requests
from cloudevents.conversion import to_binary, to_json, to_structured
from cloudevents.http import CloudEvent

url = sys.argv[1]


def posted(asked):
    events = [CloudEvent(event["attributes"], event["data"]) for event in asked["events"]]
    if asked["mode"] == "batched":
        headers = {"content-type": "application/cloudevents-batch+json"}
        body = json.dumps([json.loads(to_json(event)) for event in events])
    else:
        headers, body = {"binary": to_binary, "structured": to_structured}[asked["mode"]](events[0])
    answer = requests.post(url + asked["path"], headers=headers, data=body, timeout=30)
    return {"status": answer.status_code, "answer": answer.json()}


json.dump([posted(asked) for asked in json.load(sys.stdin)], sys.stdout)

"""An OTLP collector: decodes what it gets with the official messages, and prints it as lines of JSON, until stdin ends.

With a certificate and its key as arguments it speaks TLS.
"""

import gzip
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def attributes(found):
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in found}


def span(found):
    return {
        "trace_id": found.trace_id.hex(),
        "span_id": found.span_id.hex(),
        "parent_span_id": found.parent_span_id.hex(),
        "name": found.name,
        "kind": Span.SpanKind.Name(found.kind),
        "began": found.start_time_unix_nano,
        "ended": found.end_time_unix_nano,
        "status": Status.StatusCode.Name(found.status.code),
        "attributes": attributes(found.attributes),
        "events": [{"name": event.name, "attributes": attributes(event.attributes)} for event in found.events],
    }


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                line = {
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "resource": attributes(resource.resource.attributes),
                    "scope": scope.scope.name,
                    "spans": [span(found) for found in scope.spans],
                }
                print(json.dumps(line), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
server.shutdown()

"""Calls the service of examples/grpc with grpcio, from its .proto.

usage: client.py DIRECTORY-OF-THE-PROTO HOST:PORT

Reads one call a line from standard input, and writes what came of it, both as JSON. A call has a
`method`, the values of `authorization`, `binary` metadata, and a `request`, or `requests` if the client
streams.

* `then`, for a stream of replies: a call to be made after the first reply, whereupon the second reply
  is waited for and the stream cancelled.
* `pause`: the number of replies after which it writes a line, and reads one with further requests.
"""

import json
import queue
import sys

import grpc
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

DEADLINE = 120

directory, target = sys.argv[1:]
sys.path.insert(0, directory)
messages, services = grpc.protos_and_services("greeter.proto")
channel = grpc.insecure_channel(target)
stubs = {
    "greeter.Greeter": (services.GreeterStub(channel), messages),
    "grpc.health.v1.Health": (health_pb2_grpc.HealthStub(channel), health_pb2),
}


def start(call, requests):
    """The call to ask what became of it, and whether it has replies to come."""
    metadata = [("authorization", value) for value in call.get("authorization", [])]
    # Binary entries, which travel encoded.
    metadata += [(name, value.encode()) for name, value in call.get("binary", [])]
    service, method = call["method"].split("/")
    stub, module = stubs[service]
    descriptor = module.DESCRIPTOR.services_by_name[service.split(".")[-1]]
    about = descriptor.methods_by_name.get(method)
    if about is None:
        # One that the .proto does not have.
        unary = channel.unary_unary(f"/{call['method']}")
        return unary.future(b"", timeout=DEADLINE, metadata=metadata), False
    message = getattr(module, about.input_type.name)
    if about.client_streaming:
        request = (message(**fields) for fields in iter(requests.get, None))
    else:
        request = message(**call.get("request", {}))
    function = getattr(stub, method)
    if about.server_streaming:
        return function(request, timeout=DEADLINE, metadata=metadata), True
    return function.future(request, timeout=DEADLINE, metadata=metadata), False


def make(call):
    requests = queue.SimpleQueue()
    for request in call.get("requests", []):
        requests.put(request)
    if "pause" not in call:
        # There are no more.
        requests.put(None)
    rpc, streams = start(call, requests)
    replies = []

    def pause():
        if call.get("pause") == len(replies):
            print(json.dumps("paused"), flush=True)
            for request in json.loads(sys.stdin.readline()):
                requests.put(request)

    try:
        pause()
        if streams:
            for reply in rpc:
                replies.append(json_format.MessageToDict(reply))
                pause()
                if "then" in call:
                    if len(replies) == 1:
                        assert make(call["then"])["code"] == 0
                    else:
                        rpc.cancel()
        else:
            replies.append(json_format.MessageToDict(rpc.result()))
    except grpc.RpcError:
        pass
    requests.put(None)
    received = list(rpc.initial_metadata() or ()) + list(rpc.trailing_metadata() or ())
    trailing = [value for name, value in rpc.trailing_metadata() or () if name == "www-authenticate"]
    return {
        "code": rpc.code().value[0],
        "details": rpc.details(),
        "replies": replies,
        "challenges": [value for name, value in received if name == "www-authenticate"],
        "trailing": trailing,
    }


for line in iter(sys.stdin.readline, ""):
    print(json.dumps(make(json.loads(line))), flush=True)

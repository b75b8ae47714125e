"""Calls the service of examples/grpc with grpcio, from its .proto.

usage: client.py DIRECTORY-OF-THE-PROTO HOST:PORT

Reads one call a line from standard input, and writes what came of it, both as JSON. A call has a
`method`, the values of `authorization`, `binary` metadata, a `request`, and for a stream `then`: a call to be made after the
first reply, whereupon the second reply is waited for and the stream cancelled.
"""

import json
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


def start(call):
    """The replies to come, and the call to ask what became of it."""
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
    request = getattr(module, about.input_type.name)(**call.get("request", {}))
    function = getattr(stub, method)
    if about.server_streaming:
        return function(request, timeout=DEADLINE, metadata=metadata), True
    return function.future(request, timeout=DEADLINE, metadata=metadata), False


def make(call):
    rpc, streams = start(call)
    replies = []
    try:
        if streams:
            for reply in rpc:
                replies.append(json_format.MessageToDict(reply))
                if "then" in call:
                    if len(replies) == 1:
                        assert make(call["then"])["code"] == 0
                    else:
                        rpc.cancel()
        else:
            replies.append(json_format.MessageToDict(rpc.result()))
    except grpc.RpcError:
        pass
    received = list(rpc.initial_metadata() or ()) + list(rpc.trailing_metadata() or ())
    return {
        "code": rpc.code().value[0],
        "details": rpc.details(),
        "replies": replies,
        "challenges": [value for name, value in received if name == "www-authenticate"],
    }


for line in sys.stdin:
    print(json.dumps(make(json.loads(line))), flush=True)

"""A gRPC client of hookd without generated code: it gets all types by reflection.

client.py [--socket PATH] [--user UID:GID] COMMAND

services                  list the services
call METHOD JSON          make a call with one answer, and print the answer
stream METHOD JSON        make a streaming call with one message, and print its events
leave METHOD DATA JSON    the same; detach once hookd sends DATA (in base64) as output

METHOD is a full name, such as hookd.v1.HookService/GetStatus. JSON is the message, in protobuf's JSON
mapping. The client prints one JSON object, {"error": ...} for a status other than OK.

hookd accepts clients of its own uid only: root can become that user with --user. The socket is
$HOOKD_SOCKET, or /run/hookd/hookd.sock by default.
"""

import argparse
import json
import os
import queue

import grpc
import grpc._channel  # grpcio imports it late, from files that the user of --user may not read.
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

SOCKET = os.environ.get("HOOKD_SOCKET", "/run/hookd/hookd.sock")
TIMEOUT = 120  # Seconds for a whole call.


def connect(path):
    """A channel to the socket."""
    # By default gRPC names the path as authority, which HTTP/2 servers such as hookd refuse.
    return grpc.insecure_channel("unix:" + path, options=[("grpc.default_authority", "localhost")])


class Client:
    """Calls hookd over a channel."""

    def __init__(self, channel):
        self.channel = channel
        self.reflection = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflection)

    def method(self, name):
        """The class of the request and the decoder of the response."""
        service, _, method = name.partition("/")
        found = self.pool.FindServiceByName(service).methods_by_name[method]
        request = message_factory.GetMessageClass(found.input_type)
        response = message_factory.GetMessageClass(found.output_type)
        return request, response.FromString

    def services(self):
        return {"services": sorted(self.reflection.get_services())}

    def call(self, name, text):
        request, response = self.method(name)
        call = self.channel.unary_unary("/" + name, request.SerializeToString, response)
        return as_dict(call(json_format.Parse(text, request()), timeout=TIMEOUT))

    def stream(self, name, text):
        request, response = self.method(name)
        call = self.channel.stream_stream("/" + name, request.SerializeToString, response)
        requests = iter([json_format.Parse(text, request())])
        return {"events": [as_dict(event) for event in call(requests, timeout=TIMEOUT)]}

    def leave(self, name, data, text):
        request, response = self.method(name)
        call = self.channel.stream_stream("/" + name, request.SerializeToString, response)
        requests = queue.SimpleQueue()
        requests.put(json_format.Parse(text, request()))
        events = []
        for event in call(iter(requests.get, None), timeout=TIMEOUT):
            events.append(as_dict(event))
            event = events[-1].get("event", {})
            if event.get("output", {}).get("data") == data:
                requests.put(request(control={"detach": {}}))
                # hookd answers a signal that it cannot send: then it has read both messages.
                requests.put(request(control={"signal": {"number": 10}}))
            if "Signal 10" in event.get("progress", {}).get("message", ""):
                requests.put(None)
                break
        return {"events": events}


def as_dict(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def failure(error):
    """The status, with the reason and the remedy that hookd adds (docs/errors.md)."""
    failed = {"code": error.code().name, "message": error.details()}
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            failed |= {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
    return {"error": failed}


def become(user):
    """Goes on as another user, if one is given."""
    if user:
        uid, gid = map(int, user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--socket", default=SOCKET)
    parser.add_argument("--user")
    parser.add_argument("command", choices=["services", "call", "stream", "leave"])
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    become(options.user)
    with connect(options.socket) as channel:
        try:
            result = getattr(Client(channel), options.command)(*options.arguments)
        except grpc.RpcError as error:
            result = failure(error)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

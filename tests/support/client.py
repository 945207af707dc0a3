"""A gRPC client of hookd that knows no more than its address: all types come by reflection.

client.py UID GID services
client.py UID GID call METHOD JSON      a unary call
client.py UID GID stream METHOD JSON    a streaming call with one message; prints its events
client.py UID GID leave METHOD DATA JSON
                                        the same, detached from once DATA came as output

Prints one JSON object, {"error": ...} for a status other than OK. The socket is hookd.sock in the
current directory, which UID need not be able to enter.
"""

import json
import os
import queue
import sys

import grpc
import grpc._channel  # What grpc imports late, UID may not be able to read.
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

TIMEOUT = 120


class Client:
    def __init__(self, channel):
        self.channel = channel
        self.reflection = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflection)

    def method(self, name):
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
        return plain(call(json_format.Parse(text, request()), timeout=TIMEOUT))

    def stream(self, name, text):
        request, response = self.method(name)
        call = self.channel.stream_stream("/" + name, request.SerializeToString, response)
        requests = iter([json_format.Parse(text, request())])
        return {"events": [plain(event) for event in call(requests, timeout=TIMEOUT)]}


    def leave(self, name, data, text):
        request, response = self.method(name)
        call = self.channel.stream_stream("/" + name, request.SerializeToString, response)
        requests = queue.SimpleQueue()
        requests.put(json_format.Parse(text, request()))
        events = []
        for event in call(iter(requests.get, None), timeout=TIMEOUT):
            events.append(plain(event))
            event = events[-1].get("event", {})
            if event.get("output", {}).get("data") == data:
                # The answer to a signal that no container step takes says that both were read.
                requests.put(request(control={"detach": {}}))
                requests.put(request(control={"signal": {"number": 10}}))
            if "Signal 10" in event.get("progress", {}).get("message", ""):
                requests.put(None)
                break
        return {"events": events}


def plain(message):
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def failure(error):
    told = {"code": error.code().name, "message": error.details()}
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            told |= {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
    return {"error": told}


def main(uid, gid, command, *arguments):
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    with grpc.insecure_channel("unix:hookd.sock") as channel:
        try:
            told = getattr(Client(channel), command)(*arguments)
        except grpc.RpcError as error:
            told = failure(error)
    print(json.dumps(told))


main(*sys.argv[1:])

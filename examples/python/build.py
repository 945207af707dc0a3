"""Builds an image with hookd, and prints its reference by digest; the log goes to standard error.

build.py [--socket PATH] [--user UID:GID] [--tag NAME] DIRECTORY [NAME=VALUE ...]

DIRECTORY is the build context with its Dockerfile, beneath the runner's work directory. NAME=VALUE are
build arguments. The exit code is 1 if there is no image.
"""

import argparse
import os
import sys
import uuid

import grpc

from client import SOCKET, Client, as_dict, become, connect, failure

METHOD = "hookd.v1.HookService/BuildImage"
TIMEOUT = 3600  # Seconds for the whole build.


def build(client, start):
    """Builds, and returns the image: its reference, digest and size."""
    request, response = client.method(METHOD)
    call = client.channel.stream_stream("/" + METHOD, request.SerializeToString, response)
    for message in call(iter([request(start=start)]), timeout=TIMEOUT):
        if message.HasField("result"):
            return as_dict(message.result)
        event = message.event
        if event.HasField("output"):
            sys.stderr.buffer.write(event.output.data)
        elif event.HasField("progress"):
            print(event.progress.message, file=sys.stderr)
        sys.stderr.flush()
    raise RuntimeError("the call ended without a result")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--socket", default=SOCKET)
    parser.add_argument("--user")
    parser.add_argument("--tag", action="append", default=[])
    parser.add_argument("directory")
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_args()
    start = {
        "step_id": f"build-{uuid.uuid4().hex}",
        "context": os.path.abspath(options.directory),
        "build_args": dict(argument.split("=", 1) for argument in options.arguments),
        "tags": options.tag,
        "auto_ack": True,
    }
    become(options.user)
    with connect(options.socket) as channel:
        try:
            image = build(Client(channel), start)
        except grpc.RpcError as error:
            error = failure(error)["error"]
            remedy = error.get("metadata", {}).get("remedy", "")
            sys.exit(f"{error['message']}\nreason: {error.get('reason')}\nremedy: {remedy}")
    print(image["reference"])


if __name__ == "__main__":
    main()

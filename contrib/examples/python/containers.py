#!/usr/bin/python3
"""Containers by gRPC from Python, with a client certificate.

Once, on Debian (its packages are for /usr/bin/python3):

    apt-get install python3-grpcio protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
    contrib/examples/python/generate.sh contrib/examples/python/generated

Then, with the three files that containarium pki issue made:

    export PYTHONPATH=contrib/examples/python/generated
    contrib/examples/python/containers.py --server jump-1.example.org:50051 \\
        --cert tls.crt --key tls.key --ca ca.crt list
    ... create alice --ssh-key ~/.ssh/alice.pub
    ... delete alice --force

What there is goes to standard output, one container a line: user, state, address.
It exits 0 if all went well, 1 if not, 2 on wrong usage, 4 if it was denied.
"""

import argparse
import random
import sys
import time

import grpc
from containarium.v1 import container_pb2 as pb
from containarium.v1 import service_pb2_grpc

PATIENCE = 30  # seconds in which a server that is away may come back
CREATE_TIMEOUT = 600  # seconds; the first create of an image may have to fetch it


def connect(server, cert, key, ca):
    """TLS with certificates on both sides, and no CA trusted but the one given."""

    def read(path):
        with open(path, "rb") as file:
            return file.read()

    credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
    # Five seconds for one attempt to connect and from one to the next: of itself
    # gRPC takes twenty, and up to two minutes. No proxy: that of the environment is
    # for the web.
    options = [
        ("grpc.min_reconnect_backoff_ms", 5000),
        ("grpc.max_reconnect_backoff_ms", 5000),
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.enable_http_proxy", 0),
    ]
    return grpc.secure_channel(server, credentials, options)


def read_call(channel, method, request):
    """Makes a call that only reads, and again while the server is away. Calls that
    change something must not go through here: what looks like a failure may have
    been done."""
    deadline = time.monotonic() + PATIENCE
    wait = 0.2
    while True:
        try:
            return method(request, timeout=max(deadline - time.monotonic(), 1))
        except grpc.RpcError as error:
            left = deadline - time.monotonic()
            pause = wait * random.uniform(1, 1.25)
            if error.code() != grpc.StatusCode.UNAVAILABLE or pause > left:
                raise
            print(f"{error.details()}; trying again", file=sys.stderr)
        time.sleep(pause)
        wait = min(2 * wait, 5)
        try:
            # A channel connects only while somebody waits for it.
            grpc.channel_ready_future(channel).result(timeout=left - pause)
        except grpc.FutureTimeoutError:
            pass  # the last attempt says why


def show(container):
    state = pb.ContainerState.Name(container.state).removeprefix("CONTAINER_STATE_")
    print(container.username, state.lower(), container.network.ip_address or "-")


def list_all(channel, _):
    stub = service_pb2_grpc.ContainerServiceStub(channel)
    response = read_call(channel, stub.ListContainers, pb.ListContainersRequest())
    for container in response.containers:
        show(container)


def create(channel, arguments):
    """Makes the container unless there is one, so that it can be run again."""
    stub = service_pb2_grpc.ContainerServiceStub(channel)
    try:
        found = read_call(channel, stub.GetContainer, pb.GetContainerRequest(username=arguments.user))
        show(found.container)
        return
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
    keys = []
    for path in arguments.ssh_key:
        with open(path, encoding="utf-8") as file:
            keys.append(file.read().strip())
    request = pb.CreateContainerRequest(
        username=arguments.user,
        ssh_keys=keys,
        resources=pb.Resources(cpu=arguments.cpu, memory=arguments.memory, disk=arguments.disk),
    )
    if arguments.docker:
        request.enable_docker = True  # absent, the daemon decides
    response = stub.CreateContainer(request, timeout=CREATE_TIMEOUT)
    for warning in response.warnings:
        print("warning:", warning, file=sys.stderr)
    show(response.container)


def delete(channel, arguments):
    stub = service_pb2_grpc.ContainerServiceStub(channel)
    request = pb.DeleteContainerRequest(username=arguments.user, force=arguments.force)
    try:
        stub.DeleteContainer(request, timeout=120)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:  # gone is what was wanted
            raise


def parse():
    parser = argparse.ArgumentParser(description="containers by gRPC")
    for option in ("server", "cert", "key", "ca"):
        parser.add_argument("--" + option, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list").set_defaults(run=list_all)
    command = commands.add_parser("create")
    command.set_defaults(run=create)
    command.add_argument("user")
    command.add_argument("--ssh-key", action="append", default=[], metavar="FILE")
    for limit in ("cpu", "memory", "disk"):
        command.add_argument("--" + limit, default="")
    command.add_argument("--docker", action="store_true")
    command = commands.add_parser("delete")
    command.set_defaults(run=delete)
    command.add_argument("user")
    command.add_argument("--force", action="store_true", help="also if it runs")
    return parser.parse_args()


def main():
    arguments = parse()
    try:
        with connect(arguments.server, arguments.cert, arguments.key, arguments.ca) as channel:
            arguments.run(channel, arguments)
    except grpc.RpcError as error:
        print(f"{arguments.server}: {error.code().name}: {error.details()}", file=sys.stderr)
        denied = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
        return 4 if error.code() in denied else 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

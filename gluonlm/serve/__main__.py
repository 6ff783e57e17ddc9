"""Command line: serve a trained model over HTTP. `python -m gluonlm.serve --help`."""

from __future__ import annotations

import argparse
import asyncio
import errno
import math
import os
import socket
from typing import TYPE_CHECKING

from ..config.flags import Parser
from ..system.console import complain, run_command, show
from ..system.errors import InputError
from .scheduler import Limits, Scheduler

if TYPE_CHECKING:
    from .app import Server

LOOPBACK, PORT = "127.0.0.1", 8000
LAST_SECONDS = 5  # for clients to read the rest of their streams when the server stops
BACKLOG = 2048  # connections that wait to be accepted


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "serve",
        "Serve a trained model over HTTP: generate, score and predict the next token. Concurrent "
        "requests are computed in one batch.",
        examples=("runs/book", "runs/book --port 9000 --max-requests 8 --timeout 10"),
    )
    parser.add_run()
    add = parser.add_argument
    add(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="address to listen on; other machines can connect to any but a loopback address, "
        f"without a password or encryption (default: {LOOPBACK})",
    )
    add(
        "--port",
        type=int,
        default=PORT,
        metavar="N",
        help=f"TCP port; 0: any free one (default: {PORT})",
    )
    limits = parser.add_argument_group("limits").add_argument
    for name, metavar, text in (
        ("max-prompt", "N", "tokens of a prompt or scored text"),
        ("max-length", "N", "tokens to generate for one request"),
        ("max-requests", "N", "requests at the same time; others are rejected with 503"),
    ):
        most = getattr(Limits, name.replace("-", "_"))
        limits(
            f"--{name}", type=int, default=most, metavar=metavar, help=f"{text} (default: {most:,})"
        )
    limits(
        "--timeout",
        type=float,
        default=Limits.timeout,
        metavar="SECONDS",
        help=f"time for one request (default: {Limits.timeout:g})",
    )
    return parser


def parse(argv=None) -> argparse.Namespace:
    arguments = make_parser().parse_args(argv)
    if not 0 <= arguments.port < 1 << 16:
        raise InputError(f"`port` {arguments.port}: must be from 0 to 65535")
    for name in ("max_prompt", "max_length", "max_requests"):
        if getattr(arguments, name) < 1:
            raise InputError(f"`{name}` {getattr(arguments, name)}: must be at least 1")
    if not 0 < arguments.timeout < math.inf:
        raise InputError(f"`timeout` {arguments.timeout:g}: must be above 0 and finite")
    return arguments


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; connections wait until they are accepted.

    Raises
    ------
    InputError
        If the port is in use or reserved, or the host is not an address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise InputError(f"`host` {host}: unknown; use an address of this machine") from None
    family, _, _, _, address = found[0]
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"`port` {port}: in use on {host}; choose another, or 0 for any free one"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise InputError(f"`port` {port}: not permitted; choose one above 1023") from None
        raise InputError(
            f"`host` {host}: cannot listen on it: {os.strerror(error.errno or 0)}; use an address "
            "of this machine"
        ) from None


def main(argv=None) -> None:
    arguments = parse(argv)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"gluonlm serve: no module {error.name}: pip install 'gluonlm[serve]'"
        ) from None
    from .app import is_loopback

    with listen(arguments.host, arguments.port) as listening:
        host, port = listening.getsockname()[:2]
        origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        server = load(arguments, origin)
        if not is_loopback(host):
            complain(
                f"warning: other machines can use {origin}, without a password or encryption "
                "(docs/security.md)"
            )
        show(f"serving {arguments.run} at {origin}/ and {origin}/docs (Ctrl-C stops)\n")
        asyncio.run(serve(server, arguments.host, listening))


def load(arguments: argparse.Namespace, origin: str) -> Server:
    """Load the model; return its endpoints.

    Raises
    ------
    InputError
        If the run cannot be loaded.
    """
    from ..convert.page import build
    from ..run.load import load_model
    from .app import Server

    model, checkpoint = load_model(arguments.run, arguments.checkpoint)
    name = os.path.basename(os.path.realpath(arguments.run))
    page: bytes | None = None
    try:
        page = build(checkpoint, f"{name} completes text as you type")
    except InputError:  # not supported for this model
        page = None
    names = ("max_prompt", "max_length", "max_requests", "timeout")
    limits = Limits(**{each: getattr(arguments, each) for each in names})
    return Server(model, checkpoint, Scheduler(model, limits), name, origin, page)


async def serve(server: Server, host: str, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which is raised again at the end."""
    import uvicorn

    class Connections(uvicorn.Server):
        async def shutdown(self, sockets=None) -> None:
            server.close()  # before waiting for the running requests
            timer = asyncio.get_running_loop().call_later(LAST_SECONDS, self.abort)
            await super().shutdown(sockets)  # a second Ctrl-C ends it at once
            timer.cancel()
            self.abort()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks)

        def abort(self) -> None:
            """Close the connections of clients that do not read or write."""
            for connection in list(self.server_state.connections):
                connection.transport.abort()

    config = uvicorn.Config(
        server.app(host),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    connections = Connections(config)

    def stop(_):
        connections.should_exit = True

    computing = asyncio.create_task(server.scheduler.run())
    computing.add_done_callback(stop)
    await connections.serve(sockets=[listening])
    await computing  # raises its error, if there was one


if __name__ == "__main__":
    run_command(main)

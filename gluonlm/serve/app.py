"""The ASGI application: endpoints, limits, errors, and the check of Host and Origin."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from .. import __version__
from ..evaluate.__main__ import summarise
from ..evaluate.scoring import score_segments
from ..evaluate.surprise import spans
from ..generate.sampling import Sampler, fill_window
from ..run.checkpoint import Checkpoint
from ..system.arguments import check_integer
from ..system.errors import InputError
from ..system.strict_json import finite, parse_json
from .fields import GENERATE, NEXT, SAMPLING, SCORE, Field, read_fields
from .jobs import Continuation, Job, Prediction, Scoring
from .reference import openapi, page
from .scheduler import Scheduler, Unavailable

LARGEST = 1 << 20  # bytes of a request
SEGMENT = 256  # tokens to score in a turn, while generated texts wait
GRACE = 5  # seconds after its time limit in which a stream's client may read the rest
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:\d+)?")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Middleware that rejects requests which another site's page can send.

    The Host must be the server's own, or an IP address (on loopback, a loopback address): the page
    of a name that was rebound to this address sends its own name. The Origin, if there is one, must
    be the Host.
    """

    def __init__(self, app, host: str):
        self.app, self.host = app, host.lower()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            headers = Request(scope).headers
            host, origin = headers.get("host", ""), headers.get("origin")
            if not self._accepts(host):
                await _error(403, "Host: must be the address of this server")(scope, receive, send)
                return
            if origin is not None and origin.lower() != f"http://{host.lower()}":
                await _error(403, "Origin: must be this server")(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _accepts(self, header):
        found = HOST.fullmatch(header.lower())
        name = found[1].strip("[]") if found else ""
        if name in ("localhost", self.host):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback or not is_loopback(self.host)
        except ValueError:
            return False


def _error(status: int, message: str, headers=None) -> Response:
    return JSONResponse({"error": message}, status, {**HEADERS, **(headers or {})})


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, error.headers)


async def _on_input(request: Request, error: Exception) -> Response:
    return _error(400, str(error))


async def _on_unavailable(request: Request, error: Exception) -> Response:
    return _error(503, str(error), {"Retry-After": "1"})


async def _on_bug(request: Request, error: Exception) -> Response:
    return _error(500, "internal error: see the server's standard error")


async def read_body(request: Request) -> bytes:
    """Return the body of a JSON request.

    Raises
    ------
    HTTPException
        If it has another type, or is too large or incomplete.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of another site's page cannot send this type
        raise HTTPException(415, "Content-Type: must be application/json")
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > LARGEST:
                raise HTTPException(413, f"the request exceeds {LARGEST:,} bytes")
    except ClientDisconnect:
        raise HTTPException(400, "the request is incomplete") from None
    return bytes(content)


class Events(StreamingResponse):
    """The results of a generating job as server-sent events.

    The job ends with the response, which ends when the client disconnects.
    """

    def __init__(self, scheduler: Scheduler, job: Continuation):
        super().__init__(self._events(), headers=HEADERS, media_type="text/event-stream")
        self.scheduler, self.job = scheduler, job

    async def _events(self):
        try:
            async for pieces in self.job.arriving():
                yield _event({"text": "".join(pieces)})
            yield "event: end\n" + _event({"tokens": self.job.length})
        except Unavailable as error:
            yield "event: error\n" + _event({"error": str(error)})

    async def __call__(self, scope, receive, send) -> None:
        try:
            with anyio.move_on_after(self.scheduler.limits.timeout + GRACE):
                await super().__call__(scope, receive, send)
        finally:
            self.scheduler.remove(self.job)


def _event(data):
    return f"data: {json.dumps(data)}\n\n"


class Server:
    """The endpoints of one model.

    Parameters
    ----------
    name, origin
        As for `reference.page`.
    page
        The exported page of the model, or None if pages do not support it.
    """

    def __init__(
        self,
        model,
        checkpoint: Checkpoint,
        scheduler: Scheduler,
        name: str,
        origin: str,
        page: bytes | None,
    ):
        self.model, self.checkpoint, self.vocab = model, checkpoint, checkpoint.vocab
        self.scheduler, self.limits = scheduler, scheduler.limits
        self.name, self.origin, self.exported = name, origin, page
        self.reading: set[anyio.CancelScope] = set()  # requests that have not arrived completely

    def close(self) -> None:
        """End all requests."""
        self.scheduler.close()
        for scope in self.reading:
            scope.cancel()

    def app(self, host: str) -> Starlette:
        """Return the application, for a server that listens on a host."""
        routes = [
            Route("/", self.page, methods=["GET"]),
            Route("/docs", self.reference, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/generate", self.generate, methods=["POST"]),
            Route("/score", self.score, methods=["POST"]),
            Route("/next", self.next, methods=["POST"]),
        ]
        handlers = {
            HTTPException: _on_http,
            InputError: _on_input,
            Unavailable: _on_unavailable,
            Exception: _on_bug,
        }
        guard = Middleware(Guard, host=host)
        return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)

    async def page(self, request: Request) -> Response:
        """Return the exported page, or the reference if there is none."""
        return (
            HTMLResponse(self.exported, headers=HEADERS)
            if self.exported
            else (await self.reference(request))
        )

    async def reference(self, request: Request) -> Response:
        """Return the description of the server for readers."""
        return HTMLResponse(page(self.name, self.origin, self.limits), headers=HEADERS)

    async def openapi(self, request: Request) -> Response:
        """Return the description of the server for programs."""
        return JSONResponse(openapi(__version__, self.limits), headers=HEADERS)

    async def generate(self, request: Request) -> Response:
        """Continue a prompt, as events or as JSON."""
        values = await self._read(request, GENERATE)
        length = check_integer("length", values["length"], 1)
        self._check_limit("length", length, self.limits.max_length, "max_length")
        sampler = Sampler(**{field.name: values[field.name] for field in SAMPLING})
        prompt = self._prompt(values)
        before = None if values["prompt"] is None else int(prompt[-1])
        job = Continuation(prompt, length, sampler, self.vocab.speller(before))
        if values["stream"]:
            self.scheduler.submit(job)
            return Events(self.scheduler, job)
        pieces = await self._results(request, job)
        return JSONResponse({"text": "".join(pieces), "tokens": length}, headers=HEADERS)

    async def score(self, request: Request) -> Response:
        """Score a text."""
        values = await self._read(request, SCORE)
        ids = self._encode(values["text"], "text", values["unknown"])
        segments = score_segments(self.model, ids, seq_len=SEGMENT)
        losses = np.concatenate(await self._results(request, Scoring(segments)))
        result = summarise(self.vocab, ids, losses)
        if values["per_token"]:
            pairs = spans(self.vocab, ids, losses)
            result["per_token"] = [finite({"token": text, "bits": bits}) for text, bits in pairs]
        return JSONResponse(finite(result), headers=HEADERS)

    async def next(self, request: Request) -> Response:
        """Return the most likely next tokens."""
        values = await self._read(request, NEXT)
        count = check_integer("count", values["count"], 1)
        (found,) = await self._results(request, Prediction(self._prompt(values)))
        best = np.argsort(-found, kind="stable")[:count]
        tokens = [
            {"token": self.vocab.tokens[i], "id": int(i), "probability": float(found[i])}
            for i in best
        ]
        return JSONResponse({"tokens": tokens}, headers=HEADERS)

    async def _read(self, request: Request, fields: Sequence[Field]) -> dict[str, Any]:
        """Return the fields of a request; a server that stops does not wait for them."""
        seconds = self.limits.timeout
        with anyio.move_on_after(seconds) as scope:
            self.reading.add(scope)
            try:
                content = await read_body(request)
            finally:
                self.reading.remove(scope)
        if scope.cancelled_caught and self.scheduler.closed:
            raise Unavailable("the server is shutting down")
        if scope.cancelled_caught:
            raise HTTPException(408, f"the request did not arrive within {seconds:g} s")
        try:
            values = parse_json(content)
        except ValueError as error:
            raise HTTPException(400, f"the request is not valid JSON: {error}") from None
        return read_fields(values, fields)

    def _prompt(self, values):
        """Return the ids of the prompt; without one, of a line break."""
        if values["prompt"] is None:
            ids = np.array(self.vocab.default_prompt())
        else:
            ids = self._encode(values["prompt"], "prompt", values["unknown"])
        return fill_window(ids, self.model.window)

    def _encode(self, text, name, unknown):
        ids = self.checkpoint.encode(text, unknown)
        if not len(ids):
            raise InputError(f"`{name}`: contains no known token; at least one is required")
        self._check_limit(name, len(ids), self.limits.max_prompt, "max_prompt")
        return ids

    def _check_limit(self, name, tokens, most, limit):
        if tokens > most:
            raise HTTPException(
                413, f"`{name}`: {tokens:,} tokens exceed the limit `{limit}` of {most:,}"
            )

    async def _results(self, request: Request, job: Job) -> list:
        """Compute a job, and return all results."""
        async with self._running(request, job):
            return [result async for found in job.arriving() for result in found]

    @contextlib.asynccontextmanager
    async def _running(self, request: Request, job: Job) -> AsyncIterator[None]:
        """Submit a job, and remove it at the end; a client that disconnects ends it."""
        self.scheduler.submit(job)
        watch = asyncio.create_task(_end_with_client(request, job))
        try:
            yield
        finally:
            watch.cancel()
            self.scheduler.remove(job)


async def _end_with_client(request, job):
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.end(Unavailable("the client has disconnected"))

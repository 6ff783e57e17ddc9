"""The description of the server: OpenAPI, and a page without scripts."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from .fields import GENERATE, NEXT, SCORE, Field
from .scheduler import Limits


class Endpoint(NamedTuple):
    """An endpoint: its fields, and the JSON Schema of its answer."""

    path: str
    title: str
    about: str
    fields: Sequence[Field]
    answer: dict[str, Any]
    example: dict[str, Any]


def _object(**properties):
    return {"type": "object", "properties": properties, "required": [*properties]}


TEXT, COUNT, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
ENDPOINTS = (
    Endpoint(
        "/generate",
        "Continue a prompt",
        "With stream, the answer is a stream of server-sent events: the data of each event is "
        '{"text": "..."}, one or more tokens; the last event is named end, or error.',
        GENERATE,
        _object(text=TEXT, tokens=COUNT),
        {"prompt": "In the", "length": 100, "temperature": 0.7, "stream": True},
    ),
    Endpoint(
        "/score",
        "Score a text",
        "The first token, or for a model of windows the first window, is only read. Perplexity is "
        "null if it overflows.",
        SCORE,
        {
            **_object(tokens=COUNT, nats=NUMBER, perplexity=NUMBER, bits_per_character=NUMBER),
            "description": "word models: also unknown, the fraction of <unk>; with per_token, a "
            "list of tokens and their bits, which are null for tokens that are only read",
        },
        {"text": "In the beginning"},
    ),
    Endpoint(
        "/next",
        "Return the distribution of the next token",
        "Probabilities are those of the model, without temperature, top-k or top-p.",
        NEXT,
        _object(
            tokens={"type": "array", "items": _object(token=TEXT, id=COUNT, probability=NUMBER)}
        ),
        {"prompt": "In the", "count": 5},
    ),
)
ERRORS = {
    "400": "an invalid field, or a prompt that the model cannot read",
    "403": "another Host or Origin than this server's",
    "404": "no such path",
    "405": "another method than that of the path",
    "408": "the request did not arrive in time",
    "413": "a longer request than the limits allow",
    "415": "another Content-Type than application/json",
    "503": "too many requests, a request that took too long, or a server that is shutting down",
}


def openapi(version: str, limits: Limits) -> dict:
    """Return the OpenAPI 3.1 description."""
    error = {
        "description": "an error",
        "content": {"application/json": {"schema": _object(error=TEXT)}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "gluonlm serve", "version": version, "description": _limits(limits)},
        "paths": {
            each.path: {"post": _operation(each, error, each.path == "/generate")}
            for each in ENDPOINTS
        },
    }


def _operation(endpoint, error, streamed):
    fields = endpoint.fields
    schema = {
        "type": "object",
        "properties": {field.name: field.schema() for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }
    content: dict = {"application/json": {"schema": endpoint.answer}}
    if streamed:
        content["text/event-stream"] = {"schema": TEXT}
    body = {"application/json": {"schema": schema, "example": endpoint.example}}
    return {
        "operationId": endpoint.path.strip("/"),
        "summary": endpoint.title,
        "description": endpoint.about,
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"description": "the result", "content": content},
            **{code: {**error, "description": about} for code, about in ERRORS.items()},
        },
    }


def _limits(limits):
    return (
        f"Limits: prompts and scored texts of {limits.max_prompt:,} tokens, generated texts of "
        f"{limits.max_length:,} tokens, {limits.max_requests:,} requests at the same time, "
        f"{limits.timeout:g} seconds for each."
    )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
  font: 1rem/1.5 system-ui, sans-serif }}
table {{ border-collapse: collapse }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere }}
</style>
<h1>{title}</h1>
<p>{limits}</p>
<p><a href="/">Page of the model</a>, <a href="/openapi.json">OpenAPI</a></p>
{endpoints}
<h2>Errors</h2>
<p>The body of an error is <code>{{"error": "..."}}</code>.</p>
<table>{errors}</table>
</html>
"""


def page(name: str, origin: str, limits: Limits) -> str:
    """Return the description as an HTML page.

    Parameters
    ----------
    name
        The run.
    origin
        The address of the server, such as `http://127.0.0.1:8000`.
    """
    return PAGE.format(
        title=html.escape(f"gluonlm serve {name}"),
        limits=_limits(limits),
        endpoints="".join(_section(each, origin) for each in ENDPOINTS),
        errors="".join(f"<tr><td>{code}<td>{about}" for code, about in ERRORS.items()),
    )


def _section(endpoint, origin):
    rows = "".join(
        f"<tr><td><code>{field.name}</code><td>{field.kind}<td>"
        f"{'required' if field.required else _json(field.default)}<td>{html.escape(field.about)}"
        for field in endpoint.fields
    )
    command = f"curl --no-buffer {origin}{endpoint.path} --json '{json.dumps(endpoint.example)}'"
    return (
        f"<h2>POST {endpoint.path}</h2><p>{endpoint.title}. {html.escape(endpoint.about)}</p>"
        f"<pre>{html.escape(command)}</pre>"
        f"<table><tr><th>field<th>type<th>default<th>meaning{rows}</table>"
    )


def _json(value):
    return html.escape(json.dumps(value))

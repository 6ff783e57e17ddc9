"""A model over HTTP: a batch that requests join and leave, and a server in a second process."""

import asyncio
import contextlib
import http.client
import itertools
import json
import re
import signal
import socket
import threading

import numpy as np
import pytest
from conftest import assert_refused, start
from networks_of_each_kind import KINDS, checkpoint_of

from gluonlm.generate.sampling import Sampler, fill_window, sample
from gluonlm.serve.fields import GENERATE, read_fields
from gluonlm.serve.jobs import Continuation, Prediction, Scoring
from gluonlm.serve.scheduler import Batch, Limits, Scheduler, Unavailable
from gluonlm.system.errors import InputError

ENDLESS = 10**9  # tokens
SETTINGS = (
    {},
    dict(temperature=0.5, seed=2),
    dict(top_k=3),
    dict(top_p=0.6, seed=4),
    dict(greedy=True),
    dict(no_repeat_ngram=2, seed=6),
    dict(repetition_penalty=2.0),
)


class Recorder(Continuation):
    """A continuation that keeps its logits."""

    def __init__(self, model, number, length=12):
        self.how, self.length = SETTINGS[number % len(SETTINGS)], length
        self.given = (np.arange(1 + 2 * number) * 7 + number) % 29
        prompt = fill_window(self.given, model.window)
        super().__init__(prompt, length, Sampler(**self.how), lambda token: token)
        self.logits = []

    def predict(self, logits):
        self.logits.append(logits.copy())
        super().predict(logits)


def finish(batch):
    while len(batch):
        batch.step()


@pytest.mark.parametrize("kernels", ["auto", "mxnet"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_does_not_depend_on_its_neighbours(kind, kernels, monkeypatch):
    monkeypatch.setenv("GLUONLM_KERNELS", kernels)
    model, _ = checkpoint_of(kind)
    together, batch = [Recorder(model, number) for number in range(9)], Batch(model)
    for job in together:
        batch.add(job)
        batch.step()
        batch.step()
    finish(batch)
    for number, job in enumerate(together):
        batch.add(one := Recorder(model, number))
        finish(batch)
        assert job.results == one.results
        same = np.array_equal if kernels == "auto" else lambda a, b: np.allclose(a, b, atol=1e-6)
        assert same(np.concatenate(job.logits), np.concatenate(one.logits))
        expected = [ids[0] for ids in sample(model, job.given, job.length, **job.how)]
        assert job.results == expected


def test_a_batch_grows_and_shrinks_with_its_jobs():
    model, _ = checkpoint_of("gru")
    batch = Batch(model)
    assert len(batch.rows) == 2
    jobs = [Recorder(model, 0, 1 + 20 * (number == 3)) for number in range(9)]
    for job in jobs:
        batch.add(job)
    assert len(batch.rows) == 16
    batch.step()
    assert (len(batch), len(batch.rows)) == (1, 2)
    jobs[3].end()
    batch.drop_ended()
    assert (len(batch), len(batch.rows)) == (0, 2)


def test_unused_rows_have_a_state_of_zeros():
    model, _ = checkpoint_of("lstm")
    batch = Batch(model)
    batch.add(Recorder(model, 0))
    batch.step()
    for array in (array for arrays in batch.stepper.state for array in arrays):
        assert array[0].any()
        assert not array[1].any()


async def collect(job):
    return [result async for found in job.arriving() for result in found]


def compute(model, limits, use):
    """Return the result of `await use(scheduler)` while the scheduler runs."""

    async def run():
        scheduler = Scheduler(model, limits)
        task = asyncio.create_task(scheduler.run())
        result = await use(scheduler)
        scheduler.close()
        await task
        return result

    return asyncio.run(run())


def test_the_scheduler_rejects_more_jobs_than_the_limit_until_one_is_removed():
    model, _ = checkpoint_of("gru")

    async def use(scheduler):
        jobs = [Recorder(model, 0, ENDLESS) for _ in range(3)]
        scheduler.submit(jobs[0])
        scheduler.submit(jobs[1])
        with pytest.raises(Unavailable):
            scheduler.submit(jobs[2])
        scheduler.remove(jobs[0])
        scheduler.submit(jobs[2])
        assert [job.ended for job in jobs] == [True, False, False]
        return jobs

    jobs = compute(model, Limits(max_requests=2), use)
    assert all(job.ended for job in jobs)
    assert isinstance(jobs[2].error, Unavailable)


def test_a_job_of_every_kind_ends_at_its_deadline():
    model, _ = checkpoint_of("gru")
    endless = (np.zeros(1) for _ in itertools.count())

    async def use(scheduler):
        for job in (Recorder(model, 0, ENDLESS), Scoring(endless)):
            scheduler.submit(job)
            with pytest.raises(Unavailable):
                await collect(job)
        scheduler.submit(job := Prediction(np.array([1])))
        job.deadline = np.inf
        return await collect(job)

    (found,) = compute(model, Limits(timeout=0.05), use)
    np.testing.assert_allclose(found.sum(), 1)


def test_an_unexpected_error_ends_all_jobs_and_the_scheduler():
    model, _ = checkpoint_of("gru")

    async def use():
        scheduler = Scheduler(model, Limits())
        task = asyncio.create_task(scheduler.run())
        scheduler.submit(endless := Recorder(model, 0, ENDLESS))
        scheduler.submit(wrong := Recorder(model, 0))
        wrong.predict = lambda logits: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await task
        assert isinstance(endless.error, Unavailable)
        with pytest.raises(Unavailable):
            scheduler.submit(Recorder(model, 0))

    asyncio.run(use())


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"prompts": "a"},
        {"prompt": 1},
        {"length": "3"},
        {"length": 3.0},
        {"length": True},
        {"length": None},
        {"length": 10**5000},
        {"temperature": "1"},
        {"greedy": 1},
        {"unknown": "replace"},
        {"seed": 2**63},
    ],
)
def test_invalid_fields_are_rejected(values):
    with pytest.raises(InputError):
        read_fields(values, GENERATE)


def test_missing_fields_have_the_defaults_of_the_command():
    from gluonlm.generate.__main__ import make_parser

    defaults, found = vars(make_parser().parse_args(["run"])), read_fields({}, GENERATE)
    assert found.pop("stream") is False
    defaults["unknown"] = "error"  # its parser has the default None
    assert found == {name: defaults[name] for name in found}


class Client:
    """A server in a second process, and requests to it."""

    def __init__(self, run, *flags):
        pytest.importorskip("uvicorn", reason="needs the extra serve")
        self.process = start("-m", "gluonlm", "serve", run, "--port", 0, *flags)
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])

    def stop(self, number=signal.SIGTERM):
        """Signal the server; return its exit code and standard error."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors

    def connect(self):
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=300))

    def send(self, method, path, body=None, **headers):
        """Return the status, headers and content of the answer."""
        with self.connect() as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def post(self, path, **values):
        """Return the status and the JSON value of the answer."""
        kind = {"Content-Type": "application/json"}
        status, headers, content = self.send("POST", path, json.dumps(values), **kind)
        assert headers["Content-Type"] == "application/json"
        assert "Access-Control-Allow-Origin" not in headers
        return status, json.loads(content)

    @contextlib.contextmanager
    def stream(self, **values):
        """Open a stream; its status is 200."""
        with self.connect() as connection:
            body = json.dumps({"stream": True, **values})
            connection.request("POST", "/generate", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            yield answer

    def text(self, **values):
        status, found = self.post("/generate", **values)
        assert status == 200, found
        return found["text"]


def events(answer):
    """Yield the name and data of each event until the stream ends."""
    lines = (line.decode().rstrip("\n") for line in answer)
    for line in lines:
        name = line.removeprefix("event: ") if line.startswith("event: ") else "message"
        data = next(lines) if name != "message" else line
        assert next(lines) == ""
        yield name, json.loads(data.removeprefix("data: "))


@pytest.fixture(scope="module")
def server(trained):
    """A server with small limits, which must still run without errors after the tests."""
    found = Client(trained, "--max-prompt", 30, "--max-length", ENDLESS, "--max-requests", 8)
    yield found
    code, errors = found.stop()
    assert (code, errors) == (-signal.SIGTERM, "")


@pytest.mark.parametrize(
    "values, flags",
    [
        ({}, []),
        ({"top_p": 0.8, "seed": 5}, ["--top-p", "0.8", "--seed", "5"]),
        ({"temperature": 0.5, "top_k": 4}, ["--temperature", "0.5", "--top-k", "4"]),
        ({"no_repeat_ngram": 3, "greedy": True}, ["--no-repeat-ngram", "3", "--greedy"]),
    ],
)
def test_a_text_is_that_of_the_command(values, flags, server, trained, command):
    flags = ["--prompt", "the ", "--length", 80, *flags]
    code, expected, _ = command("generate", trained, *flags)
    assert code == 0
    found = server.text(prompt="the ", length=80, **values)
    assert "the " + found + "\n" == expected


def test_events_contain_the_same_text(server):
    expected = server.text(length=3000, seed=3)
    with server.stream(length=3000, seed=3) as answer:
        *pieces, end = events(answer)
    assert end == ("end", {"tokens": 3000})
    assert {name for name, _ in pieces} == {"message"}
    assert "".join(data["text"] for _, data in pieces) == expected


def test_concurrent_texts_are_those_of_single_requests(server):
    found, lengths = {}, [40 * seed for seed in range(1, 9)]

    def ask(seed, length):
        with server.stream(seed=seed, length=length, temperature=0.3 + seed / 8) as answer:
            found[seed] = "".join(data.get("text", "") for _, data in events(answer))

    threads = [threading.Thread(target=ask, args=each) for each in enumerate(lengths)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, length in enumerate(lengths):
        assert found[seed] == server.text(seed=seed, length=length, temperature=0.3 + seed / 8)


def test_without_a_seed_texts_differ(server):
    assert server.text(seed=None) != server.text(seed=None)


def test_a_score_is_that_of_the_command(server, trained, tmp_path, command):
    (tmp_path / "text").write_text(text := "the 3 little ducks\nwent")
    _, out, _ = command("evaluate", trained, "--data", tmp_path / "text", "--json")
    status, found = server.post("/score", text=text, per_token=True)
    assert status == 200
    tokens, expected = found.pop("per_token"), json.loads(out)
    assert expected.pop("protocol") == "one stream, state carried"
    assert found == pytest.approx(expected, rel=1e-6)
    assert "".join(token["token"] for token in tokens) == text
    assert tokens[0]["bits"] is None
    bits = sum(token["bits"] for token in tokens[1:]) / found["tokens"]
    assert bits == pytest.approx(found["bits_per_character"], rel=1e-6)


def test_next_lists_the_most_likely_tokens(server):
    status, found = server.post("/next", prompt="the ", count=4)
    assert status == 200
    chances = [token["probability"] for token in found["tokens"]]
    assert len(chances) == 4
    assert chances == sorted(chances, reverse=True)
    _, everything = server.post("/next", prompt="the ", count=1000)
    assert sum(token["probability"] for token in everything["tokens"]) == pytest.approx(1)
    best = server.text(prompt="the ", length=1, greedy=True)
    assert found["tokens"][0]["token"] == best


@pytest.mark.parametrize(
    "path, values, status",
    [
        ("/generate", {"prompt": "Ω"}, 400),
        ("/generate", {"prompt": "\ud800"}, 400),
        ("/generate", {"\ud800": 1}, 400),
        ("/generate", {"prompt": ""}, 400),
        ("/generate", {"prompt": "Ω", "unknown": "skip"}, 400),
        ("/generate", {"prompt": "the " * 10}, 413),
        ("/generate", {"length": ENDLESS + 1}, 413),
        ("/generate", {"length": 0}, 400),
        ("/generate", {"temperature": -1}, 400),
        ("/generate", {"top_k": -1}, 400),
        ("/generate", {"top_p": 0}, 400),
        ("/generate", {"seed": -1, "stream": True}, 400),
        ("/score", {}, 400),
        ("/score", {"text": "t"}, 400),
        ("/score", {"text": "the " * 10}, 413),
        ("/next", {"count": 0}, 400),
        ("/next", {"length": 3}, 400),
        ("/Generate", {}, 404),
    ],
)
def test_bad_requests_are_json_errors(path, values, status, server):
    found = server.post(path, **values)
    assert found == (status, {"error": found[1]["error"]})
    assert "\n" not in found[1]["error"]


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "method, path, body, headers, status",
    [
        ("POST", "/generate", "{}", {}, 415),
        ("POST", "/generate", "{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/generate", "{", JSON, 400),
        ("POST", "/generate", b"\xff", JSON, 400),
        ("POST", "/generate", '{"temperature": NaN}', JSON, 400),
        ("POST", "/generate", '{"temperature": 1e999}', JSON, 400),
        ("POST", "/generate", "[" * 100_000, JSON, 400),
        ("POST", "/generate", " " * (1 << 20) + "{}", JSON, 413),
        ("GET", "/generate", None, {}, 405),
        ("PUT", "/", None, {}, 405),
        ("GET", "/../config.json", None, {}, 404),
        ("GET", "/", None, {"Host": "rebound.example"}, 403),
        ("GET", "/", None, {"Host": "rebound.example:8000"}, 403),
        ("GET", "/", None, {"Host": "192.0.2.1"}, 403),
        ("GET", "/", None, {"Host": "127.0.0.1.rebound.example"}, 403),
        ("POST", "/generate", "{}", {**JSON, "Origin": "http://other.example"}, 403),
        ("POST", "/generate", "{}", {**JSON, "Origin": "null"}, 403),
        ("POST", "/generate", "{}", {**JSON, "Origin": "http://127.0.0.1:1"}, 403),
        ("OPTIONS", "/generate", None, {"Origin": "http://other.example"}, 403),
    ],
)
def test_bad_http_is_a_json_error(method, path, body, headers, status, server):
    found, _, content = server.send(method, path, body, **headers)
    assert found == status
    assert [*json.loads(content)] == ["error"]


def test_loopback_names_and_the_own_origin_are_accepted(server):
    for host in (f"127.0.0.1:{server.port}", "localhost:1", "LOCALHOST", "[::1]:80", "127.0.0.2"):
        assert server.send("GET", "/docs", Host=host)[0] == 200
        body = json.dumps({"length": 1})
        headers = {**JSON, "Host": host, "Origin": f"http://{host}"}
        assert server.send("POST", "/generate", body, **headers)[0] == 200


def test_pages_need_nothing_from_elsewhere(server, trained, tmp_path, command):
    _, headers, page = server.send("GET", "/")
    assert headers["Content-Type"].startswith("text/html")
    assert b'<script id="data"' in page
    status, _, reference = server.send("GET", "/docs")
    assert status == 200
    for content in (page, reference):
        policy = re.search(rb'Content-Security-Policy" content="([^"]+)"', content)[1]
        assert b"default-src 'none'" in policy
        assert not re.search(rb"(src|href)=[\"']?(https?:)?//", content)
    assert b"<script" not in reference


def test_openapi_describes_every_endpoint_and_its_fields(server):
    _, headers, content = server.send("GET", "/openapi.json")
    assert headers["Content-Type"] == "application/json"
    found = json.loads(content)
    assert found["openapi"].startswith("3.1")
    assert [*found["paths"]] == ["/generate", "/score", "/next"]
    for path, methods in found["paths"].items():
        body = methods["post"]["requestBody"]["content"]["application/json"]
        assert set(body["example"]) <= set(body["schema"]["properties"])
        values = {**body["example"], "stream": False} if path == "/generate" else body["example"]
        values = {name: "the" if name in ("prompt", "text") else v for name, v in values.items()}
        status, answer = server.post(path, **values)
        assert status == 200
        schema = methods["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert set(answer) == set(schema["required"])


def occupied(server, count):
    """Open this many endless streams; return the stack that closes them."""
    stack = contextlib.ExitStack()
    for seed in range(count):
        answer = stack.enter_context(server.stream(length=ENDLESS, seed=seed))
        assert next(events(answer))[0] == "message"
    return stack


def when_free(ask):
    """Return the first answer other than 503, which a gone client's request may still cause."""
    return next(answer for answer in iter(ask, None) if answer[0] != 503)


def test_too_many_requests_are_rejected_until_a_client_disconnects(server):
    with occupied(server, 7):
        with occupied(server, 1):
            for path, values in (("/generate", {}), ("/score", {"text": "the"}), ("/next", {})):
                status, found = server.post(path, **values)
                assert status == 503, found
            assert server.send("GET", "/docs")[0] == 200
        assert when_free(lambda: server.post("/generate", length=5))[0] == 200


def test_a_disconnected_client_ends_its_request_without_a_stream(server):
    with occupied(server, 7):
        with server.connect() as connection:
            body = json.dumps({"length": ENDLESS})
            connection.request("POST", "/generate", body, JSON)
            while server.post("/next")[0] != 503:  # until it is running
                pass
        assert when_free(lambda: server.post("/next"))[0] == 200


@pytest.mark.long
def test_a_request_ends_at_the_time_limit(trained):
    server = Client(trained, "--max-length", ENDLESS, "--timeout", 3)
    with server.stream(length=ENDLESS) as answer, server.connect() as unfinished:
        unfinished.putrequest("POST", "/generate")
        unfinished.putheader("Content-Type", "application/json")
        unfinished.putheader("Content-Length", "10")
        unfinished.endheaders(b"{")
        assert server.post("/generate", length=ENDLESS)[0] == 503
        *_, (name, data) = events(answer)
        assert (name, [*data]) == ("error", ["error"])
        assert unfinished.getresponse().status == 408
    assert server.stop() == (-signal.SIGTERM, "")


@pytest.mark.long
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_running_streams_and_the_server(number, code, trained):
    server = Client(trained, "--max-length", ENDLESS)
    with server.stream(length=ENDLESS) as answer:
        each = events(answer)
        assert next(each)[0] == "message"
        found = server.stop(number)
        *_, (name, data) = each
    assert (name, [*data]) == ("error", ["error"])
    assert found == (code, "gluonlm: interrupted\n" * (number == signal.SIGINT))
    with pytest.raises(ConnectionRefusedError):
        server.send("GET", "/")


def interrupt_once(server, times):
    """Interrupt a server, not at all or once, and wait until it accepts no connection."""
    if times:
        server.process.send_signal(signal.SIGINT)
        with contextlib.suppress(ConnectionError):
            while True:
                socket.create_connection(("127.0.0.1", server.port)).close()


@pytest.mark.long
@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_unfinished_request_does_not_keep_the_server(interrupts, trained):
    server = Client(trained)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        head = "POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in client.recv(1000)  # the server waits for the body
        interrupt_once(server, interrupts - 1)
        assert server.stop(signal.SIGINT) == (130, "gluonlm: interrupted\n")


@pytest.mark.long
@pytest.mark.parametrize("interrupts", [1, 2])
def test_a_client_that_does_not_read_does_not_keep_the_server(interrupts, trained):
    server = Client(trained)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        with contextlib.suppress(BlockingIOError):  # the server no longer reads requests
            while True:
                client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", socket.MSG_DONTWAIT)
        interrupt_once(server, interrupts - 1)
        assert server.stop(signal.SIGINT) == (130, "gluonlm: interrupted\n")


def test_a_port_in_use_is_one_line(server, trained, command):
    assert_refused(command("serve", trained, "--port", server.port), f"--port {server.port}")


@pytest.mark.parametrize(
    "flags, name",
    [
        (["--port", "65536"], "--port 65536"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1"),
        (["--host", "no such host"], "--host no such host"),
        (["--max-prompt", "0"], "--max-prompt 0"),
        (["--max-length", "0"], "--max-length 0"),
        (["--max-requests", "0"], "--max-requests 0"),
        (["--timeout", "0"], "--timeout 0"),
        (["--timeout", "nan"], "--timeout nan"),
    ],
)
def test_bad_flags_are_one_line(flags, name, trained, command):
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    assert_refused(command("serve", trained, *flags), name)


def test_a_missing_extra_is_one_line(trained, command, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "starlette", None)
    assert_refused(command("serve", trained), "pip install 'gluonlm[serve]'")


def test_other_addresses_are_served_with_a_warning(trained):
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    process = start("-m", "gluonlm", "serve", trained, "--port", 0, "--host", "0.0.0.0")
    port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        for host, status in (("192.0.2.1", 200), ("rebound.example", 403)):
            connection.request("GET", "/docs", headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert errors.startswith("gluonlm: warning: ")
    assert errors.count("\n") == 1

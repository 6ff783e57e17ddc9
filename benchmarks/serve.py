"""Load test of `gluonlm serve`: one client, then many, each asking for one text after another.

python benchmarks/serve.py RUN --clients 32 --seconds 60
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

LENGTH = 300  # tokens of a text


class Load:
    """Clients that request streamed texts until a time is over."""

    def __init__(self, port: int, process: int, clients: int, seconds: float):
        self.port, self.end = port, time.perf_counter() + seconds
        self.tokens, self.errors, self.waits = 0, [], []
        self.lock = threading.Lock()
        threads = [threading.Thread(target=self.client, args=[seed]) for seed in range(clients)]
        began, used = time.perf_counter(), cpu_seconds(process)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.rate = self.tokens / (time.perf_counter() - began)
        self.rate_of_cpu = self.tokens / (cpu_seconds(process) - used)

    def client(self, seed: int) -> None:
        """Request one text after another on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while time.perf_counter() < self.end:
            body = json.dumps({"stream": True, "length": LENGTH, "seed": seed})
            began = time.perf_counter()
            try:
                connection.request("POST", "/generate", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                first = answer.readline()
                wait = time.perf_counter() - began
                end = (first + answer.read()).decode().strip().split("\n")[-2:]
                assert end == ["event: end", f'data: {{"tokens": {LENGTH}}}'], end
            except Exception as error:
                with self.lock:
                    self.errors.append(repr(error))
                return
            with self.lock:
                self.tokens += LENGTH
                self.waits.append(wait)

    def report(self) -> str:
        """Return the throughput, the waits for the first event, and the errors."""
        waits = sorted(self.waits)
        return (
            f"{self.rate:,.0f} tokens/s, {self.rate_of_cpu:,.0f} per CPU second, "
            f"{len(waits):,} texts of {LENGTH} tokens, first event "
            f"after {1e3 * statistics.median(waits):.0f} ms (median), "
            f"{1e3 * waits[int(0.99 * len(waits))]:.0f} ms (99 %), "
            f"{len(self.errors)} errors {self.errors[:3] or ''}"
        )


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    flags = ["--port", "0", "--max-requests", str(arguments.clients + 1)]
    command = [sys.executable, "-m", "gluonlm", "serve", arguments.run, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(re.search(r":(\d+)/", server.stdout.readline())[1])
            for clients in (1, arguments.clients, 1):
                load = Load(
                    port, server.pid, clients, arguments.seconds / (3 if clients == 1 else 1)
                )
                print(f"{clients} clients: {load.report()}", flush=True)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

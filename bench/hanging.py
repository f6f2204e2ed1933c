"""`python -m bench.hanging`: does a provider of tokens that hangs make requests wait? About a minute and a half.

One gateway, tokens of a hundred callers at 400 requests a second, and somebody who shows tokens of unknown keys all the
while, so that the gateway has a reason to ask. Measured while the provider is well, and while it has taken the question
and does not answer. Both in one run: the ratio says something, the times only of this machine.
"""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench import gateway
from bench.__main__ import cores, open_files, say
from bench.figures import GATEWAY, percentile
from bench.measure import Bench, Running, Scale
from bench.plan import Report
from bench.processes import Processes, Stop, terminable
from bench.setups import MIXED
from bench.tokens import Tokens, unknown

WINDOW_S = 3.0
"""Less than the five seconds after which the gateway gives a provider up."""

PATIENCE_S = 90.0


class Provider:
    """Publishes one key set, or takes the question and says nothing."""

    def __init__(self, tokens: Tokens) -> None:
        self.asked = 0
        self.hangs = False
        self._over = threading.Event()
        body = tokens.keys.read_bytes()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                if provider.hangs:
                    provider._over.wait(60)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


def annoy(port: int, token: Callable[[], str], over: threading.Event, refused: list[int]) -> None:
    """Ten times a second a token that nobody knows the key of."""
    while not over.wait(0.1):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {token()}"})
            refused.append(connection.getresponse().status)
        except OSError:
            refused.append(0)
        finally:
            connection.close()


def measured(bench: Bench, running: Running, what: str) -> Report:
    return bench.load(running, bench.plan(running, mode="open", seconds=WINDOW_S, warm_s=0.3), what)


def told(report: Report) -> str:
    p50, p99 = (percentile(report.latencies_us, p) / 1000 for p in (0.5, 0.99))
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms of {report.units}"


def main(program: str | None) -> int:
    program = program or gateway.program()
    if program is None:
        say("there is no `sluicegate` beside this Python")
        return 1
    open_files()
    core, own_core = cores()
    with terminable(), tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder:
        with Processes(Path(folder)) as processes:
            bench = Bench(Path(folder), processes, {GATEWAY: program}, Scale(), core, own_core, say)
            os.sched_setaffinity(0, {own_core})
            with bench.upstream(MIXED):
                return compare(bench)


def compare(bench: Bench) -> int:
    tokens = bench.made_tokens()
    provider = Provider(tokens)
    over, refused = threading.Event(), list[int]()
    bench.tokens = Tokens(tokens.keys, tokens.shown, provider.url)
    running = bench.start(GATEWAY, MIXED)
    annoying = threading.Thread(target=annoy, args=(running.place.port, unknown, over, refused), daemon=True)
    try:
        annoying.start()
        measured(bench, running, "warming up")
        well = [measured(bench, running, "well") for _ in range(3)]
        provider.hangs, before, until = True, provider.asked, time.monotonic() + PATIENCE_S
        say("waiting for the gateway to ask again, a minute after it asked last")
        while provider.asked == before:
            if time.monotonic() > until:
                raise Stop("the gateway did not ask")
            time.sleep(0.02)
        hanging = measured(bench, running, "hanging")
        print(f"well:    {'; '.join(told(report) for report in well)}")
        print(f"hanging: {told(hanging)}")
        usual = sorted(percentile(report.latencies_us, 0.99) for report in well)[1]
        print(f"p99, hanging / well: {percentile(hanging.latencies_us, 0.99) / usual:.2f}")
        garbage = f"{len(refused)}, refused {refused.count(401)}"
        print(f"tokens of unknown keys: {garbage}; keys were asked for {provider.asked} times")
    finally:
        over.set()
        annoying.join()
        provider.close()
        bench.processes.stop(running.process)
    for failure in bench.failures:
        say(failure)
    return 1 if bench.failures or set(refused) != {401} else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))

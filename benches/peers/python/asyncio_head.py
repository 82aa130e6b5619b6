"""The client of many connections on asyncio's streams, or on uvloop's with --loop uvloop.

As the experiment was published: a task for each connection, ten begun every 10 ms; each sends a HEAD, reads the
head of the answer within a time limit, sleeps for a random time, and asks again. asyncio.timeout in place of the
wait_for of that day, which makes a second task of each wait. Latencies are kept as numbers of four bytes.
"""

import argparse
import asyncio
import os
import random
import time
from array import array
from urllib.parse import urlsplit

TICK = 0.01
FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0


def span(text):
    """3, 3s or 250ms, in seconds."""
    if text.endswith("ms"):
        return float(text[:-2]) / 1000
    return float(text.removesuffix("s"))


def interval(text):
    """1..60s or 100..500ms: two spans of one unit."""
    least, _, most = text.partition("..")
    unit = "ms" if most.endswith("ms") else "s"
    return span(least + unit), span(most)


class Client:
    def __init__(self, options):
        self.options = options
        target = urlsplit(options.target)
        self.host, self.port = target.hostname, target.port
        request = f"HEAD {target.path or '/'} HTTP/1.1\r\nHost: {target.netloc}\r\nUser-Agent: head_client\r\n\r\n"
        self.request = request.encode()
        self.begun = self.requests = self.answered = 0
        self.errors = {"connect": 0, "timeout": 0, "closed": 0, "reset": 0, "other": 0}
        self.micros = array("I")

    async def ask(self, reader, writer):
        """One request and its answer. Returns how it was lost, or None."""
        self.requests += 1
        start = time.perf_counter()
        try:
            async with asyncio.timeout(self.options.timeout):
                writer.write(self.request)
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return "timeout"
        except asyncio.IncompleteReadError:
            return "closed"
        except ConnectionError:
            return "reset"
        except asyncio.LimitOverrunError:
            return "other"
        if not head.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3")):
            return "other"
        self.answered += 1
        self.micros.append(int((time.perf_counter() - start) * 1e6))
        return None

    async def converse(self):
        """A connection, until a request is lost. Returns whether any was answered."""
        self.begun += 1
        try:
            async with asyncio.timeout(self.options.timeout):
                reader, writer = await asyncio.open_connection(self.host, self.port)
        except (OSError, TimeoutError):
            self.errors["connect"] += 1
            return False
        before = self.answered
        try:
            while (lost := await self.ask(reader, writer)) is None:
                await asyncio.sleep(random.uniform(*self.options.interval))
            self.errors[lost] += 1
            return self.answered > before
        finally:
            writer.close()

    async def keep(self):
        """One connection after another."""
        delay = FIRST_DELAY
        while True:
            delay = FIRST_DELAY if await self.converse() else min(delay * 2, LONGEST_DELAY)
            await asyncio.sleep(random.uniform(0, delay))

    async def run(self):
        tasks = []
        loop = asyncio.get_running_loop()
        start = loop.time()
        while len(tasks) < self.options.connections:
            due = int((loop.time() - start) * self.options.open_rate) + 1
            while len(tasks) < min(due, self.options.connections):
                tasks.append(asyncio.create_task(self.keep()))
            await asyncio.sleep(TICK)
        await asyncio.sleep(self.options.duration - (loop.time() - start))
        self.report()
        # Cancelling ten thousand tasks is no part of what is measured.
        os._exit(0)

    def report(self):
        errors = sum(self.errors.values())
        lost = errors - self.errors["connect"]
        micros = sorted(self.micros) or [0]
        at = lambda quantile: micros[min(int(len(micros) * quantile), len(micros) - 1)]
        kinds = " ".join(f"{kind}={count}" for kind, count in self.errors.items())
        print(
            f"totals: begun={self.begun} requests={self.requests} answered={self.answered} "
            f"unfinished={self.requests - self.answered - lost} errors={errors} {kinds} "
            f"p50_us={at(0.5)} p99_us={at(0.99)} p999_us={at(0.999)} max_us={micros[-1]}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--target", required=True)
    parser.add_argument("--interval", type=interval, default=(1.0, 60.0))
    parser.add_argument("--timeout", type=span, default=3.0)
    parser.add_argument("--duration", type=span, default=60.0)
    parser.add_argument("--open-rate", type=int, default=1000)
    options = parser.parse_args()
    if options.loop == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(Client(options).run())


if __name__ == "__main__":
    main()

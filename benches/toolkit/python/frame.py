"""What each program has around its work: the command line, and a line with the figures. See src/frame.rs."""

import argparse
import asyncio
import resource
import time


def measure(work):
    """Runs work(options), which says how often it was done."""
    parser = argparse.ArgumentParser()
    for flag in ("--count", "--holders", "--shared"):
        parser.add_argument(flag, type=int, required=True)
    parser.add_argument("--server", default="127.0.0.1:7000")
    options = parser.parse_args()
    options.host, _, options.port = options.server.rpartition(":")
    begun_ns = time.process_time_ns()
    done = asyncio.run(work(options))
    spent_ns = time.process_time_ns() - begun_ns
    if done != options.count:
        parser.exit(1, f"done {done} times, not {options.count}\n")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"each_ns={spent_ns / done:.1f} peak_kib={peak_kib}")


def keys(options):
    """As Work::keys."""
    state = 1
    for _ in range(options.count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield (state >> 33) % options.shared

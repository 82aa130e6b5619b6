"""Posts to asyncio, or to uvloop with --loop uvloop: call_soon_threadsafe. See src/posts.rs for the method."""

import argparse
import asyncio
import threading
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--posts", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.posts < 1:
        parser.error(f"--posts: '{options.posts}' is not at least 1")
    if options.loop == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    seen = 0

    def run_one():
        nonlocal seen
        seen += 1
        if seen == options.posts:
            loop.stop()

    def post():
        for _ in range(options.posts):
            loop.call_soon_threadsafe(run_one)

    spent = time.process_time_ns()
    start = time.perf_counter_ns()
    poster = threading.Thread(target=post)
    poster.start()
    loop.run_forever()
    seconds = (time.perf_counter_ns() - start) / 1e9
    spent = time.process_time_ns() - spent
    poster.join()
    print(f"per_second={options.posts / seconds:.0f} ns_per_post={spent / options.posts:.2f}")


if __name__ == "__main__":
    main()

"""Timers on asyncio, or on uvloop with --loop uvloop: call_later for each. See src/timers.rs for the method."""

import argparse
import asyncio
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--timers", type=int, default=100_000)
    parser.add_argument("--cancel", type=int)
    parser.add_argument("--spread-ms", type=int, default=1000)
    options = parser.parse_args()
    count = options.timers
    cancel = options.cancel or count
    if count < 1 or not 1 <= cancel <= count:
        parser.error(f"--cancel: '{cancel}' is not between 1 and --timers")
    if options.spread_ms < 1:
        parser.error(f"--spread-ms: '{options.spread_ms}' is not at least 1")
    if options.loop == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()

    delays = []
    state = 1
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        delays.append((state >> 33) % (options.spread_ms * 1000) / 1e6)
    fired = 0

    def on_timer():
        nonlocal fired
        fired += 1
        if fired == count:
            loop.stop()

    def arm():
        return [loop.call_later(delay, on_timer) for delay in delays]

    begun = time.process_time_ns()
    armed = arm()
    arm_ns = time.process_time_ns() - begun

    begun = time.process_time_ns()
    for handle in armed[:cancel]:
        handle.cancel()
    cancel_ns = time.process_time_ns() - begun
    for handle in armed[cancel:]:
        handle.cancel()
    # asyncio leaves cancelled handles in its queue until it next turns.
    begun = time.process_time_ns()
    loop.call_soon(loop.stop)
    loop.run_forever()
    cancel_ns += time.process_time_ns() - begun
    del armed

    armed = arm()
    time.sleep(options.spread_ms / 1000 + 0.01)
    begun = time.process_time_ns()
    loop.run_forever()
    fire_ns = time.process_time_ns() - begun
    print(f"arm_ns={arm_ns / count:.2f} cancel_ns={cancel_ns / cancel:.2f} fire_ns={fire_ns / count:.2f}")


if __name__ == "__main__":
    main()

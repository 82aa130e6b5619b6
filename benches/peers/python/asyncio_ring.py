"""The ring on asyncio, or on uvloop with --loop uvloop: add_reader with a callback per pair.

See src/ring.rs for the method. add_reader is the lowest layer that both loops offer to a program.
"""

import argparse
import asyncio

from common import Ring


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    ring = Ring(parser)
    if ring.options.loop == "uvloop":
        import uvloop

        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    wanted = ring.options.events

    def pass_on(recv, send):
        send(recv(1))
        ring.seen += 1
        if ring.seen == wanted:
            loop.stop()

    for index, reader in enumerate(ring.readers):
        loop.add_reader(reader, pass_on, reader.recv, ring.next(index).send)
    loop.call_soon(ring.kick)
    loop.run_forever()
    ring.report()


if __name__ == "__main__":
    main()

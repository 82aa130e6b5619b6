"""The echo server on asyncio, or on uvloop with --loop uvloop: a buffered protocol per connection.

Protocols rather than streams, and buffered ones rather than plain: the fastest that asyncio offers. A plain
Protocol lets asyncio allocate 256 KiB for every read, which glibc answers with mmap and munmap each time.
While the transport's buffer is above its high mark, reading is paused, so a client that takes nothing does
not grow the server.
"""

import argparse
import asyncio

from common import BACKLOG, SCRATCH_BYTES, echo_listener

# One buffer for all connections: what was read is copied out before the next read.
SCRATCH = memoryview(bytearray(SCRATCH_BYTES))


class Echo(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        return SCRATCH

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(SCRATCH[:nbytes]))

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def serve(listener):
    server = await asyncio.get_running_loop().create_server(Echo, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    options, listener = echo_listener(parser)
    if options.loop == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(serve(listener))


if __name__ == "__main__":
    main()

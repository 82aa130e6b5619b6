"""The echo server on asyncore: dispatcher_with_send, poll(2).

dispatcher_with_send keeps what the socket does not take at once. The program asks to be read only while
nothing is kept, which asyncore leaves to its users.
"""

import argparse
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)

import asyncore  # noqa: E402

from common import SCRATCH_BYTES, echo_listener  # noqa: E402


class Echo(asyncore.dispatcher_with_send):
    def readable(self):
        return not self.out_buffer

    def writable(self):
        return bool(self.out_buffer)

    def handle_read(self):
        data = self.recv(SCRATCH_BYTES)
        if data:
            self.send(data)

    def initiate_send(self):
        # The original sends 512 bytes at a time, which would measure that number and not the loop.
        self.out_buffer = self.out_buffer[asyncore.dispatcher.send(self, self.out_buffer) :]


class Listener(asyncore.dispatcher):
    def __init__(self, listener):
        super().__init__(listener)
        self.accepting = True

    def writable(self):
        return False

    def handle_accept(self):
        # All that wait, not one a turn: a turn costs a look at every dispatcher.
        while (accepted := self.accept()) is not None:
            Echo(accepted[0])


def main():
    _, listener = echo_listener(argparse.ArgumentParser(description=__doc__))
    Listener(listener)
    asyncore.loop(use_poll=True)


if __name__ == "__main__":
    main()

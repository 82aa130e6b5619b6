"""The ring on asyncore: a dispatcher per pair, and poll(2), the better of asyncore's two ways to wait.

See src/ring.rs for the method. Every turn asks every dispatcher whether it is readable and writable, which
is what this peer is here to show.
"""

import argparse
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)

import asyncore  # noqa: E402

from common import Ring  # noqa: E402


class Pair(asyncore.dispatcher):
    def __init__(self, ring, index):
        super().__init__(ring.readers[index])
        self.ring = ring
        self.send_on = ring.next(index).send

    def writable(self):
        return False

    def handle_read(self):
        self.send_on(self.recv(1))
        self.ring.seen += 1


def main():
    ring = Ring(argparse.ArgumentParser(description=__doc__))
    for index in range(ring.options.pairs):
        Pair(ring, index)
    ring.kick()
    while ring.seen < ring.options.events:
        asyncore.loop(use_poll=True, count=1)
    ring.report()


if __name__ == "__main__":
    main()

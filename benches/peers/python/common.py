"""What the Python peers share: command lines, the ring's socket pairs, the line that tells the address.

The ring is the one described in src/ring.rs: a callback reads one byte from its pair and writes one to the
next. Wrong command lines end with exit code 2, which is argparse's own habit.
"""

import argparse
import socket
import time

BACKLOG = 4096
SCRATCH_BYTES = 64 * 1024


def address(text):
    """HOST:PORT as a pair."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not an address with a port")
    return host, int(port)


def echo_listener(parser):
    """Reads --listen, and returns the remaining options with a listening socket that has told its address."""
    parser.add_argument("--listen", type=address, default=("127.0.0.1", 0))
    options = parser.parse_args()
    listener = socket.create_server(options.listen, backlog=BACKLOG)
    listener.setblocking(False)
    # On Linux accepted sockets inherit it; the other peers set it one by one.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, port = listener.getsockname()
    print(f"listening on {host}:{port}", flush=True)
    return options, listener


class Ring:
    """The pairs, the tokens and the count of events."""

    def __init__(self, parser):
        parser.add_argument("--pairs", type=int, default=1000)
        parser.add_argument("--tokens", type=int, default=100)
        parser.add_argument("--events", type=int, default=100_000)
        self.options = parser.parse_args()
        if not 1 <= self.options.tokens <= self.options.pairs // 2:
            parser.error(f"--tokens: '{self.options.tokens}' is not between 1 and half of --pairs")
        if self.options.events < 1:
            parser.error(f"--events: '{self.options.events}' is not at least 1")
        self.seen = 0
        self.readers = []
        self.writers = []
        for _ in range(self.options.pairs):
            reader, writer = socket.socketpair()
            reader.setblocking(False)
            writer.setblocking(False)
            self.readers.append(reader)
            self.writers.append(writer)

    def next(self, index):
        """The writer whose reader comes after number `index`."""
        return self.writers[(index + 1) % len(self.writers)]

    def kick(self):
        """Sets the tokens off and starts the clock."""
        for token in range(self.options.tokens):
            self.writers[token * self.options.pairs // self.options.tokens].send(b"t")
        self.start = time.perf_counter_ns()

    def report(self):
        """Prints the one line that the runner reads."""
        elapsed = time.perf_counter_ns() - self.start
        print(f"events={self.seen} ns_per_event={elapsed / self.seen:.1f}")

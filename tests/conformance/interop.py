"""One side of `tests/interop.rs`: records over asynchat, in Python, as a server or as a client.

Records and terminators are random. Whoever sends cuts the stream at random places, one piece a pass, so that
the other side sees pieces of all sizes. Every record is answered by its hexadecimal form, framed by the same
terminator, so that a record that was cut in the wrong place cannot come back right.
"""

import random
import socket
import sys

import asyncore
import asynchat


class Pieces:
    """A producer that cuts bytes at random places."""

    def __init__(self, data, source):
        self.data, self.source, self.at = data, source, 0

    def more(self):
        piece = self.data[self.at:self.at + self.source.randint(1, 9)]
        self.at += len(piece)
        return piece


class Chat(asynchat.async_chat):
    def __init__(self, sock=None, source=None):
        super().__init__(sock)
        self.source = source or random.Random(7)
        self.count = 0

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def recv(self, size):
        # Now and then only a few bytes: the rest waits for the next pass.
        return super().recv(self.source.choice([1, 2, 3, 7, 50, size]))

    def handle_error(self):
        raise

    def log_info(self, message, type="info"):
        pass


class Server(Chat):
    """The first byte of a connection says how long the terminator is that follows it."""

    def __init__(self, sock, owner):
        super().__init__(sock)
        self.owner = owner
        self.state = "size"
        self.set_terminator(1)

    def found_terminator(self):
        record = self._get_data()
        if self.state == "size":
            self.state = "terminator"
            self.set_terminator(record[0])
        elif self.state == "terminator":
            self.state = "records"
            self.end = record
            self.set_terminator(record)
        else:
            self.count += 1
            answer = record.hex().encode() + self.end
            self.push_with_producer(Pieces(answer, self.source))

    def handle_close(self):
        self.owner.finished(self)
        self.close()


class Listener(asyncore.dispatcher):
    def __init__(self, connections):
        super().__init__()
        self.left, self.total = connections, 0
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(16)

    def writable(self):
        return False

    def handle_accepted(self, sock, addr):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Server(sock, self)

    def finished(self, server):
        self.left -= 1
        self.total += server.count
        if self.left == 0:
            self.close()


class Client(Chat):
    def __init__(self, port, size, records, seed):
        super().__init__(source=random.Random(seed))
        self.end = bytes(self.source.choice(b"xy\r\n") for _ in range(size))
        self.records = [self.record() for _ in range(records)]
        self.set_terminator(self.end)
        self.create_socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connect(("127.0.0.1", port))
        self.push(bytes([size]) + self.end)
        stream = b"".join(record + self.end for record in self.records)
        self.push_with_producer(Pieces(stream, self.source))

    def record(self):
        """Few letters, so that false beginnings of the terminator abound; not the terminator itself."""
        while True:
            made = bytes(self.source.choice(b"xy\r\nabc") for _ in range(self.source.randint(0, 30)))
            if (made + self.end).find(self.end) == len(made):
                return made

    def found_terminator(self):
        answer = self._get_data()
        wanted = self.records[self.count].hex().encode()
        if answer != wanted:
            sys.exit("record %d: %r came back as %r" % (self.count, self.records[self.count], answer))
        self.count += 1
        if self.count == len(self.records):
            self.close()


def main():
    role = sys.argv[1]
    if role == "server":
        listener = Listener(int(sys.argv[2]))
        print(listener.socket.getsockname()[1], flush=True)
        asyncore.loop(timeout=1.0)
        print(listener.total)
    else:
        port, records = int(sys.argv[2]), int(sys.argv[3])
        clients = [Client(port, size, records, seed=size) for size in range(1, 9)]
        asyncore.loop(timeout=1.0)
        print(sum(client.count for client in clients))


main()

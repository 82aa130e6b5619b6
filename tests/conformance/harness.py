"""Runs scenarios on Python's own asyncore and asynchat (in the standard library up to 3.11).

Reads a list of scenarios as JSON from stdin; writes, for each, the trace under both of asyncore's pollers
and what each peer got on the wire. `tests/conformance.rs` runs the same scenarios on slabloop and says what
the words mean; this is the same interpreter once more, line by line where that is possible.
"""

import errno
import fcntl
import json
import os
import socket
import struct
import sys
import tempfile
import termios
import time

import asyncore
import asynchat

DEADLINE = 20.0
PASS = 0.002


def quote(data):
    """The same notation as on the other side."""
    if len(data) > 80:
        return "%d bytes" % len(data)
    text = "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else "\\x%02x" % b for b in bytes(data))
    return "'%s'" % text


def pattern(stream, length):
    state = (stream * 2654435761 + 1) & 0xFFFFFFFF
    made = bytearray()
    for _ in range(length):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        made.append(state >> 24)
    return bytes(made)


def name_of(error):
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno, str(error))
    return "failure" if str(error) == "failure" else repr(error)


class Peer:
    """A plain socket, not in the loop: what it is told to send and take is pumped between two passes."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)
        if sock.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unsent = b""
        self.got = bytearray()
        self.reading = False
        self.end = None

    def pump(self):
        while self.unsent:
            try:
                self.unsent = self.unsent[self.sock.send(self.unsent):]
            except BlockingIOError:
                break
            except OSError:
                self.unsent = b""
        while self.reading and self.end is None:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                self.end = "reset" if error.errno == errno.ECONNRESET else name_of(error)
                break
            if not data:
                self.end = "eof"
            self.got += data


class PipeEnd:
    """Enough of a socket for a peer."""

    family = None

    def __init__(self, fd):
        self.fd = fd

    def setblocking(self, on):
        os.set_blocking(self.fd, on)

    def send(self, data):
        return os.write(self.fd, data)

    def recv(self, size):
        return os.read(self.fd, size)

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
        self.fd = None


class Scripted:
    """What all dispatchers share: the log, and the script's verbs."""

    def prepare(self, world, who, spec):
        self.world, self.who, self.spec = world, who, spec
        self.calls = {}
        self.last = b""
        self.paused = False
        self.wants_write = False

    def note(self, text):
        if text.split()[0] not in self.spec.get("quiet", []):
            self.world.note("%s %s" % (self.who, text))

    def script(self, callback):
        lines = self.spec.get("on", {}).get(callback)
        if lines is None:
            return False
        call = self.calls.get(callback, 0)
        self.calls[callback] = call + 1
        if lines:
            for verb in lines[min(call, len(lines) - 1)]:
                self.perform(verb)
        return True

    def perform(self, verb):
        word, arguments = verb[0], verb[1:]
        getattr(self, "do_" + word)(*arguments)

    def do_recv(self, size):
        try:
            self.last = self.recv(size)
        except OSError as error:
            self.note("got " + name_of(error))
            raise
        self.note("got " + quote(self.last))

    def do_send(self, text):
        self.send(text.encode("latin-1"))

    def do_send_pattern(self, size):
        self.send(pattern(1, size))

    def do_echo(self):
        if self.last:
            self.send(self.last)

    def do_close(self):
        self.note("close()")
        self.close()

    def do_fail(self):
        raise ValueError("failure")

    def do_exit(self):
        raise asyncore.ExitNow()

    def do_pause(self):
        self.paused = True

    def do_resume(self):
        self.paused = False

    def do_start_writing(self):
        self.wants_write = True

    def do_stop_writing(self):
        self.wants_write = False

    def do_close_other(self, who):
        self.world.dispatchers[who].close()

    def do_replace(self, who):
        """Closes another one and adds a newcomer, who gets its descriptor."""
        self.world.dispatchers[who].close()
        ours, theirs = socket.socketpair()
        self.world.peers["pn"] = Peer(theirs)
        self.world.add("n1", self.world.scenario["newcomer"], ours)

    # What asyncore prints is not what is compared.
    def log_info(self, message, type="info"):
        pass

    def handle_connect(self):
        self.note("connect")
        self.script("connect")

    def handle_close(self):
        self.note("close")
        if not self.script("close"):
            super().handle_close()

    def handle_error(self):
        self.note("error " + name_of(sys.exc_info()[1]))
        if not self.script("error"):
            super().handle_error()

    def handle_expt(self):
        self.note("priority")
        self.script("priority")

    def readable(self):
        return not self.paused and super().readable()

    def recv(self, size):
        data = super().recv(size)
        self.world.bytes_in += len(data)
        return data


class Plain(Scripted, asyncore.dispatcher):
    def handle_read(self):
        self.note("read")
        if not self.script("read"):
            self.do_recv(4096)

    def handle_write(self):
        self.note("write")
        self.script("write")

    def writable(self):
        return self.wants_write or not self.connected


class WithSend(Scripted, asyncore.dispatcher_with_send):
    def handle_read(self):
        self.note("read")
        if not self.script("read"):
            self.do_recv(4096)


class File(Scripted, asyncore.file_dispatcher):
    handle_read = Plain.handle_read
    handle_write = Plain.handle_write
    writable = Plain.writable


class Chat(Scripted, asynchat.async_chat):
    def prepare(self, world, who, spec):
        super().prepare(world, who, spec)
        self.do_terminator(spec.get("terminator"))

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)
        if self.spec.get("pieces"):
            self.note("piece " + quote(data))

    def found_terminator(self):
        record = self._get_data()
        self.last = record
        self.note("found" if self.spec.get("pieces") else "found " + quote(record))
        self.script("found")

    def do_terminator(self, terminator):
        if isinstance(terminator, str):
            terminator = terminator.encode("latin-1")
        self.set_terminator(terminator)

    def do_report_terminator(self):
        terminator = self.get_terminator()
        self.note("terminator " + (quote(terminator) if isinstance(terminator, bytes) else str(terminator)))

    def do_unfinished(self):
        self.note("unfinished " + quote(b"".join(self.incoming)))

    def do_push(self, text):
        self.push(text.encode("latin-1"))

    def do_push_pattern(self, size):
        self.push(pattern(1, size))

    def do_push_producer(self, size, piece):
        self.push_with_producer(asynchat.simple_producer(pattern(2, size), piece))

    def do_close_when_done(self):
        self.close_when_done()

    def do_echo(self):
        self.push(self.last)


KINDS = {"dispatcher": Plain, "with_send": WithSend, "chat": Chat, "file": File}


class Listener(asyncore.dispatcher):
    def __init__(self, world):
        super().__init__(map=world.map)
        self.world = world
        self.accepted = 0

    def writable(self):
        return False

    def handle_accepted(self, sock, addr):
        self.accepted += 1
        who = "s%d" % self.accepted
        spec = self.world.scenario["server"]
        if isinstance(spec, list):
            spec = spec[self.accepted - 1]
        if spec.get("small_buffers"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.world.note("L accepted " + who)
        if spec.get("refuse"):
            # The default of asyncore.
            super().handle_accepted(sock, addr)
        else:
            self.world.add(who, spec, sock)

    def log_info(self, message, type="info"):
        pass


class World:
    def __init__(self, scenario, use_poll, directory):
        self.scenario, self.use_poll = scenario, use_poll
        self.map = {}
        self.trace = []
        self.peers = {}
        self.dispatchers = {}
        self.bytes_in = 0
        self.bytes_fed = 0
        self.family = socket.AF_UNIX if scenario.get("family") == "unix" else socket.AF_INET
        self.path = os.path.join(directory, "%d-" % len(os.listdir(directory)))
        self.listener = None
        self.plain_listener = None

    def note(self, text):
        self.trace.append(text)

    def add(self, who, spec, sock=None):
        made = KINDS[spec.get("kind", "dispatcher")](sock, map=self.map)
        made.prepare(self, who, spec)
        self.dispatchers[who] = made
        made.script("start")
        return made

    def address(self, name):
        return self.path + name if self.family == socket.AF_UNIX else ("127.0.0.1", 0)

    def one_pass(self):
        asyncore.loop(timeout=PASS, use_poll=self.use_poll, map=self.map, count=1)
        if not self.map:
            time.sleep(PASS)
        for peer in self.peers.values():
            peer.pump()

    def until(self, what, done):
        deadline = time.monotonic() + DEADLINE
        for peer in self.peers.values():
            peer.pump()
        while not done():
            if time.monotonic() > deadline:
                self.note("!! gave up waiting for " + what)
                return
            self.one_pass()

    def step_connect(self, *names):
        if self.listener is None:
            self.listener = Listener(self)
            self.listener.create_socket(self.family)
            self.listener.bind(self.address("server"))
            self.listener.listen(16)
        for name in names:
            sock = socket.socket(self.family)
            if self.scenario.get("small_peer"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(self.listener.socket.getsockname())
            self.peers[name] = Peer(sock)

    def step_accepted(self, count):
        self.until("%d accepted" % count, lambda: self.listener.accepted >= count)

    def step_start(self, who):
        """A dispatcher that connects, to a plain listener, or to nobody."""
        spec = self.scenario["client"]
        if self.plain_listener is None:
            self.plain_listener = socket.socket(self.family)
            if spec.get("small_buffers"):
                self.plain_listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.plain_listener.bind(self.address("plain"))
            if not spec.get("refused"):
                self.plain_listener.listen(16)
        address = self.plain_listener.getsockname()
        if spec.get("no_such_path"):
            address = self.path + "nowhere"
        made = KINDS[spec.get("kind", "dispatcher")](map=self.map)
        made.prepare(self, who, spec)
        self.dispatchers[who] = made
        made.create_socket(self.family)
        if spec.get("small_buffers"):
            made.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        try:
            made.connect(address)
            self.note(who + " connect()")
        except OSError as error:
            self.note("%s connect() %s" % (who, name_of(error)))
            made.close()
            return
        made.script("start")

    def step_accept(self, name):
        self.plain_listener.settimeout(DEADLINE)
        self.peers[name] = Peer(self.plain_listener.accept()[0])

    def step_pipe(self, who, name, mode):
        """A file dispatcher on one end of a pipe, a peer on the other."""
        reader, writer = os.pipe()
        ours, theirs = (reader, writer) if mode == "reading" else (writer, reader)
        self.add(who, self.scenario["server"], ours)
        os.close(ours)  # It has duplicated it.
        self.peers[name] = Peer(PipeEnd(theirs))

    def step_send(self, name, text):
        data = text.encode("latin-1")
        self.peers[name].unsent += data
        self.bytes_fed += len(data)
        self.peers[name].pump()
        self.wait_for_arrival(self.peers[name].sock)

    def wait_for_arrival(self, sock):
        """Until the other side's kernel has it all: what is sent before a pass is there in that pass."""
        if sock.family == socket.AF_INET:
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                unacknowledged = fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4)
                if unacknowledged == b"\0" * 4:
                    break
                time.sleep(0.0005)

    def step_feed(self, name, text):
        """Sends, and waits until all that was ever sent has been received."""
        self.step_send(name, text)
        self.step_received()

    def step_feed_each(self, name, pieces):
        for piece in pieces:
            self.step_feed(name, piece)

    def step_send_pattern(self, name, size):
        self.peers[name].unsent += pattern(3, size)
        self.bytes_fed += size
        self.peers[name].reading = True

    def step_received(self):
        self.until("%d bytes" % self.bytes_fed, lambda: self.bytes_in >= self.bytes_fed)

    def step_urgent(self, name, text):
        self.peers[name].sock.send(text.encode("latin-1"), socket.MSG_OOB)

    def step_shut(self, name):
        self.peers[name].sock.shutdown(socket.SHUT_WR)

    def step_close(self, name):
        self.peers[name].sock.close()
        self.peers[name].end = self.peers[name].end or "own close"
        self.peers[name].reading = False

    def step_reset(self, name):
        linger = struct.pack("ii", 1, 0)
        self.peers[name].sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.step_close(name)

    def step_peer_got(self, name, count):
        peer = self.peers[name]
        peer.reading = True
        self.until("%s to get %d" % (name, count), lambda: len(peer.got) >= count)

    def step_peer_end(self, name):
        peer = self.peers[name]
        peer.reading = True
        self.until("the end of " + name, lambda: peer.end is not None)
        self.note("%s %s" % (name, peer.end))

    def step_until(self, line, count=1):
        self.until(line, lambda: self.trace.count(line) >= count)

    def step_gone(self, who):
        self.until("the end of " + who, lambda: self.dispatchers[who] not in self.map.values())

    def step_do(self, who, *verb):
        try:
            self.dispatchers[who].perform(verb)
        except OSError as error:
            self.note("%s refused: %s" % (who, name_of(error)))

    def step_settle(self):
        quiet = 0
        for _ in range(40):
            before = (len(self.trace), self.bytes_in)
            self.one_pass()
            quiet = quiet + 1 if before == (len(self.trace), self.bytes_in) else 0
            if quiet == 3:
                return

    def step_run(self):
        try:
            asyncore.loop(timeout=1.0, use_poll=self.use_poll, map=self.map)
        except asyncore.ExitNow:
            pass
        self.note("run returned")

    def run(self):
        for number, step in enumerate(self.scenario["steps"]):
            self.note("-- %d %s" % (number, step[0]))
            getattr(self, "step_" + step[0])(*step[1:])
        wire = {}
        for name, peer in self.peers.items():
            wire[name] = {"bytes": bytes(peer.got).decode("latin-1"), "end": peer.end or "open"}
        asyncore.close_all(self.map)
        for peer in self.peers.values():
            peer.sock.close()
        if self.plain_listener is not None:
            self.plain_listener.close()
        return {"trace": self.trace, "wire": wire}


def main():
    scenarios = json.load(sys.stdin)
    outcomes = []
    with tempfile.TemporaryDirectory() as directory:
        for scenario in scenarios:
            outcome = {}
            for poller in ("select", "poll"):
                made = World(scenario, poller == "poll", directory)
                made.path += scenario["name"][:20] + poller
                open(made.path, "w").close()
                outcome[poller] = made.run()
            outcomes.append(outcome)
    json.dump(outcomes, sys.stdout)


main()

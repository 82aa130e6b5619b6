"""The echo server on Twisted: a protocol per connection, on its epoll reactor.

The transport is registered as its own producer, so that reading pauses while the client takes nothing.
"""

import argparse
import socket

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import protocol, reactor  # noqa: E402

from common import echo_listener  # noqa: E402


class Echo(protocol.Protocol):
    def connectionMade(self):
        self.transport.registerProducer(self.transport, streaming=True)

    def dataReceived(self, data):
        self.transport.write(data)

    def connectionLost(self, reason):
        self.transport.unregisterProducer()


def main():
    _, listener = echo_listener(argparse.ArgumentParser(description=__doc__))
    # The reactor works on a copy of the descriptor.
    reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, protocol.Factory.forProtocol(Echo))
    listener.close()
    # Signals keep their default action: SIGTERM simply ends the program, as in the other peers.
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()

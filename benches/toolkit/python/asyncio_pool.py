"""Requests over pooled connections by asyncio's streams, with a pool written for it."""

import asyncio
import contextlib


class Connection:
    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.is_asked = False

    async def ask(self, line):
        self.is_asked = True
        self.writer.write(line)
        answer = await self.reader.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionResetError("no answer")
        self.is_asked = False
        return answer

    def is_reusable(self):
        return not (self.is_asked or self.reader.at_eof() or self.writer.is_closing())


class Pool:
    def __init__(self, host, port, connections):
        self.host = host
        self.port = port
        self.room = asyncio.Semaphore(connections)
        self.idle = []

    @contextlib.asynccontextmanager
    async def lease(self):
        async with asyncio.timeout(30):
            await self.room.acquire()
        try:
            connection = await self.get()
            try:
                yield connection
            finally:
                if connection.is_reusable():
                    self.idle.append(connection)
                else:
                    connection.writer.close()
        finally:
            self.room.release()

    async def get(self):
        while self.idle:
            connection = self.idle.pop()
            if connection.is_reusable():
                return connection
            connection.writer.close()
        return Connection(*await asyncio.open_connection(self.host, self.port))

    def close(self):
        for connection in self.idle:
            connection.writer.close()


async def hold(pool, numbers):
    answered = 0
    for number in numbers:
        line = b"request %d\n" % number
        async with pool.lease() as connection:
            if await connection.ask(line) != line:
                raise ValueError("the answer is another's")
        answered += 1
    return answered


async def run(count, holders, connections, host, port):
    pool = Pool(host, port, connections)
    numbers = iter(range(count))
    answered = await asyncio.gather(*(hold(pool, numbers) for _ in range(holders)))
    pool.close()
    return sum(answered)


# The measuring frame.

import frame

if __name__ == "__main__":
    frame.measure(
        lambda work: run(work.count, work.holders, work.shared, work.host, work.port)
    )

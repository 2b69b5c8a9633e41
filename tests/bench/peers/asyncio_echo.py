"""asyncio's echo: `streams` (async/await over readers and writers) or `protocol` (callbacks); with
`uvloop` behind it on that loop."""

import asyncio
import socket
import sys


def nodelay(transport):
    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        nodelay(transport)

    def data_received(self, data):
        self.transport.write(data)


async def serve(reader, writer):
    nodelay(writer.transport)
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(style):
    if style == "protocol":
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# asyncio receives into 256 KiB. Once a larger block was freed, glibc takes such blocks from its heap
# instead of mapping and unmapping each one, as in a program that has run for a while.
bytes(1 << 20)

if sys.argv[2:] == ["uvloop"]:
    import uvloop

    uvloop.install()
asyncio.run(main(sys.argv[1]))

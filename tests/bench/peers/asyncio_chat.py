"""asyncio's chat, as scripts/chat_server.lua without commands, over streams: a client with too much unsent is dropped. With `uvloop`
behind it on that loop."""

import asyncio
import socket
import sys

UNSENT = 65536
members = {}
guests = 0


def send(writer, text):
    if writer.transport.get_write_buffer_size() > UNSENT:
        writer.transport.abort()
    else:
        writer.write(text)


def broadcast(text, excepted):
    for writer in members:
        if writer is not excepted:
            send(writer, text)


async def serve(reader, writer):
    global guests
    guests += 1
    nick = f"guest{guests}"
    writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    broadcast(f"* {nick} has joined\n".encode(), writer)
    members[writer] = nick
    try:
        while line := await reader.readline():
            broadcast(b"<" + nick.encode() + b"> " + line, writer)
    except (ConnectionError, ValueError):
        pass
    finally:
        del members[writer]
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if sys.argv[1:] == ["uvloop"]:
    import uvloop

    uvloop.install()
asyncio.run(main())

-- scripts/echo_server.lua from outside: a process of its own, clients that are not ours.  The load (1,000 connections
-- at once, 10,000 one after the other, a slow reader) is in tests/peers.
local helper = require "support.helper"
local process = require "support.process"

local server_script = helper.source_dir .. "/scripts/echo_server.lua"

local function start(address)
    local child = process.start { helper.command, server_script, address or "127.0.0.1:0" }
    finally(function()
        child:dispose()
    end)
    local host, port = child:await_line "^listening on ([^\n]-):(%d+)\n"
    return child, host, port
end

-- A Python program; what is printed is the answer.
local function python(text, args)
    local argv = { "python3", "-c", text }
    for _, value in ipairs(args) do
        argv[#argv + 1] = value
    end
    local result = process.run(argv)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return result.out
end

describe("echo server", function()
    it("N6: its first line tells where it listens", function()
        local child, host, port = start()
        assert.equal("127.0.0.1", host)
        assert.is_true(tonumber(port) > 0)
        assert.equal(("listening on %s:%s\n"):format(host, port), child:out())
    end)

    it("N6: a port that is taken is an error on stderr, naming the address", function()
        local _, host, port = start()
        local second = process.run { helper.command, server_script, host .. ":" .. port }
        assert.equal(1, second.code)
        assert.equal("", second.out)
        helper.contains(host .. ":" .. port, second.err)
        helper.contains("in use", second.err)
    end)

    it("N6: a host name is refused with an error that says so", function()
        local result = process.run { helper.command, server_script, "localhost:0" }
        assert.equal(1, result.code)
        helper.contains("numeric", result.err)
    end)

    it("N6: nc gets its lines back", function()
        local _, host, port = start()
        local result = process.run({ "nc", "-N", host, port }, { input = "Hello\nasyncio\n" })
        assert.equal("Hello\nasyncio\n", result.out)
    end)

    it("N6: socat gets its bytes back, and half-closing ends the connection", function()
        local _, host, port = start()
        local data = {}
        for i = 0, 65535 do
            data[#data + 1] = string.char(i % 256, math.floor(i / 256))
        end
        local text = table.concat(data)
        local result = process.run({ "socat", "-t", tostring(helper.patience), "-", "TCP:" .. host .. ":" .. port },
            { input = text })
        assert.equal(#text, #result.out)
        assert.is_true(text == result.out)
    end)

    it("N6: a hundred clients of asyncio get each their own", function()
        local _, host, port = start()
        local out = python([[
import asyncio, sys

async def talk(host, port, name):
    reader, writer = await asyncio.open_connection(host, port)
    for i in range(20):
        text = f"client {name}, message {i}\n".encode()
        writer.write(text)
        await writer.drain()
        assert await reader.readexactly(len(text)) == text
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()

async def main(host, port):
    await asyncio.gather(*(talk(host, port, n) for n in range(100)))
    print("ok")

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
]], { host, port })
        assert.equal("ok\n", out)
    end)

    it("N6: clients that vanish in the middle do not disturb the others", function()
        local child, host, port = start()
        local out = python([[
import socket, sys

host, port = sys.argv[1], int(sys.argv[2])
steady = socket.create_connection((host, port))
for i in range(100):
    s = socket.create_connection((host, port))
    s.sendall(b"x" * 100000)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()
    text = b"still here %d" % i
    steady.sendall(text)
    got = b""
    while len(got) < len(text):
        got += steady.recv(100)
    assert got == text
print("ok")
]], { host, port })
        assert.equal("ok\n", out)
        assert.equal("", child:err())
    end)

    for name, code in pairs { INT = 130, TERM = 143 } do
        it("N20: SIG" .. name .. " ends it with connections open, exit status " .. code, function()
            local child, host, port = start()
            local before = child:descriptors()
            local client = process.start { "socat", "-u", "TCP:" .. host .. ":" .. port, "OPEN:/dev/null" }
            finally(function()
                client:dispose()
                child:dispose()
            end)
            process.await("the connection", function()
                return child:descriptors() > before
            end)
            child:signal(name)
            assert.equal(code, child:wait())
            assert.equal("", child:err())
        end)
    end
end)

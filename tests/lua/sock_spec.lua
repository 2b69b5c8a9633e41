-- Sockets: accept, connect, receive, send, addresses, options, closing, readers and writers.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local in_real_loop, raises, fails, ticks = helper.in_real_loop, helper.raises, helper.fails, helper.ticks

local function listen(address)
    local s = neap.tcp()
    assert(s:bind(address or "127.0.0.1:0"))
    assert(s:listen())
    return s
end

-- A connected pair over TCP.
local function connected()
    local listener = listen()
    local client = neap.tcp()
    local accepting = neap.spawn(function()
        return listener:accept()
    end)
    assert(client:connect(listener:getsockname()))
    local server = assert(accepting:await())
    listener:close()
    return client, server
end

-- Ends a connection by a reset.
local function reset(s)
    assert(s:setsockopt("linger", 0))
    s:close()
end

-- Bytes without a pattern that a lost or doubled block could hide in.
local function noise(size)
    local random = helper.repeatable(size)
    local block = {}
    for i = 1, 4096 do
        block[i] = string.char(random(0, 255))
    end
    local parts, length, i = {}, 0, 0
    local base = table.concat(block)
    while length < size do
        i = i + 1
        parts[#parts + 1] = ("%08d"):format(i) .. base:sub(1, 1 + i % 4096)
        length = length + #parts[#parts]
    end
    return table.concat(parts):sub(1, size)
end

local function read_all(s, chunk)
    local parts = {}
    while true do
        local data, err = s:recv(chunk or 65536)
        assert(err == nil, err)
        if not data then
            return table.concat(parts)
        end
        parts[#parts + 1] = data
    end
end

describe("accept", function()
    it("N2: two clients connect and both come out with their addresses", in_real_loop(function()
        local listener = listen()
        local a, b = neap.tcp(), neap.tcp()
        neap.gather(function()
            assert(a:connect(listener:getsockname()))
        end, function()
            assert(b:connect(listener:getsockname()))
        end)
        local found = {}
        for _ = 1, 2 do
            local conn, address = listener:accept()
            assert.equal("string", type(address))
            assert.equal(address, conn:getpeername())
            found[address] = true
            conn:close()
        end
        assert.same({ [a:getsockname()] = true, [b:getsockname()] = true }, found)
        a:close()
        b:close()
        listener:close()
    end))

    it("N2: loop:sock_accept gives a future of connection and address", in_real_loop(function(loop)
        local listener = listen()
        local f = loop:sock_accept(listener)
        assert.is_false(f:done())
        local client = neap.tcp()
        assert(client:connect(listener:getsockname()))
        local conn, address = f:await()
        assert.equal(client:getsockname(), address)
        conn:close()
        client:close()
        listener:close()
    end))

    it("N2: an accepted connection does not block and is closed on exec", in_real_loop(function()
        local client, server = connected()
        local file = io.open("/proc/self/fdinfo/" .. server:fileno())
        local flags = tonumber(file:read("*a"):match "flags:%s*(%d+)", 8)
        file:close()
        assert.equal(1, math.floor(flags / 2048) % 2) -- O_NONBLOCK
        assert.equal(1, math.floor(flags / 524288) % 2) -- O_CLOEXEC
        fails("EAGAIN", server:try_recv(1))
        client:close()
        server:close()
    end))

    it("N2: two tasks may accept on one listener, served in order", in_real_loop(function()
        local listener = listen()
        local order = {}
        local acceptors = {}
        for i = 1, 2 do
            acceptors[i] = neap.spawn(function()
                local conn = assert(listener:accept())
                order[#order + 1] = i
                return conn
            end)
        end
        neap.yield()
        local clients = {}
        for i = 1, 2 do
            clients[i] = neap.tcp()
            assert(clients[i]:connect(listener:getsockname()))
            local conn = acceptors[i]:await()
            assert.equal(clients[i]:getsockname(), conn:getpeername())
            conn:close()
        end
        assert.same({ 1, 2 }, order)
        clients[1]:close()
        clients[2]:close()
        listener:close()
    end))

    it("N9: a cancelled accept leaves nothing behind when a client comes", in_real_loop(function(loop)
        local listener = listen()
        local f = loop:sock_accept(listener)
        neap.yield()
        assert.is_true(f:cancel())
        raises("cancelled", neap.await, f)
        assert.equal(0, loop:metrics().operations)
        local client = neap.tcp()
        assert(client:connect(listener:getsockname()))
        ticks(3) -- a report would fail the test
        local conn = assert(listener:accept())
        conn:close()
        client:close()
        listener:close()
    end))

    it("N9: a descriptor number used again does not wake a cancelled operation", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local fd = a:fileno()
        local f = loop:sock_recv(a, 10)
        neap.yield()
        f:cancel()
        a:close()
        b:close()
        local c, d = neap.socketpair()
        assert.is_true(c:fileno() == fd or d:fileno() == fd)
        c:try_send "x"
        d:try_send "y"
        ticks(3)
        assert.equal("y", c:recv(1))
        assert.equal("x", d:recv(1))
        c:close()
        d:close()
    end))
end)

describe("recv", function()
    it("N3: receives what is there, at most n bytes", in_real_loop(function()
        local a, b = neap.socketpair()
        b:sendall "hello"
        assert.equal("he", a:recv(2))
        assert.equal("llo", a:recv(100))
        a:close()
        b:close()
    end))

    it("N3: the end of the stream is nil alone", in_real_loop(function()
        local a, b = neap.socketpair()
        b:sendall "x"
        b:close()
        assert.equal("x", a:recv(10))
        assert.equal(1, select("#", a:recv(10)))
        assert.is_nil((a:recv(10)))
        a:close()
    end))

    it("N3: loop:sock_recv answers the empty string at the end", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        b:sendall "x"
        b:close()
        assert.equal("x", loop:sock_recv(a, 10):await())
        assert.equal("", loop:sock_recv(a, 10):await())
        a:close()
    end))

    it("N3: try_recv answers the empty string at the end", in_real_loop(function()
        local a, b = neap.socketpair()
        fails("EAGAIN", a:try_recv(10))
        b:sendall "x"
        b:close()
        assert.equal("x", a:try_recv(10))
        assert.equal("", a:try_recv(10))
        a:close()
    end))

    it("N3: receiving zero bytes gives the empty string and says nothing about the end", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        assert.equal("", a:recv(0))
        assert.equal("", loop:sock_recv(a, 0):await())
        b:close()
        assert.equal("", a:recv(0))
        assert.is_nil((a:recv(1)))
        a:close()
    end))

    it("N3: bytes of every value arrive unchanged", in_real_loop(function()
        local a, b = neap.socketpair()
        local bytes = {}
        for i = 0, 255 do
            bytes[#bytes + 1] = string.char(i)
        end
        local text = table.concat(bytes)
        b:sendall(text)
        assert.equal(text, a:recv(1000))
        a:close()
        b:close()
    end))

    it("N3: a receive that has to wait gets what comes", in_real_loop(function()
        local a, b = neap.socketpair()
        local task = neap.spawn(function()
            return a:recv(100)
        end)
        ticks(3)
        assert.is_false(task:done())
        b:sendall "late"
        assert.equal("late", task:await())
        a:close()
        b:close()
    end))

    it("N3: two receives on one socket are served in order", in_real_loop(function()
        local a, b = neap.socketpair()
        local first = neap.spawn(a.recv, a, 1)
        local second = neap.spawn(a.recv, a, 1)
        ticks(2)
        b:sendall "12"
        assert.equal("1", first:await())
        assert.equal("2", second:await())
        a:close()
        b:close()
    end))

    it("N3: what was received is the task's own, also after the next receive", in_real_loop(function()
        local a, b = neap.socketpair()
        local kept = {}
        local task = neap.spawn(function()
            for i = 1, 10 do
                kept[i] = a:recv(100)
            end
        end)
        for i = 1, 10 do
            ticks(2)
            b:sendall(("message %d"):format(i))
        end
        task:await()
        for i = 1, 10 do
            assert.equal(("message %d"):format(i), kept[i])
        end
        a:close()
        b:close()
    end))

    it("N3: a size that is no count is misuse", in_real_loop(function()
        local a, b = neap.socketpair()
        assert.has_error(function() a:recv "many" end)
        assert.has_error(function() a:recv(-1) end)
        a:close()
        b:close()
    end))
end)

describe("send", function()
    it("N4: 10 MB go through a slow reader whole and in order", in_real_loop(function()
        local a, b = neap.socketpair()
        local size = 10 * 1024 * 1024
        local data = noise(size)
        local writer = neap.spawn(function()
            local n = assert(a:sendall(data))
            a:shutdown "write"
            return n
        end)
        local parts, length, random = {}, 0, helper.repeatable(4)
        while true do
            local part = b:recv(random(1, 100000))
            if not part then
                break
            end
            parts[#parts + 1] = part
            length = length + #part
            if #parts % 7 == 0 then
                neap.sleep(0.0001)
            end
        end
        assert.equal(size, length)
        assert.is_true(table.concat(parts) == data, "the bytes differ")
        assert.equal(size, writer:await())
        a:close()
        b:close()
    end))

    it("N4: loop:sock_sendall completes when all is sent", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local data = noise(1024 * 1024)
        local f = loop:sock_sendall(a, data)
        neap.yield()
        assert.is_false(f:done())
        local reader = neap.spawn(read_all, b)
        f:await()
        a:close()
        assert.is_true(reader:await() == data)
        b:close()
    end))

    it("N4: send answers how much it took, at least one byte", in_real_loop(function()
        local a, b = neap.socketpair()
        local n = a:send(("x"):rep(10 * 1024 * 1024))
        assert.is_true(n >= 1 and n < 10 * 1024 * 1024)
        a:close()
        b:close()
    end))

    it("N4: try_send never waits", in_real_loop(function()
        local a, b = neap.socketpair()
        local block = ("x"):rep(65536)
        local n, err
        repeat
            n, err = a:try_send(block)
        until not n
        assert.equal("EAGAIN", err.code)
        a:close()
        b:close()
    end))

    it("N4: two sendall on one socket do not mix", in_real_loop(function()
        local a, b = neap.socketpair()
        local one, two = ("1"):rep(500000), ("2"):rep(500000)
        local writers = { neap.spawn(a.sendall, a, one), neap.spawn(a.sendall, a, two) }
        local reader = neap.spawn(read_all, b)
        neap.gather(helper.unpack(writers))
        a:close()
        assert.is_true(reader:await() == one .. two)
        b:close()
    end))

    it("N4: sending nothing is done at once", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        assert.equal(0, a:sendall "")
        assert.equal(0, a:send "")
        loop:sock_sendall(a, ""):await()
        fails("EAGAIN", b:try_recv(1))
        a:close()
        b:close()
    end))

    it("N4: what is sent must be a string", in_real_loop(function()
        local a, b = neap.socketpair()
        assert.has_error(function() a:sendall({}) end)
        assert.has_error(function() a:send(nil) end)
        a:close()
        b:close()
    end))
end)

describe("failures", function()
    it("N5: a refused connection is nil and an error with code, errno, operation and address", in_real_loop(function()
        local listener = listen()
        local address = listener:getsockname()
        listener:close()
        local s = neap.tcp()
        local err = fails("ECONNREFUSED", s:connect(address))
        assert.equal(111, err.errno)
        assert.equal("connect", err.op)
        assert.equal(address, err.address)
        helper.contains(address, tostring(err))
        assert.equal("string", type(err.message))
        s:close()
    end))

    it("N5: loop:sock_connect fails through its future", in_real_loop(function(loop)
        local listener = listen()
        local address = listener:getsockname()
        listener:close()
        local s = neap.tcp()
        local f = loop:sock_connect(s, address)
        raises("ECONNREFUSED", neap.await, f)
        s:close()
    end))

    it("N5: loop:sock_connect completes without a value", in_real_loop(function(loop)
        local listener = listen()
        local s = neap.tcp()
        loop:sock_connect(s, listener:getsockname()):await()
        assert.equal(listener:getsockname(), s:getpeername())
        s:close()
        listener:close()
    end))

    it("N5: a reset connection is ECONNRESET", in_real_loop(function()
        local client, server = connected()
        reset(server)
        fails("ECONNRESET", client:recv(1))
        client:close()
    end))

    it("N5: a reset that comes while a receive waits is ECONNRESET", in_real_loop(function()
        local client, server = connected()
        local task = neap.spawn(function()
            return client:recv(1)
        end)
        ticks(2)
        reset(server)
        local value, err = task:await()
        fails("ECONNRESET", value, err)
        client:close()
    end))

    it("N5: sending to a closed peer is EPIPE, with the part that went", in_real_loop(function()
        local a, b = neap.socketpair()
        b:close()
        local value, err, partial = a:sendall "x"
        fails("EPIPE", value, err)
        assert.equal(0, partial or 0)
        a:close()
    end))

    it("N5: a sendall that breaks in the middle tells how much went", in_real_loop(function()
        local a, b = neap.socketpair()
        local data = ("x"):rep(4 * 1024 * 1024)
        local task = neap.spawn(function()
            return a:sendall(data)
        end)
        ticks(2)
        b:recv(1000)
        ticks(2)
        b:close()
        local value, err, partial = task:await()
        assert.is_nil(value)
        assert.is_true(err.code == "EPIPE" or err.code == "ECONNRESET", tostring(err))
        assert.is_true(partial > 0 and partial < #data)
        assert.equal(partial, err.partial)
        a:close()
    end))

    it("N5: receiving on a socket that is not connected is ENOTCONN", in_real_loop(function()
        local s = listen()
        fails("ENOTCONN", s:recv(1))
        s:close()
    end))

    it("N5: loop:sock_recv gives its failure through a future in every path", in_real_loop(function(loop)
        local s = listen()
        local f = loop:sock_recv(s, 1)
        raises("ENOTCONN", neap.await, f)
        local g = loop:sock_sendall(s, "x")
        local ok, err = pcall(neap.await, g)
        assert.is_false(ok)
        assert.is_true(err.code == "EPIPE" or err.code == "ENOTCONN")
        s:close()
        raises("closed", neap.await, loop:sock_recv(s, 1))
        raises("closed", neap.await, loop:sock_sendall(s, "x"))
        raises("closed", neap.await, loop:sock_accept(s))
    end))

    it("N5: binding a taken address is EADDRINUSE with the address", in_real_loop(function()
        local first = listen()
        local second = neap.tcp()
        local value, err = second:bind(first:getsockname())
        if value then -- the kernel decides at listen
            value, err = second:listen()
        end
        fails("EADDRINUSE", value, err)
        first:close()
        second:close()
    end))

    it("N5: without descriptors accept fails with EMFILE, and the connection waits in the queue", function()
        local result = process.run({ "sh", "-c", "ulimit -n 24; exec " .. process.quote(helper.command) .. " -" }, {
            input = [[
                local neap = require "neap"
                local listener, clients, conns = neap.tcp(), {}, {}
                assert(listener:bind "127.0.0.1:0")
                assert(listener:listen())
                local err
                repeat
                    local client = neap.tcp()
                    local ok
                    ok, err = client:connect(listener:getsockname())
                    if ok then
                        clients[#clients + 1] = client
                    end
                until not ok
                print(err.code)
                -- Room for all but one of those that wait in the queue of the listener.
                local freed = 3
                for _ = 1, freed do
                    table.remove(clients):close()
                end
                for _ = 1, freed do
                    conns[#conns + 1] = assert(listener:accept())
                end
                local conn
                conn, err = listener:accept()
                print(conn, err.code)
                table.remove(conns):close()
                conn = assert(listener:accept())
                print(conn:getpeername() ~= nil)
            ]],
        })
        assert.equal("", result.err)
        assert.equal("EMFILE\nnil\tEMFILE\ntrue\n", result.out)
    end)

    it("N5: an operational failure can be passed to assert", function()
        local result = process.run_neap [[
            local neap = require "neap"
            local s = neap.unix()
            local ok, err = pcall(function()
                assert(s:connect "/no/such/socket")
            end)
            print(ok, err.code)
            assert(s:connect "/no/such/socket")
        ]]
        assert.equal("false\tENOENT\n", result.out)
        assert.equal(1, result.code)
        helper.contains("connect /no/such/socket", result.err)
    end)
end)

describe("close", function()
    it("N9: closing a socket ends its pending operations with nil and closed", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local task = neap.spawn(function()
            return a:recv(10)
        end)
        ticks(2)
        a:close()
        local value, err = task:await()
        fails("closed", value, err)
        assert.equal(0, loop:metrics().operations)
        b:close()
    end))

    it("N9: closing a listener ends its pending accept with nil and closed", in_real_loop(function()
        local listener = listen()
        local task = neap.spawn(function()
            return listener:accept()
        end)
        ticks(2)
        listener:close()
        local value, err = task:await()
        fails("closed", value, err)
    end))

    it("N9: close is idempotent, and a closed socket answers closed", in_real_loop(function()
        local a, b = neap.socketpair()
        assert.is_true(a:close())
        a:close()
        fails("closed", a:recv(1))
        fails("closed", a:sendall "x")
        fails("closed", a:try_recv(1))
        fails("closed", a:fileno())
        fails("closed", a:getsockname())
        assert.is_true(a:closed())
        assert.is_false(b:closed())
        b:close()
    end))

    it("N9: a socket that is dropped is closed when it is collected", in_real_loop(function()
        helper.collect()
        local fds = helper.count_descriptors()
        do
            local a, b = neap.socketpair()
            a:try_send "x"
            b:try_recv(1)
        end
        neap.yield()
        helper.collect()
        neap.yield()
        assert.equal(fds, helper.count_descriptors())
    end))

    it("N9: debug mode reports a socket that was collected before it was closed", in_real_loop(function(_, reports)
        local function drop()
            neap.tcp():bind "127.0.0.1:0"
        end
        drop()
        helper.collect()
        ticks(2)
        assert.equal(1, #reports)
        helper.contains("socket", reports[1].message)
    end, { reports = true, debug = true }))

    it("N9: tostring shows what a socket is", in_real_loop(function()
        local s = listen()
        helper.contains("sock", tostring(s))
        s:close()
        helper.contains("closed", tostring(s))
    end))

    it("N4: shutting down one direction leaves the other open", in_real_loop(function()
        local client, server = connected()
        assert(client:shutdown "write")
        assert.is_nil((server:recv(1)))
        assert.equal(5, server:sendall "still")
        assert.equal("still", client:recv(10))
        fails("EPIPE", client:sendall "x")
        assert.has_error(function() client:shutdown "sideways" end)
        client:close()
        server:close()
    end))

    if helper.has_close then
        it("N9: a to-be-closed socket is closed at the end of its scope", in_real_loop(function()
            local body = helper.compile [[
                local neap = ...
                local kept
                do
                    local a <close>, b <close> = neap.socketpair()
                    kept = a
                end
                return kept:fileno()
            ]]
            -- One variable with the attribute per statement in some versions.
            body = body or helper.compile [[
                local neap = ...
                local kept
                do
                    local x, y = neap.socketpair()
                    local a <close> = x
                    local b <close> = y
                    kept = a
                end
                return kept:fileno()
            ]]
            fails("closed", body(neap))
        end))
    else
        it("N9: this engine has no to-be-closed variables", function()
            assert.is_nil((helper.compile "local a <close> = nil"))
        end)
    end
end)

-- The error of a call that fails, whether it raises or returns it.
local function refusal(object, method, ...)
    local result = helper.pack(pcall(object[method], object, ...))
    if not result[1] then
        return result[2]
    end
    assert(result[2] == nil, method .. " succeeded")
    return result[3]
end

describe("addresses and options", function()
    it("N2: names of both ends agree", in_real_loop(function()
        local client, server = connected()
        assert.equal(client:getsockname(), server:getpeername())
        assert.equal(server:getsockname(), client:getpeername())
        assert.is_truthy(client:getsockname():match "^127%.0%.0%.1:%d+$")
        client:close()
        server:close()
    end))

    it("N2: IPv6 addresses have brackets", in_real_loop(function()
        local s = neap.tcp()
        local ok, err = s:bind "[::1]:0"
        if not ok then
            -- A machine without IPv6 says so by this code; nothing else is accepted.
            assert.is_true(err.code == "EADDRNOTAVAIL" or err.code == "EAFNOSUPPORT", tostring(err))
        else
            assert(s:listen())
            local address = s:getsockname()
            assert.is_truthy(address:match "^%[::1%]:%d+$")
            local client = neap.tcp()
            assert(client:connect(address))
            local conn = s:accept()
            assert.equal(address, conn:getsockname())
            client:close()
            conn:close()
        end
        s:close()
    end))

    it("N2: a host name is refused with an error that says so", in_real_loop(function()
        local s = neap.tcp()
        for _, verb in ipairs { "connect", "bind" } do
            local err = refusal(s, verb, "localhost:80")
            assert.equal("no_resolver", err.code)
            helper.contains("numeric", tostring(err))
        end
        s:close()
    end))

    local bad = { "", "1.2.3.4", "1.2.3.4:", "1.2.3.4:70000", "1.2.3.4:x", "[::1]", "[::1:80", "256.1.1.1:80" }
    for _, text in ipairs(bad) do
        it("N2: '" .. text .. "' is no address", in_real_loop(function()
            local s = neap.tcp()
            local err = refusal(s, "connect", text)
            assert.is_true(err.code == "value_error" or err.code == "no_resolver", tostring(err))
            s:close()
        end))
    end

    it("N6: a Unix socket at a path and an abstract one carry a stream", in_real_loop(function()
        local dir = process.temp_dir()
        for _, address in ipairs { dir .. "/s", "@neap-test-" .. helper.lua .. helper.backend .. os.time() } do
            local listener = neap.unix()
            assert(listener:bind(address))
            assert(listener:listen())
            assert.equal(address, listener:getsockname())
            local client = neap.unix()
            assert(client:connect(address))
            local server, peer = listener:accept()
            assert.equal("", peer)
            client:sendall "over unix"
            assert.equal("over unix", server:recv(100))
            client:close()
            server:close()
            listener:close()
        end
        process.remove(dir)
    end))

    it("N6: datagrams keep their borders and their senders", in_real_loop(function()
        local a, b = neap.udp(), neap.udp()
        assert(a:bind "127.0.0.1:0")
        assert(b:bind "127.0.0.1:0")
        assert.equal(3, a:sendto("one", b:getsockname()))
        assert.equal(0, a:sendto("", b:getsockname()))
        assert.equal(5, a:sendto("three", b:getsockname()))
        for _, text in ipairs { "one", "", "three" } do
            local data, address = b:recvfrom(100)
            assert.equal(text, data)
            assert.equal(a:getsockname(), address)
        end
        a:close()
        b:close()
    end))

    it("N6: try_recvfrom never waits", in_real_loop(function()
        local a, b = neap.udp(), neap.udp()
        a:bind "127.0.0.1:0"
        b:bind "127.0.0.1:0"
        fails("EAGAIN", b:try_recvfrom(100))
        a:sendto("x", b:getsockname())
        local data, address = b:try_recvfrom(100)
        assert.equal("x", data)
        assert.equal(a:getsockname(), address)
        a:close()
        b:close()
    end))

    it("N6: a datagram longer than the buffer is cut", in_real_loop(function()
        local a, b = neap.udp(), neap.udp()
        a:bind "127.0.0.1:0"
        b:bind "127.0.0.1:0"
        a:sendto("abcdef", b:getsockname())
        a:sendto("next", b:getsockname())
        assert.equal("abc", (b:recvfrom(3)))
        assert.equal("next", (b:recvfrom(100)))
        a:close()
        b:close()
    end))

    it("N6: a connected datagram socket sends and receives without addresses", in_real_loop(function()
        local a, b = neap.udp(), neap.udp()
        a:bind "127.0.0.1:0"
        b:bind "127.0.0.1:0"
        assert(a:connect(b:getsockname()))
        assert(b:connect(a:getsockname()))
        assert.equal(2, a:send "hi")
        assert.equal("hi", b:recv(10))
        a:close()
        b:close()
    end))

    it("N6: a receive of datagrams that has to wait gets value and address", in_real_loop(function()
        local a, b = neap.udp(), neap.udp()
        a:bind "127.0.0.1:0"
        b:bind "127.0.0.1:0"
        local task = neap.spawn(b.recvfrom, b, 100)
        ticks(2)
        a:sendto("late", b:getsockname())
        local data, address = task:await()
        assert.equal("late", data)
        assert.equal(a:getsockname(), address)
        a:close()
        b:close()
    end))

    it("N6: listeners reuse their address", in_real_loop(function()
        local client, server = connected()
        local address = server:getsockname()
        server:close() -- the server's end goes to TIME_WAIT
        client:recv(1)
        client:close()
        local again = neap.tcp()
        assert(again:bind(address))
        assert(again:listen())
        again:close()
    end))

    it("N6: options can be set, and unknown ones are refused", in_real_loop(function()
        local client, server = connected()
        assert(client:setsockopt("nodelay", false))
        assert(client:setsockopt("nodelay", true))
        assert(client:setsockopt("keepalive", 1))
        assert(client:setsockopt("rcvbuf", 8192))
        assert.equal(1, client:getsockopt "nodelay")
        assert.equal(1, client:getsockopt "keepalive")
        assert.is_true(client:getsockopt "rcvbuf" >= 8192)
        assert.equal("value_error", refusal(client, "setsockopt", "warp", 1).code)
        client:close()
        server:close()
    end))

    it("N6: what needs a descriptor says so before there is one", in_real_loop(function()
        local s = neap.tcp()
        fails("EBADF", s:fileno())
        s:close()
    end))
end)

describe("adopted descriptors", function()
    it("N2: a socket that was handed over is adopted and served", function()
        local echo = [[
            local neap = require "neap"
            local s = assert(neap.adopt(0))
            while true do
                local data = s:recv(4096)
                if not data then break end
                s:sendall(data)
            end
            s:close()
        ]]
        local dir = process.temp_dir()
        process.write_file(dir .. "/echo.lua", echo)
        local result = process.run({ "socat", "-t", tostring(helper.patience), "-",
            "EXEC:" .. helper.command .. " " .. dir .. "/echo.lua" }, { input = "over a socket pair\n" })
        process.remove(dir)
        assert.equal("", result.err)
        assert.equal("over a socket pair\n", result.out)
    end)

    it("N2: what is no socket is not adopted and stays open", in_real_loop(function()
        local before = helper.descriptors()
        local file = assert(io.open(helper.source_dir .. "/CMakeLists.txt"))
        local fd
        for n in pairs(helper.descriptors()) do
            fd = before[n] and fd or n
        end
        fails("ENOTSUP", neap.adopt(fd))
        assert.equal("string", type(file:read "*l"))
        file:close()
        fails("EBADF", neap.adopt(fd))
        fails("EBADF", neap.adopt(-1))
    end))
end)

describe("server pattern", function()
    local function echo_server(listener)
        return neap.spawn { function()
            while true do
                local conn = assert(listener:accept())
                neap.spawn(function()
                    while true do
                        local data = conn:recv(4096)
                        if not data then
                            break
                        end
                        conn:sendall(data)
                    end
                    conn:close()
                end)
            end
        end, name = "acceptor" }
    end

    it("N6: an echo server gives two clients at once each its own bytes", in_real_loop(function()
        local listener = listen()
        local server = echo_server(listener)
        neap.gather(helper.unpack((function()
            local clients = {}
            for i = 1, 2 do
                clients[i] = function()
                    local s = neap.tcp()
                    assert(s:connect(listener:getsockname()))
                    for round = 1, 50 do
                        local text = ("client %d round %d"):format(i, round)
                        assert(s:sendall(text))
                        assert.equal(text, s:recv(100))
                    end
                    s:close()
                end
            end
            return clients
        end)()))
        ticks(3)
        server:cancel()
        raises("cancelled", neap.await, server)
        listener:close()
    end))

    it("N6: 1,000 connections opened and closed leave the descriptor count unchanged", in_real_loop(function()
        local listener = listen()
        local server = echo_server(listener)
        local fds = helper.count_descriptors()
        for i = 1, 1000 do
            local s = neap.tcp()
            assert(s:connect(listener:getsockname()))
            s:sendall "x"
            assert(s:recv(1) == "x", i)
            s:close()
        end
        while #neap.all_tasks() > 2 do
            neap.sleep(0.001)
        end
        assert.equal(fds, helper.count_descriptors())
        server:cancel()
        raises("cancelled", neap.await, server)
        listener:close()
    end))

    it("N6: one failing handler does not stop the server", in_real_loop(function(_, reports)
        local listener = listen()
        local server = neap.spawn(function()
            while true do
                local conn = assert(listener:accept())
                neap.spawn { function()
                    local data = conn:recv(10)
                    if data == "bad" then
                        error("handler broke", 0)
                    end
                    conn:sendall(data)
                    conn:close()
                end, name = "handler" }
            end
        end)
        for _, text in ipairs { "bad", "good" } do
            local s = neap.tcp()
            assert(s:connect(listener:getsockname()))
            s:sendall(text)
            if text == "good" then
                assert.equal("good", s:recv(10))
            else
                while #reports == 0 do
                    neap.sleep(0.001)
                end
            end
            s:close()
        end
        assert.equal(1, #reports)
        assert.equal("handler broke", reports[1].error)
        server:cancel()
        raises("cancelled", neap.await, server)
        listener:close()
        reports[1] = nil
        helper.collect() -- the dropped connection of the failed handler
    end, { reports = true }))
end)

describe("operations written in Lua", function()
    local ops = dofile(helper.source_dir .. "/scripts/seeds/sock_ops.lua")

    it("N7: sock_accept over add_reader gives the connection and its address", in_real_loop(function(loop)
        local listener = listen()
        local f = ops.sock_accept(loop, listener)
        local client = neap.tcp()
        assert(client:connect(listener:getsockname()))
        local conn, address = f:await()
        assert.equal(client:getsockname(), address)
        client:close()
        conn:close()
        listener:close()
    end))

    it("N7: sock_recv over add_reader gives bytes and the empty string at the end", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local f = ops.sock_recv(loop, a, 100)
        assert.is_false(f:done())
        ticks(2)
        b:try_send "hello"
        assert.equal("hello", f:await())
        b:close()
        assert.equal("", ops.sock_recv(loop, a, 100):await())
        a:close()
    end))

    it("N7: sock_sendall over add_writer sends all of 10 MB", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local data = noise(10 * 1024 * 1024)
        local f = ops.sock_sendall(loop, a, data)
        local reader = neap.spawn(read_all, b, 1024 * 1024)
        f:await()
        a:close()
        assert.is_true(reader:await() == data)
        b:close()
    end))

    it("N7: failures come through the future in every path", in_real_loop(function(loop)
        local s = listen()
        raises("ENOTCONN", neap.await, ops.sock_recv(loop, s, 1))
        s:close()
        raises("closed", neap.await, ops.sock_accept(loop, s))
        local a, b = neap.socketpair()
        b:close()
        raises("EPIPE", neap.await, ops.sock_sendall(loop, a, "x"))
        a:close()
    end))

    it("N7: cancelling an operation removes its watch", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local f = ops.sock_recv(loop, a, 10)
        ticks(2)
        f:cancel()
        ticks(2)
        b:try_send "x"
        ticks(3) -- no late completion, no report
        assert.is_false(loop:remove_reader(a:fileno()))
        assert.equal("x", a:try_recv(1))
        a:close()
        b:close()
    end))
end)

describe("readers and writers", function()
    it("N8: a reader is called while its descriptor is readable", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local calls = 0
        loop:add_reader(a:fileno(), function(...)
            calls = calls + 1
            assert.same({ "extra", 2 }, { ... })
        end, "extra", 2)
        ticks(3)
        assert.equal(0, calls)
        b:try_send "x"
        ticks(4)
        assert.is_true(calls >= 2)
        a:try_recv(1)
        ticks(2)
        local now = calls
        ticks(3)
        assert.equal(now, calls)
        assert.is_true(loop:remove_reader(a:fileno()))
        assert.is_false(loop:remove_reader(a:fileno()))
        a:close()
        b:close()
    end))

    it("N8: reader and writer of one descriptor are separate", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local reads, writes = 0, 0
        loop:add_reader(a:fileno(), function() reads = reads + 1 end)
        loop:add_writer(a:fileno(), function() writes = writes + 1 end)
        ticks(3)
        assert.equal(0, reads)
        assert.is_true(writes > 0)
        assert.is_true(loop:remove_writer(a:fileno()))
        local before = writes
        b:try_send "x"
        ticks(3)
        assert.equal(before, writes)
        assert.is_true(reads > 0)
        assert.is_true(loop:remove_reader(a:fileno()))
        a:close()
        b:close()
    end))

    it("N8: a second reader replaces the first", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local log = {}
        loop:add_reader(a:fileno(), function() log[#log + 1] = "old" end)
        loop:add_reader(a:fileno(), function() log[#log + 1] = "new" end)
        b:try_send "x"
        ticks(2)
        assert.is_true(#log > 0)
        for _, name in ipairs(log) do
            assert.equal("new", name)
        end
        assert.is_true(loop:remove_reader(a:fileno()))
        a:close()
        b:close()
    end))

    it("N8: a socket serves as the descriptor", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local called = false
        loop:add_reader(a, function()
            called = true
        end)
        b:try_send "x"
        ticks(3)
        assert.is_true(called)
        assert.is_true(loop:remove_reader(a))
        a:close()
        b:close()
    end))

    it("N8: a bad descriptor is refused", in_real_loop(function(loop)
        raises("EBADF", loop.add_reader, loop, 1000000, print)
        raises("EBADF", loop.add_writer, loop, -1, print)
        assert.is_false(loop:remove_reader(1000000))
    end))
end)

describe("chain and idling", function()
    -- The events of one receive, those of other tasks left out.
    local function trace_of(loop, receive)
        local a, b = neap.socketpair()
        local task = neap.spawn { receive, a, name = "receiver" }
        ticks(2)
        b:try_send "bytes"
        loop:trace(true)
        assert.equal("bytes", task:await())
        local seen = {}
        for _, entry in ipairs(loop:trace(false)) do
            if not entry.task or entry.task == "receiver" then
                seen[#seen + 1] = entry.event
            end
        end
        a:close()
        b:close()
        return seen
    end

    local function in_order(seen, ...)
        local position = 0
        for _, step in ipairs { ... } do
            local found
            for i = position + 1, #seen do
                if seen[i] == step then
                    found = i
                    break
                end
            end
            assert.is_truthy(found, step .. " not found after position " .. position .. " of "
                .. table.concat(seen, " "))
            position = found
        end
    end

    it("N18: the seven steps of one receive appear in the trace in order", in_real_loop(function(loop)
        local seen = trace_of(loop, function(s)
            return neap.await(loop:sock_recv(s, 100))
        end)
        in_order(seen, "poll", "ready", "io", "settle", "wake", "step", "done")
    end))

    it("N18: a receive that holds no buffer moves its data when its task's turn has come", in_real_loop(function(loop)
        local seen = trace_of(loop, function(s)
            return s:recv(100)
        end)
        in_order(seen, "poll", "ready", "wake", "io", "step", "done")
    end))

    it("N19: two tasks play ping-pong a thousand times", in_real_loop(function()
        local a, b = neap.socketpair()
        local function player(s, serve)
            local count = 0
            if serve then
                s:sendall "ball"
            end
            for _ = 1, 1000 do
                assert(s:recv(10) == "ball")
                count = count + 1
                if count < 1000 or not serve then
                    s:sendall "ball"
                end
            end
            return count
        end
        local results = neap.gather(function() return player(a, true) end, function() return player(b) end)
        assert.same({ n = 2, 1000, 1000 }, results)
        a:close()
        b:close()
    end))

    it("N19: a socket that always has bytes does not starve the other tasks", in_real_loop(function()
        local a, b = neap.socketpair()
        local sent = 0
        while true do
            local n = b:try_send(("x"):rep(4096))
            if not n then
                break
            end
            sent = sent + n
        end
        local turns, reading = 0, true
        local sibling = neap.spawn(function()
            while reading do
                turns = turns + 1
                neap.yield()
            end
        end)
        local total = math.min(sent, 20000)
        for _ = 1, total do
            assert(a:recv(1) == "x")
        end
        reading = false
        sibling:await()
        assert.is_true(turns > 10, "the sibling had " .. turns .. " turns in " .. total .. " receives")
        a:close()
        b:close()
    end))

    it("N19: a loop with nothing to do blocks in its poll", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local reader = neap.spawn(function()
            return a:recv(1)
        end)
        neap.yield()
        helper.collect() -- garbage is something to do
        local before = loop:metrics()
        local cpu = os.clock()
        neap.sleep(1)
        local now = loop:metrics()
        assert.is_true(now.polls - before.polls <= 4, "polls: " .. now.polls - before.polls)
        assert.is_true(now.ticks - before.ticks <= 4, "ticks: " .. now.ticks - before.ticks)
        assert.is_true(os.clock() - cpu < 0.5)
        b:sendall "x"
        reader:await()
        a:close()
        b:close()
    end))

    it("N1: a receive that finds its bytes makes no registration and no future", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        b:try_send "xx"
        local before = loop:metrics()
        assert.equal("x", a:recv(1))
        local now = loop:metrics()
        assert.equal(before.ticks, now.ticks)
        assert.equal(before.registrations, now.registrations)
        a:close()
        b:close()
    end))
end)

describe("interruption", function()
    local server = [[
        local neap = require "neap"
        local s = neap.tcp()
        assert(s:bind "127.0.0.1:0")
        assert(s:listen())
        io.stdout:setvbuf "line"
        print("listening on " .. s:getsockname())
        local ok, err = pcall(s.accept, s)
        print("cleanup", ok, neap.is_cancelled(err))
        s:close()
        if os.getenv "NEAP_TEST_STATUS" then
            neap.exit(tonumber(os.getenv "NEAP_TEST_STATUS"))
        end
        error(err, 0)
    ]]

    for name, code in pairs { INT = 130, TERM = 143 } do
        it("N20: SIG" .. name .. " while serving lets the cleanup run and exits with " .. code, function()
            local child = process.start_lua(server, { command = true })
            child:await_line "listening on (%S+)"
            child:signal(name)
            assert.equal(code, child:wait())
            helper.contains("cleanup\tfalse\ttrue", child:out())
            assert.equal("", child:err())
            child:dispose()
        end)
    end

    it("N20: the script chooses its own exit status", function()
        local child = process.start_lua(server, { command = true, env = { NEAP_TEST_STATUS = "5" } })
        child:await_line "listening on (%S+)"
        child:signal "INT"
        assert.equal(5, child:wait())
        child:dispose()
    end)
end)

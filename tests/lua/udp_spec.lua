-- Datagrams: batches, the bounded queue and its drops, errors of the past, groups of multicast.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local in_real_loop, raises, fails, ticks = helper.in_real_loop, helper.raises, helper.fails, helper.ticks

local function bound(address)
    local sock = neap.udp()
    assert(sock:bind(address or "127.0.0.1:0"))
    return sock, sock:getsockname()
end

local function numbers(n)
    local list = {}
    for i = 1, n do
        list[i] = ("%d"):format(i)
    end
    return list
end

local function close_all(...)
    for _, sock in ipairs { ... } do
        sock:close()
    end
end

-- So many datagrams, in batches.
local function receive(sock, n)
    local got = {}
    while #got < n do
        local data = assert(sock:recv_many())
        for _, text in ipairs(data) do
            got[#got + 1] = text
        end
    end
    return got
end

describe("a batch of datagrams", function()
    it("comes with the sender of each", in_real_loop(function()
        local a, from_a = bound()
        local b, from_b = bound()
        local sock, here = bound()
        a:sendto("one", here)
        a:sendto("two", here)
        b:sendto("three", here)
        a:sendto("four", here)
        local data, from, cut = sock:recv_many()
        assert.same({ "one", "two", "three", "four" }, data)
        assert.same({ from_a, from_a, from_b, from_a }, from)
        assert.is_nil(cut)
        close_all(a, b, sock)
    end))

    it("is no larger than asked for", in_real_loop(function()
        local a = bound()
        local sock, here = bound()
        a:send_many(numbers(5), here)
        assert.same({ "1", "2" }, (sock:recv_many(2)))
        assert.same({ "3" }, (sock:recv_many(1)))
        assert.same({ "4", "5" }, (sock:recv_many(70000)))
        assert.same({}, (sock:recv_many(0)))
        close_all(a, sock)
    end))

    it("is waited for until one is there", in_real_loop(function()
        local a, from_a = bound()
        local sock, here = bound()
        local task = neap.spawn(sock.recv_many, sock)
        ticks(2)
        assert.is_false(task:done())
        a:send_many({ "late", "later" }, here)
        local data, from = task:await()
        assert.same({ "late", "later" }, data)
        assert.same({ from_a, from_a }, from)
        close_all(a, sock)
    end))

    it("may let the kernel cut them: each comes as it was sent", in_real_loop(function()
        local a = bound()
        local sock, here = bound()
        local sent = { "one", "two", "six", "4", "", "three", "seven" }
        assert.equal(7, a:send_many(sent, here, { segment = true }))
        local got, from = sock:recv_many()
        assert.same(sent, got)
        assert.equal(a:getsockname(), from[7])
        assert.is_false(pcall(a.send_many, a, sent, here, { segments = true }))
        assert.is_false(pcall(a.send_many, a, sent, here, 3))
        close_all(a, sock)
    end))

    it("counts and delivers empty ones", in_real_loop(function()
        local a = bound()
        local sock, here = bound()
        assert.equal(3, a:send_many({ "", "x", "" }, here))
        assert.same({ "", "x", "" }, (sock:recv_many()))
        close_all(a, sock)
    end))

    it("tells which were cut, and how long they had been", in_real_loop(function()
        local a = bound()
        local sock, here = bound()
        a:send_many({ "whole", "too long" }, here)
        local data, _, cut = sock:recv_many(8, 5)
        assert.same({ "whole", "too l" }, data)
        assert.same({ [2] = 8 }, cut)
        close_all(a, sock)
    end))

    it("goes to the address of each, to one address, or to the peer", in_real_loop(function()
        local out = neap.udp()
        local a, to_a = bound()
        local b, to_b = bound()
        assert.equal(3, out:send_many({ "1", "2", "3" }, { to_a, to_b, to_a }))
        assert.equal(2, out:send_many({ "4", "5" }, to_b))
        assert(out:connect(to_a))
        assert.equal(1, out:send_many { "6" })
        assert.equal(0, out:send_many {})
        assert.same({ "1", "3", "6" }, (a:recv_many()))
        assert.same({ "2", "4", "5" }, (b:recv_many()))
        close_all(out, a, b)
    end))

    it("can be sent back as it came", in_real_loop(function()
        local server, there = bound()
        local client = neap.udp()
        assert(client:connect(there))
        client:send_many(numbers(10))
        assert.equal(10, server:send_many(server:recv_many()))
        assert.same(numbers(10), (client:recv_many()))
        close_all(server, client)
    end))

    it("waits for room, and its strings are kept", in_real_loop(function()
        local a, b = neap.socketpair "dgram"
        local list = numbers(3000)
        local task = neap.spawn(a.send_many, a, list)
        ticks(2)
        assert.is_false(task:done())
        for i = 1, 3000 do
            list[i] = nil
        end
        helper.collect()
        assert.same(numbers(3000), receive(b, 3000))
        assert.equal(3000, task:await())
        close_all(a, b)
    end))

    it("is one unit among the sends of its socket", in_real_loop(function()
        local a, b = neap.socketpair "dgram"
        local first = neap.spawn(a.send_many, a, numbers(3000))
        local second = neap.spawn(a.send_many, a, { "last" })
        ticks(2)
        local got = receive(b, 3001)
        assert.equal("last", got[3001])
        neap.gather(first, second)
        close_all(a, b)
    end))

    it("tells how many went before the one that failed", in_real_loop(function()
        local sock, here = bound()
        local out = neap.udp()
        local none, err, partial = out:send_many({ "1", "2", ("x"):rep(70000), "4" }, here)
        assert.is_nil(none)
        assert.equal("EMSGSIZE", err.code)
        assert.equal(2, partial)
        assert.equal(2, err.partial)
        assert.same({ "1", "2" }, (sock:recv_many()))
        close_all(sock, out)
    end))

    it("that is cancelled tells how many went", in_real_loop(function()
        local a, b = neap.socketpair "dgram"
        local task = neap.spawn(function()
            local ok, err = pcall(a.send_many, a, numbers(3000))
            assert.is_false(ok)
            return err.partial
        end)
        ticks(2)
        task:cancel()
        local went = task:await()
        assert.is_true(went > 0 and went < 3000)
        assert.equal(went, #receive(b, went))
        close_all(a, b)
    end))

    it("can be received by two at a time", in_real_loop(function()
        local a = bound()
        local sock, here = bound()
        local first = neap.spawn(sock.recv_many, sock, 1)
        local second = neap.spawn(sock.recv_many, sock, 1)
        ticks(2)
        a:send_many({ "1", "2" }, here)
        local both = neap.gather(first, second)
        assert.same({ { "1" }, { "2" } }, { both[1], both[2] })
        assert.is_true(first:done())
        close_all(a, sock)
    end))

    it("is not for streams", in_real_loop(function()
        local a, b = neap.socketpair()
        fails("ENOTSUP", a:recv_many())
        fails("ENOTSUP", a:send_many { "x" })
        close_all(a, b)
    end))

    it("of something else is refused", in_real_loop(function()
        local sock, here = bound()
        raises("type_error", sock.send_many, sock, "x", here)
        raises("type_error", sock.send_many, sock, { "x", 1 }, here)
        raises("type_error", sock.send_many, sock, { "x", {} }, here)
        raises("type_error", sock.send_many, sock, { "x" }, 1)
        raises("type_error", sock.send_many, sock, { "x" }, { 1 })
        raises("value_error", sock.send_many, sock, { "x", "y" }, { here })
        raises("value_error", sock.recv_many, sock, -1)
        raises("value_error", sock.recv_many, sock, 1.5)
        raises("type_error", sock.recv_many, sock, 1, "x")
        local err = select(2, fails("value_error", sock:send_many({ "x" }, "nowhere")))
        assert(err == nil or err.address == "nowhere")
        sock:close()
        fails("closed", sock:recv_many())
        fails("closed", sock:send_many({ "x" }, here))
    end))

    it("that waits ends with its socket", in_real_loop(function()
        local sock = bound()
        local task = neap.spawn(sock.recv_many, sock)
        ticks(2)
        sock:close()
        fails("closed", task:await())
    end))
end)

describe("a datagram socket", function()
    it("N5: that is connected hears once that nobody listened, and goes on", in_real_loop(function()
        local gone, there = bound()
        gone:close()
        local sock = neap.udp()
        assert(sock:connect(there))
        assert.equal(1, sock:send "x")
        fails("ECONNREFUSED", sock:recv_many())
        local again = bound(there)
        assert(again:connect(sock:getsockname()))
        again:send "here now"
        assert.same({ "here now" }, (sock:recv_many()))
        close_all(sock, again)
    end))

    it("has a bounded queue: what finds no room is dropped, the newest first, and counted", in_real_loop(function()
        local a = bound()
        local sock, here = bound()
        assert(sock:setsockopt("rcvbuf", 16384))
        assert.equal(0, sock:getsockopt "drops")
        local list = numbers(2000)
        assert.equal(2000, a:send_many(list, here))
        local drops = sock:getsockopt "drops"
        assert.is_true(drops > 0)
        local got = receive(sock, 2000 - drops)
        for i = 1, #got do
            assert.equal(list[i], got[i])
        end
        assert.equal(drops, sock:getsockopt "drops")
        a:sendto("next", here)
        assert.same({ "next" }, (sock:recv_many()))
        close_all(a, sock)
    end))

    it("gets what is sent to its group, until it leaves", in_real_loop(function()
        local sock = bound "239.1.2.4:0"
        local out = bound()
        assert(out:multicast_via "lo")
        assert(out:setsockopt("multicast_ttl", 0))
        assert(sock:join("239.1.2.4", "lo"))
        assert.equal(5, out:sendto("hello", sock:getsockname()))
        assert.equal("hello", (sock:recvfrom(10)))
        assert(sock:leave("239.1.2.4", "lo"))
        fails("EADDRNOTAVAIL", sock:leave("239.1.2.4:0", "lo"))
        out:sendto("lost", sock:getsockname())
        fails("EAGAIN", sock:try_recvfrom(10))
        close_all(sock, out)
    end))

    it("gets what one source sends to its group", in_real_loop(function()
        local sock = bound "232.1.2.4:0"
        local wanted, other = bound "127.0.0.2:0", bound "127.0.0.1:0"
        assert(sock:join("232.1.2.4", "lo", "127.0.0.2"))
        for _, out in ipairs { other, wanted } do
            assert(out:multicast_via "lo")
            assert(out:sendto(out:getsockname(), sock:getsockname()))
        end
        assert.same({ wanted:getsockname() }, (sock:recv_many()))
        assert(sock:leave("232.1.2.4", "lo", "127.0.0.2"))
        close_all(sock, wanted, other)
    end))

    it("refuses groups and interfaces that are none", in_real_loop(function()
        local sock = neap.udp()
        fails("value_error", sock:join("127.0.0.1", "lo"))
        fails("value_error", sock:join("239.1.2.3", "no such thing"))
        fails("value_error", sock:join("1.2.3", "lo"))
        fails("EBADF", sock:multicast_via "lo")
        raises("type_error", sock.join, sock)
        sock:close()
    end))

    -- Loopback has no route for such groups and sends everything back: the test makes a network of its own.
    it("gets what is sent to a group of IPv6, its own as long as that is looped back", function()
        local script = [[
            local neap = require "neap"
            local sock, out = neap.udp(), neap.udp "inet6"
            assert(sock:bind "[ff15::1234]:0")
            assert(sock:join("ff15::1234", "d0"))
            assert(out:multicast_via "d0")
            assert(out:setsockopt("multicast_loop", false))
            assert(out:sendto("lost", sock:getsockname()))
            assert(out:setsockopt("multicast_loop", true))
            assert(out:sendto("hello", sock:getsockname()))
            io.write((sock:recvfrom(10)))
            assert(sock:leave("ff15::1234", "d0"))
        ]]
        local network = "ip link add d0 type bridge && ip -6 addr add fd00::1/64 dev d0 nodad && ip link set d0 up"
        local probe = process.run { "unshare", "-rn", "sh", "-c", network }
        if probe.code ~= 0 then
            pending("a network of the test's own needs unshare, ip and the right to use them: " .. probe.err)
            return
        end
        local result = process.run { "unshare", "-rn", "sh", "-c", network .. ' && exec "$@"', "sh",
            helper.command, "-e", script }
        assert.equal("", result.err)
        assert.equal("hello", result.out)
    end)
end)

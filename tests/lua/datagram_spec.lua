-- Datagram endpoints: protocols that are told of datagrams and errors, in order, and transports that send.
local neap = require "neap"
local helper = require "support.helper"
local in_real_loop, fails, contains, eventually =
    helper.in_real_loop, helper.fails, helper.contains, helper.eventually

-- A factory of protocols that note what they are told, and answer with `answers`.
local function recorder(notes, answers)
    return function()
        local protocol = {}
        local function note(name, ...)
            notes[#notes + 1] = name
            local answer = answers and answers[name]
            if answer then return answer(protocol, ...) end
        end
        function protocol.connection_made(_, transport)
            protocol.transport = transport
            note("made", transport)
        end
        function protocol.datagram_received(_, data, from) note("data", data, from) end
        function protocol.error_received(_, err) note("error", err) end
        function protocol.connection_lost(_, err) note("lost", err) end
        function protocol.pause_writing() note "pause" end
        function protocol.resume_writing() note "resume" end
        return protocol
    end
end

local function udp()
    local sock = neap.udp()
    assert(sock:bind "127.0.0.1:0")
    return sock, sock:getsockname()
end

-- An endpoint on a free port; answers its address, too.
local function open(loop, notes, answers, options)
    options = options or { local_addr = "127.0.0.1:0" }
    local transport = assert(loop:create_datagram_endpoint(recorder(notes, answers), options))
    return transport, transport:get_extra_info "sockname"
end

local function finish(transport, notes)
    transport:close()
    eventually(function() return notes[#notes] == "lost" end)
    helper.ticks(2)
end

-- An endpoint over one of two connected Unix sockets, whose queue is full after a few datagrams, and the other one.
local function open_pair(loop, notes, answers)
    local near, far = neap.socketpair "dgram"
    return open(loop, notes, answers, { sock = near }), far
end

-- Sends until something has to wait; answers how many went, with that one.
local function send_until_full(transport, data)
    for n = 1, 10000 do
        assert.is_true(transport:sendto(data .. n))
        if transport:get_write_buffer_size() > 0 then return n end
    end
    error "this socket is never full"
end

describe("create_datagram_endpoint", function()
    it("N10: port 0 gives a port, which sockname and the socket tell", in_real_loop(function(loop)
        local notes = {}
        local transport, address = open(loop, notes)
        assert.is_true(tonumber(address:match ":(%d+)$") > 0)
        assert.equal(address, transport:get_extra_info("socket"):getsockname())
        assert.is_nil(transport:get_extra_info "peername")
        assert.equal("nobody", transport:get_extra_info("peername", "nobody"))
        contains(address, tostring(transport))
        finish(transport, notes)
        assert.equal(address, transport:get_extra_info "sockname")
    end))

    it("N10: a failure to bind is told with the address", in_real_loop(function(loop)
        local sock, address = udp()
        local err = fails("EADDRINUSE", loop:create_datagram_endpoint(recorder {}, { local_addr = address }))
        contains(address, tostring(err))
        sock:close()
    end))

    it("answers when the protocol has been told", in_real_loop(function(loop)
        local notes = {}
        local transport, protocol = loop:create_datagram_endpoint(recorder(notes), { local_addr = { "127.0.0.1", 0 } })
        assert.same({ "made" }, notes)
        assert.equal(transport, protocol.transport)
        assert.equal(protocol, transport:get_protocol())
        finish(transport, notes)
    end))

    it("takes an address of neither side: any address, a free port", in_real_loop(function(loop)
        local notes = {}
        local transport = assert(loop:create_datagram_endpoint(recorder(notes)))
        contains("0.0.0.0:", transport:get_extra_info "sockname")
        finish(transport, notes)
    end))

    it("looks names up, and takes addresses of one family for both sides", in_real_loop(function(loop)
        local notes = {}
        local transport = open(loop, notes, nil, { local_addr = "127.0.0.1:0", remote_addr = { "localhost", 9 } })
        assert.equal("127.0.0.1:9", transport:get_extra_info "peername")
        contains("127.0.0.1:", transport:get_extra_info "sockname")
        finish(transport, notes)
        local err = fails("bad_name", loop:create_datagram_endpoint(recorder {}, { remote_addr = "a..b:9" }))
        assert.equal("a..b", err.host)
    end))

    it("reuse_port lets two share a port, and broadcast may be sent", in_real_loop(function(loop)
        local notes, others = {}, {}
        local options = { local_addr = "127.0.0.1:0", reuse_port = true, broadcast = true }
        local transport, address = open(loop, notes, nil, options)
        options.local_addr = address
        local other = open(loop, others, nil, options)
        assert.equal(1, other:get_extra_info("socket"):getsockopt "broadcast")
        finish(transport, notes)
        finish(other, others)
    end))

    it("refuses what it does not know", in_real_loop(function(loop)
        local function refuses(text, options, factory)
            local ok, err = pcall(loop.create_datagram_endpoint, loop, factory or recorder {}, options)
            assert.is_false(ok)
            contains(text, tostring(err))
        end
        refuses("a factory of protocols expected", {}, {})
        refuses("a table of options expected", 5)
        refuses("unknown option 'port'", { port = 5 })
        refuses("the option 'local_addr' must be", { local_addr = "127.0.0.1" })
        refuses("the option 'remote_addr' must be", { remote_addr = { "127.0.0.1" } })
        refuses("different families", { local_addr = "127.0.0.1:0", remote_addr = "[::1]:9" })
        refuses("the option 'family'", { family = "ipx", local_addr = "127.0.0.1:0" })
        local a, b = neap.socketpair()
        refuses("must be a socket for datagrams", { sock = a })
        refuses("stands alone", { sock = a, broadcast = true })
        a:close()
        b:close()
    end))

    it("a factory that answers no protocol leaves nothing behind", in_real_loop(function(loop)
        local ok, err = pcall(loop.create_datagram_endpoint, loop, function() return 12 end)
        assert.is_false(ok)
        contains("the factory of protocols must answer one", tostring(err))
    end))
end)

describe("a datagram protocol", function()
    it("N11: is told made, each datagram with its sender, lost, in this order and once", in_real_loop(function(loop)
        local notes, got = {}, {}
        local transport, address = open(loop, notes, {
            data = function(_, data, from) got[#got + 1] = { data, from } end,
        })
        local sock, own = udp()
        for _, data in ipairs { "one", "", "three" } do
            sock:sendto(data, address)
        end
        eventually(function() return #got == 3 end)
        assert.same({ { "one", own }, { "", own }, { "three", own } }, got)
        finish(transport, notes)
        transport:close()
        transport:abort()
        helper.ticks(2)
        assert.same({ "made", "data", "data", "data", "lost" }, notes)
        assert.is_true(transport:is_closing())
        sock:close()
    end))

    it("N11: hears nothing before connection_made is over, neither datagrams nor errors", in_real_loop(function(loop)
        local notes = {}
        local sock, own = udp()
        local transport = open(loop, notes, {
            made = function(_, t)
                sock:sendto("x", t:get_extra_info "sockname")
                fails("EMSGSIZE", t:sendto(("x"):rep(70000), own))
                neap.sleep(0.01)
                notes[#notes + 1] = "made is over"
            end,
        })
        eventually(function() return #notes == 4 end)
        assert.same({ "made", "made is over", "error", "data" }, notes)
        finish(transport, notes)
        sock:close()
    end))

    it("N11: callbacks that wait do not overlap", in_real_loop(function(loop)
        local notes = {}
        local transport, address = open(loop, notes, {
            data = function(protocol, data)
                if data == "a" then protocol.transport:sendto(("x"):rep(70000), "127.0.0.1:9") end
                neap.sleep(0.005)
                notes[#notes + 1] = data
            end,
        })
        local sock = udp()
        sock:sendto("a", address)
        sock:sendto("b", address)
        eventually(function() return #notes == 6 end)
        assert.same({ "made", "data", "a", "error", "data", "b" }, notes)
        finish(transport, notes)
        sock:close()
    end))

    it("N11: an error in a callback ends its endpoint only and is reported", in_real_loop(function(loop, reports)
        local notes, others, lost = {}, {}, nil
        local _, address = open(loop, notes, {
            data = function() error "no such word" end,
            lost = function(_, err) lost = err end,
        })
        local other = open(loop, others)
        local sock = udp()
        sock:sendto("x", address)
        eventually(function() return #reports == 1 end)
        assert.same({ "made", "data", "lost" }, notes)
        contains("no such word", tostring(lost))
        contains("no such word", tostring(reports[1].error or reports[1].message))
        assert.same({ "made" }, others)
        finish(other, others)
        sock:close()
    end, { reports = true }))

    it("is told that the peer refuses, and goes on", in_real_loop(function(loop)
        local sock, address = udp()
        sock:close()
        local notes, refused, got = {}, nil, nil
        local transport, own = open(loop, notes, {
            error = function(_, err) refused = err end,
            data = function(_, data) got = data end,
        }, { remote_addr = address })
        assert.equal(address, transport:get_extra_info "peername")
        assert.is_true(transport:sendto "anybody?")
        eventually(function() return refused end)
        assert.equal("ECONNREFUSED", refused.code)
        sock = neap.udp()
        assert(sock:bind(address))
        sock:sendto("now", own)
        eventually(function() return got == "now" end)
        assert.same({ "made", "error", "data" }, notes)
        finish(transport, notes)
        sock:close()
    end))

    it("that sends in vain whenever it is told so does not stop the others", in_real_loop(function(loop)
        local notes, n = {}, 0
        local transport = open(loop, notes, {
            error = function(protocol)
                n = n + 1
                protocol.transport:sendto(("x"):rep(70000), "127.0.0.1:9")
            end,
        })
        transport:sendto(("x"):rep(70000), "127.0.0.1:9")
        eventually(function() return n > 10 end)
        finish(transport, notes)
    end))

    it("is cancelled with the group that it was made in, and told so", in_real_loop(function(loop)
        local notes, lost, transport = {}, nil, nil
        neap.group(function(group)
            transport = open(loop, notes, { lost = function(_, err) lost = err end })
            group:cancel()
        end)
        assert.same({ "made", "lost" }, notes)
        assert.is_true(neap.is_cancelled(lost))
        fails("closed", transport:sendto("x", "127.0.0.1:9"))
    end))

    it("can be changed for another one", in_real_loop(function(loop)
        local first, second = {}, {}
        local transport, address = open(loop, first)
        transport:set_protocol(recorder(second)())
        local sock = udp()
        sock:sendto("x", address)
        eventually(function() return #second == 1 end)
        finish(transport, second)
        assert.same({ "made" }, first)
        assert.same({ "data", "lost" }, second)
        sock:close()
    end))
end)

describe("a datagram transport", function()
    it("N12: answers who asks", in_real_loop(function(loop)
        local notes = {}
        local transport, address = open(loop, notes, {
            data = function(protocol, data, from) protocol.transport:sendto(data:upper(), from) end,
        })
        local sock = udp()
        sock:sendto("hello", address)
        local data, from = sock:recvfrom()
        assert.equal("HELLO", data)
        assert.equal(address, from)
        finish(transport, notes)
        sock:close()
    end))

    it("N12: close sends what was written first, in order", in_real_loop(function(loop)
        local notes = {}
        local transport, far = open_pair(loop, notes)
        local n = send_until_full(transport, "datagram ")
        for i = n + 1, n + 5 do
            transport:sendto("datagram " .. i)
        end
        transport:close()
        fails("closed", transport:sendto "too late")
        for i = 1, n + 5 do
            assert.equal("datagram " .. i, (far:recvfrom()))
        end
        eventually(function() return notes[#notes] == "lost" end)
        assert.same({ "made", "lost" }, notes)
        assert.equal(0, transport:get_write_buffer_size())
        fails("EAGAIN", far:try_recvfrom())
        far:close()
    end))

    it("N12: abort does not wait, and what was unsent is lost", in_real_loop(function(loop)
        local notes = {}
        local transport, far = open_pair(loop, notes)
        send_until_full(transport, "datagram ")
        transport:abort()
        eventually(function() return notes[#notes] == "lost" end)
        eventually(function() return transport:get_write_buffer_size() == 0 end)
        assert.same({ "made", "lost" }, notes)
        far:close()
    end))

    it("tells by error_received what went wrong with what it had kept", in_real_loop(function(loop)
        local notes, last = {}, nil
        local transport, far = open_pair(loop, notes, { error = function(_, err) last = err end })
        send_until_full(transport, "datagram ")
        far:close()
        eventually(function() return last end)
        assert.equal(0, transport:get_write_buffer_size())
        finish(transport, notes)
        assert.equal("made", notes[1])
        assert.equal("lost", notes[#notes])
    end))

    it("pause_writing and resume_writing tell of a slow network", in_real_loop(function(loop)
        local notes = {}
        local transport, far = open_pair(loop, notes)
        transport:set_write_buffer_limits(1000, 100)
        local sent = send_until_full(transport, "")
        while notes[#notes] ~= "pause" do
            sent = sent + 1
            transport:sendto ""
            assert.is_true(sent < 10000)
        end
        assert.is_true(transport:get_write_buffer_size() > 1000)
        for _ = 1, sent do
            far:recvfrom()
        end
        eventually(function() return notes[#notes] == "resume" end)
        assert.is_true(transport:get_write_buffer_size() <= 100)
        finish(transport, notes)
        assert.same({ "made", "pause", "resume", "lost" }, notes)
        far:close()
    end))

    it("whose socket was closed by others tells connection_lost", in_real_loop(function(loop)
        local notes, lost = {}, nil
        local transport = open(loop, notes, { lost = function(_, err) lost = err end })
        transport:get_extra_info("socket"):close()
        eventually(function() return notes[#notes] == "lost" end)
        assert.equal("closed", lost.code)
    end))

    it("a flood of datagrams leaves the others their turns", in_real_loop(function(loop)
        local notes, got, turns, seen = {}, 0, 0, {}
        local transport, address = open(loop, notes, {
            data = function()
                got = got + 1
                seen[turns] = (seen[turns] or 0) + 1
            end,
        })
        local sock = udp()
        for _ = 1, 150 do
            assert(sock:try_sendto("x", address))
        end
        for _ = 1, 5000 do
            if got == 150 then break end
            turns = turns + 1
            neap.yield()
        end
        local most = 0
        for _, n in pairs(seen) do
            most = math.max(most, n)
        end
        assert.equal(150, got)
        assert.is_true(most < 150)
        finish(transport, notes)
        sock:close()
    end))
end)

describe("what endpoints are made of", function()
    it("try_sendto sends at once or not at all", in_real_loop(function()
        local a, address = udp()
        local b = udp()
        assert.equal(5, b:try_sendto("hello", address))
        assert.equal("hello", (a:recvfrom()))
        local err = fails("EMSGSIZE", b:try_sendto(("x"):rep(70000), address))
        assert.equal(address, err.address)
        fails("EDESTADDRREQ", b:try_sendto "x")
        a:close()
        b:close()
        a, b = neap.socketpair "dgram"
        local n = 0
        while a:try_sendto "x" do
            n = n + 1
            assert.is_true(n < 10000)
        end
        fails("EAGAIN", a:try_sendto "x")
        a:close()
        b:close()
    end))

    it("loop:sock_sendto is a future, which waits its turn", in_real_loop(function(loop)
        local a, b = neap.socketpair "dgram"
        local n = 0
        while a:try_sendto "x" do
            n = n + 1
            assert.is_true(n < 10000)
        end
        local first, second = loop:sock_sendto(a, "first"), loop:sock_sendto(a, "second")
        assert.is_false(first:done())
        for _ = 1, n do
            b:recvfrom()
        end
        assert.equal("first", (b:recvfrom()))
        assert.equal("second", (b:recvfrom()))
        assert.equal(5, first:await())
        assert.equal(6, second:await())
        local bad = loop:sock_sendto(a, "x", "no address")
        assert.is_true(bad:done())
        assert.is_not_nil(bad:exception().code)
        a:close()
        b:close()
    end))
end)

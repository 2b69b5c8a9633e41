-- Protocols and transports: the order of their callbacks, errors, back-pressure, pausing, half-close.
local neap = require "neap"
local helper = require "support.helper"
local eventually = helper.eventually
local in_real_loop, fails, contains = helper.in_real_loop, helper.fails, helper.contains

-- A factory of protocols that note what they are told, and answer with `answers`.
local function recorder(notes, answers)
    return function()
        local protocol = { notes = notes }
        local function note(name, ...)
            notes[#notes + 1] = name
            local answer = answers and answers[name]
            if answer then return answer(protocol, ...) end
        end
        function protocol.connection_made(_, transport)
            protocol.transport = transport
            note("made", transport)
        end
        function protocol.data_received(_, data) note("data", data) end
        function protocol.eof_received() return note "eof" end
        function protocol.connection_lost(_, err)
            protocol.err = err
            note("lost", err)
        end
        function protocol.pause_writing() note "pause" end
        function protocol.resume_writing() note "resume" end
        return protocol
    end
end

local function connect(server)
    local sock = neap.tcp()
    assert(sock:connect(server:addresses()[1]))
    return assert(neap.stream(sock))
end

local function stop(server)
    server:abort()
    server:wait_closed()
    helper.ticks(2)
end

local function serve(loop, notes, answers)
    return assert(loop:create_server(recorder(notes, answers), "127.0.0.1", 0))
end

local function echo(protocol, data)
    protocol.transport:write(data)
end

describe("create_server", function()
    it("N10: port 0 and sockets() give the port", in_real_loop(function(loop)
        local server = assert(loop:create_server(recorder {}, "127.0.0.1", 0, { backlog = 10 }))
        local sockets = server:sockets()
        assert.equal(1, #sockets)
        assert.equal(server:addresses()[1], sockets[1]:getsockname())
        assert.is_true(tonumber(server:addresses()[1]:match ":(%d+)$") > 0)
        assert.is_true(server:is_serving())
        stop(server)
        assert.is_false(server:is_serving())
    end))

    it("N10: a failure to bind is told with the address", in_real_loop(function(loop)
        local server = serve(loop, {})
        local address = server:addresses()[1]
        local err = fails("EADDRINUSE", loop:create_server(recorder {}, address))
        contains(address, tostring(err))
        stop(server)
    end))

    it("a factory that fails ends the new connection", in_real_loop(function(loop)
        local notes = {}
        local server = serve(loop, notes)
        local host, port = server:addresses()[1]:match "^(.*):(%d+)$"
        local function fail() error("no protocol", 0) end
        local ok, err = pcall(loop.create_connection, loop, fail, host, tonumber(port))
        assert.is_false(ok)
        assert.equal("no protocol", err)
        eventually(function() return notes[#notes] == "lost" end)
        stop(server)
    end))

    it("wants a factory that answers protocols", in_real_loop(function(loop, reports)
        assert.is_false(pcall(loop.create_server, loop, {}, "127.0.0.1", 0))
        local server = loop:create_server(function() return 12 end, "127.0.0.1", 0)
        local client = connect(server)
        assert.is_nil(client:read())
        client:close()
        eventually(function() return #reports == 1 end)
        contains("the factory of protocols must answer one", reports[1].message)
        stop(server)
    end, { reports = true }))

    it("N13: close and wait_closed end serve_forever", in_real_loop(function(loop)
        local server = serve(loop, {})
        local task = neap.spawn(server.serve_forever, server)
        neap.sleep(0.001)
        server:close()
        server:wait_closed()
        task:await()
        helper.ticks(2)
    end))
end)

describe("a protocol", function()
    it("N11: is told made, data, eof, lost, in this order and once", in_real_loop(function(loop)
        local notes = {}
        local server = serve(loop, notes, { data = echo })
        local client = connect(server)
        client:write "hello"
        assert.equal("hello", client:read_exactly(5))
        client:write "again"
        assert.equal("again", client:read_exactly(5))
        client:write_eof()
        assert.is_nil(client:read())
        client:close()
        eventually(function() return notes[#notes] == "lost" end)
        assert.same({ "made", "data", "data", "eof", "lost" }, notes)
        stop(server)
        assert.equal(5, #notes)
    end))

    it("N11: hears nothing before connection_made is over, even if that waits", in_real_loop(function(loop)
        local notes = {}
        local server = serve(loop, notes, {
            made = function()
                neap.sleep(0.01)
                notes[#notes + 1] = "made is over"
            end,
        })
        local client = connect(server)
        client:write "x"
        eventually(function() return #notes == 3 end)
        assert.same({ "made", "made is over", "data" }, notes)
        client:close()
        stop(server)
    end))

    it("N11: an error in a callback ends its connection only and is reported", in_real_loop(function(loop, reports)
        local notes, lost = {}, nil
        local server = serve(loop, notes, {
            data = function(protocol, data)
                if data == "bad" then error "no such word" end
                echo(protocol, data)
            end,
            lost = function(_, err) lost = lost or err end,
        })
        local good, bad = connect(server), connect(server)
        bad:write "bad"
        local data, err = bad:read_some()
        assert.is_true(data == nil and (err == nil or err.code == "ECONNRESET"))
        good:write "good"
        assert.equal("good", good:read_exactly(4))
        eventually(function() return #reports == 1 end)
        contains("no such word", tostring(lost))
        contains(bad:name(), reports[1].message)
        good:close()
        bad:close()
        stop(server)
    end, { reports = true }))

    it("N11: a reset is told to connection_lost, after which nothing comes", in_real_loop(function(loop)
        local notes, lost = {}, nil
        local server = serve(loop, notes, { lost = function(_, err) lost = err end })
        local client = connect(server)
        client:write "x"
        eventually(function() return #notes == 2 end)
        client:abort()
        eventually(function() return #notes == 3 end)
        assert.same({ "made", "data", "lost" }, notes)
        assert.equal("ECONNRESET", lost.code)
        stop(server)
    end))

    it("N11: a reset while it sends what is left is told to connection_lost", in_real_loop(function(loop)
        local notes, lost = {}, nil
        local server = serve(loop, notes, {
            data = function(protocol)
                protocol.transport:write(("x"):rep(8000000))
                protocol.transport:close()
            end,
            lost = function(_, err) lost = err end,
        })
        local client = connect(server)
        client:write "x"
        assert.equal("x", client:read(1)) -- so it is on its way
        assert(client:setsockopt("linger", 0))
        client:abort()
        eventually(function() return lost ~= nil end)
        assert.same({ "made", "data", "pause", "lost" }, notes)
        assert.is_truthy(lost.code == "ECONNRESET" or lost.code == "EPIPE", tostring(lost))
        stop(server)
    end))

    it("N11: random bytes come as they were sent", in_real_loop(function(loop)
        local random, got = helper.repeatable(3), {}
        local server = serve(loop, {}, { data = function(_, data) got[#got + 1] = data end })
        local client, sent = connect(server), {}
        for i = 1, 40 do
            local bytes = {}
            for n = 1, random(1, 200) do
                bytes[n] = string.char(random(0, 255))
            end
            sent[i] = table.concat(bytes)
            client:write(sent[i])
        end
        client:drain()
        eventually(function() return #table.concat(got) == #table.concat(sent) end)
        assert.equal(table.concat(sent), table.concat(got))
        client:close()
        stop(server)
    end))

    it("stays open after the end of the other side if eof_received says so", in_real_loop(function(loop)
        local notes = {}
        local server = serve(loop, notes, {
            eof = function(protocol)
                neap.loop():call_later(0.005, function()
                    protocol.transport:write "late answer"
                    protocol.transport:close()
                end)
                return true
            end,
        })
        local client = connect(server)
        client:write_eof()
        assert.equal("late answer", client:read_all())
        client:close()
        eventually(function() return notes[#notes] == "lost" end)
        assert.same({ "made", "eof", "lost" }, notes)
        stop(server)
    end))

    it("is cancelled and told so when its server is closed", in_real_loop(function(loop)
        local notes = {}
        local server = serve(loop, notes)
        local client = connect(server)
        eventually(function() return #notes == 1 end)
        server:close { grace = 0 }
        server:wait_closed()
        assert.same({ "made", "lost" }, notes)
        client:close()
        helper.ticks(2)
    end))

    it("can be changed for another one", in_real_loop(function(loop)
        local first, second = {}, {}
        local server = serve(loop, first, {
            data = function(protocol)
                protocol.transport:set_protocol(recorder(second)())
            end,
        })
        local client = connect(server)
        client:write "one"
        eventually(function() return first[#first] == "data" end)
        client:write "two"
        client:close()
        eventually(function() return second[#second] == "lost" end)
        assert.same({ "data", "eof", "lost" }, second)
        stop(server)
    end))
end)

describe("a transport", function()
    it("N12: writes, and knows its names and its socket", in_real_loop(function(loop)
        local transport
        local server = serve(loop, {}, {
            made = function(_, t) transport = t end,
            data = echo,
        })
        local client = connect(server)
        client:write "hello"
        assert.equal("hello", client:read_exactly(5))
        assert.equal(client:name(), transport:get_extra_info "peername")
        assert.equal(client:peer(), transport:get_extra_info "sockname")
        assert.equal(client:name(), transport:get_extra_info("socket"):getpeername())
        assert.equal("nothing", transport:get_extra_info("no such thing", "nothing"))
        assert.is_nil(transport:get_extra_info "no such thing")
        transport:writelines { "a", "b", "c" }
        assert.equal("abc", client:read_exactly(3))
        client:close()
        stop(server)
    end))

    it("N12: close sends what was written first, abort does not wait", in_real_loop(function(loop)
        local text = ("x"):rep(16000000) -- more than the kernel takes at once
        local notes = {}
        local server = serve(loop, notes, {
            made = function(_, transport)
                transport:write(text)
                transport:close()
                assert.is_true(transport:is_closing())
                assert.is_true(transport:get_write_buffer_size() > 0)
            end,
        })
        local client = connect(server)
        assert.equal("x", client:read(1))
        assert.not_equal("lost", notes[#notes]) -- but when all has gone
        assert.equal(#text - 1, #client:read_all(#text))
        client:close()
        eventually(function() return notes[#notes] == "lost" end)
        stop(server)
        local transport
        server = serve(loop, notes, { made = function(_, t) transport = t end })
        client = connect(server)
        eventually(function() return transport ~= nil end)
        transport:abort()
        client:read_some()
        client:close()
        stop(server)
    end))

    it("pause_writing and resume_writing tell of a slow reader", in_real_loop(function(loop)
        local notes, transport = {}, nil
        local server = serve(loop, notes, {
            made = function(_, t)
                transport = t
                t:set_write_buffer_limits(1000, 100)
                local n = 0
                while notes[#notes] ~= "pause" do
                    n = n + 1
                    assert.is_true(n < 10000)
                    t:write(("x"):rep(100000))
                end
                assert.is_true(t:get_write_buffer_size() > 1000)
            end,
        })
        local client = connect(server)
        eventually(function() return notes[#notes] == "pause" end)
        local reader = neap.spawn(function()
            while client:read_some() do end
        end)
        eventually(function() return notes[#notes] == "resume" end)
        assert.is_true(transport:get_write_buffer_size() <= 1000)
        transport:close()
        reader:await()
        client:close()
        eventually(function() return notes[#notes] == "lost" end)
        assert.same({ "made", "pause", "resume", "lost" }, notes)
        stop(server)
    end))

    it("pause_reading keeps data back, and resume_reading calls nobody", in_real_loop(function(loop)
        local notes, transport = {}, nil
        local server = serve(loop, notes, {
            made = function(_, t)
                transport = t
                t:pause_reading()
            end,
        })
        local client = connect(server)
        client:write "one"
        neap.sleep(0.02)
        assert.same({ "made" }, notes)
        assert.is_false(transport:is_reading())
        transport:resume_reading()
        assert.same({ "made" }, notes)
        eventually(function() return #notes == 2 end)
        transport:pause_reading() -- a read is under way
        client:write "two"
        neap.sleep(0.02)
        assert.same({ "made", "data" }, notes)
        transport:resume_reading()
        eventually(function() return #notes == 3 end)
        client:close()
        stop(server)
    end))

    it("write_eof ends one direction", in_real_loop(function(loop)
        local notes = {}
        local server = serve(loop, notes, {
            made = function(_, t)
                t:write "all"
                assert.is_true(t:write_eof())
            end,
        })
        local client = connect(server)
        assert.equal("all", client:read_all())
        client:write "and back"
        client:close()
        eventually(function() return notes[#notes] == "lost" end)
        assert.same({ "made", "data", "eof", "lost" }, notes)
        stop(server)
    end))

    it("the callbacks of a connection see values of their own", in_real_loop(function(loop)
        local who = neap.task_local "nobody"
        local seen = {}
        who:set "maker"
        local server = serve(loop, {}, {
            made = function(protocol) who:set(protocol.transport:get_extra_info "peername") end,
            data = function(protocol)
                seen[#seen + 1] = who:get() == protocol.transport:get_extra_info "peername"
            end,
        })
        local a, b = connect(server), connect(server)
        for _, client in ipairs { a, b, a, b } do
            client:write "x"
            neap.sleep(0.005)
        end
        eventually(function() return #seen == 4 end)
        assert.same({ true, true, true, true }, seen)
        assert.equal("maker", who:get())
        a:close()
        b:close()
        stop(server)
    end))
end)

describe("create_connection", function()
    it("gives a transport and a protocol that has been told of it", in_real_loop(function(loop)
        local theirs, notes, got = {}, {}, {}
        local server = serve(loop, theirs, { data = echo })
        local transport, protocol = loop:create_connection(
            recorder(notes, { data = function(_, data) got[#got + 1] = data end }), server:addresses()[1])
        assert.equal(transport, protocol.transport)
        assert.same({ "made" }, notes)
        transport:write "hello"
        eventually(function() return table.concat(got) == "hello" end)
        transport:close()
        eventually(function() return notes[#notes] == "lost" end)
        eventually(function() return theirs[#theirs] == "lost" end)
        assert.is_nil(protocol.err)
        stop(server)
    end))

    it("takes the options of connect: a local address", in_real_loop(function(loop)
        local peers = {}
        local server = serve(loop, {}, { made = function(_, transport)
            peers[#peers + 1] = transport:get_extra_info "peername"
        end })
        local host, port = server:addresses()[1]:match "^(.*):(%d+)$"
        for i, arguments in ipairs { { host, tonumber(port) }, { server:addresses()[1] } } do
            arguments[#arguments + 1] = { local_addr = "127.0.0.2:0" }
            local transport = assert(loop:create_connection(recorder {}, helper.unpack(arguments)))
            eventually(function() return #peers == i end)
            contains("127.0.0.2:", peers[i])
            transport:abort()
        end
        helper.raises("value_error", loop.create_connection, loop, recorder {}, server:addresses()[1], { locl = 1 })
        stop(server)
    end))

    it("a factory that fails leaves no connection behind", in_real_loop(function(loop)
        local notes = {}
        local server = serve(loop, notes)
        local failing = {}
        assert.equal(failing, select(2, neap.pcall(loop.create_connection, loop, function()
            error(failing)
        end, server:addresses()[1])))
        finally(function() collectgarbage "restart" end)
        collectgarbage "stop" -- it is not the collector that closes it
        eventually(function() return notes[#notes] == "lost" end)
        stop(server)
    end))

    it("a refused connection is nil and the error", in_real_loop(function(loop)
        local server = serve(loop, {})
        local address = server:addresses()[1]
        stop(server)
        fails("ECONNREFUSED", loop:create_connection(recorder {}, address))
    end))
end)

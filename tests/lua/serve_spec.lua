-- Servers: a task for each connection, limits, the list of connections, and the end in steps.
local neap = require "neap"
local helper = require "support.helper"
local eventually = helper.eventually
local in_real_loop, raises, fails, contains = helper.in_real_loop, helper.raises, helper.fails, helper.contains

local ANY = "127.0.0.1:0"

local function connect(address)
    local sock = address:find "^[/@]" and neap.unix() or neap.tcp()
    assert(sock:connect(address))
    return assert(neap.stream(sock))
end

-- Ends at once and waits for it, with the task that stands for the server.
local function stop(server)
    server:abort()
    server:wait_closed()
    helper.ticks(2)
end

local function echo(stream)
    helper.each(function(line)
        stream:write(line)
    end, stream:lines "L")
end

describe("serve", function()
    it("N10: gives each connection to the handler, with its address", in_real_loop(function()
        local seen
        local server = assert(neap.serve(ANY, function(stream, address)
            seen = address
            echo(stream)
        end))
        local client = connect(server:addresses()[1])
        client:write "hello\n"
        assert.equal("hello", client:read())
        assert.equal(seen, client:name())
        client:close()
        stop(server)
    end))

    it("N10: a failure to listen is nil and an error that names the address", in_real_loop(function()
        local server = neap.serve(ANY, echo)
        local address = server:addresses()[1]
        local err = fails("EADDRINUSE", neap.serve({ ANY, address }, echo))
        assert.equal(address, err.address)
        contains(address, tostring(err))
        fails("value_error", neap.serve("127.0.0.1", echo))
        stop(server)
    end))

    it("refuses what is no handler and unknown options", in_real_loop(function()
        local ok, err = pcall(neap.serve, ANY, 12)
        assert.is_false(ok)
        contains("a function expected, got number", tostring(err))
        raises("value_error", neap.serve, ANY, echo, { max_conections = 1 })
        raises("value_error", neap.serve, ANY, echo, { max_connections = -1 })
        raises("type_error", neap.serve, ANY, echo, { reuse_port = 1 })
    end))

    it("listens on several addresses, which can share a port", in_real_loop(function()
        local server = assert(neap.serve({ ANY, "127.0.0.2:0" }, echo, { one_port = true }))
        local first, second = server:addresses()[1], server:addresses()[2]
        assert.equal(first:match ":(%d+)$", second:match ":(%d+)$")
        for _, address in ipairs { first, second } do
            local client = connect(address)
            client:write "x\n"
            assert.equal("x", client:read())
            client:close()
        end
        stop(server)
    end))

    it("keep_alive lets the kernel ask silent peers", in_real_loop(function()
        for _, wanted in ipairs { false, true } do
            local found
            local server = assert(neap.serve(ANY, function(stream)
                found = stream:getsockopt "keepalive"
            end, { keep_alive = wanted }))
            local client = connect(server:addresses()[1])
            assert.is_nil((client:read()))
            assert.equal(wanted and 1 or 0, found)
            client:close()
            stop(server)
        end
    end))

    it("removes the path of a Unix socket when it is closed", in_real_loop(function()
        local path = os.tmpname()
        os.remove(path)
        local server = assert(neap.serve(path, echo))
        assert.same({ path }, server:addresses())
        local client = connect(path)
        client:write "x\n"
        assert.equal("x", client:read())
        client:close()
        stop(server)
        assert.is_nil(io.open(path))
    end))

    it("the connection is closed when the handler returns, and what it wrote goes first", in_real_loop(function()
        local text = ("x"):rep(3000000)
        local server = neap.serve(ANY, function(stream) stream:buffer(text) end)
        local client = connect(server:addresses()[1])
        assert.equal(#text, #client:read_all(4000000))
        client:close()
        eventually(function() return #server:connections() == 0 end)
        stop(server)
    end))

    it("N11: a failing handler is reported with its peer and ends its own connection", in_real_loop(function(_, reports)
        local server = neap.serve(ANY, function(stream)
            if stream:read() == "fail" then error "oh no" end
            echo(stream)
        end)
        local good, bad = connect(server:addresses()[1]), connect(server:addresses()[1])
        good:write "go on\n"
        bad:write "fail\n"
        assert.is_nil(bad:read())
        eventually(function() return #reports == 1 end)
        contains("the handler of the connection from " .. bad:name() .. " failed", reports[1].message)
        contains("oh no", reports[1].message)
        contains("serve_spec.lua", reports[1].traceback)
        good:write "still\n"
        assert.equal("still", good:read())
        good:close()
        bad:close()
        stop(server)
    end, { reports = true }))

    it("random bytes reach the handler as they are", in_real_loop(function()
        local random = helper.repeatable(7)
        local server = neap.serve(ANY, function(stream)
            local data = stream:read_some()
            while data do
                stream:write(data)
                data = stream:read_some()
            end
        end)
        local client = connect(server:addresses()[1])
        for _ = 1, 50 do
            local bytes = {}
            for i = 1, random(1, 300) do
                bytes[i] = string.char(random(0, 255))
            end
            local text = table.concat(bytes)
            client:write(text)
            assert.equal(text, client:read_exactly(#text))
        end
        client:close()
        stop(server)
    end))

    it("handlers see the values of whoever made the server, each in a copy of its own", in_real_loop(function()
        local who = neap.task_local "nobody"
        local seen = {}
        who:set "maker"
        local server = neap.serve(ANY, function()
            seen[#seen + 1] = who:get()
            who:set "handler"
        end)
        who:set "later"
        for i = 1, 2 do
            local client = connect(server:addresses()[1])
            client:read()
            client:close()
            eventually(function() return #seen == i end)
        end
        assert.same({ "maker", "maker" }, seen)
        stop(server)
    end))

    it("N13: more than max_connections wait until one has ended", in_real_loop(function()
        local begun = 0
        local server = neap.serve(ANY, function(stream)
            begun = begun + 1
            stream:read()
        end, { max_connections = 2 })
        local clients = {}
        for i = 1, 4 do
            clients[i] = connect(server:addresses()[1])
        end
        eventually(function() return begun == 2 end)
        neap.sleep(0.01)
        assert.equal(2, begun)
        assert.equal(2, server:metrics().open)
        clients[1]:close()
        eventually(function() return begun == 3 end)
        for i = 2, 4 do
            clients[i]:close()
        end
        eventually(function() return begun == 4 end)
        stop(server)
        assert.equal(4, server:metrics().accepted)
    end))

    it("pause leaves connections in the queue until resume", in_real_loop(function()
        local server = neap.serve(ANY, echo, { paused = true })
        local client = connect(server:addresses()[1])
        client:write "x\n"
        neap.sleep(0.01)
        assert.equal(0, server:metrics().accepted)
        server:resume()
        assert.equal("x", client:read())
        server:pause()
        local second = connect(server:addresses()[1])
        neap.sleep(0.01)
        assert.equal(1, server:metrics().accepted)
        second:close()
        client:close()
        stop(server)
    end))

    it("knows its connections", in_real_loop(function()
        local server = neap.serve(ANY, function(stream) stream:read() end)
        local client = connect(server:addresses()[1])
        eventually(function() return #server:connections() == 1 end)
        local connection = server:connections()[1]
        assert.equal(1, connection.id)
        assert.equal(client:name(), connection.address)
        assert.equal(client:name(), connection.task:name())
        assert.is_true(connection.open)
        assert.is_true(connection.age >= 0)
        client:close()
        eventually(function() return #server:connections() == 0 end)
        stop(server)
    end))

    it("N12: a handler knows its peer when that has gone, and after it has closed", in_real_loop(function()
        local seen = {}
        local server = neap.serve(ANY, function(stream)
            local _, err = stream:read_some()
            seen[1], seen[2] = err.code, stream:peer()
            stream:close()
            seen[3] = stream:peer()
        end)
        local client = connect(server:addresses()[1])
        local name, peer = client:name(), client:peer()
        eventually(function() return #server:connections() == 1 end)
        client:abort()
        eventually(function() return #seen == 3 end)
        assert.same({ "ECONNRESET", name, name }, seen)
        assert.equal(peer, client:peer())
        fails("closed", client:name())
        stop(server)
    end))

    it("knows the address of a connection that was closed while its handler still runs", in_real_loop(function()
        local server = neap.serve(ANY, function(stream)
            stream:close()
            neap.sleep(60)
        end)
        local client = connect(server:addresses()[1])
        assert.is_nil(client:read())
        local connection = server:connections()[1]
        assert.is_false(connection.open)
        assert.equal(client:name(), connection.address)
        client:close()
        stop(server)
    end))

    it("gives sockets if asked for", in_real_loop(function()
        local server = neap.serve(ANY, function(sock)
            sock:sendall(sock:recv(100))
        end, { sockets = true })
        local client = connect(server:addresses()[1])
        client:write "x"
        assert.equal("x", client:read_all())
        client:close()
        stop(server)
    end))
end)

describe("the end of a server", function()
    it("N13: close stops to listen at once, and wait_closed returns after the last connection", in_real_loop(function()
        local ended = false
        local server = neap.serve(ANY, function(stream)
            stream:read()
            ended = true
        end)
        local address = server:addresses()[1]
        local client = connect(address)
        eventually(function() return server:metrics().open == 1 end)
        assert.is_true(server:close())
        assert.equal("closing", server:state())
        assert.same({}, server:addresses())
        local late = neap.tcp()
        fails("ECONNREFUSED", late:connect(address))
        late:close()
        assert.is_false(ended)
        client:write "bye\n"
        server:wait_closed()
        assert.is_true(ended)
        assert.equal("closed", server:state())
        assert.is_false(server:close())
        client:close()
        helper.ticks(2)
    end))

    it("D16: who had connected before is served within the grace", in_real_loop(function()
        for _, grace in ipairs { 5, 0 } do
            local path = os.tmpname()
            os.remove(path)
            local server = neap.serve(path, echo)
            local client = neap.unix() -- connects and sends in this step
            assert(client:connect(path))
            assert(client:sendall("x\n"))
            assert.equal(0, server:metrics().accepted)
            server:close { grace = grace }
            if grace > 0 then
                assert.equal("x\n", client:recv(10))
            else
                fails("ECONNRESET", client:recv(10))
            end
            client:close()
            server:wait_closed()
        end
    end))

    it("D16: handlers are cancelled after the grace and may clean up", in_real_loop(function()
        local cleaned = false
        local server = neap.serve(ANY, function(stream)
            local ok, err = pcall(stream.read, stream)
            assert.is_false(ok)
            cleaned = neap.is_cancelled(err) and err.message
            error(err, 0)
        end)
        local client = connect(server:addresses()[1])
        eventually(function() return server:metrics().open == 1 end)
        neap.yield()
        server:close { grace = 0.01, reason = "time to go" }
        server:wait_closed()
        assert.equal("time to go", cleaned)
        client:close()
        helper.ticks(2)
    end))

    it("D16: a handler that ignores the cancellation is aborted", in_real_loop(function(_, reports)
        local server = neap.serve(ANY, function(stream)
            for _ = 1, 1000000 do
                pcall(stream.read, stream)
            end
        end)
        local client = connect(server:addresses()[1])
        eventually(function() return server:metrics().open == 1 end)
        server:close { grace = 0, cancel_grace = 0.01 }
        server:wait_closed()
        assert.equal("aborted", reports[1].kind)
        client:close()
        helper.ticks(2)
    end, { reports = true }))

    it("D19: abort before the first step of a handler closes its connection", in_real_loop(function()
        local begun = false
        local server = neap.serve(ANY, function() begun = true end)
        local client = connect(server:addresses()[1])
        eventually(function() return server:metrics().accepted == 1 or begun end)
        server:abort()
        server:wait_closed()
        assert.is_nil(client:read())
        client:close()
        helper.ticks(2)
    end))

    it("a group waits for the servers that were made in it, and ends them with itself", in_real_loop(function()
        local server
        neap.group(function(group)
            server = neap.serve(ANY, echo)
            group:spawn(function()
                neap.sleep(0.01)
                server:close()
            end)
        end)
        assert.equal("closed", server:state())
        neap.move_on(0.01, function()
            neap.group(function()
                server = neap.serve(ANY, echo)
            end)
        end)
        assert.equal("closed", server:state())
    end))

    it("D16: serve_forever closes the server when its task is cancelled", in_real_loop(function()
        local server = neap.serve(ANY, echo)
        local client = connect(server:addresses()[1])
        eventually(function() return server:metrics().open == 1 end)
        local task = neap.spawn(server.serve_forever, server)
        neap.sleep(0.001)
        task:cancel()
        raises("cancelled", function() return task:await() end)
        assert.equal("closed", server:state())
        client:close()
        helper.ticks(2)
    end))

    if helper.has_close then
        it("the end of its block closes a server and waits for it", in_real_loop(function()
            local outside
            local block = assert(helper.compile([[
                local neap, address, handler = ...
                local server <close> = assert(neap.serve(address, handler))
                return server
            ]]))
            outside = block(neap, ANY, echo)
            assert.equal("closed", outside:state())
            helper.ticks(2)
        end))
    end

    it("D16: the shutdown of a run closes its servers", function()
        local served, server = 0, nil
        neap.run { function()
            server = neap.serve(ANY, function(stream)
                stream:read()
                served = served + 1
            end)
            local client = connect(server:addresses()[1])
            eventually(function() return server:metrics().open == 1 end)
            neap.on_shutdown(function()
                neap.spawn(function()
                    client:write "bye\n"
                    client:close()
                end)
            end)
        end, stop_grace = 10 }
        assert.equal(1, served)
        assert.equal("closed", server:state())
    end)

    it("a server that nobody has any more stops if it has no handler", in_real_loop(function()
        local address = (function()
            return neap.listen(ANY):addresses()[1]
        end)()
        helper.collect()
        neap.sleep(0.001)
        local sock = neap.tcp()
        fails("ECONNREFUSED", sock:connect(address))
        sock:close()
    end))
end)

describe("a server without a handler", function()
    it("gives connections by accept, in order", in_real_loop(function()
        local server = neap.listen(ANY)
        local client = connect(server:addresses()[1])
        local sock, address = server:accept()
        assert.equal(client:name(), address)
        sock:sendall "x"
        assert.equal("x", client:read_exactly(1))
        sock:close()
        client:close()
        stop(server)
        fails("closed", server:accept())
    end))

    it("iter ends with the server", in_real_loop(function()
        local server, n = neap.listen(ANY), 0
        local task = neap.spawn(function()
            helper.each(function(sock)
                n = n + 1
                sock:close()
            end, server:iter())
            return "over"
        end)
        for _ = 1, 3 do
            local client = connect(server:addresses()[1])
            client:read()
            client:close()
        end
        server:close()
        assert.equal("over", task:await())
        assert.equal(3, n)
        stop(server)
    end))

    it("has no accept if it has one", in_real_loop(function()
        local server = neap.serve(ANY, echo)
        local err = raises("invalid_state", server.accept, server)
        contains("handler", tostring(err))
        stop(server)
    end))
end)

describe("many connections", function()
    it("come, are reset, vanish, and leave nothing", in_real_loop(function()
        local random = helper.repeatable(11)
        local server = neap.serve(ANY, function(stream)
            echo(stream)
        end, { max_connections = 40 })
        local address = server:addresses()[1]
        local function visit()
            for _ = 1, 20 do
                local client = connect(address)
                local how = random(1, 4)
                if how > 1 then client:write "one\ntwo" end
                if how > 2 then client:read() end
                if how == 4 then client:write_eof() end
                if random(1, 2) == 1 then client:abort() else client:close() end
            end
        end
        local visitors = {}
        for i = 1, 20 do
            visitors[i] = neap.spawn(visit)
        end
        neap.gather((table.unpack or rawget(_G, "unpack"))(visitors))
        eventually(function() return server:metrics().open == 0 and server:metrics().accepted >= 390 end)
        stop(server)
    end, { reports = true }))
end)

-- Yields without a function of ours: nothing, futures, descriptors with a direction.
local neap = require "neap"
local helper = require "support.helper"
local in_real_loop, raises, ticks = helper.in_real_loop, helper.raises, helper.ticks

describe("raw yield", function()
    it("N15: a task that yields a descriptor and 'read' resumes when it is readable", in_real_loop(function()
        local a, b = neap.socketpair()
        local resumed = false
        local task = neap.spawn(function()
            coroutine.yield(a:fileno(), "read")
            resumed = true
            return a:try_recv(10)
        end)
        ticks(3)
        assert.is_false(resumed)
        b:try_send "now"
        assert.equal("now", task:await())
        a:close()
        b:close()
    end))

    it("N15: a task that yields a descriptor and 'write' resumes when it is writable", in_real_loop(function()
        local a, b = neap.socketpair()
        local filled = 0
        while true do
            local n, err = a:try_send(("x"):rep(65536))
            if not n then
                assert.equal("EAGAIN", err.code)
                break
            end
            filled = filled + n
        end
        local task = neap.spawn(function()
            coroutine.yield(a:fileno(), "write")
            return a:try_send "y"
        end)
        ticks(3)
        assert.is_false(task:done())
        local drained = 0
        while drained < filled do
            drained = drained + #b:recv(1024 * 1024)
        end
        assert.equal(1, task:await())
        a:close()
        b:close()
    end))

    it("N15: a socket serves as the descriptor", in_real_loop(function()
        local a, b = neap.socketpair()
        coroutine.yield(a, "write")
        b:try_send "x"
        coroutine.yield(a, "read")
        assert.equal("x", a:try_recv(1))
        a:close()
        b:close()
    end))

    it("N15: a descriptor that is ready already resumes too", in_real_loop(function()
        local a, b = neap.socketpair()
        b:try_send "x"
        ticks(2)
        coroutine.yield(a:fileno(), "read")
        coroutine.yield(a:fileno(), "read") -- nothing was taken
        assert.equal("x", a:try_recv(1))
        a:close()
        b:close()
    end))

    it("N15: a peer that closed makes the descriptor readable", in_real_loop(function()
        local a, b = neap.socketpair()
        local task = neap.spawn(function()
            coroutine.yield(a:fileno(), "read")
            return a:try_recv(1)
        end)
        neap.yield()
        b:close()
        assert.equal("", task:await())
        a:close()
    end))

    it("N15: an unknown event word is a bad yield", in_real_loop(function()
        local a, b = neap.socketpair()
        raises("bad_yield", coroutine.yield, a:fileno(), "listen")
        raises("bad_yield", coroutine.yield, a, "")
        raises("bad_yield", coroutine.yield, a, 1)
        raises("bad_yield", coroutine.yield, "read", a)
        a:close()
        b:close()
    end))

    it("N15: a closed descriptor is an error at the yield, and the loop lives", in_real_loop(function()
        local a, b = neap.socketpair()
        local fd = a:fileno()
        a:close()
        local err = raises("EBADF", coroutine.yield, fd, "read")
        assert.equal("number", type(err.errno))
        raises("closed", coroutine.yield, a, "read")
        raises("EBADF", coroutine.yield, -1, "write")
        raises("EBADF", coroutine.yield, 1000000, "read")
        neap.sleep(0)
        b:close()
    end))

    it("N15: a regular file is refused alike on every backend", in_real_loop(function()
        local before = helper.descriptors()
        local file = assert(io.open(helper.source_dir .. "/CMakeLists.txt"))
        local fd
        for n in pairs(helper.descriptors()) do
            fd = before[n] and fd or n
        end
        raises("EPERM", coroutine.yield, fd, "read")
        file:close()
    end))

    it("N15: a cancelled wait leaves the descriptor free", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local task = neap.spawn(coroutine.yield, a:fileno(), "read")
        ticks(2)
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.equal(0, loop:metrics().operations)
        b:try_send "x"
        coroutine.yield(a:fileno(), "read")
        assert.equal("x", a:try_recv(1))
        a:close()
        b:close()
    end))

    -- The seed's echo server, line by line.
    local function handle_client(c)
        while true do
            coroutine.yield(c, "read")
            local data = c:try_recv(1024)
            if #data == 0 then
                c:close()
                return "Connection Closed"
            end
            coroutine.yield(c, "write")
            c:try_send(data)
        end
    end

    local function handle_clients(s, handlers)
        while true do
            coroutine.yield(s, "read")
            local c = s:try_accept()
            handlers[#handlers + 1] = neap.spawn(handle_client, c)
        end
    end

    local function listen()
        local s = neap.tcp()
        assert(s:bind "127.0.0.1:0")
        assert(s:listen(5))
        return s
    end

    it("N15 N16: the echo server of raw yields serves two clients at once", in_real_loop(function()
        local s, handlers = listen(), {}
        local server = neap.spawn(handle_clients, s, handlers)
        local address = s:getsockname()
        local clients = {}
        for i = 1, 2 do
            clients[i] = neap.tcp()
            assert(clients[i]:connect(address))
        end
        for round = 1, 10 do
            for i = 1, 2 do
                local text = ("client %d, round %d"):format(i, round)
                clients[i]:sendall(text)
            end
            for i = 1, 2 do
                local text = ("client %d, round %d"):format(i, round)
                assert.equal(text, clients[i]:recv(100))
            end
        end
        for i = 1, 2 do
            clients[i]:close()
        end
        for _, handler in ipairs(handlers) do
            handler:await()
        end
        server:cancel()
        raises("cancelled", neap.await, server)
        s:close()
    end))

    it("N16: the value that a handler returns is the result of its task", in_real_loop(function()
        local s, handlers = listen(), {}
        local server = neap.spawn(handle_clients, s, handlers)
        local client = neap.tcp()
        assert(client:connect(s:getsockname()))
        client:close()
        neap.wait_for(function()
            while #handlers == 0 do
                neap.yield()
            end
        end, helper.patience)
        assert.equal("Connection Closed", handlers[1]:await())
        server:cancel()
        raises("cancelled", neap.await, server)
        s:close()
    end))

    it("N17: a second waiter on one descriptor and direction is refused, the first unharmed", in_real_loop(function()
        local a, b = neap.socketpair()
        local first = neap.spawn(function()
            coroutine.yield(a:fileno(), "read")
            return a:try_recv(10)
        end)
        ticks(2)
        raises("busy_fd", coroutine.yield, a:fileno(), "read")
        coroutine.yield(a:fileno(), "write") -- the other direction is free
        b:try_send "mine"
        assert.equal("mine", first:await())
        a:close()
        b:close()
    end))

    it("N17: a reader callback and a raw wait exclude each other", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        loop:add_reader(a:fileno(), function() end)
        raises("busy_fd", coroutine.yield, a:fileno(), "read")
        loop:remove_reader(a:fileno())
        local task = neap.spawn(coroutine.yield, a:fileno(), "read")
        ticks(2)
        raises("busy_fd", loop.add_reader, loop, a:fileno(), function() end)
        b:try_send "x"
        task:await()
        a:close()
        b:close()
    end))
end)

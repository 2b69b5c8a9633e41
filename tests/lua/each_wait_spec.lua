-- Every function that waits, cancelled at each of its waits in turn, by a request to the task and by its scope:
-- afterwards nothing is lost and nothing is left.
local neap = require "neap"
local helper = require "support.helper"
local testing = require "neap.testing"

-- Each scenario makes fresh things and gives: body, run by the victim; verify(), once the victim has ended; the tasks
-- that help it are made by `aside` and end with the round.
local scenarios = {}

-- The words that the trace has for a wait that begins.
local begins = { suspend = true, yield = true }

local function count_waits(loop)
    local n = 0
    for _, entry in ipairs(loop:trace(false)) do
        if begins[entry.event] and entry.task == "victim" then
            n = n + 1
        end
    end
    loop:trace(true)
    return n
end

-- Cancels the victim in its k-th wait; whether it came so far.
local function cancel_at(loop, k, task, cancel)
    local waits, idle = 0, 0
    for _ = 1, 10000 do
        local n = count_waits(loop)
        waits, idle = waits + n, n > 0 and 0 or idle + 1
        if task:done() then
            return false
        end
        if waits >= k then
            cancel()
            return true
        end
        if idle < 3 then
            neap.yield()
        else
            neap.sleep(0.001)
        end
    end
    error "the victim does not come to its end"
end

local function spawn_victim(body, how)
    local scope
    local task = neap.spawn {
        function()
            if how == "request" then
                return body()
            end
            return neap.scope(function(own)
                scope = own
                return body()
            end)
        end,
        name = "victim",
    }
    return task, function()
        if how == "request" then
            task:cancel("enough")
        else
            scope:cancel("enough")
        end
    end
end

local function end_all(tasks)
    for _, task in ipairs(tasks) do
        task:cancel()
    end
    if tasks[1] then
        neap.wait(tasks)
    end
end

-- One round; whether the victim was still waiting for the k-th time.
local function round(loop, make, how, k)
    local helpers = {}
    local body, verify = make(function(fn, ...)
        helpers[#helpers + 1] = neap.spawn(fn, ...)
        return helpers[#helpers]
    end)
    local task, cancel = spawn_victim(body, how)
    loop:trace(true)
    local cancelled = cancel_at(loop, k, task, cancel)
    loop:trace(false)
    local _, pending = neap.wait({ task }, { timeout = 60 })
    assert(not pending[1], "a cancelled victim does not end")
    if not task:cancelled() then
        local err = task:exception()
        assert(err == nil, tostring(err))
    end
    if verify then
        verify(cancelled)
    end
    end_all(helpers)
    return cancelled
end

local function at_each_wait(name, real)
    return (real and helper.in_real_loop or helper.in_loop)(function(loop)
        for _, how in ipairs { "request", "scope" } do
            local k = 1
            while round(loop, scenarios[name], how, k) do
                k = k + 1
                assert(k < 200, "the scenario has no end")
            end
            assert(k > 1, "the victim never waits")
        end
    end)
end

-- --- tasks and time ---------------------------------------------------------------------------

scenarios["sleep yield"] = function()
    return function()
        neap.sleep(1)
        neap.yield()
        neap.sleep(0)
    end
end

scenarios["await"] = function(aside)
    local future, task = neap.future(), aside(neap.sleep, 2)
    aside(function()
        neap.sleep(1)
        if not future:done() then
            future:set_result(1)
        end
    end)
    return function()
        future:await()
        neap.await(task)
    end
end

scenarios["gather"] = function()
    local live = 0
    local function member(seconds)
        return function()
            live = live + 1
            pcall(neap.sleep, seconds)
            live = live - 1
        end
    end
    return function()
        neap.gather(member(1), member(2), member(3))
    end, function()
        assert.equal(0, live)
    end
end

scenarios["wait wait_for"] = function(aside)
    local slow = aside(neap.sleep, 3)
    return function()
        neap.wait({ slow, neap.shield(slow) }, { timeout = 1 })
        pcall(neap.wait_for, neap.shield(slow), 1)
        neap.wait { slow }
    end
end

scenarios["timeout move_on shielded scope"] = function()
    local inside = 0
    local function nap(seconds)
        inside = inside + 1
        local ok, err = pcall(neap.sleep, seconds)
        inside = inside - 1
        if not ok then
            error(err, 0)
        end
    end
    return function()
        neap.timeout(5, nap, 1)
        neap.move_on(1, nap, 5)
        neap.shielded(2, nap, 1)
        neap.scope(function(scope)
            scope:deadline(neap.loop():time() + 1)
            nap(5)
        end)
    end, function()
        assert.equal(0, inside)
    end
end

scenarios["group start join"] = function()
    local live = 0
    local function member(ready)
        live = live + 1
        local ok, err = pcall(function()
            neap.sleep(1)
            if ready then
                ready("ready")
            end
            neap.sleep(1)
        end)
        live = live - 1
        if not ok then
            error(err, 0)
        end
    end
    return function()
        neap.group(function(group)
            group:spawn(member)
            assert(group:start(member) == "ready")
            neap.sleep(0.5)
        end)
    end, function()
        assert.equal(0, live)
    end
end

scenarios["select each_completed"] = function(aside)
    local a, b, sent, got = neap.channel(), neap.channel(1), 0, 0
    aside(function()
        for i = 1, 20 do
            neap.sleep(0.5)
            if (i % 2 == 0 and a or b):send(i) then
                sent = sent + 1
            end
        end
    end)
    return function()
        for _ = 1, 4 do
            local i, value = neap.select { a, b, function() neap.sleep(5) end }
            got = got + (i < 3 and value and 1 or 0)
        end
        helper.each(function(future)
            future:result()
        end, neap.each_completed { function() neap.sleep(1) end, function() neap.sleep(2) end })
    end, function()
        local left = 0
        neap.sleep(0)
        while a:try_recv() or b:try_recv() do
            left = left + 1
            neap.sleep(0)
        end
        neap.sleep(0)
        assert.equal(sent, got + left)
    end
end

scenarios["coroutine resume wrap"] = function()
    return function()
        local generator = coroutine.wrap(function()
            for i = 1, 3 do
                neap.sleep(1)
                coroutine.yield(i)
            end
        end)
        assert(generator() + generator() + generator() == 6)
    end
end

-- --- what tasks share ---------------------------------------------------------------------------

scenarios["lock acquire"] = function(aside)
    local lock = neap.lock()
    aside(lock.with, lock, neap.sleep, 1)
    return function()
        for _ = 1, 2 do
            lock:with(neap.sleep, 1)
        end
    end, function()
        neap.sleep(5)
        assert.is_false(lock:locked())
    end
end

scenarios["condition wait"] = function(aside)
    local lock, ready = neap.lock(), false
    local changed = neap.condition(lock)
    local function wait_and_pass_on()
        changed:wait_for(function() return ready end)
        changed:notify(1)
    end
    local other = aside(lock.with, lock, wait_and_pass_on)
    aside(function()
        neap.sleep(1)
        lock:with(function()
            ready = true
            changed:notify(1)
            neap.sleep(1)
        end)
    end)
    return function()
        lock:with(function()
            wait_and_pass_on()
            neap.sleep(1)
        end)
    end, function()
        -- The one notification reaches the other in any case.
        neap.wait({ other }, { timeout = 10 })
        assert.is_true(other:done())
        assert.is_false(lock:locked())
    end
end

scenarios["semaphore limiter acquire"] = function(aside)
    local sem, limiter = neap.semaphore(1), neap.limiter(1)
    aside(sem.with, sem, neap.sleep, 1)
    aside(limiter.with, limiter, neap.sleep, 2)
    return function()
        sem:with(limiter.with, limiter, neap.sleep, 1)
    end, function()
        neap.sleep(5)
        assert.equal(1, sem:permits())
        assert.equal(0, limiter:borrowed())
    end
end

scenarios["event barrier wait"] = function(aside)
    local event, barrier = neap.event(), neap.barrier(2)
    aside(function()
        neap.sleep(1)
        event:set()
        neap.sleep(1)
        barrier:wait()
    end)
    return function()
        event:wait()
        barrier:wait()
    end, function(cancelled)
        neap.sleep(5)
        assert.equal(cancelled and 1 or 0, barrier:waiting())
    end
end

local function transfer(make, send, recv)
    return function(aside)
        local channel, sent, got = make(), 0, 0
        aside(function()
            for i = 1, 3 do
                neap.sleep(1)
                if channel[send](channel, i) then
                    sent = sent + 1
                end
            end
        end)
        return function()
            for _ = 1, 3 do
                if channel[recv](channel) then
                    got = got + 1
                end
            end
        end, function()
            while neap.move_on(5, channel[recv], channel) do
                got = got + 1
            end
            assert.equal(3, sent)
            assert.equal(3, got)
        end
    end
end

local function filling(make, send, recv)
    return function(aside)
        local channel, sent, got = make(), 0, 0
        aside(function()
            while channel[recv](channel) do
                got = got + 1
                neap.sleep(1)
            end
        end)
        return function()
            for i = 1, 4 do
                if channel[send](channel, i) then
                    sent = sent + 1
                end
            end
        end, function()
            neap.sleep(10)
            assert.equal(sent, got)
        end
    end
end

scenarios["channel recv"] = transfer(neap.channel, "send", "recv")
scenarios["channel send"] = filling(neap.channel, "send", "recv")
scenarios["shared channel recv"] = transfer(neap.shared_channel, "send", "recv")
scenarios["shared channel send"] = filling(neap.shared_channel, "send", "recv")
scenarios["queue get"] = transfer(function() return neap.queue(1) end, "put", "get")
scenarios["queue put"] = filling(function() return neap.queue(1) end, "put", "get")

scenarios["queue join"] = function(aside)
    local queue = neap.queue(5)
    queue:put(1)
    queue:put(2)
    aside(function()
        helper.each(function()
            neap.sleep(1)
            queue:task_done()
        end, queue:iter())
    end)
    return function()
        queue:join()
    end, function()
        queue:join()
        queue:close()
    end
end

-- --- sockets ------------------------------------------------------------------------------------

local function close_all(...)
    for _, sock in ipairs { ... } do
        sock:close()
    end
end

local function listen()
    local listener = neap.tcp()
    assert(listener:bind "127.0.0.1:0")
    assert(listener:listen())
    return listener, listener:getsockname()
end

scenarios["accept"] = function(aside)
    local listener, address = listen()
    local connected, accepted = 0, 0
    local connector = aside(function()
        for _ = 1, 3 do
            local conn = neap.tcp()
            neap.sleep(0.002)
            if conn:connect(address) then
                connected = connected + 1
            end
            conn:close()
        end
    end)
    local function accept()
        local conn = listener:accept()
        if conn then
            accepted = accepted + 1
            conn:close()
        end
    end
    return function()
        for _ = 1, 3 do
            accept()
        end
    end, function()
        while accepted < 3 do
            accept()
        end
        neap.wait { connector }
        assert.equal(3, connected)
        listener:close()
    end
end

scenarios["connect"] = function()
    local listener, address = listen()
    return function()
        for _ = 1, 3 do
            local conn = neap.tcp()
            local ok, err = pcall(conn.connect, conn, address)
            conn:close()
            if not ok then
                error(err, 0)
            end
        end
    end, function()
        listener:close()
    end
end

scenarios["recv"] = function(aside)
    local a, b = neap.socketpair()
    local got = {}
    aside(function()
        for _, word in ipairs { "one ", "two ", "three" } do
            neap.sleep(0.002)
            a:sendall(word)
        end
        a:close()
    end)
    local function receive()
        local data = b:recv(100)
        got[#got + 1] = data
        return data
    end
    return function()
        while receive() do -- luacheck: ignore 542
        end
    end, function()
        while receive() do -- luacheck: ignore 542
        end
        assert.equal("one two three", table.concat(got))
        b:close()
    end
end

scenarios["send sendall"] = function(aside)
    local a, b = neap.socketpair()
    local sent, got, size = 0, 0, 1000000
    local reader = aside(function()
        for _ = 1, 100000 do
            local data = b:recv(30000)
            if not data then
                return
            end
            got = got + #data
            neap.sleep(0.001)
        end
    end)
    local function count(ok, n, err)
        if not ok then
            sent = sent + (type(n) == "table" and n.partial or 0)
            error(n, 0)
        end
        sent = sent + (n or err and err.partial or 0)
    end
    return function()
        count(pcall(function()
            return a:sendall(("x"):rep(size)) and size
        end))
        count(pcall(a.send, a, ("y"):rep(1000)))
    end, function()
        a:close()
        neap.wait({ reader }, { timeout = 30 })
        assert.equal(sent, got)
        b:close()
    end
end

scenarios["recvfrom sendto"] = function(aside)
    local a, b = neap.udp(), neap.udp()
    assert(a:bind "127.0.0.1:0")
    assert(b:bind "127.0.0.1:0")
    local there, got = b:getsockname(), 0
    aside(function()
        for _ = 1, 3 do
            neap.sleep(0.002)
            a:sendto("datagram", there)
        end
    end)
    local function receive()
        if b:recvfrom(100) then
            got = got + 1
        end
    end
    return function()
        for _ = 1, 3 do
            receive()
        end
    end, function()
        while got < 3 do
            receive()
        end
        close_all(a, b)
    end
end

scenarios["read_exactly read_line read_until read_all read_some fill"] = function(aside)
    local a, b = neap.stream_pair()
    local text = "four line\nup to:some rest"
    aside(function()
        for piece in text:gmatch "..?" do
            neap.sleep(0.001)
            a:write(piece)
        end
        a:close()
    end)
    local got = {}
    local function take(data, err)
        assert(data, err)
        got[#got + 1] = data
    end
    return function()
        take(b:read_exactly(4))
        take(b:read_line(true))
        take(b:read_until(":"))
        take(b:read_some(3))
        b:fill(5)
        take(b:read_all())
    end, function()
        take(b:read_all())
        assert.equal(text, table.concat(got))
        b:close()
    end
end

scenarios["write drain write_eof sendfile close"] = function(aside)
    local a, b = neap.stream_pair()
    local file = assert(io.open(helper.source_dir .. "/README.md"))
    local length = file:seek "end"
    local got, lost = 0, false
    local reader = aside(function()
        for _ = 1, 100000 do
            local data = b:read(100000)
            if not data then
                return
            end
            got = got + #data
            neap.sleep(0.001)
        end
    end)
    local wrote = 0
    return function()
        a:set_marks(1000, 2000)
        for _ = 1, 2 do
            wrote = wrote + 300000
            a:write(("x"):rep(300000))
        end
        a:drain()
        wrote = wrote + length
        a:sendfile(file)
        a:write_eof()
        local ok, err = pcall(a.close, a)
        lost = not ok
        if not ok then
            error(err, 0)
        end
    end, function()
        a:close()
        neap.wait({ reader }, { timeout = 30 })
        assert.is_true(reader:done())
        assert.is_true(lost or got == wrote)
        file:close()
        b:close()
    end
end

scenarios["recv_many"] = function(aside)
    local a, b = neap.udp(), neap.udp()
    assert(a:bind "127.0.0.1:0")
    assert(b:bind "127.0.0.1:0")
    local there, got = b:getsockname(), 0
    aside(function()
        for _ = 1, 3 do
            neap.sleep(0.002)
            a:send_many({ "one", "two" }, there)
        end
    end)
    local function receive()
        got = got + #assert(b:recv_many())
    end
    return function()
        while got < 6 do
            receive()
        end
    end, function()
        while got < 6 do
            receive()
        end
        close_all(a, b)
    end
end

scenarios["send_many"] = function(aside)
    local a, b = neap.socketpair "dgram"
    local sent, got, list = 0, 0, {}
    for i = 1, 2000 do
        list[i] = "datagram"
    end
    local reader = aside(function()
        for _ = 1, 100000 do
            local data = b:recv_many(128)
            if not data then
                return
            end
            got = got + #data
            neap.sleep(0.001)
        end
    end)
    return function()
        for _ = 1, 2 do
            local ok, n = pcall(a.send_many, a, list)
            sent = sent + (ok and n or n.partial or 0)
            if not ok then
                error(n, 0)
            end
        end
    end, function()
        for _ = 1, 10000 do
            if got == sent then
                break
            end
            neap.sleep(0.001)
        end
        assert.equal(sent, got)
        close_all(a, b)
        neap.wait { reader }
    end
end

-- A descriptor that went in comes out, and none is left.
scenarios["send_fds recv_fds"] = function(aside)
    local a, b = neap.socketpair()
    local before, sent, got = helper.count_descriptors(), 0, 0
    local function receive()
        local data, fds = b:recv_fds(65536)
        for _, fd in ipairs(fds) do
            got = got + 1
            fd:close()
        end
        return data
    end
    local function send()
        a:send_fds("one", { b })
        sent = sent + 1
    end
    aside(function()
        for _ = 1, 2 do
            neap.sleep(0.002)
            send()
        end
    end)
    return function()
        while got < 2 do
            receive()
        end
        while a:try_send(("x"):rep(65536)) do -- luacheck: ignore 542
        end
        aside(function()
            neap.sleep(0.002)
            while got < 3 do
                receive()
            end
        end)
        send()
    end, function()
        neap.sleep(0.01)
        while got < sent do
            receive()
        end
        assert.equal(before, helper.count_descriptors())
        a:close()
        while b:recv(65536) do -- luacheck: ignore 542
        end
        b:close()
    end
end

scenarios["server accept wait_closed serve_forever"] = function(aside)
    local server = neap.listen "127.0.0.1:0"
    local address = server:addresses()[1]
    local handled = neap.serve("127.0.0.1:0", function() end)
    local got, sent = 0, 0
    aside(function()
        for _ = 1, 3 do
            neap.sleep(0.001)
            local conn = neap.tcp()
            if not conn:connect(address) then return conn:close() end
            sent = sent + 1
            conn:recv()
            conn:close()
        end
    end)
    return function()
        for _ = 1, 3 do
            local conn = assert(server:accept())
            got = got + 1
            conn:close()
        end
        aside(function()
            neap.sleep(0.001)
            server:close()
        end)
        server:wait_closed()
        aside(function()
            neap.sleep(0.001)
            handled:close()
        end)
        handled:serve_forever()
    end, function()
        server:abort()
        server:wait_closed()
        handled:abort()
        handled:wait_closed()
        assert.is_true(got <= 3 and sent <= 3)
    end
end

scenarios["resolve getnameinfo connect_sock"] = function()
    local listener, open = neap.tcp(), {}
    assert(listener:bind "127.0.0.1:0")
    assert(listener:listen())
    local address = "localhost:" .. listener:getsockname():match ":(%d+)$"
    return function()
        neap.resolve("127.0.0.1", "https") -- the port is in a file
        neap.getnameinfo "127.0.0.1:443"
        local sock = neap.connect_sock(address)
        open[1] = sock
        local stream = neap.connect(address)
        open[2] = stream
    end, function()
        close_all(listener, open[1], open[2])
    end
end

scenarios["raw wait for a descriptor"] = function(aside)
    local a, b = neap.socketpair()
    aside(function()
        neap.sleep(0.005)
        a:sendall("x")
    end)
    return function()
        coroutine.yield(b, "read")
        coroutine.yield(a, "write")
    end, function()
        close_all(a, b)
    end
end

scenarios["blocking run shutdown"] = function()
    local pool = neap.pool { threads = 1 }
    local function work(n)
        for i = 1, 1000 do n = n + i end
        return { n }
    end
    return function()
        neap.blocking(work, 1)
        pool:run(work, 2)
        pool:run(work, 3)
        pool:shutdown()
    end, function()
        assert.same({}, (pool:shutdown()))
        assert.equal(0, pool:stats().threads)
    end
end

scenarios["wait_all_blocked"] = function()
    return function()
        testing.wait_all_blocked()
        testing.wait_all_blocked(0.001)
    end, function()
        testing.wait_all_blocked() -- the next one is served
    end
end

scenarios["wait_shutdown"] = function()
    return function()
        for _ = 1, 2 do
            neap.move_on(0.002, neap.wait_shutdown)
        end
    end, function()
        assert(not neap.shutting_down())
    end
end

scenarios["process wait communicate close"] = function()
    local started = {}
    local function start(options)
        started[#started + 1] = assert(neap.process(options))
        return started[#started]
    end
    return function()
        start({ "sh", "-c", "sleep 0.005; exit 3" }):wait()
        start({ "sh", "-c", "sleep 0.005; cat", stdin = "pipe", stdout = "pipe" }):communicate "text"
        start({ "sleep", "1000" }):close()
    end, function()
        for _, process in ipairs(started) do
            process:close(0)
            assert.is_true(select("#", process:status()) > 0)
        end
    end
end

scenarios["signal stream recv __call"] = function(aside)
    local stream, sent, got = neap.signal("USR1", "USR2", "WINCH", "URG"), 0, 0
    aside(function()
        local names = { "USR1", "USR2", "WINCH", "URG" } -- the same twice could count once
        for i = 1, 4 do
            neap.sleep(0.005)
            os.execute("kill -" .. names[i] .. " $PPID")
            sent = sent + 1
        end
    end)
    return function()
        for _ = 1, 2 do
            stream:recv()
            got = got + 1
            stream()
            got = got + 1
        end
    end, function()
        helper.ticks(3)
        while stream:try_recv() do
            got = got + 1
        end
        assert.equal(sent, got)
        stream:close()
    end
end

-- What is on disk afterwards is whole or not there; descriptors that nobody took are closed, as the helper checks.
scenarios["open mkstemp mkdtemp read write append replace unlink rmdir readlink realpath stat lstat readdir mkdir"
    .. " chmod utimes truncate rename copy symlink link"] = function()
    local fs, dir = neap.fs, nil
    return function()
        dir = "/tmp/neap-each-" .. math.random(1e9)
        assert(fs.mkdir(dir))
        local path = dir .. "/file"
        assert(fs.write(path, "text"))
        assert(fs.append(path, " more"))
        assert(fs.read(path))
        assert(fs.copy(path, dir .. "/copy"))
        assert(fs.replace(path, "new"))
        assert(fs.rename(dir .. "/copy", dir .. "/moved"))
        assert(fs.symlink("file", dir .. "/symlink"))
        assert(fs.link(path, dir .. "/link"))
        assert(fs.readlink(dir .. "/symlink"))
        assert(fs.realpath(path))
        assert(fs.stat(path) and fs.lstat(path))
        assert(fs.chmod(path, 384))
        assert(fs.utimes(path, "now"))
        assert(fs.truncate(path, 1))
        assert(fs.readdir(dir))
        assert(fs.open(path)):close()
        assert(fs.mkstemp(dir .. "/t-XXXXXX")):close()
        assert(fs.rmdir(assert(fs.mkdtemp(dir .. "/d-XXXXXX"))))
        assert(fs.unlink(dir .. "/moved"))
    end, function()
        local text = fs.read(dir .. "/file")
        assert(not text or #text <= 9)
        fs.remove_tree(dir)
    end
end

scenarios["read_line read_some read_all fill pread write pwrite seek stat sync truncate close"] = function()
    local fs = neap.fs
    local path = "/tmp/neap-each-" .. math.random(1e9)
    local file = assert(fs.open(path, "w+"))
    return function()
        assert(file:write(("line\n"):rep(100000)))
        assert(file:seek("end") > 0)
        assert(file:stat() and file:sync())
        assert(file:seek("set", 0))
        assert(file:read(300000) and file:read("l") and file:pread(300000, 0))
        assert(file:fill(300000) and file:read("a"))
        assert(file:pwrite("x", 0))
        assert(file:truncate(1))
        file:close()
    end, function()
        assert(file:close())
        assert(fs.unlink(path))
    end
end

scenarios["next_event"] = function(aside)
    local fs, dir = neap.fs, assert(neap.fs.mkdtemp())
    local watch = assert(fs.watch(dir))
    aside(function()
        neap.sleep(0.003)
        fs.write(dir .. "/file", "")
    end)
    return function()
        assert(watch:next())
    end, function()
        watch:close()
        fs.remove_tree(dir)
    end
end

local on_sockets = {
    next_event = true,
    accept = true, connect = true, recv = true, ["send sendall"] = true, ["recvfrom sendto"] = true,
    recv_many = true, send_many = true, ["send_fds recv_fds"] = true,
    ["raw wait for a descriptor"] = true,
    ["server accept wait_closed serve_forever"] = true,
    ["process wait communicate close"] = true, ["signal stream recv __call"] = true,
    ["read_exactly read_line read_until read_all read_some fill"] = true,
    ["write drain write_eof sendfile close"] = true,
    ["resolve getnameinfo connect_sock"] = true,
    ["read_line read_some read_all fill pread write pwrite seek stat sync truncate close"] = true,
    ["open mkstemp mkdtemp read write append replace unlink rmdir readlink realpath stat lstat readdir mkdir"
        .. " chmod utimes truncate rename copy symlink link"] = true,
}

describe("cancelled at each wait, nothing is lost or left:", function()
    local names = {}
    for name in pairs(scenarios) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        it(name, at_each_wait(name, on_sockets[name]))
    end

    it("these are all functions that wait", function()
        local core = require(helper.is_luajit and "neap.corejit" or "neap.core")
        local known = " " .. table.concat(names, " ") .. " "
        local elsewhere = { exit = true, now = true, __close = true } -- ends the program; parts of select and of blocks
        for _, entry in ipairs(core.waits or {}) do
            local name = entry[2]
            assert(elsewhere[name] or known:find(" " .. name .. " ", 1, true), name .. " has no scenario")
        end
    end)
end)

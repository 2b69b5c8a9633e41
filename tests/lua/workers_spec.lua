-- Workers: one script in many threads, which listen together, fail and come back, and stop in order.
local helper = require "support.helper"
local process = require "support.process"

local neap = helper.neap
local in_loop = helper.in_real_loop

-- The command with workers, in the background.
local function start(n, text, options)
    options = options or {}
    local dir = process.temp_dir()
    process.write_file(dir .. "/script.lua", text)
    local argv = { helper.command, "--workers", tostring(n) }
    if options.control then argv[#argv + 1] = "--control" end
    argv[#argv + 1] = dir .. "/script.lua"
    for _, arg in ipairs(options.args or {}) do
        argv[#argv + 1] = arg
    end
    local child = process.start(argv, { env = options.env })
    child.extra = dir
    return child
end

local function run(n, text, options)
    local child = start(n, text, options)
    local code = child:wait()
    local out, err = child:out(), child:err()
    child:dispose()
    return code, out, err
end

-- As process.await, for tests that run in a loop.
local function await(what, probe)
    neap.timeout(helper.patience, function()
        while not probe() do
            neap.sleep(0.01)
        end
    end)
    return what
end

local function connect(address)
    local conn = address:find("/", 1, true) and neap.unix() or neap.tcp()
    assert(conn:connect(address))
    return conn
end

local function ask(address, text)
    local conn = connect(address)
    assert(conn:sendall(text))
    local answer = conn:recv(1000)
    conn:close()
    return answer
end

-- Says its number to whoever asks, fails on request, listens where it is told.
local server = [[
    local neap = require "neap"
    local address = ...
    local listener <CLOSE> = address:find("/", 1, true) and neap.unix() or neap.tcp()
    assert(listener:bind(address))
    assert(listener:listen())
    io.write("address ", listener:getsockname(), "\n")
    io.stdout:flush()
    local function serve(conn)
        local text = conn:recv(100)
        while text do
            if text == "fail" then
                MAIN:cancel "told to fail"
                return
            end
            conn:sendall(tostring(neap.worker.id))
            text = conn:recv(100)
        end
        conn:close()
    end
    MAIN = neap.current_task()
    local ok, err = pcall(function()
        while true do
            neap.spawn(serve, assert(listener:accept()))
        end
    end)
    if neap.shutting_down() then error(err, 0) end
    error "failed as told"
]]
server = server:gsub("<CLOSE>", helper.has_close and "<close>" or "")

local function start_server(n, address, options)
    options = options or {}
    options.args = { address or "127.0.0.1:0" }
    local child = start(n, server, options)
    local found = child:await_line "address (%S+)"
    process.await("all listeners", function()
        local _, lines = child:out():gsub("address ", "")
        return lines >= n
    end)
    return child, found
end

describe("workers: the command", function()
    it("runs the script in each, which knows its number", function()
        local code, out, err = run(3, [[
            local neap = require "neap"
            print("worker", neap.worker.id, neap.worker.count, neap.worker.restarts, ...)
            print("args", arg[1], arg[2], #arg)
        ]], { args = { "x", "y" } })
        assert.equal("", err)
        assert.equal(0, code)
        local seen = {}
        for id in out:gmatch "worker\t(%d+)\t3\t0\tx\ty" do
            seen[id] = true
        end
        assert.same({ ["1"] = true, ["2"] = true, ["3"] = true }, seen)
        helper.contains("args\tx\ty\t2", out)
    end)

    it("one that fails at start ends all, with its message", function()
        local code, _, err = run(3, [[
            local neap = require "neap"
            if neap.worker.id == 2 then error "cannot begin" end
            neap.sleep(1000)
        ]])
        assert.equal(1, code)
        assert.matches("^neap: worker 2 has failed: [^\n]*script%.lua:2: cannot begin\nstack traceback", err)
        local _, lines = err:gsub("cannot begin", "")
        assert.equal(1, lines)
    end)

    it("a script that is not there or cannot be compiled is said once", function()
        local result = process.run { helper.command, "--workers", "2", "/no/such/script.lua" }
        assert.equal(1, result.code)
        helper.contains("/no/such/script.lua", result.err)
        local code, _, err = run(2, "local x =\n=")
        assert.equal(1, code)
        helper.contains("script.lua:2:", err)
    end)

    it("an address that another process has is a failure at start", in_loop(function()
        local taken = neap.tcp()
        assert(taken:bind "127.0.0.1:0")
        assert(taken:listen())
        local code, _, err = run(2, server, { args = { taken:getsockname() } })
        assert.equal(1, code)
        helper.contains("address already in use", err)
        taken:close()
    end))

    it("the number is checked, and that there is a script", function()
        for _, args in ipairs { { "--workers" }, { "--workers", "0" }, { "--workers", "x", "a.lua" },
            { "--workers", "2" }, { "--workers", "2", "-e", "x = 1", "a.lua" } } do
            local argv = { helper.command, helper.unpack(args) }
            local result = process.run(argv)
            assert.equal(1, result.code)
            assert.not_equal("", result.err)
        end
    end)

    it("exit gives the command its status", function()
        local code, _, err = run(2, [[
            local neap = require "neap"
            if neap.worker.id == 1 then neap.exit(7) end
            neap.sleep(1000)
        ]])
        assert.equal(7, code)
        helper.contains("worker 1 has exited with status 7", err)
        assert.equal(0, (run(2, "require 'neap'.exit(0)")))
    end)

    it("they listen at one port, and each gets connections", in_loop(function()
        local child, address = start_server(2)
        assert.equal(2, select(2, child:out():gsub("address " .. address:gsub("%p", "%%%0"), "")))
        local seen = {}
        await("both", function()
            seen[ask(address, "who")] = true
            return seen["1"] and seen["2"]
        end)
        child:signal "TERM"
        assert.equal(143, child:wait())
        assert.equal("", child:err())
        child:dispose()
    end))

    it("they listen at one Unix path", in_loop(function()
        local dir = process.temp_dir()
        local child, address = start_server(2, dir .. "/socket")
        for _ = 1, 20 do
            assert.matches("^[12]$", ask(address, "who"))
        end
        child:dispose()
        process.remove(dir)
    end))

    it("the echo server needs no change", in_loop(function()
        local child = process.start { helper.command, "--workers", "2",
            helper.source_dir .. "/scripts/echo_server.lua", "127.0.0.1:0" }
        local address = child:await_line "listening on (%S+)"
        for i = 1, 20 do
            assert.equal("hello " .. i, ask(address, "hello " .. i))
        end
        child:signal "INT"
        assert.equal(130, child:wait())
        child:dispose()
    end))
end)

describe("workers: restarts", function()
    it("one that fails is started again, and no connection is lost", in_loop(function()
        local child, address = start_server(2)
        local lost, answered = {}, 0
        local stop = false
        local clients = neap.spawn(function()
            neap.group(function(group)
                for _ = 1, 8 do
                    group:spawn(function()
                        while not stop do
                            local conn = connect(address)
                            assert(conn:sendall "who")
                            local answer, err = conn:recv(100)
                            if answer then
                                answered = answered + 1
                            else
                                lost[#lost + 1] = tostring(err)
                            end
                            conn:close()
                        end
                    end)
                end
            end)
        end)
        for i = 1, 3 do
            local conn = connect(address)
            assert(conn:sendall "fail")
            conn:recv(100)
            conn:close()
            await("restart " .. i, function()
                return select(2, child:out():gsub("address ", "")) >= 2 + i
            end)
        end
        stop = true
        neap.await(clients)
        -- A connection that the failing worker had accepted goes with it; those in its queue do not.
        assert.is_true(answered > 20)
        assert.is_true(#lost <= 3 * 8, #lost .. " lost: " .. (lost[1] or ""))
        helper.contains("failed as told; it is started again in 0.1 s", child:err())
        child:signal "TERM"
        child:wait()
        child:dispose()
    end))

    it("what waits in the queue of a worker waits for the next", in_loop(function()
        -- The worker listens, and accepts only in its second life.
        local child = start(1, [[
            local neap = require "neap"
            local listener = neap.tcp()
            assert(listener:bind "127.0.0.1:0")
            assert(listener:listen())
            io.write("address ", listener:getsockname(), "\n")
            io.stdout:flush()
            if neap.worker.restarts == 0 then
                neap.await(neap.spawn(function()
                    local fd = listener:fileno()
                    coroutine.yield(fd, "read")
                    neap.sleep(0.05)
                end))
                error "not yet"
            end
            while true do
                local conn = listener:accept()
                conn:sendall "from the second life"
                conn:close()
            end
        ]])
        local address = child:await_line "address (%S+)"
        local conns = {}
        for i = 1, 10 do
            conns[i] = connect(address)
        end
        for i = 1, 10 do
            assert.equal("from the second life", (conns[i]:recv(100)))
            conns[i]:close()
        end
        child:dispose()
    end))

    it("too many failures in a while end all, with the last one's message", function()
        local code, out, err = run(2, [[
            local neap = require "neap"
            io.write("life\n")
            io.stdout:flush()
            neap.sleep(0)
            if neap.worker.id == 1 then error "again and again" end
            neap.sleep(1000)
        ]])
        assert.equal(1, code)
        assert.equal(7, select(2, out:gsub("life\n", "")))
        assert.equal(5, select(2, err:gsub("it is started again", "")))
        assert.equal(6, select(2, err:gsub("again and again[\n;]", "")))
    end)
end)

describe("workers: the stop", function()
    local graceful = [[
        local neap = require "neap"
        local listener = neap.tcp()
        assert(listener:bind "127.0.0.1:0")
        assert(listener:listen())
        io.write("address ", listener:getsockname(), "\n")
        io.stdout:flush()
        neap.on_shutdown(listener.close, listener)
        local conn = listener:accept()
        neap.group(function(group)
            while conn do
                group:spawn(function(c)
                    local data = c:recv(100)
                    while data do
                        neap.sleep(0.05)
                        c:sendall(data)
                        data = c:recv(100)
                    end
                    c:close()
                end, conn)
                conn = listener:accept()
            end
        end)
        io.write("finished ", neap.worker.id, "\n")
    ]]

    it("all workers finish their connections, and nothing is lost", in_loop(function()
        local child = start(2, graceful)
        local address = child:await_line "address (%S+)"
        process.await("both", function()
            return select(2, child:out():gsub("address ", "")) == 2
        end)
        local conns = {}
        for i = 1, 20 do
            conns[i] = connect(address)
            assert(conns[i]:sendall("one " .. i))
            assert.equal("one " .. i, conns[i]:recv(100))
        end
        for i = 1, 20 do
            assert(conns[i]:sendall("two " .. i))
        end
        child:signal "TERM"
        for i = 1, 20 do
            assert.equal("two " .. i, conns[i]:recv(100))
            conns[i]:close()
        end
        assert.equal(0, child:wait())
        assert.equal(2, select(2, child:out():gsub("finished ", "")))
        child:dispose()
    end))

    it("a second signal ends the graces", function()
        local child = start(2, [[
            local neap = require "neap"
            io.write "up\n"
            io.stdout:flush()
            while true do
                pcall(neap.sleep, 1000)
                io.write "again\n"
                io.stdout:flush()
            end
        ]])
        process.await("both", function()
            return child:out():find "up\n.*up\n"
        end)
        child:signal "TERM"
        child:await_line "(again)"
        child:signal "TERM"
        assert.equal(143, child:wait())
        assert.is_nil(child:err():find("abandoned", 1, true))
        child:dispose()
    end)

    it("one that never returns to its loop is named, and the process ends all the same", function()
        local child = start(2, [[
            local neap = require "neap"
            neap.sleep(0)
            io.write "up\n"
            io.stdout:flush()
            if neap.worker.id == 2 then
                while true do end
            end
            neap.sleep(1000)
        ]])
        process.await("both", function()
            return child:out():find "up\n.*up\n"
        end)
        child:signal "TERM"
        os.execute "sleep 0.2"
        child:signal "TERM"
        assert.equal(143, child:wait())
        assert.equal("neap: worker 2 does not return to its loop and is abandoned\n", child:err())
        child:dispose()
    end)
end)

describe("workers: seen from outside", function()
    it("neap ps and neap tree show all", function()
        local place = process.temp_dir()
        local env = { XDG_RUNTIME_DIR = place }
        local child = start(2, [[
            local neap = require "neap"
            neap.spawn { neap.sleep, 1000, name = "sleeper" }
            neap.sleep(1000)
        ]], { control = true, env = env })
        local pid = tostring(child.pid)
        process.await("the sockets", function()
            return process.capture("ls " .. place .. "/neap 2>/dev/null | wc -l"):match "^%s*3"
        end)
        local text
        process.await("the tasks", function()
            text = process.run({ helper.command, "ps", pid }, { env = env }).out
            return select(2, text:gsub("sleeper", "")) == 2
        end)
        assert.matches("workers .*worker 1 of 2\n.*sleeper.*worker 2 of 2\n.*sleeper", text)
        text = process.run({ helper.command, "tree", pid }, { env = env }).out
        assert.matches("worker 1 of 2\nworker 1: 2 tasks\n.*worker 2 of 2\nworker 2: 2 tasks\n", text)
        child:signal "TERM"
        assert.equal(143, child:wait())
        assert.equal("", process.capture("ls " .. place .. "/neap"))
        child:dispose()
        process.remove(place)
    end)
end)

describe("neap.workers", function()
    local elsewhere = {}

    it("runs a function in other states, with arguments of all kinds", in_loop(function()
        local out = neap.shared_channel(10)
        local crew = neap.workers { 2, function(chan, text, n, x, yes, none, last)
            local inner = require "neap"
            chan:send(table.concat({ inner.worker.id, text, n, x, tostring(yes), tostring(none), last }, " "))
        end, out, "te\0xt", 3, 0.5, true, nil, "end", n = 9 }
        local got = { out:recv(), out:recv() }
        table.sort(got)
        assert.equal("1 te\0xt 3 0.5 true nil end", got[1])
        assert.equal("2 te\0xt 3 0.5 true nil end", got[2])
        assert.is_true(crew:wait())
        assert.equal("ended", crew:list()[1].state)
    end))

    it("channels have names in the workers", in_loop(function()
        local jobs, answers = neap.shared_channel(10), neap.shared_channel(10)
        local crew = neap.workers { 2, function()
            local inner = require "neap"
            local channels = inner.worker.channels
            local job = channels.jobs:recv()
            while job do
                channels.answers:send(job * job)
                job = channels.jobs:recv()
            end
        end, channels = { jobs = jobs, answers = answers } }
        for i = 1, 100 do
            jobs:send(i)
            if i > 5 then answers:recv() end
        end
        jobs:close()
        for _ = 1, 5 do
            answers:recv()
        end
        crew:wait()
    end))

    it("a function with upvalues is refused with the name of one", in_loop(function()
        local err = helper.raises("type_error", function()
            neap.workers { 1, function() return elsewhere end }
        end)
        helper.contains("uses 'elsewhere' from outside of itself", err.message)
        helper.contains("workers_spec.lua", err.where)
        err = helper.raises("type_error", neap.workers, { 1, neap.spawn })
        helper.contains("in C belongs to its Lua state", err.message)
    end))

    it("what makes no sense is refused", in_loop(function()
        local function fine() end
        for _, options in ipairs { { 0, fine }, { 1.5, fine }, { 257, fine }, { "2", fine }, { 1 }, { 1, {} },
            { 1, fine, restart = "always" }, { 1, fine, policy = "never" }, { 1, fine, channels = 1 } } do
            helper.raises("value_error", neap.workers, options)
        end
        helper.raises("value_error", neap.workers, 2)
    end))

    it("tables are copied, and each worker has its own", in_loop(function()
        local answers = neap.shared_channel(4)
        local shared = { 1 }
        local given = { name = "jobs", list = { shared, shared }, answers = answers }
        local crew = neap.workers { 2, function(options, none, last)
            local a, b = options.list[1], options.list[2]
            a[1] = a[1] + 1
            options.answers:send { options.name, a == b, b[1], none == nil, last }
        end, given, nil, "last" }
        given.name = "changed meanwhile"
        for _ = 1, 2 do
            assert.same({ "jobs", true, 2, true, "last" }, answers:recv())
        end
        crew:wait()
        assert.equal(1, shared[1])
    end))

    it("a worker that is started anew gets what the first one got", in_loop(function(_, reports)
        local answers = neap.shared_channel(4)
        local given = { 1 }
        local crew = neap.workers { 1, function(list, back)
            local inner = require "neap"
            inner.sleep(0)
            back:send(list[1])
            if inner.worker.restarts == 0 then error "again" end
        end, given, answers, backoff = 0 }
        given[1] = print
        assert.equal(1, answers:recv())
        assert.equal(1, answers:recv())
        assert.is_true(crew:wait())
        assert.equal(1, #reports)
    end, { reports = true }))

    it("what cannot be copied is named by its place", in_loop(function()
        local function nothing() end
        local err = helper.raises("type_error", neap.workers, { 1, nothing, 1, { window = { {}, nothing } } })
        helper.contains("argument 2.window[2]: a function cannot be copied", err.message)
        err = helper.raises("type_error", neap.workers, { 1, nothing, channels = { jobs = nothing } })
        helper.contains("channels.jobs: a function cannot be copied", err.message)
    end))

    it("a function in C without upvalues runs as it is", in_loop(function()
        assert.is_true(neap.workers { 1, os.getenv, "PATH" }:wait())
    end))

    it("ready tells when all have begun", in_loop(function()
        local crew = neap.workers { 2, function() require "neap".sleep(1000) end }
        assert.is_true(crew:ready())
        assert.equal("running", crew:list()[2].state)
        crew:stop()
        crew:wait()
        crew = neap.workers { 2, function() error "no" end, restart = "never" }
        assert.is_false(crew:ready())
        helper.raises("worker", crew.wait, crew)
    end))

    it("the sum of the figures is that of the parts", in_loop(function()
        local crew = neap.workers { 3, function()
            local inner = require "neap"
            inner.spawn(inner.sleep, 1000)
            inner.sleep(1000)
        end }
        crew:ready()
        local figures = crew:metrics()
        for _, name in ipairs { "tasks", "timers", "ticks", "runs", "bytes", "allocations", "busy" } do
            local sum = 0
            for id = 1, 3 do
                sum = sum + figures.workers[id][name]
            end
            assert.equal(sum, figures[name])
        end
        assert.equal(6, figures.tasks)
        assert.equal(6, figures.timers)
        crew:stop()
        crew:wait()
        assert.same({}, crew:metrics().workers)
    end))

    it("never: the others go on, and the failure is raised in the end", in_loop(function(_, reports)
        local go = neap.shared_channel(0)
        local crew = neap.workers { 2, function(chan)
            local inner = require "neap"
            inner.sleep(0)
            if inner.worker.id == 1 then error "once" end
            chan:recv()
        end, go, restart = "never" }
        await("the failure, and the other", function()
            local list = crew:list()
            return list[1].state == "ended" and list[2].state == "running"
        end)
        go:send(1)
        local err = helper.raises("worker", crew.wait, crew)
        assert.equal(1, err.worker)
        helper.contains("once", err.message)
        assert.equal(1, #reports)
    end, { reports = true }))

    it("a cancelled scope stops them", in_loop(function()
        local out = neap.shared_channel(10)
        local crew
        neap.move_on(0.05, function()
            neap.group(function(group)
                group:spawn(function()
                    crew = neap.workers { 2, function(chan)
                        local inner = require "neap"
                        local ok, err = pcall(inner.sleep, 1000)
                        chan:send(not ok and inner.is_cancelled(err) and "cleaned up" or "?")
                        error(err, 0)
                    end, out }
                    crew:ready()
                    pcall(crew.wait, crew)
                    crew:stop()
                end)
            end)
        end)
        assert.equal("cleaned up", out:recv())
        assert.equal("cleaned up", out:recv())
        neap.shielded(10, neap.wait, { crew.task })
    end))

    it("the end of the run stops them", function()
        local result = process.run_lua [[
            local neap = require "neap"
            neap.run(function()
                local crew = neap.workers { 2, function()
                    local inner = require "neap"
                    local ok, err = pcall(inner.sleep, 1000)
                    io.write(inner.is_cancelled(err) and "cleaned up\n" or "?\n")
                    error(err, 0)
                end }
                crew:ready()
            end)
            io.write "end\n"
        ]]
        assert.equal("", result.err)
        assert.equal("cleaned up\ncleaned up\nend\n", result.out)
    end)
end)

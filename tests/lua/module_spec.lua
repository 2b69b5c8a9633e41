-- The module in a stock interpreter: loading, globals, names, what it leaves alone.
local helper = require "support.helper"
local process = require "support.process"
local neap = require "neap"

describe("module", function()
    it("R1: require works in a stock interpreter", function()
        local result = process.run_lua [[
            local neap = require "neap"
            neap.run(function()
                neap.sleep(0)
                print "ran"
            end)
        ]]
        assert.equal("ran\n", result.out)
        assert.equal("", result.err)
        assert.equal(0, result.code)
    end)

    it("L15: require sets no global and leaves the coroutine functions alone", function()
        local result = process.run_lua [[
            local before, co = {}, {}
            for name in pairs(_G) do before[name] = true end
            for name, fn in pairs(coroutine) do co[name] = fn end
            local loaded = package.loaded.socket
            local neap = require "neap"
            for name in pairs(_G) do
                if not before[name] then print("new global", name) end
            end
            for name, fn in pairs(coroutine) do
                if co[name] ~= fn then print("changed", name) end
            end
            assert(package.loaded.socket == loaded)
        ]]
        assert.equal("", result.out .. result.err)
        assert.equal(0, result.code)
    end)

    it("L15: require reads no descriptor and starts no loop", function()
        local result = process.run_lua [[
            local function count()
                local n = 0
                for fd = 0, 255 do
                    local f = io.open("/proc/self/fdinfo/" .. fd)
                    if f then n = n + 1 f:close() end
                end
                return n
            end
            local before = count()
            local neap = require "neap"
            assert(count() == before)
            assert(neap.current_task() == nil)
        ]]
        assert.equal("", result.err)
        assert.equal(0, result.code)
    end)

    it("R1: the module may be loaded again after it was forgotten", function()
        local result = process.run_lua [[
            local first = require "neap"
            first.run(function() first.sleep(0) end)
            for name in pairs(package.loaded) do
                if name:match "^neap" then package.loaded[name] = nil end
            end
            local second = require "neap"
            second.run(function() second.sleep(0) end)
            second.run(function()
                assert(first.current_task() == second.current_task())
                first.sleep(0)
            end)
            print "ok"
        ]]
        assert.equal("", result.err)
        assert.equal("ok\n", result.out)
    end)

    it("R1: the module has the names that people type", function()
        for _, name in ipairs {
            "run", "spawn", "sleep", "yield", "await", "future", "gather", "wait", "wait_for", "shield",
            "ensure_future", "current_task", "all_tasks", "loop", "is_cancelled", "exit", "task_local", "tcp", "udp",
            "unix", "socketpair", "new_loop",
        } do
            assert.equal("function", type(neap[name]), name)
        end
        assert.equal("table", type(neap.coroutine))
        assert.equal("string", type(neap._VERSION))
    end)

    it("R1: objects have the methods that people type", function()
        neap.run(function()
            local methods = {
                [neap.future()] = { "await", "done", "cancelled", "result", "exception", "set_result",
                    "set_exception", "cancel", "add_done_callback", "remove_done_callback", "ignore", "waiters" },
                [neap.current_task()] = { "await", "done", "cancelled", "result", "exception", "cancel",
                    "add_done_callback", "remove_done_callback", "ignore", "name", "set_name", "stack" },
                [neap.loop()] = { "call_soon", "call_later", "call_at", "time", "stop", "close", "run_forever",
                    "run_until_complete", "create_future", "create_task", "on_error", "debug", "on_slow", "run_once",
                    "add_reader", "remove_reader", "add_writer", "remove_writer", "sock_accept", "sock_recv",
                    "sock_sendall", "sock_sendto", "sock_connect", "advance", "metrics", "trace" },
                [neap.tcp()] = { "bind", "listen", "accept", "connect", "recv", "send", "sendall", "try_recv",
                    "try_accept", "try_send", "try_sendto", "sendto", "recvfrom", "shutdown", "close", "fileno",
                    "getsockname", "getpeername", "setsockopt" },
            }
            for object, names in pairs(methods) do
                for _, name in ipairs(names) do
                    assert(object[name], tostring(object) .. " has no " .. name)
                end
            end
        end)
    end)

    local function has(object, kind, names)
        for name in names:gmatch "%S+" do
            local value = object[name]
            assert(value ~= nil and (kind == nil or type(value) == kind), tostring(object) .. " has no " .. name)
        end
    end

    it("R1: the chapters on servers and the system keep what they promise", function()
        has(neap, "function", [[
            connect serve listen resolve getnameinfo resolver stream stream_pair process shell signal blocking pool
            workers
        ]])
        has(neap, nil, "stdin stdout stderr")
        has(neap.fs, "function", [[
            open read write append replace copy rename unlink mkdir stat realpath readdir mkstemp truncate walk watch
            lines
        ]])
        neap.run(function()
            has(neap.loop(), "function", [[
                create_server create_connection create_datagram_endpoint getaddrinfo getnameinfo run_in_executor
                add_signal_handler remove_signal_handler
            ]])
            local server = assert(neap.serve("127.0.0.1:0", function(stream) stream:read() end))
            has(server, "function", [[
                addresses sockets connections metrics pause resume close abort wait_closed serve_forever
            ]])
            local stream = assert(neap.connect(server:addresses()[1]))
            has(stream, "function", [[
                read read_some read_exactly read_until read_line read_all lines peek write buffer drain write_eof
                sendfile close abort peer name setsockopt getsockopt
            ]])
            stream:abort()
            server:close { grace = 0 }
            server:wait_closed()
            local endpoint = assert(neap.loop():create_datagram_endpoint(function() return {} end))
            has(endpoint, "function", [[
                sendto close abort is_closing get_extra_info get_protocol set_protocol get_write_buffer_size
                set_write_buffer_limits
            ]])
            endpoint:close()
            local child = assert(neap.process { "cat", stdin = "pipe", stdout = "pipe", stderr = "pipe" })
            has(child, "function", "wait kill communicate")
            has(child, nil, "pid stdin stdout stderr")
            child:communicate ""
            child:wait()
            local file = assert(neap.fs.open "/dev/null")
            has(file, "function", "read write pread pwrite seek stat sync truncate close lines")
            file:close()
        end)
    end)

    it("R1: a broken installation says what is missing", function()
        local result = process.run_lua("require 'neap'", { env = { LUA_CPATH = "/nowhere/?.so" } })
        assert.equal(1, result.code)
        helper.contains("neap", result.err)
    end)

    it("N20: a stock interpreter without signals=true keeps its own interrupt", function()
        local child = process.start_lua [[
            local neap = require "neap"
            io.stdout:setvbuf "line"
            print "started now"
            neap.run(function()
                local a, b = neap.socketpair()
                a:recv(1)
            end)
        ]]
        child:await_line "started (%w+)"
        child:signal "INT"
        local code = child:wait()
        assert.is_true(code == 1 or code == 130, "exit code " .. code)
        helper.contains("interrupted", child:err())
        child:dispose()
    end)

    it("N20: an interrupt that comes while a task runs ends the wait after it", function()
        local runs = { "neap.run(main)", "neap.loop():run_until_complete(neap.loop():create_task(main))" }
        if not helper.is_luajit then -- it has one hook for all coroutines: there the task itself is interrupted
            runs[3] = "neap.loop():create_task(main) neap.loop():run_forever()"
            runs[4] = "neap.loop():create_task(main) for _ = 1, 3 do neap.loop():run_once() end"
        end
        for _, run in ipairs(runs) do
            local child = process.start_lua([[
                local neap = require "neap"
                local function main()
                    assert(io.popen("kill -INT $PPID")):close()
                    neap.sleep(1000)
                end
            ]] .. run)
            assert.equal(1, child:wait(), run)
            helper.contains("interrupted", child:err())
            child:dispose()
        end
    end)

    it("N20: in a stock interpreter signals=true cancels the main function", function()
        local child = process.start_lua [[
            local neap = require "neap"
            io.stdout:setvbuf "line"
            local ok, err = pcall(neap.run, { function()
                print "started now"
                local ok, err = pcall(neap.sleep, 1000)
                print("cleanup", ok, neap.is_cancelled(err))
                error(err, 0)
            end, signals = true })
            print("after run", ok, neap.is_cancelled(err))
        ]]
        child:await_line "started (%w+)"
        child:signal "INT"
        assert.equal(0, child:wait())
        helper.contains("cleanup\tfalse\ttrue\nafter run\tfalse\ttrue", child:out())
        assert.equal("", child:err())
        child:dispose()
    end)

    it("N20: the handlers of signals are restored after run", function()
        local child = process.start_lua [[
            local neap = require "neap"
            io.stdout:setvbuf "line"
            neap.run { function() neap.sleep(0) end, signals = true }
            print "started now"
            while true do end
        ]]
        child:await_line "started (%w+)"
        child:signal "TERM"
        assert.equal(143, child:wait())
        child:dispose()
    end)
end)

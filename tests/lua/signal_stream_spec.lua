-- Signals that a script takes: streams of them, callbacks of a loop, and what becomes of interrupts meanwhile.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local in_loop, raises = helper.in_real_loop, helper.raises

-- Sends signals to this process; they have arrived when this returns.
local function send(...)
    local words = {}
    for i, name in ipairs { ... } do
        words[i] = "kill -" .. name .. " $PPID"
    end
    os.execute(table.concat(words, "; "))
end

local function send_later(name)
    os.execute("(sleep 0.05; kill -" .. name .. " $PPID) &")
end

-- Whether this process has a handler for the signal with this number.
local function is_caught(signo)
    local mask = process.read_file("/proc/self/status"):match "SigCgt:%s+(%x+)"
    local at = #mask - math.floor((signo - 1) / 4)
    return math.floor(tonumber(mask:sub(at, at), 16) / 2 ^ ((signo - 1) % 4)) % 2 == 1
end

local USR1, USR2 = 10, 12

describe("a signal stream", function()
    it("gives the name and number of what arrives", in_loop(function()
        local stream = neap.signal("USR1")
        send "USR1"
        local name, number = stream:recv()
        assert.equal("USR1", name)
        assert.equal(USR1, number)
        stream:close()
    end))

    it("waits for what has not arrived", in_loop(function()
        local stream = neap.signal("SIGUSR1")
        send_later "USR1"
        assert.equal("USR1", (stream:recv()))
        stream:close()
    end))

    it("is iterable until it is closed", in_loop(function()
        local stream, got = neap.signal("USR1", "USR2"), {}
        send("USR1", "USR2")
        helper.each(function(name)
            got[#got + 1] = name
            if #got == 2 then stream:close() end
        end, stream)
        table.sort(got)
        assert.same({ "USR1", "USR2" }, got)
    end))

    it("counts arrivals since the last as one", in_loop(function()
        local stream = neap.signal("USR1")
        send("USR1", "USR1", "USR1")
        assert.equal("USR1", (stream:recv()))
        helper.ticks(2)
        assert.is_nil(stream:try_recv())
        send "USR1"
        assert.equal("USR1", (stream:recv()))
        stream:close()
    end))

    it("gives each of its signals its turn", in_loop(function()
        local stream, got = neap.signal("USR1", "USR2"), {}
        for i = 1, 4 do
            send("USR1", "USR2")
            helper.ticks(2)
            got[i] = stream:recv()
        end
        assert.same({ "USR1", "USR2", "USR1", "USR2" }, got)
        stream:close()
    end))

    it("sees what another stream of the same signal sees", in_loop(function()
        local a, b = neap.signal("USR1"), neap.signal("USR1")
        send "USR1"
        assert.equal("USR1", (a:recv()))
        assert.equal("USR1", (b:recv()))
        a:close()
        send "USR1"
        assert.equal("USR1", (b:recv()))
        b:close()
    end))

    it("hands each arrival to one of those who wait", in_loop(function()
        local stream, got = neap.signal("USR1"), 0
        local function wait()
            if stream:recv() then got = got + 1 end
        end
        local tasks = { neap.spawn(wait), neap.spawn(wait) }
        neap.yield()
        send "USR1"
        neap.wait(tasks, { return_when = "first_completed" })
        helper.ticks(3)
        assert.equal(1, got)
        stream:close()
        neap.wait(tasks)
        assert.equal(1, got)
    end))

    it("loses nothing to a cancellation", in_loop(function()
        local stream = neap.signal("USR1")
        local task = neap.spawn(stream.recv, stream)
        neap.yield()
        send "USR1"
        task:cancel()
        neap.wait { task }
        assert.is_true(task:cancelled())
        assert.equal("USR1", (stream:recv()))
        stream:close()
    end))

    it("ends waits when it is closed, and what has arrived can still be read", in_loop(function()
        local stream = neap.signal("USR1")
        local task = neap.spawn(stream.recv, stream)
        neap.yield()
        assert.is_true(stream:close())
        assert.is_false(stream:close())
        assert.is_nil((task:await()))
        assert.is_nil(stream:recv())
        stream = neap.signal("USR1")
        send "USR1"
        helper.ticks(2)
        stream:close()
        assert.equal("USR1", (stream:recv()))
        assert.is_nil(stream:recv())
    end))

    it("puts back what was there before", in_loop(function()
        assert.is_false(is_caught(USR1))
        local a, b = neap.signal("USR1", "USR2"), neap.signal("USR1")
        assert.is_true(is_caught(USR1))
        a:close()
        assert.is_true(is_caught(USR1))
        assert.is_false(is_caught(USR2))
        b:close()
        assert.is_false(is_caught(USR1))
    end))

    it("that nobody has any more is closed", in_loop(function()
        neap.signal("USR1")
        helper.collect()
        assert.is_false(is_caught(USR1))
    end))

    it("that is all a program waits for is no deadlock", function()
        local got = neap.run(function()
            local stream = neap.signal("USR1")
            send_later "USR1"
            return (stream:recv())
        end)
        assert.equal("USR1", got)
        assert.is_false(is_caught(USR1))
    end)

    it("ends with its loop", function()
        local loop = neap.new_loop { backend = os.getenv "NEAP_BACKEND" }
        local stream
        local task = loop:create_task(function()
            stream = neap.signal("USR1")
            return stream:recv()
        end)
        loop:run_once(0)
        loop:run_once(0)
        loop:on_error(function() end)
        loop:close()
        assert.is_true(task:done())
        assert.is_false(is_caught(USR1))
        stream:close()
    end)

    it("is refused for what is no signal, or cannot be caught", in_loop(function()
        helper.contains("no signal 'FOO'", raises("value_error", neap.signal, "FOO").message)
        raises("value_error", neap.signal, 65)
        raises("value_error", neap.signal, "KILL")
        raises("value_error", neap.signal, "STOP")
        raises("type_error", neap.signal)
        raises("type_error", neap.signal, {})
        assert.is_false(is_caught(USR1))
        raises("value_error", neap.signal, "USR1", "KILL")
        assert.is_false(is_caught(USR1))
    end))

    it("is waited for inside a task only", function()
        local loop = neap.new_loop { backend = os.getenv "NEAP_BACKEND" }
        loop:run_until_complete(function()
            local stream, code = neap.signal("USR1"), nil
            neap.loop():call_soon(function() code = raises("no_task", stream.recv, stream).code end)
            neap.sleep(0)
            neap.sleep(0)
            assert.equal("no_task", code)
            stream:close()
        end)
        loop:close()
    end)
end)

describe("a signal handler of a loop", function()
    it("is called with its arguments until it is removed", in_loop(function(loop)
        local got = {}
        assert.is_false(loop:add_signal_handler("USR1", function(a, b) got[#got + 1] = a .. b end, "x", 1))
        send "USR1"
        helper.ticks(2)
        send "USR1"
        helper.ticks(2)
        assert.same({ "x1", "x1" }, got)
        assert.is_true(loop:remove_signal_handler("USR1"))
        assert.is_false(loop:remove_signal_handler("USR1"))
        assert.is_false(is_caught(USR1))
    end))

    it("replaces the one before", in_loop(function(loop)
        local got = {}
        loop:add_signal_handler("USR1", table.insert, got, "first")
        assert.is_true(loop:add_signal_handler("SIGUSR1", table.insert, got, "second"))
        send "USR1"
        helper.ticks(2)
        assert.same({ "second" }, got)
        loop:remove_signal_handler(USR1)
    end))

    it("that completes what is waited for is no deadlock", function()
        local got = neap.run(function()
            local future, loop = neap.future(), neap.loop()
            loop:add_signal_handler("USR1", future.set_result, future, "done")
            send_later "USR1"
            return future:await()
        end)
        assert.equal("done", got)
        assert.is_false(is_caught(USR1))
    end)

    it("that fails is reported, and stays", in_loop(function(loop, reports)
        loop:add_signal_handler("USR1", function() error "broken" end)
        send "USR1"
        helper.ticks(2)
        send "USR1"
        helper.ticks(2)
        assert.equal(2, #reports)
        helper.contains("broken", tostring(reports[1].error))
        loop:remove_signal_handler("USR1")
    end, { reports = true }))

    it("is refused for what is no signal, without a function, and of a closed loop", in_loop(function(loop)
        raises("value_error", loop.add_signal_handler, loop, "FOO", print)
        raises("value_error", loop.add_signal_handler, loop, "KILL", print)
        raises("type_error", loop.add_signal_handler, loop, "USR1")
        raises("value_error", loop.remove_signal_handler, loop, "FOO")
        local other = neap.new_loop { backend = os.getenv "NEAP_BACKEND" }
        other:add_signal_handler("USR2", print)
        other:close()
        assert.is_false(is_caught(USR2))
        raises("loop_closed", other.add_signal_handler, other, "USR2", print)
        assert.is_false(other:remove_signal_handler("USR2"))
    end))
end)

describe("SIGINT and SIGTERM", function()
    local taken = [[
        local neap = require "neap"
        local function main()
            local stream = neap.signal("%s")
            print "ready"
            io.stdout:flush()
            for _ = 1, 2 do
                print("got " .. stream:recv())
                io.stdout:flush()
            end
            stream:close()
            print "given back"
            io.stdout:flush()
            neap.sleep(1000)
        end
    ]]

    local function ends_as(child, name)
        child:await_line "(ready)"
        child:signal(name)
        child:await_line("(got " .. name .. ")")
        child:signal(name)
        child:await_line "(given back)"
        child:signal(name)
        local code = child:wait()
        child:dispose()
        return code
    end

    for name, code in pairs { INT = 130, TERM = 143 } do
        it("that a script has taken do not end the command (" .. name .. ")", function()
            local child = process.start_lua(taken:format(name) .. "main()", { command = true })
            assert.equal(code, ends_as(child, name))
        end)
    end

    it("that a script has taken do not end a run with signals", function()
        local child = process.start_lua(taken:format "INT" .. "neap.run { main, signals = true } print 'over'")
        assert.is_true(ends_as(child, "INT") ~= 137)
    end)

    it("that a script has taken do not reach the interpreter", function()
        local child = process.start_lua(taken:format "INT" .. "neap.run(main)")
        assert.equal(1, ends_as(child, "INT"))
    end)
end)

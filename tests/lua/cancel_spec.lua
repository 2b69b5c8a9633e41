-- Cancellation: one delivery at the wait, which may be caught and repeated; completed operations win.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop, raises, ticks = helper.in_loop, helper.in_real_loop, helper.raises, helper.ticks

describe("cancel", function()
    it("C1: cancelling a task that has ended answers false and changes nothing", in_loop(function()
        local task = neap.spawn(function()
            return 5
        end)
        task:await()
        assert.is_false(task:cancel())
        assert.is_false(task:cancelled())
        assert.equal(5, task:result())
    end))

    it("C1: cancelling a failed task answers false and reports nothing", in_loop(function()
        local task = neap.spawn(function()
            error("x", 0)
        end)
        pcall(neap.await, task)
        assert.is_false(task:cancel())
        assert.equal("x", task:exception())
        ticks(2)
    end))

    it("C1: cancelling a cancelled future answers false", in_loop(function()
        local f = neap.future()
        assert.is_true(f:cancel())
        assert.is_false(f:cancel())
    end))

    it("C2: a sleeping task sees the cancellation in the next tick, and its timer is gone at once",
        in_loop(function(loop)
            local seen
            local task = neap.spawn(function()
                local ok, err = pcall(neap.sleep, 10)
                seen = { ok, neap.is_cancelled(err), loop:metrics().ticks }
            end)
            neap.yield()
            local timers, before = loop:metrics().timers, loop:metrics().ticks
            assert.is_true(task:cancel())
            assert.is_nil(seen)
            assert.equal(timers - 1, loop:metrics().timers)
            task:await()
            assert.same({ false, true, before + 1 }, seen)
            assert.equal(0, loop:time())
        end))

    it("C2: a cancellation that is not caught ends the task as cancelled", in_loop(function()
        local task = neap.spawn(neap.sleep, 10)
        neap.yield()
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.is_true(task:cancelled())
        raises("cancelled", task.result, task)
    end))

    it("C2: the error carries the text given to cancel", in_loop(function()
        local task = neap.spawn(neap.sleep, 10)
        neap.yield()
        task:cancel "the lamp is out"
        local err = raises("cancelled", neap.await, task)
        helper.contains("the lamp is out", tostring(err))
        assert.not_equal("string", type(err))
    end))

    it("C2: is_cancelled knows a cancellation from any other value", in_loop(function()
        local f = neap.future()
        f:cancel()
        local _, err = pcall(neap.await, f)
        assert.is_true(neap.is_cancelled(err))
        for _, other in ipairs { "cancelled", {}, { code = "timeout" }, 1, false } do
            assert.is_false(neap.is_cancelled(other))
        end
        assert.is_false(neap.is_cancelled(nil))
    end))

    it("C3: cancelling a task that awaits a task unwinds the inner one first", in_loop(function()
        local log = {}
        local function guarded(name, fn, ...)
            local ok, err = pcall(fn, ...)
            log[#log + 1] = name
            if not ok then
                error(err, 0)
            end
        end
        local a = neap.spawn(function()
            local b = neap.spawn(function()
                guarded("b", neap.sleep, 10)
            end)
            guarded("a", neap.await, b)
        end)
        ticks(2)
        assert.is_true(a:cancel())
        raises("cancelled", neap.await, a)
        assert.same({ "b", "a" }, log)
    end))

    it("C3: a chain of ten tasks unwinds from the innermost", in_loop(function()
        local log = {}
        local function level(n)
            local ok, err
            if n == 0 then
                ok, err = pcall(neap.sleep, 100)
            else
                ok, err = pcall(neap.await, neap.spawn(level, n - 1))
            end
            log[#log + 1] = n
            if not ok then
                error(err, 0)
            end
        end
        local top = neap.spawn(level, 9)
        ticks(12)
        top:cancel()
        raises("cancelled", neap.await, top)
        assert.same({ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 }, log)
    end))

    it("C4: a task that cancels itself and returns is cancelled; its value is dropped", in_loop(function()
        local answer
        local task = neap.spawn(function()
            answer = neap.current_task():cancel()
            return 5
        end)
        raises("cancelled", neap.await, task)
        assert.is_true(answer)
        assert.is_true(task:cancelled())
    end))

    it("C4: a task that cancels itself sees it at its next wait", in_loop(function()
        local task = neap.spawn(function()
            neap.current_task():cancel()
            local err = raises("cancelled", neap.sleep, 1)
            neap.sleep(1) -- delivered once
            return err
        end)
        assert.equal("cancelled", task:await().code)
    end))

    it("C5: a task cancelled before its first step is never entered", in_loop(function()
        local entered = false
        local task = neap.spawn(function()
            entered = true
        end)
        assert.is_true(task:cancel())
        raises("cancelled", neap.await, task)
        assert.is_false(entered)
        assert.is_true(task:cancelled())
    end))

    it("C5 D19: what a task owns is closed when it is cancelled before its first step", in_loop(function()
        local a, b = neap.socketpair()
        local closed = 0
        local closable = {
            close = function()
                closed = closed + 1
            end,
        }
        local task = neap.spawn { function() end, owns = { a, closable } }
        task:cancel()
        raises("cancelled", neap.await, task)
        ticks(1)
        assert.equal(1, closed)
        helper.fails("closed", a:try_recv(1))
        b:close()
    end))

    it("C6: a task may swallow a cancellation and can be cancelled again", in_loop(function()
        local swallowed = 0
        local task = neap.spawn(function()
            while true do
                local ok, err = pcall(neap.sleep, 10)
                assert.is_false(ok)
                swallowed = swallowed + 1
                if swallowed == 3 then
                    error(err, 0)
                end
            end
        end)
        for expected = 1, 3 do
            neap.yield()
            assert.is_true(task:cancel())
            ticks(2)
            assert.equal(expected, swallowed)
        end
        assert.is_true(task:cancelled())
    end))

    it("C6: debug mode reports a swallowed cancellation", in_loop(function(_, reports)
        local task = neap.spawn { function()
            pcall(neap.sleep, 10)
            neap.sleep(1)
            return "went on"
        end, name = "deaf" }
        neap.yield()
        task:cancel()
        assert.equal("went on", task:await())
        assert.equal(1, #reports)
        assert.equal("swallowed", reports[1].kind)
        assert.equal("deaf", reports[1].task_name)
    end, { debug = true, reports = true }))

    it("C6: a cancellation that is passed on is no swallow", in_loop(function()
        local task = neap.spawn(function()
            local _, err = pcall(neap.sleep, 10)
            error(err, 0)
        end)
        neap.yield()
        task:cancel()
        raises("cancelled", neap.await, task)
    end, { debug = true }))

    it("C7: a cancel from a sibling just before the returning step makes the outcome cancelled", in_loop(function()
        local task
        local sibling = neap.spawn(function()
            neap.yield()
            assert.is_true(task:cancel())
        end)
        task = neap.spawn(function()
            neap.yield()
            return 5
        end)
        raises("cancelled", neap.await, task)
        assert.is_true(task:cancelled())
        sibling:await()
    end))

    it("C7: a cancel during the step in which the task returns makes the outcome cancelled", in_loop(function()
        local task
        local function cancel_from_below()
            return task:cancel()
        end
        task = neap.spawn(function()
            cancel_from_below()
            return "dropped"
        end)
        raises("cancelled", neap.await, task)
    end))

    it("C8: a cancel between two waits is delivered once", in_loop(function()
        local first, deliveries = neap.future(), 0
        local task
        first:add_done_callback(function()
            task:cancel()
        end)
        task = neap.spawn(function()
            for _, wait in ipairs {
                function() neap.await(first) end,
                function() neap.sleep(1) end,
                function() neap.sleep(1) end,
            } do
                local ok, err = pcall(wait)
                if not ok then
                    assert.is_true(neap.is_cancelled(err))
                    deliveries = deliveries + 1
                end
            end
            return "end"
        end)
        neap.yield()
        first:set_result(1)
        assert.equal("end", task:await())
        assert.equal(1, deliveries)
    end))

    it("C9: two cancels in one tick are one delivery", in_loop(function()
        local seen = 0
        local task = neap.spawn(function()
            for _ = 1, 2 do
                local ok, err = pcall(neap.sleep, 5)
                if not ok then
                    assert.is_true(neap.is_cancelled(err))
                    seen = seen + 1
                end
            end
        end)
        neap.yield()
        assert.is_true(task:cancel())
        assert.is_true(task:cancel())
        task:await()
        assert.equal(1, seen)
    end))

    it("C10: when a plain future completes and its waiter is cancelled in one tick, the cancel wins", in_loop(function()
        local f = neap.future()
        local task = neap.spawn(neap.await, f)
        neap.yield()
        f:set_result "kept"
        assert.is_true(task:cancel())
        raises("cancelled", neap.await, task)
        assert.equal("kept", f:result())
    end))

    it("C10: a cancel that comes after the waiter was resumed does nothing to the value", in_loop(function()
        local f = neap.future()
        local task = neap.spawn(neap.await, f)
        neap.yield()
        f:set_result "v"
        assert.equal("v", task:await())
        assert.is_false(task:cancel())
    end))

    it("C11: awaiting a future that somebody else cancelled raises in the waiter", in_loop(function()
        local f = neap.future()
        local lets_out = neap.spawn(neap.await, f)
        local catches = neap.spawn(function()
            local err = raises("cancelled", neap.await, f)
            return err.code
        end)
        neap.yield()
        f:cancel()
        raises("cancelled", neap.await, lets_out)
        assert.is_true(lets_out:cancelled())
        assert.equal("cancelled", catches:await())
        assert.is_false(catches:cancelled())
    end))

    it("C11: awaiting a cancelled task raises in the waiter, which goes on", in_loop(function()
        local task = neap.spawn(neap.sleep, 10)
        neap.yield()
        task:cancel()
        raises("cancelled", neap.await, task)
        neap.sleep(1)
        assert.is_false(neap.current_task():cancelled())
    end))

    it("C13: cancelling a future wakes the task that waits for it", in_loop(function()
        local f = neap.future()
        local woken = false
        local task = neap.spawn(function()
            pcall(neap.await, f)
            woken = true
        end)
        neap.yield()
        f:cancel()
        task:await()
        assert.is_true(woken)
    end))

    it("C2: a task that waits for a descriptor is cancelled there", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local task = neap.spawn(function()
            return a:recv(10)
        end)
        neap.yield()
        assert.equal(1, loop:metrics().operations)
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.equal(0, loop:metrics().operations)
        assert.equal(3, b:sendall "abc")
        assert.equal("abc", a:recv(10)) -- nothing was taken
        a:close()
        b:close()
    end))
end)

-- The loop of these tests polls in every tick in which something is parked; a schedule is a pair of numbers of ticks.
describe("completed operations win", function()
    local random = helper.repeatable(20231)
    local rounds = helper.sanitized and 300 or 2000

    it("C10: no byte is lost when a receive is cancelled as it completes", in_real_loop(function()
        local a, b = neap.socketpair()
        local sent, received, won, lost = {}, {}, 0, 0
        for round = 1, rounds do
            local message = ("<%d>"):format(round)
            local reader = neap.spawn(function()
                local data = a:recv(100)
                received[#received + 1] = data
                return data
            end)
            local sender = neap.spawn(function(delay)
                ticks(delay)
                sent[#sent + 1] = message
                assert.equal(#message, b:sendall(message))
            end, random(0, 4))
            ticks(random(0, 5))
            reader:cancel()
            if pcall(neap.await, reader) then
                won = won + 1
            else
                lost = lost + 1
            end
            sender:await()
        end
        b:shutdown "write"
        while true do
            local data = a:recv(4096)
            if not data then
                break
            end
            received[#received + 1] = data
        end
        assert.equal(table.concat(sent), table.concat(received))
        assert.is_true(won > 0 and lost > 0, "the schedules never met: " .. won .. ", " .. lost)
        a:close()
        b:close()
    end))

    it("C10: no connection is lost when an accept is cancelled as it completes", in_real_loop(function()
        local listener = neap.tcp()
        assert(listener:bind "127.0.0.1:0")
        assert(listener:listen())
        local address = listener:getsockname()
        local won, lost = 0, 0
        for _ = 1, rounds / 4 do
            local acceptor = neap.spawn(function()
                local conn = assert(listener:accept())
                return conn
            end)
            local client = neap.tcp()
            local connector = neap.spawn(function(delay)
                ticks(delay)
                assert(client:connect(address))
            end, random(0, 3))
            ticks(random(0, 4))
            acceptor:cancel()
            local ok, conn = pcall(neap.await, acceptor)
            connector:await()
            if ok then
                won = won + 1
            else
                lost = lost + 1
                conn = assert(listener:accept()) -- still in the queue
            end
            -- It is this round's connection, alive.
            assert.equal(client:getsockname(), conn:getpeername())
            conn:sendall "x"
            assert.equal("x", client:recv(1))
            conn:close()
            client:close()
        end
        helper.fails("EAGAIN", listener:try_accept())
        assert.is_true(won > 0 and lost > 0, "the schedules never met: " .. won .. ", " .. lost)
        listener:close()
    end))

    it("C10: a cancelled connect is closed, a completed one is usable", in_real_loop(function()
        local listener = neap.tcp()
        assert(listener:bind "127.0.0.1:0")
        assert(listener:listen())
        local address = listener:getsockname()
        local won, lost = 0, 0
        for _ = 1, rounds / 4 do
            local client = neap.tcp()
            local connector = neap.spawn(function()
                assert(client:connect(address))
                return true
            end)
            ticks(random(0, 3))
            connector:cancel()
            local ok = pcall(neap.await, connector)
            if ok then
                won = won + 1
                assert.equal(1, client:sendall "y")
                client:close()
            else
                lost = lost + 1
                assert.is_nil(client:fileno())
            end
            -- Take what arrived: dead connections read as ended, live ones as "y".
            while true do
                local conn = listener:try_accept()
                if not conn then
                    break
                end
                conn:close()
            end
        end
        assert.is_true(won > 0 and lost > 0, "the schedules never met: " .. won .. ", " .. lost)
        listener:close()
    end))

    -- An accept that completes in the poll of the tick in whose batch the cancel comes, before the task's step.
    local function accept_and_cancel(body)
        local listener, client = neap.tcp(), neap.tcp()
        assert(listener:bind "127.0.0.1:0")
        assert(listener:listen())
        local task = neap.spawn(body, listener)
        neap.yield()
        local connecting = neap.spawn(client.connect, client, listener:getsockname())
        neap.yield()
        neap.loop():call_soon(task.cancel, task)
        local result = helper.pack(pcall(task.await, task))
        connecting:await()
        client:close()
        listener:close()
        return result, task
    end

    it("C10: a cancel that lost is delivered at the next wait", in_real_loop(function()
        local log = {}
        accept_and_cancel(function(listener)
            local conn = listener:accept()
            log[#log + 1] = type(conn)
            local ok, err = pcall(neap.sleep, 1)
            log[#log + 1] = ok
            log[#log + 1] = neap.is_cancelled(err)
            conn:close()
        end)
        assert.same({ "userdata", false, true }, log)
    end))

    it("C10: a cancel that lost lapses when the task returns first", in_real_loop(function()
        local result, task = accept_and_cancel(function(listener)
            listener:accept():close()
            return "accepted"
        end)
        assert.same({ n = 2, true, "accepted" }, result)
        assert.is_false(task:cancelled())
    end))

    it("C10: a receive that is cancelled before its turn has taken nothing", in_real_loop(function()
        local a, b = neap.socketpair()
        local task = neap.spawn(a.recv, a, 10)
        neap.yield()
        b:sendall "kept"
        neap.loop():call_soon(task.cancel, task)
        local ok, data = pcall(task.await, task)
        if not ok then
            assert.is_true(neap.is_cancelled(data))
            data = a:recv(10)
        end
        assert.equal("kept", data)
        a:close()
        b:close()
    end))

    it("C10: a cancelled sendall tells how much went and leaves the stream open", in_real_loop(function()
        local a, b = neap.socketpair()
        a:setsockopt("sndbuf", 4096)
        local data = ("x"):rep(1024 * 1024)
        local partial
        local task = neap.spawn(function()
            local ok, err = pcall(a.sendall, a, data)
            assert.is_false(ok)
            partial = err.partial
            error(err, 0)
        end)
        ticks(3)
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.is_true(partial > 0 and partial < #data)
        local got = 0
        while got < partial do
            got = got + #b:recv(65536)
        end
        assert.equal(partial, got)
        assert.equal(4, a:sendall "more")
        assert.equal("more", b:recv(10))
        a:close()
        b:close()
    end))
end)

describe("cleanup on cancel", function()
    it("C12: the main function returns while two tasks sleep: both clean up before run returns", function()
        local log = {}
        neap.run { function()
            for _, name in ipairs { "one", "two" } do
                neap.spawn(function()
                    local ok, err = pcall(neap.sleep, 100)
                    log[#log + 1] = name .. (ok and " slept" or " cleaned up")
                    if not ok then
                        error(err, 0)
                    end
                end)
            end
            neap.yield()
        end, virtual = true }
        assert.same({ "one cleaned up", "two cleaned up" }, log)
    end)

    it("C12: cleanup may wait, within the grace", function()
        local log = {}
        neap.run { function()
            neap.spawn(function()
                local ok, err = pcall(neap.sleep, 100)
                neap.sleep(1)
                log[#log + 1] = "said goodbye"
                assert(not ok)
                error(err, 0)
            end)
            neap.yield()
        end, virtual = true, grace = 5 }
        assert.same({ "said goodbye" }, log)
    end)

    it("C12: an error in a cleanup is reported once, with the task's name", function()
        local reports = {}
        neap.run { function()
            neap.loop():on_error(function(report)
                reports[#reports + 1] = { report.kind, report.task:name(), report.error }
            end)
            neap.spawn { function()
                pcall(neap.sleep, 100)
                error("cleanup broke", 0)
            end, name = "clumsy" }
            neap.yield()
        end, virtual = true }
        assert.same({ { "unhandled", "clumsy", "cleanup broke" } }, reports)
    end)

    local closing = helper.compile [[
        local neap, log = ...
        return function()
            local guard <close> = setmetatable({}, { __close = function(_, err)
                log[#log + 1] = "closing, cancelled: " .. tostring(neap.is_cancelled(err))
                neap.sleep(1)
                log[#log + 1] = "closed"
            end })
            neap.sleep(100)
        end
    ]]

    if helper.has_close then
        it("C12: to-be-closed variables run on cancellation and may wait", function()
            local log = {}
            neap.run { function()
                neap.spawn(closing(neap, log))
                neap.yield()
            end, virtual = true }
            assert.same({ "closing, cancelled: true", "closed" }, log)
        end)

        it("C12 D10: a task that outlives its grace is aborted: variables close, but cannot wait", function()
            local log, kinds = {}, {}
            neap.run { function()
                neap.loop():on_error(function(report)
                    kinds[#kinds + 1] = report.kind
                end)
                local stubborn = helper.compile [[
                    local neap, log = ...
                    local guard <close> = setmetatable({}, { __close = function()
                        log[#log + 1] = "closing"
                        local ok, err = pcall(neap.sleep, 1)
                        log[#log + 1] = ok
                    end })
                    while true do
                        pcall(neap.sleep, 1000)
                    end
                ]]
                neap.spawn(stubborn, neap, log)
                neap.yield()
            end, virtual = true, grace = 1 }
            assert.same({ "closing", false }, log)
            assert.same({ "aborted" }, kinds)
        end)
    else
        it("C12: this engine has no to-be-closed variables", function()
            assert.is_nil(closing)
        end)

        it("C12: a task that outlives its grace is aborted and named", function()
            local reports = {}
            neap.run { function()
                neap.loop():on_error(function(report)
                    reports[#reports + 1] = { report.kind, report.task:name() }
                end)
                neap.spawn { function()
                    while true do
                        pcall(neap.sleep, 1000)
                    end
                end, name = "stubborn" }
                neap.yield()
            end, virtual = true, grace = 1 }
            assert.same({ { "aborted", "stubborn" } }, reports)
        end)
    end
end)

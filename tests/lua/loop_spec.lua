-- The loop: order of callbacks, ticks, running and closing, errors of callbacks, stepping from outside.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop, raises, ticks = helper.in_loop, helper.in_real_loop, helper.raises, helper.ticks

local function new_loop(options)
    options = options or { virtual = true }
    options.backend = os.getenv "NEAP_BACKEND"
    return neap.new_loop(options)
end

describe("call_soon", function()
    it("L1: a thousand callbacks run once each, in order, with their arguments", in_loop(function(loop)
        local log = {}
        for i = 1, 1000 do
            loop:call_soon(function(...)
                log[#log + 1] = { n = select("#", ...), ... }
            end, i, nil, "x")
        end
        neap.yield()
        assert.equal(1000, #log)
        for i = 1, 1000 do
            assert(log[i].n == 3 and log[i][1] == i and log[i][2] == nil and log[i][3] == "x")
        end
        ticks(2)
        assert.equal(1000, #log)
    end))

    it("L1: a cancelled handle is not called", in_loop(function(loop)
        local called = false
        local handle = loop:call_soon(function()
            called = true
        end)
        assert.is_false(handle:cancelled())
        assert.is_true(handle:cancel())
        assert.is_true(handle:cancelled())
        ticks(2)
        assert.is_false(called)
        assert.is_false(handle:cancel())
    end))

    it("L1: a callback may cancel a later one of the same batch", in_loop(function(loop)
        local log = {}
        local second
        loop:call_soon(function()
            log[#log + 1] = 1
            second:cancel()
        end)
        second = loop:call_soon(function()
            log[#log + 1] = 2
        end)
        loop:call_soon(function()
            log[#log + 1] = 3
        end)
        ticks(2)
        assert.same({ 1, 3 }, log)
    end))

    it("L1: cancelling a callback that ran answers false", in_loop(function(loop)
        local handle = loop:call_soon(function() end)
        neap.yield()
        assert.is_false(handle:cancel())
    end))

    it("L1: the handle of a plain callback has no deadline", in_loop(function(loop)
        local handle = loop:call_soon(function() end)
        assert.is_nil(handle:when())
        neap.yield()
    end))

    it("X5: call_soon refuses a coroutine", in_loop(function(loop)
        raises("type_error", loop.call_soon, loop, coroutine.create(function() end))
        ticks(2)
    end))

    it("X5: call_soon, call_later and call_at refuse what is no function", in_loop(function(loop)
        for _, value in ipairs { 42, "f", {}, true } do
            raises("type_error", loop.call_soon, loop, value)
            raises("type_error", loop.call_later, loop, 1, value)
            raises("type_error", loop.call_at, loop, 1, value)
        end
        assert.equal(0, loop:metrics().timers)
    end))

    it("L2: a callback scheduled by a callback runs in the next tick", in_loop(function(loop)
        local log = {}
        loop:call_soon(function()
            log[#log + 1] = "a"
            loop:call_soon(function()
                log[#log + 1] = "b"
            end)
        end)
        neap.yield()
        assert.same({ "a" }, log)
        neap.yield()
        assert.same({ "a", "b" }, log)
    end))

    it("L2: a callback that reschedules itself does not starve a ready socket", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local spins, served_at = 0, nil
        local function spin()
            spins = spins + 1
            if not served_at then
                loop:call_soon(spin)
            end
        end
        local reader = neap.spawn(function()
            assert.equal("x", a:recv(1))
            served_at = spins
        end)
        neap.yield()
        loop:call_soon(spin)
        ticks(3)
        local before = spins
        assert.equal(1, b:try_send "x")
        reader:await()
        assert.is_true(served_at - before <= 1, "served after " .. served_at - before .. " ticks")
        a:close()
        b:close()
    end))

    it("L3: one tick runs what was queued, then I/O, then timers", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        b:try_send "x"
        local log, tick = {}, {}
        local function note(name)
            return function()
                log[#log + 1] = name
                tick[loop:metrics().ticks] = true
            end
        end
        loop:add_reader(a:fileno(), function()
            note "io" ()
            loop:remove_reader(a:fileno())
        end)
        loop:call_later(0, note "timer")
        loop:call_soon(note "soon")
        ticks(2)
        assert.same({ "soon", "io", "timer" }, log)
        local n = 0
        for _ in pairs(tick) do
            n = n + 1
        end
        assert.equal(1, n)
        a:close()
        b:close()
    end))

    it("L3: the trace shows poll before the batch", in_loop(function(loop)
        loop:trace(true)
        neap.sleep(1)
        local order = {}
        for _, entry in ipairs(loop:trace(false)) do
            order[#order + 1] = entry.event
        end
        local text = table.concat(order, " ")
        local poll = assert(text:find("polled", 1, true))
        assert.is_truthy(text:find("step", poll, true))
    end))
end)

describe("running", function()
    it("L5: stop lets the current batch finish; what it scheduled runs in the next run", function()
        local loop, log = new_loop(), {}
        loop:call_soon(function()
            log[#log + 1] = 1
        end)
        loop:call_soon(function()
            loop:stop()
        end)
        loop:call_soon(function()
            log[#log + 1] = 2
            loop:call_soon(function()
                log[#log + 1] = 3
                loop:stop()
            end)
        end)
        loop:run_forever()
        assert.same({ 1, 2 }, log)
        loop:run_forever()
        assert.same({ 1, 2, 3 }, log)
        loop:close()
    end)

    it("L5: stop before run_forever makes one turn that does not wait", function()
        local loop, log = new_loop(), {}
        loop:call_soon(function()
            log[#log + 1] = 1
            loop:call_soon(function()
                log[#log + 1] = 2
            end)
        end)
        loop:call_later(100, function() end)
        loop:stop()
        loop:run_forever()
        assert.same({ 1 }, log)
        assert.equal(0, loop:time())
        loop:close()
    end)

    it("L6: running a closed loop is refused", function()
        local loop = new_loop()
        loop:close()
        raises("loop_closed", loop.run_forever, loop)
        raises("loop_closed", loop.run_until_complete, loop, function() end)
    end)

    it("L6: running a running loop is refused, and it goes on unharmed", in_loop(function(loop)
        raises("loop_running", loop.run_forever, loop)
        raises("loop_running", loop.run_until_complete, loop, neap.future())
        raises("loop_running", loop.run_once, loop, 0)
        ticks(2)
        assert.is_not_nil(neap.current_task())
    end))

    it("L6: running a second loop inside the first is refused, and both stay usable", in_loop(function()
        local other = new_loop()
        raises("other_loop_running", other.run_forever, other)
        raises("other_loop_running", other.run_until_complete, other, function() end)
        raises("other_loop_running", other.run_once, other, 0)
        neap.sleep(1)
        other:close()
    end))

    it("L6: the function of a refused run is not started", in_loop(function(loop)
        local started = false
        raises("loop_running", loop.run_until_complete, loop, function()
            started = true
        end)
        ticks(3)
        assert.is_false(started)
    end))

    it("L7: run_until_complete gives the values", function()
        local loop = new_loop()
        local got = helper.pack(loop:run_until_complete(function()
            neap.sleep(1)
            return 1, nil, 3
        end))
        assert.equal(3, got.n)
        assert.equal(3, got[3])
        loop:close()
    end)

    it("L7: run_until_complete gives the values of a task that ended before", function()
        local loop = new_loop()
        local task = loop:create_task(function() return 7, "x" end)
        assert.same({ 7, "x" }, { loop:run_until_complete(task) })
        assert.same({ 7, "x" }, { loop:run_until_complete(task) })
        loop:close()
    end)

    it("a callback on a task that ended before runs on the task's loop", function()
        local loop, got = new_loop(), nil
        local task = loop:create_task(function() return 7 end)
        loop:run_until_complete(task)
        task:add_done_callback(function(ended) got = ended:result() end)
        loop:run_once(0)
        assert.equal(7, got)
        loop:close()
    end)

    it("L7: run_until_complete raises the failure, the very value", function()
        local loop, why = new_loop(), { "why" }
        local ok, err = pcall(loop.run_until_complete, loop, function()
            error(why)
        end)
        assert.is_false(ok)
        assert.equal(why, err)
        loop:close()
    end)

    it("L7: run_until_complete raises a cancellation", function()
        local loop = new_loop()
        local f = loop:create_future()
        loop:call_soon(f.cancel, f)
        raises("cancelled", loop.run_until_complete, loop, f)
        loop:close()
    end)

    it("L7: a finished future comes back after one tick, and no callback stays on it", function()
        local loop = new_loop()
        local f = loop:create_future()
        f:set_result "v"
        local before = loop:metrics().ticks
        assert.equal("v", loop:run_until_complete(f))
        assert.is_true(loop:metrics().ticks - before <= 1)
        assert.equal(0, f:waiters())
        loop:close()
    end)

    it("L7: no callback stays on a future whose run was stopped", function()
        local loop = new_loop()
        local f = loop:create_future()
        loop:call_soon(loop.stop, loop)
        raises("stopped_early", loop.run_until_complete, loop, f)
        assert.equal(0, f:waiters())
        loop:close()
    end)

    it("L8: a loop stopped too early says so; the task stays and a later run finishes it", function()
        local loop = new_loop()
        local task = loop:create_task(function()
            neap.sleep(5)
            return "late"
        end)
        loop:call_later(1, loop.stop, loop)
        raises("stopped_early", loop.run_until_complete, loop, task)
        assert.is_false(task:done())
        assert.equal("late", loop:run_until_complete(task))
        assert.equal(5, loop:time())
        loop:close()
    end)

    it("L7: two loops may run one after the other in one state", function()
        local one, two = new_loop(), new_loop()
        assert.equal(1, one:run_until_complete(function()
            assert.equal(one, neap.loop())
            neap.sleep(1)
            return 1
        end))
        assert.equal(2, two:run_until_complete(function()
            assert.equal(two, neap.loop())
            return 2
        end))
        assert.equal(1, one:time())
        assert.equal(0, two:time())
        one:close()
        two:close()
    end)

    it("L10: a closed loop refuses work", function()
        local loop = new_loop()
        local a, b = nil, nil
        loop:run_until_complete(function()
            a, b = neap.socketpair()
        end)
        loop:close()
        raises("loop_closed", loop.call_soon, loop, print)
        raises("loop_closed", loop.call_later, loop, 1, print)
        raises("loop_closed", loop.call_at, loop, 1, print)
        raises("loop_closed", loop.create_task, loop, print)
        raises("loop_closed", loop.create_future, loop)
        raises("loop_closed", loop.sock_recv, loop, a, 1)
        raises("loop_closed", loop.add_reader, loop, 0, print)
        assert.is_nil((a:try_recv(1)))
        a:close()
        b:close()
    end)

    it("L10: closing a running loop is refused", in_loop(function(loop)
        raises("loop_running", loop.close, loop)
        neap.sleep(1)
    end))

    it("L14: a loop knows whether it runs and whether it is closed", function()
        local loop = neap.new_loop { name = "known", virtual = true }
        assert.equal("known", loop:name())
        assert.is_false(loop:is_running())
        local inside
        loop:call_soon(function()
            inside = loop:is_running()
            loop:stop()
        end)
        loop:run_forever()
        assert.is_true(inside)
        assert.is_false(loop:is_running())
        pcall(loop.run_until_complete, loop, error)
        assert.is_false(loop:is_running())
        assert.is_false(loop:is_closed())
        loop:close()
        assert.is_true(loop:is_closed())
    end)

    it("L10: closing twice is fine", function()
        local loop = new_loop()
        loop:close()
        loop:close()
    end)

    it("L10: close drops what was queued and closes the sockets", function()
        local fds = helper.count_descriptors()
        local loop = new_loop()
        local called = false
        local s = loop:run_until_complete(function()
            local s = neap.tcp()
            s:bind "127.0.0.1:0"
            return s
        end)
        loop:call_soon(function()
            called = true
        end)
        loop:call_later(1, function()
            called = true
        end)
        loop:close()
        assert.is_false(called)
        assert.is_nil((s:fileno()))
        assert.equal(fds, helper.count_descriptors())
    end)

    it("L10: a loop that nobody closes is closed when it is collected", function()
        helper.collect()
        local fds = helper.count_descriptors()
        for _ = 1, 5 do
            local loop = new_loop()
            loop:call_later(10, function() end)
            loop:create_task(function()
                neap.sleep(1)
            end)
            loop:run_once(0)
        end
        helper.collect()
        assert.equal(fds, helper.count_descriptors())
    end)
end)

describe("errors in callbacks", function()
    it("L11: a failing callback is reported and the batch goes on", in_loop(function(loop, reports)
        local good = false
        local why = { "why" }
        local handle = loop:call_soon(function()
            error(why)
        end)
        loop:call_soon(function()
            good = true
        end)
        neap.yield()
        assert.is_true(good)
        assert.equal(1, #reports)
        assert.equal("callback", reports[1].kind)
        assert.equal(why, reports[1].error)
        assert.equal(handle, reports[1].handle)
        assert.equal("string", type(reports[1].message))
    end, { reports = true }))

    it("L11: the report of a failing callback has a traceback with its line", in_loop(function(loop, reports)
        local line = debug.getinfo(1, "l").currentline + 2
        loop:call_soon(function()
            error "here"
        end)
        neap.yield()
        helper.contains("loop_spec.lua:" .. line, reports[1].traceback)
    end, { reports = true }))

    it("L11: a failing timer, done callback and reader are reported alike", in_real_loop(function(loop, reports)
        local a, b = neap.socketpair()
        b:try_send "x"
        loop:call_later(0, error, "timer", 0)
        local f = neap.future()
        f:add_done_callback(function()
            error("done callback", 0)
        end)
        f:set_result(1)
        loop:add_reader(a:fileno(), function()
            loop:remove_reader(a:fileno())
            error("reader", 0)
        end)
        ticks(3)
        local found = {}
        for _, report in ipairs(reports) do
            assert.equal("callback", report.kind)
            found[report.error] = true
        end
        assert.same({ timer = true, ["done callback"] = true, reader = true }, found)
        a:close()
        b:close()
    end, { reports = true }))

    it("L11: an error handler that fails does not stop the loop", function()
        local loop = new_loop()
        local calls = 0
        loop:on_error(function()
            calls = calls + 1
            error "the handler broke"
        end)
        loop:call_soon(error, "x")
        loop:call_soon(error, "y")
        loop:run_until_complete(function()
            neap.sleep(1)
        end)
        assert.equal(2, calls)
        loop:close()
    end)

    it("X2: a report names the callback that was running", in_loop(function(loop, reports)
        local handle = loop:call_later(1, function()
            error "x"
        end)
        neap.sleep(2)
        assert.equal(handle, reports[1].handle)
    end, { reports = true }))

    it("X8: a task's failure that nobody awaits is reported at the end of its tick, with its spawn site",
        in_loop(function(_, reports)
            local line = debug.getinfo(1, "l").currentline + 1
            local task = neap.spawn { function()
                error("unseen", 0)
            end, name = "lonely" }
            neap.yield()
            neap.yield()
            assert.equal(1, #reports)
            assert.equal("unhandled", reports[1].kind)
            assert.equal("unseen", reports[1].error)
            assert.equal(task, reports[1].task)
            assert.equal("lonely", reports[1].task_name)
            helper.contains("loop_spec.lua:" .. line,
                tostring(reports[1].message) .. tostring(reports[1].traceback))
        end, { reports = true }))

    it("X8: keeping a reference to a failed task does not silence its report", in_loop(function(_, reports)
        local kept = {}
        for i = 1, 3 do
            kept[i] = neap.spawn(error, "x", 0)
        end
        ticks(2)
        assert.equal(3, #reports)
        assert.equal("x", kept[3]:exception())
    end, { reports = true }))

    it("X8: a failure that is awaited in the same tick is not reported", in_loop(function()
        local task = neap.spawn(error, "x", 0)
        local ok = pcall(neap.await, task)
        assert.is_false(ok)
        ticks(2)
    end))
end)

describe("slow steps", function()
    local function report_of(advance, options)
        local loop = new_loop { virtual = true }
        local slow = {}
        loop:on_slow((options or {}).limit or 0.1, function(report)
            slow[#slow + 1] = { kind = report.kind, task = report.task and report.task:name(),
                elapsed = report.elapsed, text = tostring(report.message) .. tostring(report.traceback) }
        end)
        local line = debug.getinfo(1, "l").currentline + 2
        loop:run_until_complete(function()
            neap.spawn { function()
                neap.yield()
                loop:advance(advance)
                neap.yield()
            end, name = "cruncher" }:await()
        end)
        loop:close()
        return slow, line
    end

    it("X1: a step of 0.12 s is reported once, with task, spawn site and time", function()
        local slow, line = report_of(0.12)
        assert.equal(1, #slow)
        assert.equal("slow", slow[1].kind)
        assert.equal("cruncher", slow[1].task)
        assert.equal(0.12, slow[1].elapsed)
        helper.contains("loop_spec.lua:" .. line, slow[1].text)
    end)

    it("X1: a step of 0.09 s is not reported", function()
        assert.equal(0, #report_of(0.09))
    end)

    it("X1: the limit can be set", function()
        assert.equal(0, #report_of(0.12, { limit = 0.5 }))
        assert.equal(1, #report_of(0.6, { limit = 0.5 }))
    end)

    it("X1: a slow callback is reported too, to the error handler if there is no other", in_loop(function(loop, reports)
        loop:on_slow(0.1)
        local handle = loop:call_soon(function()
            loop:advance(0.2)
        end)
        ticks(2)
        assert.equal(1, #reports)
        assert.equal("slow", reports[1].kind)
        assert.equal(handle, reports[1].handle)
        assert.equal(0.2, reports[1].elapsed)
    end, { reports = true }))

    it("X7: debug switched on while running takes effect in the next tick and ends with the run", in_loop(function()
        local loop = neap.loop()
        assert.is_false(loop:debug())
        loop:debug(true)
        neap.yield()
        assert.is_true(loop:debug())
        loop:debug(false)
        neap.yield()
        assert.is_false(loop:debug())
    end))

    it("X7: creation sites are recorded from the moment debug is on", in_loop(function(loop, reports)
        loop:debug(true)
        neap.yield()
        local line = debug.getinfo(1, "l").currentline + 1
        local f = neap.future()
        f:set_exception "x"
        ticks(2)
        helper.contains("loop_spec.lua:" .. line, tostring(reports[1].message) .. tostring(reports[1].traceback))
    end, { reports = true }))
end)

describe("surroundings", function()
    local names = { "yield", "resume", "wrap", "close", "create", "status", "running" }
    local function snapshot()
        local functions = {}
        for _, name in ipairs(names) do
            functions[name] = coroutine[name] or false
        end
        return functions
    end

    it("L15: run puts the coroutine functions back", function()
        local before = snapshot()
        neap.run(function()
            assert.not_equal(before.yield, coroutine.yield)
        end)
        assert.same(before, snapshot())
    end)

    it("L15: run puts the coroutine functions back after a failure", function()
        local before = snapshot()
        pcall(neap.run, error, "x")
        assert.same(before, snapshot())
    end)

    it("L15: a debug hook set before run is set after it", function()
        local function hook() end
        debug.sethook(hook, "", 100000)
        neap.run(function()
            neap.yield()
        end)
        local now = debug.gethook()
        debug.sethook()
        assert.equal(hook, now)
        debug.sethook(hook, "", 100000)
        pcall(neap.run, error, "x")
        now = debug.gethook()
        debug.sethook()
        assert.equal(hook, now)
    end)

    it("L15: nested loops restore only at the end of the outer one", function()
        local before = snapshot()
        local one, two = new_loop(), new_loop()
        one:run_until_complete(function()
            local inside = snapshot()
            pcall(two.run_forever, two)
            assert.same(inside, snapshot())
            neap.yield()
        end)
        assert.same(before, snapshot())
        one:close()
        two:close()
    end)

    it("L15: coroutines=false leaves the coroutine functions alone", function()
        local before = snapshot()
        neap.run { function()
            assert.same(before, snapshot())
            neap.sleep(1)
        end, coroutines = false, virtual = true }
        assert.same(before, snapshot())
    end)

    it("L15: no global is set by running", function()
        local before = {}
        for name in pairs(_G) do
            before[name] = true
        end
        neap.run(function()
            neap.yield()
        end)
        for name in pairs(_G) do
            assert.is_true(before[name], "new global " .. tostring(name))
        end
    end)
end)

describe("stepping from outside", function()
    it("L17: run_once(0) runs exactly what was ready", function()
        local loop, log = new_loop(), {}
        loop:call_soon(function()
            log[#log + 1] = 1
            loop:call_soon(function()
                log[#log + 1] = 2
            end)
        end)
        assert.equal(1, loop:metrics().ready)
        assert.equal(1, loop:run_once(0))
        assert.same({ 1 }, log)
        assert.equal(1, loop:metrics().ready)
        assert.equal(1, loop:run_once(0))
        assert.same({ 1, 2 }, log)
        assert.equal(0, loop:metrics().ready)
        assert.equal(0, loop:run_once(0))
        loop:close()
    end)

    it("L17: run_once steps a task one suspension at a time", function()
        local loop, log = new_loop(), {}
        local task = loop:create_task(function()
            for i = 1, 3 do
                log[i] = i
                neap.yield()
            end
        end)
        for i = 1, 3 do
            loop:run_once(0)
            assert.equal(i, #log)
            assert.is_false(task:done())
        end
        loop:run_once(0)
        assert.is_true(task:done())
        loop:close()
    end)

    it("L17: a pending future under a zero timeout times out after one tick", in_loop(function(loop)
        local f = neap.future()
        local before = loop:metrics().ticks
        raises("timeout", neap.wait_for, f, 0)
        assert.is_true(loop:metrics().ticks - before <= 2)
        assert.is_true(f:cancelled())
        assert.equal(0, loop:time())
    end))

    it("L17: a done future under a zero timeout gives its value", in_loop(function()
        local f = neap.future()
        f:set_result "v"
        assert.equal("v", neap.wait_for(f, 0))
    end))

    it("L17: the metrics count ticks, tasks, timers and futures", in_loop(function(loop)
        local before = loop:metrics()
        local f = neap.future()
        local task = neap.spawn(neap.await, f)
        local timer = loop:call_later(1, function() end)
        neap.yield()
        local now = loop:metrics()
        assert.equal(before.ticks + 1, now.ticks)
        assert.equal(before.tasks + 1, now.tasks)
        assert.equal(before.timers + 1, now.timers)
        assert.equal(before.futures + 1, now.futures)
        timer:cancel()
        f:set_result(1)
        task:await()
    end))
end)

describe("options of a loop", function()
    it("P3: the backend is chosen by name and reported", function()
        for _, name in ipairs { "epoll", "poll" } do
            local loop = neap.new_loop { backend = name }
            assert.equal(name, loop:backend())
            loop:close()
        end
    end)

    it("P3: an unknown backend is refused", function()
        assert.has_error(function()
            neap.new_loop { backend = "steam" }
        end)
    end)

    it("P3: an unknown option is refused", function()
        assert.has_error(function()
            neap.new_loop { virtaul = true }
        end)
    end)

    it("P3: advance is refused on a real clock", function()
        local loop = neap.new_loop {}
        assert.has_error(function()
            loop:advance(1)
        end)
        loop:close()
    end)
end)

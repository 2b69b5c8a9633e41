-- select, each_completed.
local neap = require "neap"
local helper = require "support.helper"
local in_loop = helper.in_loop

local function now()
    return neap.loop():time()
end

local function sleeps(seconds, ...)
    local values, n = { ... }, select("#", ...)
    return function()
        neap.sleep(seconds)
        return helper.unpack(values, 1, n)
    end
end

describe("select", function()
    it("D24: the first function that ends wins, the others are cancelled and have ended", in_loop(function()
        local cleaned
        local function slow()
            local _, err = pcall(neap.sleep, 9)
            neap.shielded(9, neap.sleep, 1)
            cleaned = now()
            error(err, 0)
        end
        local i, a, b, c = neap.select { slow, sleeps(2, "x", nil, "z"), neap.future() }
        assert.same({ 2, "x", nil, "z" }, { i, a, b, c })
        assert.equal(3, cleaned)
        assert.equal(3, now())
    end))

    it("D24: futures and tasks that lose are cancelled, a shield keeps them", in_loop(function()
        local lost, kept = neap.spawn(neap.sleep, 9), neap.spawn(sleeps(4, "kept"))
        local plain = neap.future()
        assert.equal(4, (neap.select { lost, neap.shield(kept), plain, sleeps(1) }))
        assert.is_true(lost:cancelled())
        assert.is_true(plain:cancelled())
        assert.equal("kept", kept:await())
    end))

    it("an event, a lock, a semaphore, a limiter and a barrier can stand in it", in_loop(function()
        local event, sem = neap.event(), neap.semaphore(0)
        local lock, limiter, barrier = neap.lock(), neap.limiter(1), neap.barrier(2)
        local function late(fn, ...)
            local args = { ... }
            neap.spawn(function() neap.sleep(1) fn(helper.unpack(args)) end)
        end
        late(event.set, event)
        assert.same({ 1, true }, { neap.select { event, sem } })
        late(sem.release, sem)
        assert.same({ 2, true }, { neap.select { barrier, sem } })
        neap.spawn(lock.with, lock, neap.sleep, 1)
        neap.spawn(limiter.with, limiter, neap.sleep, 2)
        neap.sleep(0)
        assert.same({ 2, true }, { neap.select { limiter, lock } })
        lock:release()
        assert.same({ 1, true }, { neap.select { limiter, sem } })
        limiter:release()
        late(barrier.wait, barrier)
        assert.same({ 2, 1 }, { neap.select { sem, barrier } })
        assert.equal(0, sem:permits())
        assert.equal(0, limiter:borrowed())
    end))

    it("what is there already wins in the order of the cases, and no function is started", in_loop(function()
        local a, b, started = neap.channel(1), neap.channel(1), false
        local done = neap.future()
        b:send("b")
        done:set_result("done", 2)
        assert.same({ 3, "b" }, { neap.select { function() started = true end, a, b, done } })
        assert.same({ 2, "done", 2 }, { neap.select { a, done } })
        assert.is_false(started)
        assert.same({ 1, true }, { neap.select { { a, "sent" }, b } })
        assert.equal("sent", a:try_recv())
    end))

    it("of several channels exactly one is received from, also when all are sent to in one step", in_loop(function()
        local a, b = neap.channel(1), neap.channel(1)
        neap.spawn(function()
            neap.sleep(1)
            b:send "b"
            a:send "a"
        end)
        assert.same({ 2, "b" }, { neap.select { a, b } })
        assert.equal("a", a:try_recv())
        assert.is_nil(b:try_recv())
    end))

    it("a value is sent to exactly one of several channels", in_loop(function()
        local a, b, got = neap.channel(), neap.channel(), {}
        for _, channel in ipairs { b, a } do
            neap.spawn(function()
                local value = neap.move_on(1, channel.recv, channel)
                got[#got + 1] = value
            end)
        end
        neap.sleep(0)
        assert.same({ 1, true }, { neap.select { { a, { 5 } }, { b, { 5 } } } })
        neap.sleep(2)
        assert.same({ { 5 } }, got)
    end))

    it("a queue's value may have a priority", in_loop(function()
        local queue = neap.queue(5)
        neap.select { { queue, "late", 2 } }
        neap.select { { queue, "early", 1 } }
        assert.same({ 1, "early" }, { neap.select { queue } })
        assert.equal("late", queue:get())
    end))

    it("a closed channel is at its end at once", in_loop(function()
        local open, closed = neap.channel(), neap.channel()
        closed:close()
        assert.same({ 2 }, { neap.select { open, closed } })
        local i, ok, err = neap.select { open, { closed, 1 } }
        assert.same({ 2, nil, "closed" }, { i, ok, err.code })
        neap.spawn(function() open:close() end)
        assert.same({ 1 }, { neap.select { open, neap.event() } })
    end))

    it("the error of the first that ends is raised as it is", in_loop(function()
        local mine, other = {}, neap.spawn(neap.sleep, 9)
        local ok, err = pcall(neap.select, { other, function() error(mine, 0) end })
        assert.is_false(ok)
        assert.equal(mine, err)
        assert.is_true(other:cancelled())
    end))

    it("D2: functions that completed all the same hand over their values", in_loop(function()
        local late, a, b = {}, neap.channel(), neap.channel()
        neap.spawn(function()
            neap.sleep(1)
            a:send "a"
            b:send "b"
        end)
        local function recv(channel)
            return function() return channel:recv() end
        end
        assert.same({ 1, "a" }, {
            neap.select { recv(a), recv(b), late = function(i, ...) late = { i, ... } end },
        })
        assert.same({ 2, "b" }, late)
    end))

    it("D2: without a function for them these values are reported", in_loop(function(loop)
        local reports = {}
        loop:on_error(function(report) reports[#reports + 1] = report.message end)
        local gate = neap.event()
        neap.spawn(function() neap.sleep(1) gate:set() end)
        local function value()
            gate:wait()
            return "mine"
        end
        assert.same({ 1, "mine" }, { neap.select { value, value } })
        assert.equal(1, #reports)
        assert.matches("case 2 of a select completed although another was first", reports[1])
    end))

    it("a deadline around it ends its cases", in_loop(function()
        local channel, ended = neap.channel(), false
        assert.is_nil(neap.move_on(1, neap.select, {
            channel,
            function()
                pcall(neap.sleep, 9)
                ended = true
            end,
        }))
        assert.is_true(ended)
        assert.is_false(channel:try_send(1))
    end))

    it("D2: a request to the task that comes behind an item is heard at the next wait", in_loop(function()
        local channel, got = neap.channel(), nil
        local task = neap.spawn(function()
            got = { neap.select { channel, sleeps(9) } }
            neap.sleep(1)
        end)
        neap.sleep(0)
        neap.sleep(0)
        channel:send "item"
        assert.is_true(task:cancel())
        neap.wait { task }
        assert.same({ 1, "item" }, got)
        assert.is_true(task:cancelled())
    end))

    it("what its functions spawn ends with it", in_loop(function()
        local inner
        assert.equal(2, (neap.select {
            function()
                inner = neap.spawn(neap.sleep, 9)
                neap.sleep(9)
            end,
            sleeps(1),
        }))
        assert.is_true(inner:cancelled())
    end))

    it("what is no case is refused before anything begins", in_loop(function()
        local channel = neap.channel()
        local function refused(pattern, cases)
            local ok, err = pcall(neap.select, cases)
            assert.is_false(ok)
            assert.matches("select_spec.lua:%d+: .*" .. pattern, tostring(err))
        end
        refused("the list is empty", {})
        refused("case 2: .* not a number", { channel, 5 })
        refused("case 1: .* not a table", { { 5, channel } })
        refused("case 1: nil cannot be sent", { { channel } })
        refused("cannot send to itself", { channel, { channel, 5 } })
        refused("a list of cases expected, got nothing", nil)
        assert.is_false(channel:try_send(1))
    end))

    it("one that never waits leaves others their turns", in_loop(function()
        local channel, turns = neap.channel(1), 0
        local other = neap.spawn(function()
            while true do
                turns = turns + 1
                neap.yield()
            end
        end)
        for _ = 1, 1000 do
            neap.select { { channel, 1 } }
            neap.select { channel }
        end
        assert.is_true(turns > 5)
        other:cancel()
        neap.wait { other }
    end))
end)

describe("each_completed", function()
    it("D24: gives futures in the order in which they complete, with their places", in_loop(function()
        local order = {}
        helper.each(function(future, i)
            order[#order + 1] = i .. future:result() .. now()
        end, neap.each_completed { sleeps(3, "a"), sleeps(1, "b"), neap.spawn(sleeps(2, "c")) })
        assert.equal("2b1 3c2 1a3", (table.concat(order, " "):gsub("%.0", "")))
    end))

    it("a failure is one's own to read", in_loop(function()
        local codes = {}
        helper.each(function(future)
            local ok, err = pcall(future.result, future)
            codes[#codes + 1] = ok and "ok" or err.code
        end, neap.each_completed { function() error({ code = "mine" }, 0) end, sleeps(1, "fine") })
        assert.same({ "mine", "ok" }, codes)
    end))

    it("done already, twice the same, or nothing at all", in_loop(function()
        local done, n = neap.future(), 0
        done:set_result(1)
        helper.each(function(future)
            n = n + future:result()
        end, neap.each_completed { done, done })
        assert.equal(2, n)
        assert.is_nil(neap.each_completed {}())
    end))

    it("what is appended meanwhile is included, so a set of tasks may grow", in_loop(function()
        local tasks, sum = { sleeps(1, 4) }, 0
        neap.group(function(group)
            helper.each(function(task)
                local n = task:result()
                sum = sum + n
                for _ = 1, n - 1 do
                    tasks[#tasks + 1] = group:spawn(sleeps(1, n - 2))
                end
            end, neap.each_completed(tasks))
        end)
        assert.equal(4 + 3 * 2 + 3 * 0, sum)
        assert.equal(3, now())
    end))

    it("a cancelled wait loses none", in_loop(function()
        local next_completed = neap.each_completed { sleeps(2, "a"), sleeps(4, "b") }
        assert.is_nil(neap.move_on(1, next_completed))
        assert.equal("a", next_completed():result())
        assert.is_nil(neap.move_on(1, next_completed))
        assert.equal("b", next_completed():result())
        assert.is_nil(next_completed())
    end))

    it("nothing is spawned if one of the list cannot be waited for", in_loop(function()
        local started = false
        local ok = pcall(neap.each_completed, { function() started = true end, 5 })
        assert.is_false(ok)
        neap.sleep(0)
        assert.is_false(started)
    end))
end)

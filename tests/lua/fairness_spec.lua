-- Fairness: no task takes all turns, whatever is ready for it; slices of time.
-- Asking for a cancellation without waiting.  What is counted is turns, never time.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop, raises = helper.in_loop, helper.in_real_loop, helper.raises

local BUDGET = 128

-- How many turns pass while fn runs.
local function turns_of(fn)
    local loop = neap.loop()
    local before = loop:metrics().ticks
    fn()
    return loop:metrics().ticks - before
end

-- Calls the operation n times, whose result is there each time; the others must have had their turns.
local function check_budget(operation, n)
    n = n or 10 * BUDGET
    neap.yield() -- a new step
    local others = 0
    local other = neap.spawn(function()
        while true do
            neap.yield()
            others = others + 1
        end
    end)
    local turns = turns_of(function()
        for _ = 1, n do
            operation()
        end
    end)
    other:cancel()
    local least = math.floor((n - 1) / BUDGET)
    assert.is_true(turns >= least, ("%d turns, expected %d"):format(turns, least))
    assert.is_true(others >= least - 1)
    assert.is_true(turns <= least + 1, "results that are there are given at once")
end

describe("budget", function()
    it("D7: receiving from a socket that is always readable", in_real_loop(function()
        local a, b = neap.socketpair()
        assert(a:sendall(("x"):rep(10 * BUDGET)))
        check_budget(function() assert.equal("x", b:recv(1)) end)
        a:close()
        b:close()
    end))

    for _, verb in ipairs { "send", "sendall" } do
        it("D7: " .. verb .. " on a socket that is always writable", in_real_loop(function()
            local a, b = neap.socketpair()
            check_budget(function() assert.equal(1, a[verb](a, "x")) end, 2 * BUDGET)
            a:close()
            b:close()
        end))
    end

    it("D7: accepting while connections are waiting", in_real_loop(function()
        local listener, clients = neap.tcp(), {}
        assert(listener:bind "127.0.0.1:0")
        assert(listener:listen(2 * BUDGET))
        for i = 1, BUDGET + 10 do
            clients[i] = neap.tcp()
            assert(clients[i]:connect(listener:getsockname()))
        end
        neap.sleep(0.01) -- all are in the queue
        check_budget(function() assert(listener:accept()):close() end, BUDGET + 10)
        for _, client in ipairs(clients) do
            client:close()
        end
        listener:close()
    end))

    it("D7: datagrams", in_real_loop(function()
        local a, b = neap.udp(), neap.udp()
        assert(a:bind "127.0.0.1:0")
        assert(b:bind "127.0.0.1:0")
        check_budget(function() assert(a:sendto("x", b:getsockname())) end, BUDGET + 10)
        neap.sleep(0.01)
        check_budget(function() assert.equal("x", (b:recvfrom(1))) end, BUDGET + 10)
        a:close()
        b:close()
    end))

    it("D7: a channel with room, and one with values", in_loop(function()
        local chan = neap.channel(10 * BUDGET)
        check_budget(function() chan:send(1) end)
        check_budget(function() assert.equal(1, chan:recv()) end)
    end))

    it("D7: a lock that is free", in_loop(function()
        local lock = neap.lock()
        check_budget(function()
            lock:acquire()
            lock:release()
        end)
    end))

    it("D7: a semaphore with permits", in_loop(function()
        local sem = neap.semaphore(10 * BUDGET)
        check_budget(function() sem:acquire() end)
    end))

    it("D7: an event that has happened", in_loop(function()
        local event = neap.event()
        event:set()
        check_budget(function() event:wait() end)
    end))

    it("D7 F9: awaiting what is done costs budget, not a turn", in_loop(function()
        local f = neap.future()
        f:set_result(3)
        local task = neap.spawn(function() return 4 end)
        neap.yield()
        check_budget(function() assert.equal(3, f:await()) end)
        check_budget(function() assert.equal(4, neap.await(task)) end)
        check_budget(function() assert.equal(3, neap.wait_for(f, 1)) end)
        check_budget(function() assert.equal(4, neap.wait_for(task, 1)) end)
    end))

    it("D7: a select of which something is there", in_loop(function()
        local event, chan = neap.event(), neap.channel(10 * BUDGET)
        event:set()
        check_budget(function() neap.select { event, chan } end)
        check_budget(function() neap.select { { chan, 1 } } end)
    end))

    it("D7: a limiter with room, and a queue of which all is done", in_loop(function()
        local limiter, queue = neap.limiter(), neap.queue(1)
        check_budget(function()
            limiter:acquire()
            limiter:release()
        end)
        check_budget(function() queue:join() end)
    end))

    it("D7: all of them together have one budget", in_loop(function()
        local lock, event, chan = neap.lock(), neap.event(), neap.channel(10 * BUDGET)
        event:set()
        neap.yield()
        assert.equal(3, turns_of(function()
            for _ = 1, BUDGET + 1 do
                lock:acquire()
                event:wait()
                chan:send "x"
                lock:release()
            end
        end))
    end))

    it("D7: sleep(0) and yield are a turn each", in_loop(function()
        assert.equal(10, turns_of(function()
            for _ = 1, 5 do
                neap.sleep(0)
                neap.yield()
            end
        end))
    end))

    it("D7: where nothing can be suspended the budget forces nothing", in_loop(function()
        local chan = neap.channel(10 * BUDGET)
        assert.equal(0, turns_of(function()
            local list = {}
            for i = 1, 100 do
                list[i] = -i
            end
            table.sort(list, function(a, b)
                chan:try_send(1)
                return a < b
            end)
        end))
    end))
end)

describe("turns", function()
    it("D7: a ping-pong over channels leaves each turn to the others, too", in_loop(function()
        local ping, pong, rounds, others = neap.channel(1), neap.channel(1), 0, 0
        local players = neap.spawn(function()
            neap.gather(function()
                for _ = 1, 1000 do
                    ping:send(1)
                    pong:recv()
                end
            end, function()
                for _ = 1, 1000 do
                    ping:recv()
                    pong:send(1)
                    rounds = rounds + 1
                end
            end)
        end)
        while not players:done() do
            neap.yield()
            others = others + 1
        end
        assert.equal(1000, rounds)
        assert.is_true(others >= 1000)
    end))

    it("D7: a producer that always finds room and its consumer let a server serve", in_real_loop(function()
        local chan, items, done = neap.channel(64), 0, false
        local a, b = neap.socketpair()
        neap.spawn(function()
            while not done do
                chan:send "item"
            end
            chan:close()
        end)
        neap.spawn(function()
            while chan:recv() do
                items = items + 1
            end
        end)
        neap.spawn(function()
            while true do
                local data = b:recv(10)
                if not data or not b:sendall(data) then
                    break
                end
            end
            b:close()
        end)
        local turns = turns_of(function()
            for _ = 1, 50 do
                a:sendall "ping"
                assert.equal("ping", a:recv(10))
            end
        end)
        done = true
        a:close()
        assert.is_true(items > 0)
        assert.is_true(turns <= 50 * 8, turns .. " turns for 50 answers")
    end))

    it("D7 L2: many tasks that are always ready delay the poll by a turn's budget at most", in_loop(function(loop)
        local per_turn, most, done = {}, 0, false
        for _ = 1, 100 do
            neap.spawn(function()
                local event = neap.event()
                event:set()
                while not done do
                    event:wait()
                    local turn = loop:metrics().ticks
                    per_turn[turn] = (per_turn[turn] or 0) + 1
                    most = math.max(most, per_turn[turn])
                end
            end)
        end
        helper.ticks(5)
        done = true
        neap.yield()
        assert.is_true(most >= 4096, most .. " in a turn")
        assert.is_true(most <= 4096 + 100 * 8, most .. " in a turn")
    end))
end)

describe("check", function()
    it("D7: neap.check raises the cancellation of a scope and takes no turn", in_loop(function()
        assert.equal(0, turns_of(function()
            for _ = 1, 1000 do
                neap.check()
            end
        end))
        local steps = 0
        assert.is_nil(neap.scope(function(scope)
            while true do
                neap.check()
                steps = steps + 1
                if steps == 3 then
                    scope:cancel()
                end
            end
        end))
        assert.equal(3, steps)
    end))

    it("D7: neap.check sees a deadline that passes meanwhile", in_real_loop(function(loop)
        loop:on_slow(false)
        raises("timeout", neap.timeout, 0.01, function()
            while true do
                neap.check()
            end
        end)
        neap.check()
    end))

    it("D7: neap.check raises a request to the task itself, once", in_loop(function()
        local task
        task = neap.spawn(function()
            task:cancel "enough"
            local err = raises("cancelled", neap.check)
            assert.equal("enough", err.message)
            neap.check()
            neap.yield()
            return "went on"
        end)
        assert.equal("went on", task:await())
    end))

    it("D7 D18: inside a shield neap.check lets the work go on", in_loop(function(loop)
        loop:on_slow(false)
        local task
        task = neap.spawn(function()
            neap.shielded(5, function()
                task:cancel()
                neap.check()
                loop:advance(6)
                raises("cancelled", neap.check)
            end)
            return "done"
        end)
        assert.equal("done", task:await())
    end))

    it("D7: neap.check outside a task is refused", function()
        raises("no_task", neap.check)
    end)
end)

-- Counts up to n.
local function count(n)
    local sum = 0
    for _ = 1, n do
        sum = sum + 1
    end
    return sum
end

describe("slices", function()
    if helper.version ~= "5.4" then
        -- LuaJIT's compiled code calls no hooks; in older ones a hook cannot suspend a thread as neap needs it.
        it("D7: on this engine slices are refused", in_loop(function()
            local err = raises("ENOTSUP", neap.spawn, { count, 1, slice = 0.005 })
            helper.contains("this engine", err.message)
            raises("ENOTSUP", neap.current_task().set_slice, neap.current_task(), 0.005)
            neap.current_task():set_slice(nil)
        end))
        return
    end

    it("D7: tasks that only compute and one that serves all get on", in_real_loop(function()
        local a, b = neap.socketpair()
        local progress, done = { 0, 0 }, false
        for i = 1, 2 do
            neap.spawn { function()
                while not done do
                    progress[i] = progress[i] + count(1000)
                end
            end, slice = 0 }
        end
        neap.spawn(function()
            while true do
                local data = b:recv(10)
                if not data then
                    break
                end
                b:sendall(data)
            end
            b:close()
        end)
        local turns = turns_of(function()
            for _ = 1, 20 do
                a:sendall "ping"
                assert.equal("ping", a:recv(10))
            end
        end)
        assert.is_true(progress[1] > 0 and progress[2] > 0)
        assert.is_true(turns <= 20 * 8, turns .. " turns for 20 answers")
        done = true
        a:close()
        neap.yield()
    end))

    it("D7: what a sliced task computes does not suffer", in_loop(function()
        local function fib(n)
            return n < 2 and n or fib(n - 1) + fib(n - 2)
        end
        local task = neap.spawn { function()
            local ok, sum = pcall(count, 20000)
            local list = setmetatable({}, { __index = function(_, i) return count(i) end })
            return ok, sum, list[3000], fib(15), select("#", helper.unpack({}, 1, 100))
        end, slice = 0 }
        local turns = turns_of(function()
            assert.same({ n = 5, true, 20000, 3000, 610, 100 }, helper.pack(task:await()))
        end)
        assert.is_true(turns > 20, turns .. " turns")
    end))

    it("D7: a long slice takes nobody off", in_loop(function()
        local task = neap.spawn { count, 20000, slice = 3600 }
        assert.is_true(turns_of(function() task:await() end) <= 3)
    end))

    it("D7: coroutines of the script are taken off with their task", in_loop(function()
        local before = coroutine.wrap(function()
            coroutine.yield()
            return count(20000)
        end)
        before()
        local task = neap.spawn { function()
            local inner = coroutine.wrap(function(n)
                while true do
                    n = coroutine.yield(count(n))
                end
            end)
            return inner(10000) + inner(10000), before()
        end, slice = 0 }
        local turns = turns_of(function()
            assert.same({ n = 2, 20000, 20000 }, helper.pack(task:await()))
        end)
        assert.is_true(turns > 30, turns .. " turns")
    end))

    it("D7: below a function that cannot be suspended the task goes on", in_loop(function()
        local task = neap.spawn { function()
            local list = { 3, 1, 2 }
            table.sort(list, function(x, y)
                count(5000)
                return x < y
            end)
            return list
        end, slice = 0 }
        assert.same({ 1, 2, 3 }, task:await())
    end))

    it("D7: being taken off is no wait: no cancellation comes in", in_loop(function()
        local reached, waited = false, false
        local task = neap.spawn { function()
            count(20000)
            reached = true
            local ok, err = pcall(neap.yield)
            waited = not ok and neap.is_cancelled(err)
            error(err, 0)
        end, slice = 0 }
        helper.ticks(3)
        assert.is_false(reached)
        task:cancel()
        pcall(task.await, task)
        assert.is_true(reached)
        assert.is_true(waited)
        assert.is_true(task:cancelled())
    end))

    it("D7: neither does that of a scope, unless the task asks", in_loop(function()
        local sum = 0
        local result = neap.group(function(group)
            neap.current_task():set_slice(0)
            neap.spawn(function()
                helper.ticks(3)
                group:cancel()
            end)
            while true do
                sum = sum + count(5000)
                neap.check()
            end
        end)
        neap.current_task():set_slice(nil)
        assert.is_nil(result)
        assert.equal(0, sum % 5000)
        assert.is_true(sum > 0)
    end))

    it("D7: the slice can be set and taken away later", in_loop(function()
        local task = neap.current_task()
        assert.equal(task, task:set_slice(0))
        assert.is_true(turns_of(function() count(20000) end) > 10)
        task:set_slice(nil)
        assert.equal(0, turns_of(function() count(20000) end))
        task:set_slice(0)
        task:set_slice(3600)
        assert.equal(0, turns_of(function() count(20000) end))
        task:set_slice(nil)
        local ended = neap.spawn(function() end)
        ended:await()
        ended:set_slice(0)
    end))

    it("D7: a member of a group can have a slice", in_loop(function()
        local turns = turns_of(function()
            neap.group(function(group)
                group:spawn { count, 20000, slice = 0 }
            end)
        end)
        assert.is_true(turns > 10)
    end))

    it("D7: the next task on the same coroutine has none", in_loop(function()
        for _ = 1, 3 do
            neap.spawn({ count, 20000, slice = 0 }):await()
        end
        local task = neap.spawn(function()
            return turns_of(function() count(20000) end), (debug.gethook())
        end)
        assert.same({ n = 2, 0 }, helper.pack(task:await()))
    end))

    it("D7: a debugger's hook stays, and then there are no slices", in_loop(function()
        local lines = 0
        local task = neap.spawn(function()
            debug.sethook(function() lines = lines + 1 end, "l")
            neap.current_task():set_slice(0)
            local turns = turns_of(function() count(5000) end)
            debug.sethook()
            return turns
        end)
        assert.equal(0, task:await())
        assert.is_true(lines > 1000)
    end))

    it("D7: a slice is a number of seconds", in_loop(function()
        raises("type_error", neap.spawn, { count, 1, slice = "long" })
        raises("value_error", neap.spawn, { count, 1, slice = 0 / 0 })
        assert.equal(1, neap.spawn({ count, 1, slice = -1 }):await())
    end))
end)

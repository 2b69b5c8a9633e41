-- Conditions, limiters, barriers, queues.
local neap = require "neap"
local helper = require "support.helper"
local in_loop = helper.in_loop

local function now()
    return neap.loop():time()
end

local function code_of(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return err.code
end

describe("condition", function()
    it("tasks wait until what they need is true", in_loop(function()
        local lock, items, got = neap.lock(), {}, {}
        local filled = neap.condition(lock)
        neap.group(function(g)
            for i = 1, 3 do
                g:spawn(lock.with, lock, function()
                    filled:wait_for(function() return #items > 0 end)
                    got[#got + 1] = table.remove(items) .. i
                end)
            end
            neap.sleep(1)
            lock:with(function()
                items = { "x" }
                assert.equal(1, filled:notify())
            end)
            neap.sleep(1)
            lock:with(function()
                items = { "y", "z" }
                assert.equal(2, filled:notify_all())
                assert.equal(0, filled:notify())
            end)
        end)
        assert.same({ "x1", "z2", "y3" }, got)
    end))

    it("C10: a cancelled wait has the lock when it raises", in_loop(function()
        local lock = neap.lock()
        local never = neap.condition(lock)
        local waiter = neap.spawn(lock.with, lock, function()
            local ok, err = pcall(never.wait, never)
            assert.is_false(ok)
            assert.is_true(lock:locked())
            assert.is_false(lock:try_acquire())
            error(err, 0)
        end)
        neap.sleep(1)
        lock:acquire()
        waiter:cancel()
        neap.sleep(1)
        assert.is_false(waiter:done())
        lock:release()
        neap.wait { waiter }
        assert.is_true(waiter:cancelled())
        assert.is_false(lock:locked())
    end))

    it("a deadline ends the wait, with the lock held until the body is through", in_loop(function()
        local lock = neap.lock()
        local never = neap.condition(lock)
        assert.is_nil(neap.move_on(1, lock.with, lock, never.wait, never))
        assert.is_false(lock:locked())
        assert.equal(1, now())
    end))

    it("D23: a notification to one who is cancelled goes on to the next", in_loop(function()
        local lock, woken = neap.lock(), {}
        local condition = neap.condition(lock)
        local waiters = {}
        for i = 1, 2 do
            waiters[i] = neap.spawn(lock.with, lock, function()
                condition:wait()
                woken[#woken + 1] = i
            end)
        end
        neap.sleep(1)
        lock:with(function()
            assert.equal(1, condition:notify())
            waiters[1]:cancel()
        end)
        neap.wait { waiters[2] }
        assert.same({ 2 }, woken)
        assert.is_true(waiters[1]:cancelled())
    end))

    it("is only for who holds its lock", in_loop(function()
        local condition = neap.condition(neap.lock())
        assert.equal("EPERM", code_of(condition.wait, condition))
        assert.equal("EPERM", code_of(condition.notify, condition))
        assert.equal("type_error", code_of(neap.condition))
        assert.equal("type_error", code_of(neap.condition, condition))
    end))
end)

describe("limiter", function()
    it("lets so many tasks in at a time, each once", in_loop(function()
        local limiter, inside, most = neap.limiter(2), 0, 0
        neap.group(function(g)
            for _ = 1, 6 do
                g:spawn(limiter.with, limiter, function()
                    inside = inside + 1
                    most = math.max(most, inside)
                    assert.equal("deadlock", code_of(limiter.acquire, limiter))
                    assert.is_false(limiter:try_acquire())
                    neap.sleep(1)
                    inside = inside - 1
                end)
            end
        end)
        assert.equal(2, most)
        assert.equal(3, now())
        assert.equal(0, limiter:borrowed())
    end))

    it("takes tokens back from who has one only", in_loop(function()
        local limiter = neap.limiter(2)
        assert.equal("EPERM", code_of(limiter.release, limiter))
        limiter:acquire()
        neap.spawn(function() assert.equal("EPERM", code_of(limiter.release, limiter)) end):await()
        limiter:release()
        assert.equal("EPERM", code_of(limiter.release, limiter))
    end))

    it("its number can be changed", in_loop(function()
        local limiter, inside = neap.limiter(0), 0
        neap.group(function(g)
            for _ = 1, 5 do
                g:spawn(limiter.with, limiter, function()
                    inside = inside + 1
                    neap.sleep(1)
                end)
            end
            neap.sleep(1)
            assert.equal(0, inside)
            assert.equal(3, limiter:total(3))
            neap.sleep(0)
            assert.equal(3, inside)
            assert.equal(3, limiter:borrowed())
            limiter:total(1)
        end)
        assert.equal(4, now())
        assert.equal(1, limiter:total())
    end))

    it("D2 C10: a token that was handed over stays with who is cancelled in the same tick", in_loop(function()
        local limiter, had = neap.limiter(1), false
        limiter:acquire()
        local waiter = neap.spawn(function()
            limiter:acquire()
            had = true
            limiter:release()
        end)
        neap.sleep(0)
        limiter:release()
        waiter:cancel()
        neap.wait { waiter }
        assert.is_true(had)
        assert.equal(0, limiter:borrowed())
    end))
end)

describe("barrier", function()
    it("lets its parties go together, with their numbers, again and again", in_loop(function()
        local barrier, rounds = neap.barrier(3), {}
        neap.group(function(g)
            for i = 1, 3 do
                g:spawn(function()
                    for round = 1, 2 do
                        neap.sleep(i)
                        local number = barrier:wait()
                        rounds[#rounds + 1] = number .. "@" .. now() .. "#" .. round
                    end
                end)
            end
        end)
        table.sort(rounds)
        assert.equal("1@3#1 1@6#2 2@3#1 2@6#2 3@3#1 3@6#2", (table.concat(rounds, " "):gsub("%.0", "")))
    end))

    it("who is cancelled was not there", in_loop(function()
        local barrier = neap.barrier(2)
        assert.is_nil(neap.move_on(1, barrier.wait, barrier))
        assert.equal(0, barrier:waiting())
        local other = neap.spawn(barrier.wait, barrier)
        neap.sleep(0)
        assert.equal(2, barrier:wait())
        assert.equal(1, other:await())
    end))

    it("a close lets all go, with an error", in_loop(function()
        local barrier = neap.barrier(2)
        local waiter = neap.spawn(barrier.wait, barrier)
        neap.sleep(0)
        assert.is_true(barrier:close())
        assert.is_false(barrier:close())
        local number, err = waiter:await()
        assert.is_nil(number)
        assert.equal("closed", err.code)
        assert.equal("closed", select(2, barrier:wait()).code)
        assert.equal("value_error", code_of(neap.barrier, 0))
    end))
end)

describe("queue", function()
    it("the least priority comes first, and equals in their order", in_loop(function()
        local queue, out = neap.queue("unbounded"), {}
        for i, priority in ipairs { 5, 1.5, 1, 5, -2, 1 } do
            assert.is_true(queue:put("v" .. i, priority))
        end
        assert.is_true(queue:try_put("v0"))
        assert.equal(7, #queue)
        queue:close()
        helper.each(function(value)
            out[#out + 1] = value
        end, queue:iter())
        assert.equal("v5 v0 v3 v6 v2 v1 v4", table.concat(out, " "))
    end))

    it("D14: who puts waits while it is full, who gets while it is empty", in_loop(function()
        local queue = neap.queue(1)
        local getter = neap.spawn(queue.get, queue)
        neap.sleep(0)
        queue:put "a"
        assert.equal("a", getter:await())
        queue:put "b"
        assert.is_false(queue:try_put "c")
        assert.is_nil(neap.move_on(1, queue.put, queue, "c"))
        assert.equal("b", queue:try_get())
        assert.is_nil(queue:try_get())
    end))

    it("a join waits until the work on each value is done", in_loop(function()
        local queue, done = neap.queue(2), 0
        local worker = neap.spawn(function()
            helper.each(function()
                neap.sleep(1)
                done = done + 1
                queue:task_done()
            end, queue:iter())
        end)
        for i = 1, 5 do
            queue:put(i)
        end
        queue:join()
        assert.equal(5, done)
        assert.equal("invalid_state", code_of(queue.task_done, queue))
        queue:close()
        worker:await()
        queue:join()
    end))

    it("D2 C10: a value that was handed over stays with who is cancelled in the same tick", in_loop(function()
        local queue, got = neap.queue(1), nil
        local getter = neap.spawn(function() got = queue:get() end)
        neap.sleep(0)
        queue:put "x"
        getter:cancel()
        neap.wait { getter }
        assert.equal("x", got)
    end))

    it("its size is to be said, and priorities are numbers", in_loop(function()
        local queue = neap.queue(3)
        assert.equal("value_error", code_of(neap.queue))
        assert.equal("value_error", code_of(neap.queue, 0))
        assert.equal("type_error", code_of(neap.queue, "large"))
        assert.equal("type_error", code_of(queue.put, queue, 1, "high"))
        assert.equal("value_error", code_of(queue.put, queue, 1, 0 / 0))
        assert.equal("value_error", code_of(queue.put, queue))
        assert.equal(0, queue:len())
    end))
end)

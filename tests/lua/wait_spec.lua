-- Waiting for several: wait, gather, wait_for, shield, ensure_future.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, raises, ticks = helper.in_loop, helper.raises, helper.ticks

-- A task that sleeps and returns, or raises if the value is a function.
local function after(seconds, value)
    return neap.spawn(function()
        neap.sleep(seconds)
        if type(value) == "function" then
            value()
        end
        return value
    end)
end

local function fail_with(err)
    return function()
        error(err, 0)
    end
end

describe("wait", function()
    it("W1: two sleepers: wait returns when both are done, in argument order", in_loop(function(loop)
        local log = {}
        local tasks = {}
        for i = 1, 2 do
            tasks[i] = neap.spawn(function()
                neap.sleep(i)
                log[#log + 1] = ("sleep %d"):format(i)
            end)
        end
        local done, pending = neap.wait(tasks)
        assert.equal(2, loop:time())
        assert.same(tasks, done)
        assert.same({}, pending)
        assert.same({ "sleep 1", "sleep 2" }, log)
    end))

    it("W1: done keeps the order of the arguments, not of completion", in_loop(function()
        local slow, fast = after(3, "slow"), after(1, "fast")
        local done = neap.wait { slow, fast }
        assert.equal(slow, done[1])
        assert.equal(fast, done[2])
    end))

    it("W2: a task given twice is waited for once", in_loop(function()
        local task = after(1, "v")
        local done, pending = neap.wait { task, task }
        assert.same({ task }, done)
        assert.same({}, pending)
    end))

    it("W3: after a timeout the members keep no callback", in_loop(function()
        local f, g = neap.future(), neap.future()
        local done, pending = neap.wait({ f, g }, { timeout = 1 })
        assert.same({}, done)
        assert.same({ f, g }, pending)
        assert.equal(0, f:waiters())
        assert.equal(0, g:waiters())
    end))

    it("W3: after the first completion the others keep no callback", in_loop(function()
        local f, g = neap.future(), neap.future()
        neap.loop():call_soon(f.set_result, f, 1)
        neap.wait({ f, g }, { return_when = "first_completed" })
        assert.equal(0, f:waiters())
        assert.equal(0, g:waiters())
    end))

    it("W3: a cancelled wait leaves its members alone and no callback on them", in_loop(function()
        local f = neap.future()
        local task = neap.spawn(neap.wait, { f })
        neap.yield()
        assert.equal(1, f:waiters())
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.is_false(f:done())
        assert.equal(0, f:waiters())
    end))

    it("W4: waiting for nothing is refused", in_loop(function()
        raises("value_error", neap.wait, {})
    end))

    it("W5: functions and coroutines are wrapped, and the tasks come back", in_loop(function()
        local ran = {}
        local done, pending = neap.wait {
            function()
                neap.sleep(2)
                ran[1] = true
                return "f"
            end,
            coroutine.create(function()
                neap.sleep(1)
                ran[2] = true
                return "c"
            end),
        }
        assert.same({}, pending)
        assert.same({ true, true }, ran)
        assert.equal("f", done[1]:result())
        assert.equal("c", done[2]:result())
    end))

    it("W5: nil in the list says to pass the function", in_loop(function()
        local err = raises("type_error", neap.wait, { 42 })
        helper.contains("function", tostring(err))
        assert.equal(1, #neap.all_tasks())
    end))

    it("W6: members that are done already return in the next tick", in_loop(function(loop)
        local f, g = neap.future(), neap.future()
        f:set_result(1)
        g:set_result(2)
        neap.yield()
        local before = loop:metrics().ticks
        local done, pending = neap.wait { f, g }
        assert.is_true(loop:metrics().ticks - before <= 2)
        assert.same({ f, g }, done)
        assert.same({}, pending)
    end))

    it("W7: first_completed returns at the first end", in_loop(function(loop)
        local a, b, c = after(3), after(1), after(2)
        local done, pending = neap.wait({ a, b, c }, { return_when = "first_completed" })
        assert.equal(1, loop:time())
        assert.same({ b }, done)
        assert.same({ a, c }, pending)
        neap.wait(pending)
    end))

    it("W7: first_completed counts failures and cancellations as ends", in_loop(function(loop)
        local a, b = after(5), after(1, fail_with "x")
        local done = neap.wait({ a, b }, { return_when = "first_completed" })
        assert.equal(1, loop:time())
        assert.same({ b }, done)
        assert.equal("x", b:exception())
        neap.wait { a }
    end))

    it("W7: first_exception returns at the first failure", in_loop(function(loop)
        local a, b, c = after(1), after(2, fail_with "x"), after(3)
        local done, pending = neap.wait({ a, b, c }, { return_when = "first_exception" })
        assert.equal(2, loop:time())
        assert.same({ a, b }, done)
        assert.same({ c }, pending)
        assert.equal("x", b:exception())
        neap.wait(pending)
    end))

    it("W7: first_exception waits for all when none fails", in_loop(function(loop)
        local a, b = after(1), after(2)
        local done, pending = neap.wait({ a, b }, { return_when = "first_exception" })
        assert.equal(2, loop:time())
        assert.same({ a, b }, done)
        assert.same({}, pending)
    end))

    it("W7: all waits for all, failures included, and raises none of them", in_loop(function(loop)
        local a, b = after(1, fail_with "x"), after(2)
        local done, pending = neap.wait({ a, b }, { return_when = "all" })
        assert.equal(2, loop:time())
        assert.same({ a, b }, done)
        assert.same({}, pending)
        assert.equal("x", a:exception())
    end))

    it("W7: a timeout cancels no member", in_loop(function(loop)
        local a, b = after(1, "a"), after(5, "b")
        local done, pending = neap.wait({ a, b }, { timeout = 2 })
        assert.equal(2, loop:time())
        assert.same({ a }, done)
        assert.same({ b }, pending)
        assert.equal("b", b:await())
        assert.equal(5, loop:time())
    end))

    it("W7: a timeout of zero looks once", in_loop(function(loop)
        local f, g = neap.future(), neap.future()
        f:set_result(1)
        local done, pending = neap.wait({ f, g }, { timeout = 0 })
        assert.equal(0, loop:time())
        assert.same({ f }, done)
        assert.same({ g }, pending)
    end))

    it("W7: an unknown condition and an unknown option are refused", in_loop(function()
        local f = neap.future()
        assert.has_error(function() neap.wait({ f }, { return_when = "whenever" }) end)
        assert.has_error(function() neap.wait({ f }, { timeuot = 1 }) end)
        assert.equal(0, f:waiters())
    end))

    it("X8: a failure that wait handed out in done is not reported", in_loop(function()
        local done = neap.wait { neap.spawn(error, "x", 0) }
        ticks(3)
        assert.equal("x", done[1]:exception())
    end))
end)

describe("gather", function()
    it("W8: results come in argument order", in_loop(function(loop)
        local results = neap.gather(after(3, "a"), after(1, "b"), after(2, "c"))
        assert.equal(3, loop:time())
        assert.same({ n = 3, "a", "b", "c" }, results)
    end))

    it("W8: gathering nothing gives an empty table", in_loop(function()
        assert.same({ n = 0 }, neap.gather())
    end))

    it("W8: the same one twice gives its value twice", in_loop(function()
        local task = after(1, "v")
        assert.same({ n = 2, "v", "v" }, neap.gather(task, task))
    end))

    it("W8: nil results leave holes that n counts", in_loop(function()
        local results = neap.gather(after(1, nil), after(2, "b"), after(3, nil))
        assert.equal(3, results.n)
        assert.is_nil(results[1])
        assert.equal("b", results[2])
    end))

    it("W8: functions are run as tasks", in_loop(function(loop)
        local results = neap.gather(function()
            neap.sleep(1)
            return 1
        end, function()
            neap.sleep(1)
            return 2
        end)
        assert.equal(1, loop:time())
        assert.same({ n = 2, 1, 2 }, results)
    end))

    it("W8: cancelling the gathering task cancels the members", in_loop(function()
        local a, b = after(10), after(20)
        local task = neap.spawn(neap.gather, a, b)
        ticks(2)
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.is_true(a:cancelled())
        assert.is_true(b:cancelled())
    end))

    it("W8 D24: the first failure cancels the others and waits for them", in_loop(function(loop)
        local cleaned
        local a = after(1, fail_with "broke")
        local b = neap.spawn(function()
            local ok, err = pcall(neap.sleep, 100)
            neap.sleep(2)
            cleaned = loop:time()
            assert(not ok)
            error(err, 0)
        end)
        local err = raises("group", neap.gather, a, b)
        assert.equal(3, loop:time())
        assert.equal(3, cleaned)
        assert.is_true(b:cancelled())
        assert.same({ "broke" }, err.errors)
    end))

    it("W8: all errors are kept, those of the cleanups too", in_loop(function()
        local first, second = { "first" }, { "second" }
        local a = after(1, fail_with(first))
        local b = neap.spawn(function()
            pcall(neap.sleep, 100)
            error(second, 0)
        end)
        local err = raises("group", neap.gather, a, b)
        assert.equal(2, #err.errors)
        assert.equal(first, err.errors[1])
        assert.equal(second, err.errors[2])
        helper.contains("first", tostring(err.errors[1][1]))
    end))

    it("W8: a member cancelled by somebody else cancels the gathering", in_loop(function()
        local a, b = after(10), after(20)
        neap.loop():call_soon(a.cancel, a)
        raises("cancelled", neap.gather, a, b)
        assert.is_true(b:cancelled())
    end))

    it("W8: return_errors waits for all and gives the errors in their places", in_loop(function(loop)
        local why = { "why" }
        local results = neap.gather {
            after(1, fail_with(why)), after(2, "fine"), after(3, fail_with "text"), return_errors = true,
        }
        assert.equal(3, loop:time())
        assert.equal(3, results.n)
        assert.equal(why, results[1])
        assert.equal("fine", results[2])
        assert.equal("text", results[3])
    end))

    it("W8: nil says to pass the function, not its result", in_loop(function()
        local err = raises("type_error", neap.gather, nil)
        helper.contains("expected a function or future", tostring(err))
        helper.contains("pass the function, not its result", tostring(err))
        raises("type_error", neap.gather, after(1), nil)
        neap.sleep(2)
    end))

    it("W8: a failing gather that was refused its arguments starts nothing", in_loop(function()
        local started = false
        raises("type_error", neap.gather, function()
            started = true
        end, 42)
        ticks(2)
        assert.is_false(started)
    end))
end)

describe("wait_for", function()
    it("W7: the value comes if it is in time", in_loop(function(loop)
        local a, b = neap.wait_for(function()
            neap.sleep(1)
            return "in", "time"
        end, 2)
        assert.equal("in", a)
        assert.equal("time", b)
        assert.equal(1, loop:time())
        assert.equal(0, loop:metrics().timers)
    end))

    it("W7: the failure comes if it is in time, the very value", in_loop(function()
        local why = {}
        local ok, err = pcall(neap.wait_for, after(1, fail_with(why)), 2)
        assert.is_false(ok)
        assert.equal(why, err)
    end))

    it("W7: too late is a timeout error, and the task was cancelled and awaited", in_loop(function(loop)
        local cleaned = false
        local task = neap.spawn(function()
            local ok, err = pcall(neap.sleep, 10)
            neap.sleep(1)
            cleaned = true
            assert(not ok)
            error(err, 0)
        end)
        local err = raises("timeout", neap.wait_for, task, 2)
        assert.is_true(cleaned)
        assert.equal(3, loop:time())
        assert.is_true(task:cancelled())
        assert.is_false(neap.is_cancelled(err))
    end))

    it("W7: a task that completes while it is being cancelled by the timeout keeps its value", in_loop(function()
        local value = neap.wait_for(function()
            pcall(neap.sleep, 10)
            return "all the same"
        end, 1)
        assert.equal("all the same", value)
    end))

    it("W7: an outer cancellation is not mistaken for the timeout", in_loop(function()
        local inner = neap.future()
        local task = neap.spawn(neap.wait_for, inner, 100)
        neap.yield()
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.is_true(inner:cancelled())
        assert.equal(0, neap.loop():metrics().timers)
    end))

    it("W7: no limit waits for ever", in_loop(function(loop)
        assert.equal("v", neap.wait_for(after(1e6, "v"), math.huge))
        assert.equal(1e6, loop:time())
    end))

    it("W7: wait_for refuses NaN and what cannot be waited for", in_loop(function()
        raises("value_error", neap.wait_for, neap.future(), 0 / 0)
        raises("type_error", neap.wait_for, nil, 1)
        raises("type_error", neap.wait_for, 42, 1)
    end))
end)

describe("shield", function()
    it("W8: cancelling the waiter of a shield leaves the task alone", in_loop(function()
        local inner = after(5, "v")
        local outer = neap.spawn(function()
            return neap.await(neap.shield(inner))
        end)
        ticks(2)
        outer:cancel()
        raises("cancelled", neap.await, outer)
        assert.is_false(inner:done())
        assert.equal("v", inner:await())
    end))

    it("W8: a shield passes value, failure and cancellation on", in_loop(function()
        assert.equal("v", neap.await(neap.shield(after(1, "v"))))
        local ok, err = pcall(neap.await, neap.shield(after(1, fail_with "x")))
        assert.is_false(ok)
        assert.equal("x", err)
        local f = neap.future()
        f:cancel()
        raises("cancelled", neap.await, neap.shield(f))
    end))

    it("W8: a shield takes a function", in_loop(function()
        assert.equal("v", neap.shield(function()
            neap.sleep(1)
            return "v"
        end):await())
    end))
end)

describe("ensure_future", function()
    it("E1: a future and a task come back themselves", in_loop(function()
        local f, task = neap.future(), after(1)
        assert.equal(f, neap.ensure_future(f))
        assert.equal(task, neap.ensure_future(task))
        task:await()
    end))

    it("E1: a function and a coroutine become tasks", in_loop(function()
        local function body()
            neap.yield()
            return "v"
        end
        assert.equal("v", neap.ensure_future(body):await())
        assert.equal("v", neap.ensure_future(coroutine.create(body)):await())
        assert.equal(1, #neap.all_tasks())
    end))

    it("E1: a table with __await becomes a task", in_loop(function()
        local awaitable = setmetatable({ value = 7 }, {
            __await = function(self)
                neap.sleep(1)
                return self.value, "second"
            end,
        })
        local task = neap.ensure_future(awaitable)
        local a, b = task:await()
        assert.equal(7, a)
        assert.equal("second", b)
        assert.equal(7, (neap.await(awaitable)))
    end))

    it("E1: what __await holds is looked at like any other body of a task", in_loop(function()
        raises("type_error", neap.ensure_future, setmetatable({}, { __await = 42 }))
        local body = coroutine.create(neap.yield)
        local awaitable = setmetatable({}, { __await = body })
        local task = neap.spawn(body)
        raises("already_owned", neap.await, awaitable)
        task:await()
    end))

    for name, value in pairs { ["a number"] = 42, ["a string"] = "f", ["a plain table"] = {}, ["true"] = true } do
        it("E1: " .. name .. " is a type error", in_loop(function()
            raises("type_error", neap.ensure_future, value)
            raises("type_error", neap.await, value)
        end))
    end
end)

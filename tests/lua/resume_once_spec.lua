-- A wake-up is one: the ways in which runtimes have resumed a cancelled coroutine a second time, or woken it in its
-- next wait by what the former one left.
local neap = require "neap"
local helper = require "support.helper"
local in_loop = helper.in_loop

-- Runs body(log, thing) as a task that then waits for a future which nobody touches; act(task, thing) happens in its
-- first wait, the thing is what make() gives. What the body logged is there once; the second wait ends when its own
-- future does.
local function resumed_once(make, body, act, expected)
    return in_loop(function()
        local log, quiet, thing = {}, neap.future(), make()
        local task = neap.spawn(function()
            body(log, thing)
            log[#log + 1] = quiet:await()
        end)
        helper.ticks(1)
        act(task, thing)
        helper.ticks(8)
        assert.same(expected, log)
        assert.is_false(task:done())
        quiet:set_result("quiet")
        task:await()
        expected[#expected + 1] = "quiet"
        assert.same(expected, log)
    end)
end

local function caught(log, fn, ...)
    local ok, err = pcall(fn, ...)
    log[#log + 1] = ok and tostring(err) or err.code
end

describe("a cancelled task", function()
    it("C5: cancelled before its start it is never resumed", in_loop(function()
        local entered = 0
        local task = neap.spawn(function() entered = entered + 1 end)
        assert.is_true(task:cancel())
        helper.ticks(3)
        assert.is_false(task:cancel())
        helper.ticks(3)
        assert.equal(0, entered)
        assert.is_true(task:cancelled())
    end))

    it("C10: cancelled while an item is handed over it is resumed once, with the item", resumed_once(neap.channel,
        function(log, channel)
            caught(log, channel.recv, channel)
            caught(log, neap.sleep, 5)
        end,
        function(task, channel)
            channel:send("item")
            assert.is_true(task:cancel())
        end, { "item", "cancelled" }))

    local function wait(log, future)
        caught(log, future.await, future)
    end

    it("C10: cancelled and then completed it is resumed once", resumed_once(neap.future, wait,
        function(task, future)
            assert.is_true(task:cancel())
            helper.raises("invalid_state", future.set_result, future, 1)
        end, { "cancelled" }))

    it("C10: completed and then cancelled it is resumed once", resumed_once(neap.future, wait,
        function(task, future)
            future:set_result(1)
            assert.is_true(task:cancel())
        end, { "cancelled" }))

    it("C9: cancelled twice it is resumed once", resumed_once(function() return 5 end,
        function(log, seconds)
            caught(log, neap.sleep, seconds)
        end,
        function(task)
            assert.is_true(task:cancel())
            assert.is_true(task:cancel())
        end, { "cancelled" }))
end)

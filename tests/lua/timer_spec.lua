-- Timers and the clock.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop, raises, ticks = helper.in_loop, helper.in_real_loop, helper.raises, helper.ticks

describe("sleep", function()
    it("M1: sleepers wake in the order of their deadlines", in_loop(function(loop)
        local log = {}
        local function sleeper(seconds)
            neap.sleep(seconds)
            log[#log + 1] = { seconds, loop:time() }
        end
        neap.gather(neap.spawn(sleeper, 3), neap.spawn(sleeper, 1), neap.spawn(sleeper, 2))
        assert.same({ { 1, 1 }, { 2, 2 }, { 3, 3 } }, log)
    end))

    for name, seconds in pairs { zero = 0, ["a negative time"] = -5, ["minus infinity"] = -math.huge } do
        it("M1: sleeping for " .. name .. " is one bare yield", in_loop(function(loop)
            local before = loop:metrics().ticks
            neap.sleep(seconds)
            assert.equal(before + 1, loop:metrics().ticks)
            assert.equal(0, loop:time())
        end))
    end

    it("M1: sleep(0) lets the others run in turn", in_loop(function()
        local log = {}
        local function body(letter)
            for _ = 1, 3 do
                log[#log + 1] = letter
                neap.sleep(0)
            end
        end
        neap.gather(neap.spawn(body, "A"), neap.spawn(body, "B"))
        assert.equal("ABABAB", table.concat(log))
    end))

    it("M1: sleep needs a number of seconds", in_loop(function()
        raises("value_error", neap.sleep, 0 / 0)
        assert.has_error(function() neap.sleep() end)
        assert.has_error(function() neap.sleep "soon" end)
    end))

    it("M1: sleeping for ever ends only by a cancellation", in_loop(function(loop)
        local task = neap.spawn(neap.sleep, math.huge)
        neap.sleep(1e9)
        assert.is_false(task:done())
        assert.equal(1e9, loop:time())
        task:cancel()
        raises("cancelled", neap.await, task)
    end))

    it("M1: fractions of a second count to the nanosecond", in_loop(function(loop)
        neap.sleep(0.1)
        neap.sleep(0.2)
        assert.equal(300000000, math.floor(loop:time() * 1e9 + 0.5))
        neap.sleep(1e-9)
        assert.equal(300000001, math.floor(loop:time() * 1e9 + 0.5))
    end))

    it("M1: a sleep does not end before its time on the real clock", in_real_loop(function(loop)
        local before = loop:time()
        neap.sleep(0.02)
        assert.is_true(loop:time() - before >= 0.02)
    end))
end)

describe("call_later", function()
    it("M3: due timers are queued, so one may cancel another of the same tick", in_loop(function(loop)
        local log = {}
        local second
        loop:call_later(1, function()
            log[#log + 1] = 1
            assert.is_true(second:cancel())
        end)
        second = loop:call_later(1, function()
            log[#log + 1] = 2
        end)
        loop:call_later(1, function()
            log[#log + 1] = 3
        end)
        neap.sleep(2)
        assert.same({ 1, 3 }, log)
    end))

    it("M3: a timer set by a timer with no delay fires in a later tick", in_loop(function(loop)
        local first, second
        loop:call_later(1, function()
            first = loop:metrics().ticks
            loop:call_later(0, function()
                second = loop:metrics().ticks
            end)
        end)
        neap.sleep(2)
        assert.equal(first + 1, second)
    end))

    it("M3: the arguments reach the callback", in_loop(function(loop)
        local got
        loop:call_later(1, function(...)
            got = helper.pack(...)
        end, "a", nil, "c", nil)
        neap.sleep(2)
        assert.equal(4, got.n)
        assert.equal("a", got[1])
        assert.equal("c", got[3])
    end))

    it("M6: a timer knows its deadline", in_loop(function(loop)
        neap.sleep(1)
        local later = loop:call_later(2.5, function() end)
        local at = loop:call_at(7, function() end)
        assert.equal(3.5, later:when())
        assert.equal(7, at:when())
        assert.is_true(later:cancel())
        assert.is_true(at:cancel())
    end))

    it("M6: cancelling a timer removes it at once", in_loop(function(loop)
        local called = false
        local before = loop:metrics().timers
        local timer = loop:call_later(1, function()
            called = true
        end)
        assert.equal(before + 1, loop:metrics().timers)
        assert.is_true(timer:cancel())
        assert.is_true(timer:cancelled())
        assert.equal(before, loop:metrics().timers)
        neap.sleep(2)
        assert.is_false(called)
    end))

    it("a timer is moved until it has fired, and by its own callback", in_loop(function(loop)
        local times = {}
        local timer
        timer = loop:call_later(1, function()
            times[#times + 1] = loop:time()
            if #times < 3 then timer:reset(5) end
        end)
        assert.equal(timer, timer:reset(2))
        assert.equal(2, timer:when())
        neap.sleep(1.5)
        timer:reset(2)
        neap.sleep(100)
        assert.same({ 3.5, 8.5, 13.5 }, times)
        raises("invalid_state", timer.reset, timer, 1)
        local cancelled = loop:call_later(1, function() end)
        cancelled:cancel()
        raises("invalid_state", cancelled.reset, cancelled, 1)
        raises("invalid_state", function() loop:call_soon(function() end):reset(1) end)
    end))

    it("M6: cancelling a timer that has fired does nothing", in_loop(function(loop)
        local timer = loop:call_later(1, function() end)
        neap.sleep(2)
        assert.is_false(timer:cancel())
        assert.equal(0, loop:metrics().timers)
    end))

    it("M6: cancelling twice does nothing more", in_loop(function(loop)
        local timer = loop:call_later(1, function() end)
        assert.is_true(timer:cancel())
        assert.is_false(timer:cancel())
        assert.equal(0, loop:metrics().timers)
    end))

    it("M6: a deadline in the past fires in the next tick", in_loop(function(loop)
        neap.sleep(10)
        local fired
        loop:call_at(3, function()
            fired = loop:time()
        end)
        ticks(2)
        assert.equal(10, fired)
    end))

    it("M6: a delay of infinity never fires and can be cancelled", in_loop(function(loop)
        local called = false
        local timer = loop:call_later(math.huge, function()
            called = true
        end)
        neap.sleep(1e6)
        assert.is_false(called)
        assert.is_true(timer:cancel())
    end))

    it("M6: a delay that is not a number is refused", in_loop(function(loop)
        raises("value_error", loop.call_later, loop, 0 / 0, print)
        raises("value_error", loop.call_at, loop, 0 / 0, print)
        assert.equal(0, loop:metrics().timers)
    end))

    it("M6: a thousand timers, all cancelled, leave nothing", in_loop(function(loop)
        local timers = {}
        for i = 1, 1000 do
            timers[i] = loop:call_later(i, error, "fired")
        end
        assert.equal(1000, loop:metrics().timers)
        for i = 1000, 1, -1 do
            timers[i]:cancel()
            assert(loop:metrics().timers == i - 1)
        end
    end))
end)

describe("call_every", function()
    it("M6: a repeating timer fires at each multiple of its interval until it is cancelled", in_loop(function(loop)
        local log = {}
        local timer
        timer = loop:call_every(2, function(text)
            log[#log + 1] = text .. loop:time()
            if #log == 3 then
                assert.is_true(timer:cancel())
            end
        end, "at ")
        neap.sleep(20)
        assert.equal(3, #log)
        for i, text in ipairs(log) do
            assert.equal(2 * i, tonumber(text:match "at (.+)"))
        end
        assert.is_true(timer:cancelled())
        assert.equal(0, loop:metrics().timers)
    end))

    it("M6: a repeating timer does not drift, and skips what it missed", in_loop(function(loop)
        loop:on_slow(math.huge)
        local log = {}
        local timer = loop:call_every(1, function()
            log[#log + 1] = loop:time()
            if #log == 2 then
                loop:advance(2.5) -- a callback that took too long
            end
        end)
        neap.sleep(8.5)
        timer:cancel()
        for _, time in ipairs(log) do
            assert.equal(0, time % 1 == 0.5 and 0 or time % 1)
        end
        assert.equal(1, log[1])
        assert.equal(2, log[2])
        assert.is_true(#log < 8)
        local seen = {}
        for _, time in ipairs(log) do
            assert.is_nil(seen[time])
            seen[time] = true
        end
    end))

    it("M6: a repeating timer goes on after its callback failed", in_loop(function(loop, reports)
        local calls = 0
        local timer = loop:call_every(1, function()
            calls = calls + 1
            error("every time", 0)
        end)
        neap.sleep(3.5)
        timer:cancel()
        assert.equal(3, calls)
        assert.equal(3, #reports)
    end, { reports = true }))

    it("M6: an interval of zero, NaN or nothing is refused", in_loop(function(loop)
        raises("value_error", loop.call_every, loop, 0, print)
        raises("value_error", loop.call_every, loop, -1, print)
        raises("value_error", loop.call_every, loop, 0 / 0, print)
        raises("type_error", loop.call_every, loop, 1, nil)
        assert.equal(0, loop:metrics().timers)
    end))
end)

describe("order", function()
    it("M8: eight timers of one deadline fire in order of creation", in_loop(function(loop)
        local log = {}
        for i = 0, 7 do
            loop:call_at(1, function()
                log[#log + 1] = i
            end)
        end
        neap.sleep(2)
        assert.same({ 0, 1, 2, 3, 4, 5, 6, 7 }, log)
    end))

    it("M8: equal deadlines fire in order of creation, over random sets", in_loop(function(loop)
        local random = helper.repeatable(8)
        local log, n = {}, 0
        local function note(i)
            n = n + 1
            log[n] = i
        end
        for _ = 1, helper.sanitized and 5000 or 100000 do
            local base, size = loop:time(), random(2, 8)
            local order, handles = {}, {}
            for i = 1, size do
                local delay = random(0, 2)
                handles[i] = loop:call_at(base + delay, note, i)
                order[i] = { delay, i }
            end
            -- Removals from the middle of the heap must not disturb the rest.
            if random(0, 3) == 0 then
                local victim = random(1, size)
                handles[victim]:cancel()
                table.remove(order, victim)
            end
            table.sort(order, function(a, b)
                return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
            end)
            n = 0
            neap.sleep(3)
            assert(n == #order, "not every timer fired once")
            for i = 1, n do
                assert(log[i] == order[i][2], "out of order")
            end
        end
    end))

    it("M8: sleepers of one deadline wake in the order in which they began to sleep", in_loop(function()
        local log, tasks = {}, {}
        for i = 1, 50 do
            tasks[i] = neap.spawn(function()
                neap.sleep(1)
                log[#log + 1] = i
            end)
        end
        for i = 1, 50 do
            tasks[i]:await()
        end
        for i = 1, 50 do
            assert.equal(i, log[i])
        end
    end))
end)

describe("clock", function()
    it("M1: the virtual clock starts at zero and jumps to the next deadline", in_loop(function(loop)
        assert.equal(0, loop:time())
        neap.sleep(3600 * 24 * 365)
        assert.equal(3600 * 24 * 365, loop:time())
    end))

    it("M1: the virtual clock can be moved by hand", in_loop(function(loop)
        loop:on_slow(math.huge)
        local fired = false
        loop:call_later(5, function()
            fired = true
        end)
        loop:advance(4.5)
        neap.yield()
        assert.is_false(fired)
        loop:advance(0.5)
        ticks(2)
        assert.is_true(fired)
        assert.equal(5, loop:time())
    end))

    it("M1: the virtual clock does not move while something is ready", in_loop(function(loop)
        loop:call_later(1, function() end):cancel()
        local timer = loop:call_later(1, error, "must not fire")
        ticks(100)
        assert.equal(0, loop:time())
        timer:cancel()
    end))

    it("M1: the time is the same throughout a step", in_real_loop(function(loop)
        local first = loop:time()
        local sum = 0
        for i = 1, 1e5 do
            sum = sum + i
        end
        assert.equal(first, loop:time())
    end))
end)

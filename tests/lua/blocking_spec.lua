-- Functions that run on threads of a pool, in Lua states of their own.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop = helper.in_loop, helper.in_real_loop

-- What jobs are made of: functions that use nothing from outside of themselves.
local function echo(...)
    return ...
end

local function spin_until_unwanted()
    local neap = require "neap" -- luacheck: ignore 431
    while neap.is_wanted() do end -- luacheck: ignore 542
    return "late"
end

-- A job that stays until the channel has a value, and says when it began.
local function wait_for_word(began, word)
    began:try_send(true)
    local got
    repeat got = word:try_recv() until got ~= nil
    return got
end

-- A task that waits for such a job, which has begun, and the channel for its word.
local function begin(pool, name)
    local began, word = neap.shared_channel(1), neap.shared_channel(1)
    local task = neap.spawn(neap.blocking, { wait_for_word, began, word, name = name, pool = pool })
    assert(began:recv())
    return task, word
end

describe("neap.blocking", function()
    describe("what is copied", function()
        it("numbers, strings, booleans and nil go there and back", in_real_loop(function()
            local got = helper.pack(neap.blocking(echo, 1, 2.5, "a\0b", true, nil, false, -0.25, "", nil))
            assert.same({ n = 9, 1, 2.5, "a\0b", true, nil, false, -0.25, "", nil }, got)
            assert.equal(0, select("#", neap.blocking(echo)))
            if helper.has_subtypes then
                assert.same({ "integer", "float" }, { neap.blocking(function(a, b)
                    return math.type(a), math.type(b)
                end, 3, 3.0) })
                assert.equal(math.mininteger, (neap.blocking(echo, math.mininteger)))
            end
            local nan = neap.blocking(echo, 0 / 0)
            assert.is_true(nan ~= nan)
            assert.equal(math.huge, (neap.blocking(echo, math.huge)))
        end))

        it("tables keep what they share, their circles and their keys", in_real_loop(function()
            local shared = { "shared" }
            local sent = { shared, shared, deep = { { { n = 3 } } }, [false] = 1, [2.5] = 2, [shared] = 3 }
            sent.self = sent
            local got, first = neap.blocking(echo, sent, shared)
            assert.is_true(got ~= sent and got.self == got)
            assert.is_true(got[1] == got[2] and got[1] == first and first ~= shared)
            assert.equal(3, got.deep[1][1].n)
            assert.equal(1, got[false])
            assert.equal(2, got[2.5])
            assert.equal(3, got[first])
        end))

        it("large tables and long strings arrive whole", in_real_loop(function()
            local list = {}
            for i = 1, 20000 do list[i] = { i, tostring(i) } end
            local text = ("x"):rep(3000000)
            local got, length = neap.blocking(function(values, bytes)
                local sum = 0
                for _, pair in ipairs(values) do sum = sum + pair[1] end
                values.sum = sum
                return values, #bytes
            end, list, text)
            assert.equal(20000 * 20001 / 2, got.sum)
            assert.same({ 17, "17" }, got[17])
            assert.equal(#text, length)
        end))

        it("what cannot be copied is named by its place", in_loop(function()
            local err = helper.raises("type_error", neap.blocking, echo, 1, { window = { 1, { print } } })
            helper.contains("argument 2.window[2][1]: a function cannot be copied", err.message)
            err = helper.raises("type_error", neap.blocking, echo, { setmetatable({}, {}) })
            helper.contains("argument 1[1]: a table with a metatable cannot be copied", err.message)
            err = helper.raises("type_error", neap.blocking, echo, neap.lock())
            helper.contains("argument 1: a userdata cannot be copied", err.message)
            helper.raises("type_error", neap.blocking, echo, { [{ print }] = 1 })
            local deep = {}
            for _ = 1, 5000 do deep = { deep } end
            helper.contains("nested too deeply", helper.raises("type_error", neap.blocking, echo, deep).message)
        end))

        it("results that cannot be copied are an error", in_real_loop(function()
            local err = helper.raises("error", neap.blocking, function() return 1, { a = { print } } end)
            helper.contains("result 2.a[1]: a function cannot be copied", err.message)
        end))

        it("shared channels have their ends on both sides", in_real_loop(function()
            local there, back = neap.shared_channel(1), neap.shared_channel("unbounded")
            there:send "ping"
            assert.is_true(neap.blocking(function(ends)
                ends.back:try_send(ends.there:try_recv())
                ends.back:try_send { nested = ends.there }
                return ends.back:close()
            end, { there = there, back = back }))
            assert.equal("ping", back:recv())
            assert.is_true(back:recv().nested:try_send(1))
            assert.equal(1, there:try_recv())
            assert.is_nil(back:recv())
        end))
    end)

    describe("what is called", function()
        it("a function that uses more than globals is refused by the name of that", in_loop(function()
            local limit = 3
            local err = helper.raises("type_error", neap.blocking, function() return limit end)
            helper.contains("'limit'", err.message)
            for _, wrong in ipairs { 1, {}, true, "no colon", coroutine.create(echo) } do
                helper.raises("type_error", neap.blocking, wrong)
            end
            helper.raises("type_error", neap.blocking)
            helper.raises("type_error", neap.blocking, neap.sleep, 1)
        end))

        it("a function of a module is called by its name", in_real_loop(function()
            assert.equal("abab", (neap.blocking("string:rep", "ab", 2)))
            helper.contains("no function 'nothing'",
                helper.raises("error", neap.blocking, "string:nothing").message)
            helper.contains("no.such.module",
                helper.raises("error", neap.blocking, "no.such.module:fn").message)
        end))

        it("a function in C without upvalues runs as it is", in_real_loop(function()
            assert.equal(os.getenv "PATH", (neap.blocking(os.getenv, "PATH")))
        end))

        it("require finds what it finds outside", in_real_loop(function()
            assert.equal("function", (neap.blocking(function()
                return type(require("support.helper").in_loop)
            end)))
        end))

        it("each call has globals of its own", in_real_loop(function()
            local pool = neap.pool { threads = 1 }
            local function count()
                counter = (counter or 0) + 1 -- luacheck: ignore 111 113
                return counter -- luacheck: ignore 113
            end
            assert.equal(1, (pool:run(count)))
            assert.equal(1, (pool:run(count)))
            assert.equal(nil, (pool:run(function() return rawget(_G, "counter") end)))
            pool:shutdown()
        end))

        it("the options form has a name, a pool, and arguments", in_real_loop(function()
            local pool = neap.pool { threads = 1, name = "mine" }
            assert.same({ n = 3, 1, nil, 3 }, helper.pack(neap.blocking { echo, 1, nil, 3, n = 4, pool = pool }))
            assert.equal(1, pool:stats().done)
            helper.raises("value_error", neap.blocking, { echo, what = 1 })
            helper.raises("type_error", neap.blocking, { echo, name = 1 })
            helper.raises("type_error", neap.blocking, { echo, pool = 1 })
            pool:shutdown()
        end))

        it("a wait is refused with the cause, unless there is a loop", in_real_loop(function()
            local err = helper.raises("no_loop", neap.blocking, function() require("neap").sleep(1) end)
            helper.contains("thread of a pool", err.message)
            assert.equal("waited", (neap.blocking(function()
                local neap = require "neap" -- luacheck: ignore 431
                return neap.run(function()
                    neap.sleep(0.001)
                    return "waited"
                end)
            end)))
        end))
    end)

    describe("errors", function()
        it("come back with message and traceback", in_real_loop(function()
            local err = helper.raises("error", neap.blocking, function() error "boom" end)
            helper.contains("boom", err.message)
            helper.contains("blocking_spec", err.traceback)
            helper.contains("boom", tostring(err))
        end))

        it("that are tables come back as copies, those of neap as such", in_real_loop(function()
            local ok, err = pcall(neap.blocking, function() error { code = 7, why = { "x" } } end)
            assert.is_false(ok)
            assert.equal(7, err.code)
            assert.same({ "x" }, err.why)
            helper.contains("blocking_spec", err.traceback)
            err = helper.raises("value_error", neap.blocking, function() require("neap").run { print, what = 1 } end)
            assert.equal(getmetatable(helper.raises("type_error", neap.sleep, "x")), getmetatable(err))
        end))

        it("that cannot be copied come back as texts", in_real_loop(function()
            local err = helper.raises("error", neap.blocking, function()
                error(setmetatable({}, { __tostring = function() return "an object" end }))
            end)
            assert.equal("an object", err.message)
            helper.raises("error", neap.blocking, function() error(nil) end)
            assert.equal(1, select(2, pcall(neap.blocking, function() error { 1, print, f = { print } } end))[1])
        end))

        it("leave the state usable", in_real_loop(function()
            local pool = neap.pool { threads = 1 }
            for i = 1, 50 do
                local ok, value = pcall(pool.run, pool, function(n)
                    if n % 2 == 0 then error "even" end
                    return n
                end, i)
                assert.equal(i % 2 == 1, ok)
                assert.is_true(ok and value == i or not ok)
            end
            assert.equal(50, pool:stats().done)
            pool:shutdown()
        end))
    end)

    describe("other tasks", function()
        it("run meanwhile", in_real_loop(function()
            local task, word = begin()
            local ticks = 0
            for _ = 1, 10 do
                neap.sleep(0)
                ticks = ticks + 1
            end
            assert.is_false(task:done())
            word:send "go"
            assert.equal("go", task:await())
            assert.equal(10, ticks)
        end))

        it("see in the tree what is waited for, by name", in_real_loop(function()
            local task, word = begin(nil, "resize")
            neap.sleep(0)
            helper.contains("the job resize (runs in the pool user)", neap.tree())
            word:send(1)
            task:await()
        end))
    end)

    describe("cancelling", function()
        it("D25: frees the caller at once, whatever the function does", in_real_loop(function()
            local task, word = begin()
            task:cancel()
            neap.wait { task }
            assert.is_true(task:cancelled())
            word:send "late"
            local other, other_word = begin()
            other_word:send(1)
            assert.equal(1, (other:await()))
        end))

        it("works by timeouts, and a function in Lua can ask", in_real_loop(function()
            helper.raises("timeout", neap.timeout, 0.01, neap.blocking, spin_until_unwanted)
            assert.is_true(neap.is_wanted())
            local pool = neap.pool { threads = 1 }
            assert.is_nil(neap.move_on(0.01, pool.run, pool, spin_until_unwanted))
            assert.same({}, pool:shutdown())
        end))

        if not helper.is_luajit then
            it("ends a function in Lua that never asks", in_real_loop(function()
                local pool = neap.pool { threads = 1 }
                assert.is_nil(neap.move_on(0.01, pool.run, pool, function() while true do end end))
                assert.same({}, pool:shutdown())
            end))
        end

        it("D25: takes back what has not begun", in_real_loop(function()
            local pool = neap.pool { threads = 1 }
            local task, word = begin(pool)
            assert.is_nil(neap.move_on(0.01, pool.run, pool, echo, {}))
            assert.equal(1, pool:stats().dropped)
            word:send(1)
            task:await()
            pool:shutdown()
        end))
    end)

    describe("loop:run_in_executor", function()
        it("answers a future", in_real_loop(function(loop)
            local future = loop:run_in_executor(echo, { 1 }, 2)
            local first, second = future:await()
            assert.same({ { 1 }, 2 }, { first, second })
            assert.is_true(future:result() == first)
            local pool = neap.pool()
            assert.equal(3, (loop:run_in_executor(pool, echo, 3):await()))
            assert.equal(4, (loop:run_in_executor(nil, echo, 4):await()))
            assert.equal(1, pool:stats().done)
            loop:set_default_executor(pool)
            neap.blocking(echo)
            assert.equal(2, pool:stats().done)
            loop:set_default_executor(nil)
            pool:shutdown()
        end))

        it("a failed one raises, once awaited", in_real_loop(function(loop)
            local future = loop:run_in_executor(function() error "boom" end)
            local err = helper.raises("error", future.await, future)
            helper.contains("boom", err.message)
            assert.is_true(future:exception() == err)
        end))

        it("a gather has the results in order", in_real_loop(function(loop)
            local futures = {}
            for i = 1, 30 do
                futures[i] = loop:run_in_executor(function(n) return n * n end, i)
            end
            local squares = neap.gather(helper.unpack(futures))
            for i = 1, 30 do assert.equal(i * i, squares[i]) end
        end))
    end)
end)

describe("neap.pool", function()
    it("D25: has limits of threads and of its queue", in_real_loop(function()
        local pool = neap.pool { threads = 1, queue = 1, name = "small", idle = 60 }
        local task, word = begin(pool)
        local second = neap.spawn(pool.run, pool, echo, 2)
        neap.sleep(0)
        helper.contains("'small' is full", helper.raises("EBUSY", pool.run, pool, echo).message)
        local stats = pool:stats()
        assert.same({ 1, 1, 1 }, { stats.threads, stats.running, stats.queued })
        word:send(1)
        task:await()
        assert.equal(2, (second:await()))
        assert.is_true(pool:stats().longest_queue_time > 0)
        assert.same({}, pool:shutdown())
        helper.raises("closed", pool.run, pool, echo)
        assert.same({}, pool:shutdown())
    end))

    it("refuses options that make no sense", in_loop(function()
        for _, options in ipairs { { threads = 0 }, { threads = 1.5 }, { queue = -1 }, { threads = "x" } } do
            helper.raises("value_error", neap.pool, options)
        end
        helper.raises("type_error", neap.pool, 1)
        helper.raises("type_error", neap.pool, { name = 1 })
        helper.raises("value_error", neap.pool, { size = 1 })
    end))

    it("a shutdown finishes what waits, or refuses it", in_real_loop(function()
        for _, cancel in ipairs { false, true } do
            local pool = neap.pool { threads = 1 }
            local task, word = begin(pool)
            local second = neap.spawn(pool.run, pool, echo, 2)
            neap.sleep(0)
            local over = neap.spawn(pool.shutdown, pool, { cancel = cancel })
            neap.sleep(0)
            word:send "go"
            assert.same({}, (over:await()))
            assert.equal("go", (task:await()))
            if cancel then
                helper.raises("closed", second.await, second)
            else
                assert.equal(2, (second:await()))
            end
        end
    end))

    it("D25: a shutdown names what it leaves behind", in_real_loop(function()
        local pool = neap.pool { threads = 2, name = "p" }
        local first, word1 = begin(pool, "one")
        local second, word2 = begin(pool, "two")
        local left = pool:shutdown { timeout = 0.01 }
        table.sort(left)
        assert.same({ "one", "two" }, left)
        word1:send(1)
        word2:send(2)
        if helper.is_luajit then -- where nothing stops them
            assert.same({ 1, 2 }, { first:await(), second:await() })
        else
            neap.wait { first, second }
            first:exception()
            second:exception()
        end
    end))

    it("D25: a loop that closes reports the job that it leaves behind", function()
        local kinds, began = {}, neap.shared_channel(1)
        local loop = neap.new_loop { backend = os.getenv "NEAP_BACKEND" }
        loop:on_error(function(report)
            kinds[#kinds + 1] = report.kind
            kinds.message = report.message
        end)
        loop:run_in_executor { function(channel)
            channel:try_send(1)
            os.execute "sleep 1"
        end, began, name = "a long nap" }
        loop:run_until_complete(loop:create_task(began.recv, began))
        loop:close()
        assert.same("left", kinds[1])
        helper.contains("a long nap", kinds.message)
    end)

    it("one that nobody has any more finishes its work", in_real_loop(function()
        local done = neap.shared_channel(1)
        local future = neap.loop():run_in_executor(neap.pool(), function(channel)
            return channel:try_send "done"
        end, done)
        helper.collect()
        assert.equal("done", done:recv())
        assert.is_true(future:await())
    end))

    it("serves many tasks", in_real_loop(function()
        local pool, sum = neap.pool { threads = 3, queue = 50 }, 0
        neap.group(function(group)
            for i = 1, 40 do
                group:spawn(function()
                    for _ = 1, 5 do
                        local got = pool:run(function(n) return { n } end, i)
                        sum = sum + got[1]
                    end
                end)
            end
        end)
        assert.equal(5 * 40 * 41 / 2, sum)
        assert.equal(200, pool:stats().done)
        pool:shutdown()
    end))
end)

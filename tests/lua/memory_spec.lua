-- Memory: who holds what, what is collected, what dropping leaves.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop, ticks = helper.in_loop, helper.in_real_loop, helper.ticks

local function collected(box, what)
    helper.collect()
    neap.yield()
    helper.collect()
    assert(next(box) == nil, what .. " was not collected")
end

describe("collection", function()
    it("T21: a dropped pending future is collected", in_loop(function()
        local box = setmetatable({}, { __mode = "k" })
        box[neap.future()] = true
        collected(box, "a pending future")
    end))

    it("T21: a dropped pending future whose callback refers to it is collected", in_loop(function()
        local box = setmetatable({}, { __mode = "k" })
        do
            local f = neap.future()
            f:add_done_callback(function()
                return f
            end)
            box[f] = true
        end
        collected(box, "a future with a callback that refers to it")
    end))

    it("T21: a dropped future whose result refers to it is collected", in_loop(function()
        local box = setmetatable({}, { __mode = "k" })
        do
            local f = neap.future()
            f:set_result { f }
            box[f] = true
        end
        collected(box, "a future whose result refers to it")
    end))

    it("T21: a dropped future with several results that refer to it is collected", in_loop(function()
        local box = setmetatable({}, { __mode = "k" })
        do
            local f = neap.future()
            f:set_result(f, { f }, function() return f end)
            box[f] = true
        end
        collected(box, "a future with several results")
    end))

    it("T21: a dropped future whose exception refers to it is collected", in_loop(function()
        local box = setmetatable({}, { __mode = "k" })
        do
            local f = neap.future()
            f:ignore()
            f:set_exception { f }
            box[f] = true
        end
        collected(box, "a future whose exception refers to it")
    end))

    it("T21: the result of a collected future goes with it", in_loop(function()
        local box = setmetatable({}, { __mode = "v" })
        do
            local f = neap.future()
            box.value = {}
            f:set_result(box.value)
        end
        collected(box, "a result")
    end))

    it("T21: a finished task that nobody holds is collected, with function and result", in_loop(function()
        local box = setmetatable({}, { __mode = "k" })
        do
            local value = {}
            local function body()
                return value
            end
            local task = neap.spawn(body)
            box[task], box[value], box[body] = true, true, true
        end
        ticks(2)
        collected(box, "a finished task")
    end))

    it("T21: a failed task that nobody holds is collected, with its error", in_loop(function(_, reports)
        local box = setmetatable({}, { __mode = "k" })
        do
            local why = {}
            box[neap.spawn(function()
                local local_value = {}
                box[local_value] = true
                error(why)
            end)] = true
            box[why] = true
        end
        ticks(2)
        assert.equal(1, #reports)
        reports[1] = nil
        collected(box, "a failed task")
    end, { reports = true }))

    it("T21: a callback that ran is let go", in_loop(function(loop)
        local box = setmetatable({}, { __mode = "k" })
        do
            local argument = {}
            local function callback() end
            loop:call_soon(callback, argument)
            loop:call_later(1, callback, argument)
            box[callback], box[argument] = true, true
        end
        neap.sleep(2)
        collected(box, "a callback")
    end))

    it("T21: a cancelled callback is let go, also while its handle is held", in_loop(function(loop)
        local box = setmetatable({}, { __mode = "k" })
        local handles = {}
        do
            local function callback() end
            handles[1] = loop:call_soon(callback)
            handles[2] = loop:call_later(100, callback)
            box[callback] = true
        end
        handles[1]:cancel()
        handles[2]:cancel()
        ticks(2)
        collected(box, "a cancelled callback")
    end))

    it("T21: a removed done callback is let go", in_loop(function()
        local f = neap.future()
        local box = setmetatable({}, { __mode = "k" })
        do
            local function callback() end
            f:add_done_callback(callback)
            f:remove_done_callback(callback)
            box[callback] = true
        end
        collected(box, "a removed callback")
    end))

    it("T21: a removed reader is let go", in_real_loop(function(loop)
        local a, b = neap.socketpair()
        local box = setmetatable({}, { __mode = "k" })
        do
            local function callback() end
            loop:add_reader(a:fileno(), callback)
            loop:remove_reader(a:fileno())
            box[callback] = true
        end
        collected(box, "a removed reader")
        a:close()
        b:close()
    end))

    it("T16: a task-local value goes with the last task that sees it", in_loop(function()
        local var = neap.task_local()
        local box = setmetatable({}, { __mode = "k" })
        neap.spawn(function()
            local value = {}
            var:set(value)
            box[value] = true
            neap.spawn(neap.sleep, 1):await()
        end):await()
        collected(box, "a task-local value")
        assert.is_nil(var:get())
    end))
end)

describe("what stays", function()
    it("T21: the loop holds a live task that nobody else holds", in_loop(function()
        local done = false
        neap.spawn(function()
            neap.sleep(5)
            done = true
        end)
        neap.sleep(1)
        helper.collect()
        neap.sleep(5)
        assert.is_true(done)
    end))

    it("T21: a task holds what it awaits", in_loop(function(loop)
        local box = setmetatable({}, { __mode = "v" })
        local task = neap.spawn(function()
            local f = neap.future()
            box.future = f
            return f:await()
        end)
        ticks(2)
        helper.collect()
        local f = assert(box.future, "the awaited future was collected")
        loop:call_soon(f.set_result, f, "v")
        assert.equal("v", task:await())
    end))

    it("T21: timers and queued callbacks live without their handles", in_loop(function(loop)
        local log = {}
        loop:call_soon(function()
            log[#log + 1] = "soon"
        end)
        loop:call_later(1, function()
            log[#log + 1] = "later"
        end)
        helper.collect()
        neap.sleep(2)
        assert.same({ "soon", "later" }, log)
    end))

    it("T21: a future whose sender holds it keeps its callbacks", in_loop(function(loop)
        local called = false
        do
            local f = neap.future()
            f:add_done_callback(function()
                called = true
            end)
            loop:call_later(1, f.set_result, f)
        end
        helper.collect()
        neap.sleep(2)
        assert.is_true(called)
    end))

    it("T2: the same object comes back for the same task and future", in_loop(function()
        local task = neap.spawn(function()
            neap.yield()
            return neap.current_task()
        end)
        assert.equal(task, neap.all_tasks()[2])
        assert.equal(task, task:await())
        local t = {}
        t[task] = "key"
        assert.equal("key", t[neap.ensure_future(task)])
    end))

    it("T21: two handles of one task may be dropped while it runs", in_loop(function()
        local name
        do
            local task = neap.spawn { function()
                neap.sleep(1)
                name = neap.current_task():name()
            end, name = "kept by the loop" }
            assert.is_true(#task:name() > 0)
        end
        helper.collect()
        neap.sleep(2)
        assert.equal("kept by the loop", name)
    end))

    it("N9: a socket that a task waits on is not collected", in_real_loop(function()
        local peer
        local task = neap.spawn(function()
            local a, b = neap.socketpair()
            peer = b
            return (a:recv(10))
        end)
        ticks(2)
        helper.collect()
        peer:sendall "kept"
        assert.equal("kept", task:await())
        peer:close()
    end))
end)

describe("growth", function()
    local function steady(rounds, body)
        local function measure()
            helper.collect()
            ticks(1)
            helper.collect()
            return collectgarbage "count", neap.loop():metrics()
        end
        local function repeat_it()
            for i = 1, rounds do
                body()
                if i % 50 == 0 then
                    collectgarbage() -- pools keep what was in use at once
                end
            end
        end
        repeat_it()
        local kib, before = measure()
        repeat_it()
        local kib_after, after = measure()
        assert.equal(before.objects, after.objects)
        if before.bytes then
            assert.is_true(after.bytes - before.bytes < 64 * 1024, "bytes: " .. after.bytes - before.bytes)
        end
        assert.is_true(kib_after - kib < 64, "KiB of Lua memory: " .. kib_after - kib)
    end

    it("T21: spawning and awaiting does not grow the state", in_loop(function()
        steady(2000, function()
            neap.spawn(function(x)
                neap.yield()
                return x
            end, {}):await()
        end)
    end))

    it("T21: failing tasks do not grow the state", in_loop(function()
        steady(1000, function()
            pcall(neap.await, neap.spawn(function()
                error {}
            end))
        end)
    end))

    it("T21: cancelled tasks do not grow the state", in_loop(function()
        steady(1000, function()
            local task = neap.spawn(neap.sleep, 100)
            neap.yield()
            task:cancel()
            pcall(neap.await, task)
        end)
    end))

    it("T21: combinators do not grow the state", in_loop(function()
        steady(500, function()
            neap.gather(function() neap.yield() end, function() end)
            neap.wait({ neap.future(), function() end }, { return_when = "first_completed" })
            pcall(neap.wait_for, neap.future(), 0)
            neap.await(neap.shield(function() end))
        end)
    end))

    it("T21: sends and receives do not grow the state", in_real_loop(function()
        local a, b = neap.socketpair()
        steady(2000, function()
            local reader = neap.spawn(a.recv, a, 100)
            neap.yield()
            b:sendall "some bytes"
            assert(reader:await() == "some bytes")
        end)
        a:close()
        b:close()
    end))

    it("T21: generators that wait do not grow the state", in_loop(function()
        steady(500, function()
            helper.each(function() end, coroutine.wrap(function()
                for i = 1, 3 do
                    neap.yield()
                    coroutine.yield(i)
                end
            end))
        end)
    end))

    it("T21: collecting at every turn breaks nothing", in_real_loop(function()
        local a, b = neap.socketpair()
        local log = {}
        local task = neap.spawn(function()
            for i = 1, 20 do
                log[i] = a:recv(10)
                collectgarbage()
            end
        end)
        for i = 1, 20 do
            collectgarbage()
            neap.gather(function() collectgarbage() neap.sleep(0) collectgarbage() end)
            b:sendall(("%02d"):format(i))
            while #log < i do
                neap.yield()
            end
        end
        task:await()
        assert.equal(20, #log)
        a:close()
        b:close()
    end))

    it("T21: an aggressive collector breaks nothing", in_loop(function()
        local pause, stepmul = collectgarbage("setpause", 0), collectgarbage("setstepmul", 100000)
        local results = {}
        for i = 1, 200 do
            results[i] = neap.spawn(function()
                local f = neap.future()
                neap.loop():call_soon(f.set_result, f, { i })
                local v = f:await()
                return (coroutine.wrap(function()
                    neap.yield()
                    coroutine.yield(v[1])
                end)())
            end)
        end
        for i = 1, 200 do
            assert.equal(i, results[i]:await())
        end
        collectgarbage("setpause", pause)
        collectgarbage("setstepmul", stepmul)
    end))
end)

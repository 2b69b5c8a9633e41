-- neap.testing: what a test may do, what makes it fail, and what it is told then.
local helper = require "support.helper"
local neap = require "neap"
local testing = require "neap.testing"

local neap_test, contains = testing.neap_test, helper.contains

-- The message of a test that must fail.
local function failure(fn, options)
    local ok, err = pcall(neap_test(fn, options))
    if ok then error("the test has passed", 2) end
    return err
end

-- The text of an assertion of Busted, too.
local function text_of(err)
    return type(err) == "table" and err.message or err
end

local function passes(fn, options)
    neap_test(fn, options)()
end

-- A compiled loop of LuaJIT does not count its instructions.
local function interpreted(fn)
    return function()
        local jit = rawget(_G, "jit")
        if jit then jit.off() end
        local ok, err = pcall(fn)
        if jit then jit.on() end
        if not ok then error(err, 0) end
    end
end

local function sleeper(name)
    return neap.spawn { function() neap.sleep(3600) end, name = name or "sleeper" }
end

describe("neap_test", function()
    it("runs the function as the main task of a fresh loop with a virtual clock", function()
        local loops, begun = {}, {}
        for i = 1, 2 do
            passes(function()
                loops[i], begun[i] = neap.loop(), neap.loop():time()
                assert.equal("main", neap.current_task():name())
                neap.sleep(30)
                assert.equal(30, neap.loop():time())
            end)
        end
        assert.not_equal(loops[1], loops[2])
        assert.same({ 0, 0 }, begun)
        assert.is_true(loops[1]:is_closed())
    end)

    it("gives the real clock if it is asked for", function()
        passes(function()
            local before = neap.loop():time()
            neap.sleep(0.001)
            assert.is_true(before > 0 and neap.loop():time() >= before + 0.001)
        end, { virtual = false })
    end)

    it("fails with the very error of the function", function()
        local thing = {}
        assert.equal(thing, failure(function() error(thing) end))
        contains("boom", failure(function() neap.sleep(1) error "boom" end))
    end)

    it("can be run again, also after a failure", function()
        local n = 0
        local test = neap_test(function()
            n = n + 1
            sleeper()
            error("time " .. n)
        end)
        contains("time 1", select(2, pcall(test)))
        contains("time 2", select(2, pcall(test)))
    end)

    it("needs no framework", function()
        local path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write [[
            local neap, testing = require "neap", require "neap.testing"
            testing.test(function() neap.sleep(60) end, { limit = 100 })()
            print(pcall(testing.neap_test(function() neap.future():await() end)))
        ]]
        file:close()
        local pipe = assert(io.popen(helper.lua .. " " .. path .. " 2>&1"))
        local out = pipe:read "*a"
        pipe:close()
        os.remove(path)
        contains("false\t", out)
        contains("the test is deadlocked", out)
    end)

    it("refuses options that make no sense", function()
        local function refused(text, options)
            local ok, err = pcall(function() neap_test(function() end, options) end)
            assert.is_false(ok)
            contains(text, err)
            contains("testing_spec.lua", err)
        end
        refused("unknown option 'limits'", { limits = 3 })
        refused("the option 'limit' is a number", { limit = "3" })
        refused("the option 'limit' is not a limit", { limit = math.huge })
        refused("the option 'real_limit' is not a limit", { real_limit = 0 })
        refused("nothing of the kind 'memory' leaks", { leaks = { memory = "allow" } })
        refused("leaks of tasks", { leaks = { tasks = true } })
        refused("the option 'leaks'", { leaks = true })
        helper.raises("value_error", neap.new_loop, { shuffle_seed = -1 })
        helper.raises("type_error", neap.new_loop, { shuffle_seed = "7" })
        local ok, err = pcall(neap_test, {})
        assert.is_false(ok)
        contains("a function expected, got table", err)
        contains("a number of orders expected", select(2, pcall(testing.explore, print)))
    end)
end)

describe("the limits of a test", function()
    it("end one that is deadlocked with who waits for whom", function()
        local text = failure(function()
            local lock = neap.lock()
            lock:acquire()
            neap.spawn({ function() lock:acquire() end, name = "second" }):await()
        end)
        contains("the test is deadlocked", text)
        contains("main waits for second", text)
        contains("second waits for a lock that main has", text)
        contains("testing_spec.lua", text)
    end)

    it("end one that takes too much of the loop's time with its tasks", function()
        local text = failure(function()
            neap.spawn { function() neap.sleep(3600) end, name = "worker" }
            neap.sleep(61)
        end)
        contains("the test took longer than 60 s of the loop's time", text)
        contains("main sleeps for another 1 s at ", text)
        contains("worker sleeps for another 3540 s at ", text)
        contains("spawned at ", text)
        passes(function() neap.sleep(61) end, { limit = 62 })
    end)

    it("end one that waits for the world", function()
        local text = failure(function()
            local listener = neap.tcp()
            listener:bind "127.0.0.1:0"
            listener:listen()
            listener:accept()
        end)
        contains("the test took longer than 60 s of the loop's time", text)
        contains("main waits for an accept on ", text)
    end)

    it("end one that waits for the world on the real clock", function()
        local text = failure(function()
            local a, b = testing.pair()
            a:recv()
            b:close()
        end, { virtual = false, real_limit = 0.05 })
        contains("the test took longer than 0.05 s of real time", text)
    end)

    it("end one that runs in ticks without end", function()
        local text = failure(function()
            while true do neap.yield() end
        end, { real_limit = 0.05 })
        contains("the test took longer than 0.05 s of real time", text)
        contains("main is ready at ", text)
    end)

    it("end one that runs without waiting", interpreted(function()
        local text = failure(function()
            while true do end -- luacheck: ignore 542
        end, { real_limit = 0.05 })
        contains("the test took longer than 0.05 s of real time", text)
        contains("main has failed: ", text)
        contains("it runs without waiting at ", text)
        contains("testing_spec.lua", text)
    end))

    it("end another task that runs without waiting", interpreted(function()
        local text = failure(function()
            neap.spawn { function()
                coroutine.wrap(function()
                    while true do end -- luacheck: ignore 542
                end)()
            end, name = "spinner" }
            neap.sleep(1)
        end, { real_limit = 0.05 })
        contains("the failure of spinner", text)
        contains("it runs without waiting at ", text)
    end))

    it("end one that catches every error and goes on", interpreted(function()
        local text = failure(function()
            while true do
                pcall(function()
                    while true do end -- luacheck: ignore 542
                end)
            end
        end, { real_limit = 0.05 })
        contains("the test took longer than 0.05 s of real time", text)
        passes(function() for _ = 1, 1e6 do end end) -- luacheck: ignore 542
    end))

    it("leave the hook of a debugger alone", interpreted(function()
        local lines = 0
        debug.sethook(function() lines = lines + 1 end, "l")
        local ok = pcall(neap_test(function() end))
        local hooked = debug.gethook()
        debug.sethook()
        assert.is_true(ok)
        assert.is_function(hooked)
        assert.is_true(lines > 0)
        passes(function() end)
        assert.is_nil((debug.gethook()))
    end))

    it("tell of a test that ends its run", function()
        contains("the test called neap.exit", failure(function() neap.exit(3) end))
        contains("the loop was stopped", failure(function()
            neap.loop():stop()
            neap.sleep(1)
        end))
    end)
end)

describe("what a test leaves", function()
    it("may not be a task", function()
        local function test() sleeper "worker" end
        local text = failure(test)
        contains("the test left 1 task behind:", text)
        contains("worker sleeps for another 3600 s", text)
        contains("spawned at ", text)
        contains("testing_spec.lua", text)
        passes(test, { leaks = { tasks = "allow" } })
        passes(test, { leaks = "allow" })
        contains("1 task", failure(test, { leaks = { sockets = "allow", tasks = "fail" } }))
    end)

    it("may be a task that was cancelled and has its end still to come", function()
        passes(function()
            local task = sleeper()
            neap.yield()
            task:cancel()
        end)
    end)

    it("may not be a task that runs in ticks without end", function()
        contains("1 task behind", failure(function()
            neap.spawn(function()
                while true do neap.yield() end
            end)
        end))
    end)

    it("may not be a timer", function()
        local function test()
            neap.loop():call_later(7, print)
            neap.loop():call_later(3, function() end):cancel()
            neap.loop():call_every(1, function() end)
        end
        local text = failure(test)
        contains("the test left 2 callbacks to come:", text)
        contains("a timer for 7 s", text)
        contains("a timer for 1 s, which calls the function of ", text)
        passes(test, { leaks = { handles = "allow" } })
    end)

    it("may not be a reader or writer", function()
        local function test()
            local a, b = testing.pair()
            neap.loop():add_reader(a, function() end)
            neap.loop():add_writer(b, function() neap.loop():remove_writer(b) end)
            neap.sleep(1)
        end
        local text = failure(test, { leaks = { sockets = "allow" } })
        contains("the test left 1 callback to come:", text)
        contains("a reader of descriptor ", text)
        contains("which calls the function of ", text)
        passes(test, { leaks = { handles = "allow", sockets = "allow" } })
    end)

    it("may not be an open socket", function()
        local function test()
            local client, server = testing.pair "tcp"
            client:close()
            neap.tcp()
            return server
        end
        local text = failure(test)
        contains("the test left 2 sockets open:", text)
        contains("bound to 127.0.0.1:", text)
        contains("connected with 127.0.0.1:", text)
        contains("a socket without a descriptor", text)
        passes(test, { leaks = { sockets = "allow" } })
    end)

    it("may not be an error that nobody has read", function()
        local function test()
            neap.spawn { function() error "lost" end, name = "loser" }
            neap.loop():call_soon(function() error "in a callback" end)
        end
        local text = failure(test)
        contains("2 reports that nobody has read:", text)
        contains("unhandled: nobody awaits the failure of loser", text)
        contains("lost", text)
        contains("callback: ", text)
        contains("in a callback", text)
        passes(test, { leaks = { errors = "allow" } })
        passes(function()
            local task = neap.spawn(function() error "read" end)
            assert.is_false(pcall(task.await, task))
            neap.spawn(function() error "of no interest" end):ignore()
        end)
    end)

    it("may not be another descriptor", function()
        local kept
        local function test() kept = assert(io.open "/dev/null") end
        local text = failure(test)
        contains("the test left 1 descriptor open in the process:", text)
        contains("/dev/null", text)
        kept:close()
        passes(test, { leaks = { descriptors = "allow" } })
        kept:close()
        passes(function() assert(io.open "/dev/null") end) -- the collector closes it
    end)

    it("is told in one message", function()
        local text = failure(function()
            sleeper()
            neap.loop():call_later(1, function() end)
        end)
        contains("1 task", text)
        contains("1 callback", text)
    end)

    it("is ended in any case", function()
        local before, ended = helper.count_descriptors(), false
        failure(function()
            testing.pair()
            neap.spawn(function()
                pcall(neap.sleep, 3600)
                ended = true
            end)
            neap.yield()
        end)
        assert.equal(before, helper.count_descriptors())
        assert.is_false(ended) -- aborted
    end)
end)

describe("wait_all_blocked", function()
    it("goes on when all other tasks wait", neap_test(function()
        local log = {}
        local event = neap.event()
        local task = neap.spawn(function()
            for i = 1, 5 do
                log[i] = i
                neap.yield()
            end
            event:wait()
        end)
        testing.wait_all_blocked()
        assert.equal(5, #log)
        event:set()
        task:await()
    end))

    it("D20: comes before the clock moves", neap_test(function()
        local woken
        local task = neap.spawn(function()
            neap.sleep(1)
            woken = true
        end)
        testing.wait_all_blocked(0.001)
        assert.equal(0, neap.loop():time())
        assert.is_nil(woken)
        task:await()
    end))

    it("serves the shortest cushion first, equal ones in order", neap_test(function()
        local log = {}
        local function waiter(name, cushion)
            return neap.spawn(function()
                testing.wait_all_blocked(cushion)
                log[#log + 1] = name
            end)
        end
        neap.gather(waiter("c", 0.002), waiter "a", waiter "b")
        assert.same({ "a", "b", "c" }, log)
    end))

    it("D20: sees what is on its way between sockets", neap_test(function()
        local a, b = testing.pair "tcp"
        local got
        local task = neap.spawn(function() got = b:recv() end)
        a:sendall "data"
        testing.wait_all_blocked()
        assert.equal("data", got)
        task:await()
        a:close()
        b:close()
    end))

    it("can be cancelled", neap_test(function()
        local task = neap.spawn(function()
            while true do neap.yield() end
        end)
        testing.raises("timeout", neap.timeout, 0, testing.wait_all_blocked)
        task:cancel()
    end))

    it("needs a task", function()
        assert.equal("no_loop", helper.code_of(select(2, pcall(testing.wait_all_blocked))))
    end)
end)

describe("the order of batches", function()
    -- The order in which some tasks run.
    local function order(options)
        local log = {}
        passes(function()
            neap.group(function(group)
                for i = 1, 8 do
                    group:spawn(function() log[#log + 1] = i end)
                end
            end)
        end, options)
        return table.concat(log, " ")
    end

    it("is that of becoming ready", function()
        assert.equal("1 2 3 4 5 6 7 8", order())
    end)

    it("is the same for the same seed and another for another", function()
        local seen, n = {}, 0
        for seed = 1, 5 do
            local text = order { seed = seed }
            assert.equal(text, order { seed = seed })
            if not seen[text] then n = n + 1 end
            seen[text] = true
        end
        assert.equal(5, n)
    end)

    it("is random if it is to be shuffled", function()
        local seen, n = {}, 0
        for _ = 1, 10 do
            local text = order { shuffle = true }
            if not seen[text] then n = n + 1 end
            seen[text] = true
        end
        assert.is_true(n > 1)
    end)

    it("is told by a failure and can be had again", function()
        local text = failure(function() error "wrong" end, { shuffle = true })
        local seed = tonumber(text:match "NEAP_TEST_SEED=(%d+)")
        contains("wrong", text)
        local getenv, drawn = os.getenv, order { seed = seed }
        os.getenv = function(name) -- luacheck: ignore 122
            if name == "NEAP_TEST_SEED" then return tostring(seed) end
            return getenv(name)
        end
        local ok, repeated, plain = pcall(function() return order { shuffle = true }, order() end)
        os.getenv = getenv -- luacheck: ignore 122
        assert.is_true(ok, repeated)
        assert.equal(drawn, repeated)
        assert.equal("1 2 3 4 5 6 7 8", plain)
        contains("seed = 7", text_of(failure(function() assert.equal(1, 2) end, { seed = 7 })))
        contains("seed = 7", failure(function() sleeper() end, { seed = 7 }))
    end)

    it("is explored until one fails", function()
        local runs = 0
        local test = testing.explore(100, function()
            runs = runs + 1
            local value
            neap.group(function(group)
                group:spawn(function() value = "first" end)
                group:spawn(function() value = "second" end)
            end)
            assert.equal("second", value)
        end)
        local ok, err = pcall(test)
        assert.is_false(ok)
        contains("seed = " .. runs, text_of(err))
        assert.is_true(runs < 100)
        testing.explore(3, function() runs = 0 end)()
        assert.equal(0, runs)
    end)
end)

describe("helpers for tests", function()
    it("raises: an error with the code is answered, all else fails", function()
        local err = testing.raises("type_error", neap.sleep, {})
        assert.equal("type_error", err.code)
        contains("got 'type_error'", select(2, pcall(testing.raises, "timeout", neap.sleep, {})))
        contains("got 'nil': ", select(2, pcall(testing.raises, "timeout", error, "text")))
        contains("the call succeeded", select(2, pcall(testing.raises, "timeout", print)))
    end)

    it("pair: two connected sockets", neap_test(function()
        for _, sort in ipairs { "stream", "dgram", "tcp" } do
            local a, b = testing.pair(sort)
            a:send "x"
            assert.equal("x", b:recv(1))
            b:send "y"
            assert.equal("y", a:recv(1))
            a:close()
            b:close()
        end
    end))

    it("sequencer: parts of tasks in a fixed order", neap_test(function()
        local sequence, log = testing.sequencer(), {}
        local function note(word) log[#log + 1] = word end
        neap.gather(function()
            sequence(2, note, "b")
            sequence(4, function()
                neap.sleep(1)
                note "d"
            end)
        end, function()
            sequence(1, note, "a")
            assert.equal("value", sequence(3, function() return "value" end))
            sequence(5)
            note "e"
        end)
        assert.same({ "a", "b", "d", "e" }, log)
        assert.is_false(pcall(sequence, 5))
    end))

    it("sequencer: a part that fails ends those behind it", neap_test(function()
        local sequence = testing.sequencer()
        assert.is_false(pcall(sequence, 1, error, "boom"))
        contains("has failed", select(2, pcall(sequence, 2, error, "never")))
        contains("has failed", select(2, pcall(sequence, 3)))
    end))
end)

-- Runs fn beside processes that want every processor.
local function beside_busy_loops(fn)
    return function()
        local busy = {}
        for i = 1, 4 do
            busy[i] = assert(io.popen("timeout 60 sh -c 'while :; do :; done' & echo $!; wait"))
        end
        local ok, err = pcall(fn)
        for i = 1, 4 do
            os.execute("kill " .. busy[i]:read "*l")
            busy[i]:close()
        end
        if not ok then error(err, 0) end
    end
end

describe("the virtual clock", function()
    it("never outruns what sockets of the loop send each other", beside_busy_loops(neap_test(function()
        for _, sort in ipairs { "stream", "tcp" } do
            local a, b = testing.pair(sort)
            local done = false
            local ticker = neap.spawn(function() -- the clock always has somewhere to go
                while not done do neap.sleep(1e-9) end
            end)
            for i = 1, 500 do
                local before = neap.loop():time()
                local got = neap.spawn(function() return b:recv(10) end)
                a:sendall(tostring(i))
                assert.equal(tostring(i), got:await())
                assert.is_true(neap.loop():time() - before < 1e-6)
            end
            done = true
            ticker:await()
            a:close()
            b:close()
        end
    end)))
end)

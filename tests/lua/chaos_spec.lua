-- Random programs: tasks that do everything to each other.  Whatever they do, each ends, and nothing is left.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop = helper.in_loop, helper.in_real_loop

-- A program of `count` tasks that each take `steps` random actions.
local function program(random, count, steps)
    local loop = neap.loop()
    local tasks, futures, log = {}, {}, {}

    local function pick(list)
        return #list > 0 and list[random(1, #list)] or nil
    end

    local function future()
        local f = neap.future()
        f:ignore()
        futures[#futures + 1] = f
        return f
    end

    -- One that is there, rarely a finished one, or a new one.
    local function some_future()
        local f = pick(futures)
        if not f or (f:done() and random(0, 4) > 0) then
            return future()
        end
        return f
    end

    local body
    local function spawn(depth)
        local task = neap.spawn(body, depth)
        task:ignore()
        tasks[#tasks + 1] = task
        return task
    end

    local function generator(n)
        return coroutine.wrap(function()
            for i = 1, n do
                if random(0, 1) == 0 then
                    neap.sleep(random(0, 2) / 10)
                end
                coroutine.yield(i)
            end
        end)
    end

    local actions = {
        function() neap.sleep(random(0, 5) / 10) end,
        function() neap.yield() end,
        function() coroutine.yield() end,
        function() neap.await(some_future()) end,
        function() neap.await(pick(tasks)) end,
        function() neap.wait_for(pick(tasks), random(0, 3) / 10) end,
        function() neap.wait_for(some_future(), random(0, 3) / 10) end,
        function() neap.await(neap.shield(pick(tasks))) end,
        function() neap.wait({ pick(tasks), pick(tasks) }, { timeout = random(0, 10) / 10 }) end,
        function()
            neap.wait({ pick(tasks), some_future() },
                { timeout = random(0, 10) / 10, return_when = "first_completed" })
        end,
        function(depth)
            if depth > 0 then
                neap.gather(spawn(depth - 1), spawn(depth - 1))
            end
        end,
        function(depth)
            if depth > 0 then
                neap.gather { spawn(depth - 1), spawn(depth - 1), return_errors = true }
            end
        end,
        function(depth)
            if depth > 0 then
                spawn(depth - 1):await()
            end
        end,
        function() pick(tasks):cancel() end,
        function() pick(tasks):cancel "because" end,
        function() neap.current_task():cancel() end,
        function() some_future():cancel() end,
        function() some_future():set_result(random(1, 9), {}) end,
        function() some_future():set_exception { "set" } end,
        function() pick(tasks):add_done_callback(function(t) log[#log + 1] = t:done() end) end,
        function()
            local f, n = some_future(), 0
            local function callback() n = n + 1 end
            f:add_done_callback(callback)
            f:add_done_callback(callback)
            assert(f:remove_done_callback(callback) == 2 or f:done())
        end,
        function() loop:call_soon(function() log[#log + 1] = true end):cancel() end,
        function() loop:call_later(random(0, 9) / 10, function() log[#log + 1] = true end) end,
        function()
            for i in generator(3) do
                log[#log + 1] = i
            end
        end,
        function() generator(3)() end,
        function() error("on purpose", 0) end,
        function() collectgarbage "step" end,
        function() log = {} end,
        function() coroutine.yield({}) end,
        function() table.sort({ 3, 2, 1 }, function() neap.sleep(1) end) end,
    }

    body = function(depth)
        for _ = 1, steps do
            local action = actions[random(1, #actions)]
            local ok, err = pcall(action, depth)
            if not ok and random(0, 3) == 0 then
                error(err, 0) -- sometimes what came out of the action ends the task
            end
        end
        return depth
    end

    for _ = 1, count do
        spawn(2)
    end
    -- End it: whoever is left is cancelled until it gives up.
    neap.sleep(5)
    for _ = 1, 1000 do
        local live = 0
        for _, task in ipairs(tasks) do
            if not task:done() then
                live = live + 1
                task:cancel()
            end
        end
        if live == 0 then
            break
        end
        neap.sleep(1)
    end
    for _, task in ipairs(tasks) do
        assert(task:done(), "a task did not end")
    end
    for _, f in ipairs(futures) do
        f:cancel()
    end
    neap.sleep(2) -- timers that were left alone
    return #tasks
end

describe("random programs", function()
    local seeds = tonumber(os.getenv "NEAP_TEST_SEEDS") or (helper.sanitized and 10 or 40)
    for seed = 1, seeds do
        it("T21: program " .. seed .. " ends and leaves nothing", in_loop(function()
            local total = program(helper.repeatable(seed * 7919), 30, 12)
            assert.is_true(total >= 30)
        end, { reports = true, debug = seed % 4 == 0 }))
    end
end)

-- Pairs of sockets with tasks at both ends that are cancelled at any time: the bytes that were sent are received, in
-- order, by whoever receives.
describe("random traffic", function()
    for seed = 1, tonumber(os.getenv "NEAP_TEST_SEEDS") or (helper.sanitized and 3 or 10) do
        it("C10 N4: traffic " .. seed .. " arrives whole, whoever is cancelled", in_real_loop(function()
            local random = helper.repeatable(seed * 104729)
            local a, b = neap.socketpair()
            local sent, received = {}, {}
            local sending = true

            local function send_some()
                local data = ("%d,"):format(random(1, 1e9)):rep(random(1, 2000))
                local ok, err = pcall(a.sendall, a, data)
                if ok then
                    sent[#sent + 1] = data
                else
                    assert(neap.is_cancelled(err))
                    sent[#sent + 1] = data:sub(1, err.partial or 0)
                    error(err, 0)
                end
            end

            local function receive_some()
                while true do
                    local data = b:recv(random(1, 5000))
                    if not data then
                        return "end"
                    end
                    received[#received + 1] = data
                end
            end

            local sender = neap.spawn(function()
                for _ = 1, 100 do
                    local task = neap.spawn(send_some)
                    helper.ticks(random(0, 4))
                    if random(0, 2) == 0 then
                        task:cancel()
                    end
                    pcall(neap.await, task)
                end
                a:close()
                sending = false
            end)
            local outcome
            repeat
                local task = neap.spawn(receive_some)
                helper.ticks(random(0, 6))
                if sending then
                    task:cancel()
                end
                local ok, value = pcall(neap.await, task)
                outcome = ok and value
            until outcome == "end"
            sender:await()
            local whole_sent, whole_received = table.concat(sent), table.concat(received)
            assert.equal(#whole_sent, #whole_received)
            assert.is_true(whole_sent == whole_received, "the bytes differ")
            b:close()
        end))
    end
end)

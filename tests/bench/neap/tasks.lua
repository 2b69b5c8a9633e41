-- neap's tasks from Lua. Cases: spawn, switch, futures, timers, sleepers, stall. Run by the neap command, so this is a
-- task itself.
package.path = arg[0]:gsub("[^/]*/[^/]*$", "") .. "micro/?.lua;" .. package.path
local figures = require "figures"
local neap = require "neap"

local BATCH = 1000

local function nothing() end

-- Nobody keeps or awaits the tasks.
local function spawn_finish(count)
    local batches = math.ceil(count / BATCH)
    return figures.cost(batches * BATCH, function()
        for _ = 1, batches do
            local finished = 0
            local function finish() finished = finished + 1 end
            for _ = 1, BATCH do neap.spawn(finish) end
            repeat neap.yield() until finished == BATCH
        end
    end)
end

local function spawn_await(count)
    local batches = math.ceil(count / BATCH)
    local tasks = {}
    return figures.cost(batches * BATCH, function()
        for _ = 1, batches do
            for i = 1, BATCH do tasks[i] = neap.spawn(nothing) end
            for i = 1, BATCH do tasks[i]:await() end
        end
    end)
end

-- The tasks wait for a starting shot, so that spawning them is not part of the figure.
local function switch(count, size)
    local rounds = math.max(10, math.ceil(count / size))
    local go, tasks = neap.future(), {}
    local function yielder()
        go:await()
        for _ = 1, rounds do neap.yield() end
    end
    for i = 1, size do tasks[i] = neap.spawn(yielder) end
    neap.yield()
    return figures.cost(rounds * size, function()
        go:set_result(true)
        for i = 1, size do tasks[i]:await() end
    end)
end

-- The loop has to look at the kernel as well when somebody waits for it.
local function beside_a_parked_socket(fn, ...)
    local listener = neap.tcp()
    assert(listener:bind("127.0.0.1:0"))
    assert(listener:listen())
    local acceptor = neap.spawn(function() listener:accept() end)
    neap.yield()
    local cost = fn(...)
    acceptor:cancel()
    neap.yield()
    listener:close()
    return cost
end

-- Timers with callbacks, random delays; a first pass is not measured. Blocked until all are due, then fired.
local function timers(count)
    local loop = neap.loop()
    local fired, handles = 0, {}
    local function fire() fired = fired + 1 end
    local function add()
        math.randomseed(1)
        for i = 1, count do handles[i] = loop:call_later(math.random(figures.delay_max_ms) / 1000, fire) end
    end
    local function add_fire()
        fired = 0
        return figures.cost(count, function()
            add()
            os.execute("sleep " .. (figures.delay_max_ms + 100) / 1000)
            repeat neap.yield() until fired == count
        end)
    end
    local function add_cancel()
        return figures.cost(count, function()
            add()
            for i = 1, count do handles[i]:cancel() end
        end)
    end
    add_fire()
    local first = add_fire()
    add_cancel()
    figures.print { add_fire_ns = first, add_cancel_ns = add_cancel() }
end

-- Scopes, locks and channels, and what they are compared with.
local function sync(count)
    local lock, there, back = neap.lock(), neap.channel(), neap.channel()
    local function each(fn) return figures.cost(count, fn) end
    local timeout = each(function()
        for _ = 1, count do neap.timeout(60, nothing) end
    end)
    local both = each(function()
        for _ = 1, count do
            lock:acquire()
            lock:release()
        end
    end)
    local call = each(function()
        for _ = 1, count do lock:locked() end
    end)
    local hop = each(function()
        neap.spawn(function()
            for value in there:iter() do back:send(value) end
        end)
        for i = 1, count / 2 do
            there:send(i)
            back:recv()
        end
    end)
    there:close()
    return { timeout_ns = timeout, acquire_ns = both / 2, call_ns = call, channel_hop_ns = hop,
        spawn_await_ns = spawn_await(count), hop_ns = require "futures".hop(neap, count) }
end

local function sleepers(count)
    local function sleeper() neap.sleep(1000) end
    collectgarbage()
    local before = figures.rss_bytes()
    for _ = 1, count do neap.spawn(sleeper) end
    neap.sleep(0.1)
    figures.print { sleeping_task_bytes = (figures.rss_bytes() - before) / count }
end

local count, many = figures.scaled(1000000), figures.scaled(100000)
figures.run {
    spawn = function()
        figures.print { spawn_finish_ns = spawn_finish(count / 2), spawn_await_ns = spawn_await(count / 2) }
    end,
    switch = function()
        figures.print {
            switch_1_ns = switch(count, 1),
            switch_1000_ns = switch(count, 1000),
            switch_100000_ns = switch(count, many),
            switch_1_parked_ns = beside_a_parked_socket(switch, count / 4, 1),
            switch_1000_parked_ns = beside_a_parked_socket(switch, count, 1000),
            switch_100000_parked_ns = beside_a_parked_socket(switch, count, many),
        }
    end,
    futures = function() require "futures"(neap, count) end,
    sync = function() figures.print(sync(count / 2)) end,
    timers = function() timers(figures.scaled(200000)) end,
    sleepers = function() sleepers(many) end,
    stall = function()
        local loop = neap.loop()
        local function time() return loop:time() end
        require "stall"({ spawn = neap.spawn, sleep = neap.sleep, time = time }, many / 2)
    end,
}
os.exit(0) -- those that still sleep are not waited for

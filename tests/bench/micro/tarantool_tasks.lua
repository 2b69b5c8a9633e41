-- Tarantool's fibers. Cases: spawn, switch, futures, sleepers. Each fiber has a stack of its own with a guard page, and
-- the kernel allows a process 65,530 mappings: hence no figure at 100,000.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local figures = require "figures"
local fiber = require "fiber"
local socket = require "socket"

local BATCH, MANY = 1000, 20000
local TOO_MANY = "at most 30,000 fibers: vm.max_map_count"

local function spawn_finish(count)
    local batches = math.ceil(count / BATCH)
    return figures.cost(batches * BATCH, function()
        for _ = 1, batches do
            local finished = 0
            local function finish() finished = finished + 1 end
            for _ = 1, BATCH do fiber.new(finish) end
            repeat fiber.yield() until finished == BATCH
        end
    end)
end

local function switch(count, tasks)
    local rounds = math.max(10, math.ceil(count / tasks))
    local live = tasks
    for _ = 1, tasks do
        fiber.new(function()
            for _ = 1, rounds do fiber.yield() end
            live = live - 1
        end)
    end
    return figures.cost(tasks * rounds, function()
        repeat fiber.sleep(0) until live == 0
    end)
end

local function switches(count)
    local function both(name, values)
        values["switch_1" .. name] = switch(count, 1)
        values["switch_1000" .. name] = switch(count, 1000)
    end
    local values = { switch_100000_ns = TOO_MANY, switch_100000_parked_ns = TOO_MANY }
    both("_ns", values)
    local listener = socket("AF_INET", "SOCK_STREAM", "tcp")
    assert(listener:bind("127.0.0.1", 0))
    assert(listener:listen())
    fiber.create(function() listener:readable() end)
    both("_parked_ns", values)
    figures.print(values)
end

-- A thousand fibers wait on a thousand conditions that were made beforehand; see futures.lua.
local function resolve_resume(count)
    local rounds = math.max(5, math.floor(count / BATCH))
    local spent, resumed = 0, 0
    local function fresh()
        local conditions = {}
        for i = 1, BATCH do conditions[i] = fiber.cond() end
        return conditions
    end
    local coming = fresh()
    for i = 1, BATCH do
        fiber.create(function()
            for _ = 1, rounds do
                coming[i]:wait()
                resumed = resumed + 1
            end
        end)
    end
    for _ = 1, rounds do
        local waited = coming
        coming, resumed = fresh(), 0
        local start = os.clock()
        for i = 1, BATCH do waited[i]:signal() end
        repeat fiber.yield() until resumed == BATCH
        spent = spent + os.clock() - start
    end
    return spent * 1e9 / (rounds * BATCH)
end

local function hop(count)
    local ball, live = {}, 2
    local rounds = math.ceil(count / 2)
    local function player(mine, other)
        for _ = 1, rounds do
            ball[mine] = fiber.cond()
            if ball[other] then ball[other]:signal() end
            ball[mine]:wait()
        end
        ball[other]:signal()
        live = live - 1
    end
    return figures.cost(rounds * 2, function()
        fiber.create(player, 1, 2)
        fiber.create(player, 2, 1)
        repeat fiber.sleep(0.001) until live == 0
    end)
end

local function sleepers(count)
    local function sleeper() fiber.sleep(1000) end
    collectgarbage()
    local before = figures.rss_bytes()
    for _ = 1, count do fiber.create(sleeper) end
    figures.print { sleeping_task_bytes = (figures.rss_bytes() - before) / count }
end

local count = figures.scaled(200000)
figures.run {
    spawn = function() figures.print { spawn_finish_ns = spawn_finish(count) } end,
    switch = function() switches(count) end,
    futures = function() figures.print { resolve_resume_ns = resolve_resume(count), hop_ns = hop(count) } end,
    sleepers = function() sleepers(math.min(MANY, figures.scaled(100000))) end,
}
os.exit(0)

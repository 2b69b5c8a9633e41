-- cqueues' tasks (coroutines in a controller). Cases: spawn, switch, futures, sleepers, stall.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local figures = require "figures"
local cqueues = require "cqueues"
local condition = require "cqueues.condition"
local socket = require "cqueues.socket"

local BATCH = 1000

local function run(fn)
    local queue = cqueues.new()
    queue:wrap(fn, queue)
    assert(queue:loop())
end

local function spawn_finish(count)
    local batches = math.ceil(count / BATCH)
    local cost
    run(function(queue)
        cost = figures.cost(batches * BATCH, function()
            for _ = 1, batches do
                local finished = 0
                local function finish() finished = finished + 1 end
                for _ = 1, BATCH do queue:wrap(finish) end
                repeat cqueues.sleep(0) until finished == BATCH
            end
        end)
    end)
    return cost
end

-- With a listener somebody waits for a connection meanwhile.
local function switch(count, tasks, listener)
    local rounds = math.max(10, math.ceil(count / tasks))
    local queue, live = cqueues.new(), tasks
    for _ = 1, tasks do
        queue:wrap(function()
            for _ = 1, rounds do cqueues.sleep(0) end
            live = live - 1
        end)
    end
    if listener then queue:wrap(function() listener:accept() end) end
    return figures.cost(tasks * rounds, function()
        while live > 0 do assert(queue:step()) end
    end)
end

local function switches(count, many)
    local listener = socket.listen { host = "127.0.0.1", port = 0 }
    assert(listener:listen())
    figures.print {
        switch_1_ns = switch(count, 1),
        switch_1000_ns = switch(count, 1000),
        switch_100000_ns = switch(count, many),
        switch_1_parked_ns = switch(count, 1, listener),
        switch_1000_parked_ns = switch(count, 1000, listener),
        switch_100000_parked_ns = switch(count, many, listener),
    }
end

-- A thousand tasks wait on a thousand conditions that were made beforehand; see futures.lua.
local function resolve_resume(count)
    local rounds = math.max(5, math.floor(count / BATCH))
    local spent, started, resumed, coming = 0, 0, 0, {}
    local function fresh()
        local conditions = {}
        for i = 1, BATCH do conditions[i] = condition.new() end
        return conditions
    end
    run(function(queue)
        coming = fresh()
        for i = 1, BATCH do
            queue:wrap(function()
                started = started + 1
                for _ = 1, rounds do
                    coming[i]:wait()
                    resumed = resumed + 1
                end
            end)
        end
        repeat cqueues.sleep(0) until started == BATCH
        for _ = 1, rounds do
            local waited = coming
            coming, resumed = fresh(), 0
            local start = os.clock()
            for i = 1, BATCH do waited[i]:signal() end
            repeat cqueues.sleep(0) until resumed == BATCH
            spent = spent + os.clock() - start
        end
    end)
    return spent * 1e9 / (rounds * BATCH)
end

local function hop(count)
    local queue = cqueues.new()
    local ball = {}
    local rounds = math.ceil(count / 2)
    local function player(mine, other)
        for _ = 1, rounds do
            ball[mine] = condition.new()
            if ball[other] then ball[other]:signal() end
            ball[mine]:wait()
        end
        ball[other]:signal()
    end
    queue:wrap(player, 1, 2)
    queue:wrap(player, 2, 1)
    return figures.cost(rounds * 2, function() assert(queue:loop()) end)
end

local function sleepers(count)
    local function sleeper() cqueues.sleep(1000) end
    run(function(queue)
        collectgarbage()
        local before = figures.rss_bytes()
        for _ = 1, count do queue:wrap(sleeper) end
        cqueues.sleep(0.1)
        figures.print { sleeping_task_bytes = (figures.rss_bytes() - before) / count }
        os.exit(0)
    end)
end

local function stall(parked)
    run(function(queue)
        local function spawn(fn) queue:wrap(fn) end
        require "stall"({ spawn = spawn, sleep = cqueues.sleep, time = cqueues.monotime }, parked)
        os.exit(0)
    end)
end

local count, many = figures.scaled(200000), figures.scaled(100000)
figures.run {
    spawn = function() figures.print { spawn_finish_ns = spawn_finish(count) } end,
    switch = function() switches(count, many) end,
    futures = function() figures.print { resolve_resume_ns = resolve_resume(count), hop_ns = hop(count) } end,
    sleepers = function() sleepers(many) end,
    stall = function() stall(many / 2) end,
}

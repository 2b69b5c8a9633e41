-- cqueues' tasks (coroutines in a controller). Cases: tasks, sleepers.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local figures = require "figures"
local cqueues = require "cqueues"
local condition = require "cqueues.condition"

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

local function switch(count, tasks)
    local rounds = math.max(10, math.ceil(count / tasks))
    local queue = cqueues.new()
    for _ = 1, tasks do
        queue:wrap(function()
            for _ = 1, rounds do cqueues.sleep(0) end
        end)
    end
    return figures.cost(tasks * rounds, function() assert(queue:loop()) end)
end

local function hop(count)
    local queue = cqueues.new()
    local ball = { condition.new(), condition.new() }
    for side = 1, 2 do
        queue:wrap(function()
            local mine, other = ball[side], ball[3 - side]
            for i = 1, count / 2 do
                if side == 1 or i > 1 then other:signal() end
                if side == 2 or i < count / 2 then mine:wait() end
            end
            other:signal()
        end)
    end
    return figures.cost(count, function() assert(queue:loop()) end)
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

if figures.case == "sleepers" then
    sleepers(figures.scaled(100000))
else
    figures.print {
        spawn_finish_ns = spawn_finish(figures.scaled(200000)),
        switch_1_ns = switch(figures.scaled(200000), 1),
        switch_1000_ns = switch(figures.scaled(200000), 1000),
        switch_100000_ns = switch(figures.scaled(200000), figures.scaled(100000)),
        hop_ns = hop(figures.scaled(200000)),
    }
end

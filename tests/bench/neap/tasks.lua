-- neap's tasks from Lua. Cases: tasks, sleepers. Run by the neap command, so this is a task itself.
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
local function switch_beside_a_parked_socket(count)
    local listener = neap.tcp()
    assert(listener:bind("127.0.0.1:0"))
    assert(listener:listen())
    local acceptor = neap.spawn(function() listener:accept() end)
    neap.yield()
    local cost = switch(count, 1)
    acceptor:cancel()
    neap.yield()
    listener:close()
    return cost
end

-- Two tasks resolve each other's futures: a hop is one future made, awaited, resolved, resumed.
local function hop(count)
    local ball = {}
    local rounds = math.ceil(count / 2)
    local function player(mine, other)
        for i = 1, rounds do
            local future = neap.future()
            ball[mine] = future
            if ball[other] and not ball[other]:done() then ball[other]:set_result(i) end
            future:await()
        end
        if not ball[other]:done() then ball[other]:set_result(0) end
    end
    return figures.cost(rounds * 2, function()
        local a, b = neap.spawn(player, 1, 2), neap.spawn(player, 2, 1)
        a:await()
        b:await()
    end)
end

local function sleepers(count)
    local function sleeper() neap.sleep(1000) end
    collectgarbage()
    local before = figures.rss_bytes()
    for _ = 1, count do neap.spawn(sleeper) end
    neap.sleep(0.1)
    figures.print { sleeping_task_bytes = (figures.rss_bytes() - before) / count }
    os.exit(0)
end

if figures.case == "sleepers" then
    sleepers(figures.scaled(100000))
else
    local count = figures.scaled(1000000)
    figures.print {
        spawn_finish_ns = spawn_finish(count / 2),
        spawn_await_ns = spawn_await(count / 2),
        switch_1_ns = switch(count, 1),
        switch_1_parked_ns = switch_beside_a_parked_socket(count / 4),
        switch_1000_ns = switch(count, 1000),
        switch_100000_ns = switch(count, figures.scaled(100000)),
        hop_ns = hop(count),
    }
end

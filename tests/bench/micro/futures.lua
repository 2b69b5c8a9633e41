-- The two figures of a future, for any runtime with spawn, yield and future: neap runs it, and so does the bare ring in
-- ring.c, which makes the floor the very same program.
--
-- resolve_resume_ns: 1,000 tasks wait on 1,000 futures; timed is resolving all and running until all were resumed, by
-- when each waits on the next round's future, made beforehand.
-- hop_ns: a future made, awaited, resolved and its task resumed, two tasks in turn.
local figures = require "figures"

local TASKS = 1000

local function resolve_resume(rt, count)
    local rounds = math.max(5, math.floor(count / TASKS))
    local spent, resumed, coming = 0, 0, {}
    local function fresh()
        local futures = {}
        for i = 1, TASKS do futures[i] = rt.future() end
        return futures
    end
    local function waiter(i)
        while true do
            local future = coming[i]
            if not future then return end
            future:await()
            resumed = resumed + 1
        end
    end
    local function resolve_all(futures)
        resumed = 0
        for i = 1, TASKS do futures[i]:set_result(i) end
        repeat rt.yield() until resumed == TASKS
    end

    coming = fresh()
    for i = 1, TASKS do rt.spawn(waiter, i) end
    rt.yield()
    for _ = 1, rounds do
        local waited = coming
        coming = fresh()
        local start = os.clock()
        resolve_all(waited)
        spent = spent + os.clock() - start
    end
    local last = coming
    coming = {}
    resolve_all(last)
    return spent * 1e9 / (rounds * TASKS)
end

local function hop(rt, count)
    local ball, finished, all = {}, 0, rt.future()
    local rounds = math.ceil(count / 2)
    local function player(mine, other)
        for i = 1, rounds do
            local future = rt.future()
            ball[mine] = future
            if ball[other] and not ball[other]:done() then ball[other]:set_result(i) end
            future:await()
        end
        if not ball[other]:done() then ball[other]:set_result(0) end
        finished = finished + 1
        if finished == 2 then all:set_result(2) end
    end
    return figures.cost(rounds * 2, function()
        rt.spawn(player, 1, 2)
        rt.spawn(player, 2, 1)
        all:await()
    end)
end

local function both(_, rt, count)
    figures.print {
        resolve_resume_ns = resolve_resume(rt, count),
        hop_ns = hop(rt, count),
    }
end

return setmetatable({ hop = hop }, { __call = both })

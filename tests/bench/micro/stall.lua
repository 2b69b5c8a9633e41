-- The worst stall: a ticker of 1 ms makes garbage beside many parked tasks, until the collector has gone all the way
-- round. For any runtime in Lua with spawn, sleep and time. A collection starts where the last one ended (the pause is
-- 100 %).
--
-- worst_stall_ms: the longest time between two turns, less the millisecond. worst_turn_ms: the most processor time from
-- one turn to the next, which others on the machine do not lengthen. median_turn_ms: an ordinary turn.
local figures = require "figures"

local STRINGS, LONG = 64, 1000 -- garbage of a turn: 64 strings of a kilobyte
local CYCLES, LIMIT_S = 2, 20

-- The number of collections that have ended, told by an object that each of them finds dead.
local function count_collections()
    local count = 0
    local function sentinel()
        local function ended()
            count = count + 1
            sentinel()
        end
        if newproxy then
            getmetatable(newproxy(true)).__gc = ended
        else
            setmetatable({}, { __gc = ended })
        end
    end
    sentinel()
    return function() return count end
end

return function(rt, parked)
    local text = ("x"):rep(LONG)
    local serial, turns, trash = 0, {}, {}
    local worst = 0
    local function make_garbage()
        for i = 1, STRINGS do
            serial = serial + 1
            trash[i] = text .. serial -- the one of the turn before is garbage now
        end
        return trash
    end
    local function sleeper() rt.sleep(1000) end

    for _ = 1, parked do rt.spawn(sleeper) end
    rt.sleep(0.05)
    collectgarbage()
    collectgarbage("setpause", 100)
    local collections = count_collections()
    rt.sleep(0.001) -- a loop may tell the time at which its turn began: the collection above is not to be in it
    local began, last, cpu = rt.time(), rt.time(), os.clock()
    repeat
        make_garbage()
        rt.sleep(0.001)
        local now, cpu_now = rt.time(), os.clock()
        worst = math.max(worst, now - last - 0.001)
        turns[#turns + 1] = cpu_now - cpu
        last, cpu = now, cpu_now
    until collections() >= CYCLES and now - began > 0.2 or now - began > LIMIT_S
    local complete = collections() >= CYCLES
    table.sort(turns)
    figures.print {
        worst_stall_ms = complete and worst * 1e3 or "no collection ended",
        worst_turn_ms = turns[#turns] * 1e3,
        median_turn_ms = turns[math.ceil(#turns / 2)] * 1e3,
    }
end

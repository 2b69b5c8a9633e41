-- luv's timers: random delays, added and fired, and added and all stopped; a first pass is not measured.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local figures = require "figures"
local uv = require "luv"

local count = figures.scaled(200000)
local fired, timers = 0, {}

local function fire() fired = fired + 1 end

local function add()
    math.randomseed(1)
    for i = 1, count do timers[i]:start(math.random(figures.delay_max_ms), 0, fire) end
end

local function add_fire()
    fired = 0
    return figures.cost(count, function()
        uv.update_time()
        add()
        uv.sleep(figures.delay_max_ms + 100)
        repeat uv.run "once" until fired == count
    end)
end

local function add_cancel()
    return figures.cost(count, function()
        uv.update_time()
        add()
        for i = 1, count do timers[i]:stop() end
    end)
end

figures.run {
    timers = function()
        for i = 1, count do timers[i] = uv.new_timer() end
        add_fire()
        local first = add_fire()
        add_cancel()
        figures.print { add_fire_ns = first, add_cancel_ns = add_cancel() }
    end,
}
os.exit(0)

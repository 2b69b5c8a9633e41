-- copas' threads. This version has no way to yield without a socket, so spawning is all that is measured.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path .. ";/usr/share/lua/5.1/?.lua"
local figures = require "figures"
local copas = require "copas"

figures.run {
    spawn = function()
        local count = figures.scaled(200000)
        local finished = 0
        local function finish() finished = finished + 1 end
        local cost = figures.cost(count, function()
            for _ = 1, count do copas.addthread(finish) end
        end)
        assert(finished == count)
        figures.print { spawn_finish_ns = cost }
    end,
}

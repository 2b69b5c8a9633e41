-- A server that speaks the protocol of Redis: strings, lists, hashes, expiry, transactions, channels, and an
-- append-only file from which it starts again after a crash. redis-cli, redis-benchmark and the clients of all
-- languages can talk to it.
--
--   neap scripts/redis_server.lua [--bind ADDRESS] [--log FILE [--sync always|everysec|no]] [--max-clients N]
--
-- The address is 127.0.0.1:6379 if none is given; a path makes a Unix socket. SIGTERM and SIGINT end it in order:
-- requests that have come are answered, and the log is on the disk.
local neap = require "neap"

local here = arg[0]:match "^(.*)/[^/]*$" or "."
package.path = here .. "/?.lua;" .. package.path

local log = require "redis.log"
local server = require "redis.server"

for _, kind in ipairs { "keys", "strings", "lists", "hashes", "connection", "transactions", "waiting", "channels" } do
    require("redis.commands." .. kind) -- adds its commands to the table
end

local function usage(message)
    io.stderr:write(message and "redis_server: " .. message .. "\n" or "",
        "usage: redis_server.lua [--bind ADDRESS] [--log FILE [--sync always|everysec|no]] [--max-clients N]\n")
    os.exit(message and 2 or 0)
end

local function options()
    local o, i = { bind = "127.0.0.1:6379", sync = "everysec", ["max-clients"] = "10000" }, 1
    while arg[i] do
        local name = arg[i]:match "^%-%-(.+)$"
        if name == "help" then usage() end
        if not (name == "log" or name and o[name]) then usage("unknown option " .. arg[i]) end
        if not arg[i + 1] then usage(arg[i] .. " needs a value") end
        o[name], i = arg[i + 1], i + 2
    end
    if not (o.sync == "always" or o.sync == "everysec" or o.sync == "no") then
        usage("--sync is one of always, everysec, no")
    end
    o["max-clients"] = tonumber(o["max-clients"]) or usage("--max-clients needs a number")
    return o
end

-- The time of day in milliseconds, which the loop's clock carries on. It begins with a whole second, so keys
-- may live a second longer after a restart.
local function clock()
    local loop = neap.loop()
    local begin = os.time() - loop:time()
    return function()
        return math.floor((begin + loop:time()) * 1000)
    end
end

local function fail(what, err)
    io.stderr:write("redis_server: ", what, ": ", tostring(err), "\n")
    neap.exit(1)
end

-- Does again what the log has, and goes on with it. Answers the task that writes.
local function open_log(redis, o)
    local client = redis:client()
    redis.loading = true
    local n, left = log.replay(o.log, function(words) redis:redo(client, words) end)
    redis.loading = false
    if not n then fail("cannot read " .. o.log, left) end
    if left > 0 then
        local note = "redis_server: %s ended in the middle of a request: %d bytes are dropped\n"
        io.stderr:write(note:format(o.log, left))
    end
    local opened, err = log.open(o.log, o.sync)
    if not opened then fail("cannot open " .. o.log, err) end
    redis.log = opened
    return neap.spawn { opened.run, opened, name = "log" }
end

local function sweep(redis)
    while true do
        neap.sleep(1)
        for _, store in pairs(redis.stores) do store:sweep() end
    end
end

local o = options()
local redis = server.new(clock())
local writer = o.log and open_log(redis, o)
local sweeper = neap.spawn { sweep, redis, name = "expiry" }

local listening, err = neap.serve(o.bind, function(stream) redis:handle(stream) end, {
    max_connections = o["max-clients"],
})
if not listening then fail("cannot listen on " .. o.bind, err) end
io.stdout:write("listening on ", table.concat(listening:addresses(), ", "), "\n")
io.stdout:flush()

neap.wait_shutdown()
sweeper:cancel()
redis:hang_up()
listening:close { grace = 2 }
listening:wait_closed()
if writer and not redis.log:close(writer) then
    fail("what is not in " .. o.log .. " is lost", redis.log.failed)
end

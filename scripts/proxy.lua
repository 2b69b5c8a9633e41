-- A TCP proxy. Each direction ends by itself, so a side that has sent all still gets its answer. A slow reader slows
-- its writer down, nothing piles up here.
local USAGE = [[
usage: neap scripts/proxy.lua [options] LISTEN TARGET
  LISTEN            HOST:PORT with a numeric host, or the path of a Unix socket
  TARGET            likewise, or with a name, of which all addresses are tried
  --timeout SECONDS to reach the target (default 10)
  --max N           connections at the same time (default 1000); more wait
  --idle SECONDS    ends connections over which nothing has come for so long (default: never)
  --grace SECONDS   that connections have to end after SIGTERM or SIGINT (default 5)
  --quiet           no line for each connection
]]
local neap = require "neap"

local settings = { max = 1000, timeout = 10, idle = math.huge, grace = 5, quiet = false }
local addresses = {}

local function read_arguments(args)
    local i = 1
    while args[i] do
        local name = args[i]:match "^%-%-(%l+)$"
        if name == "quiet" then
            settings.quiet = true
        elseif settings[name] then
            i = i + 1
            settings[name] = tonumber(args[i])
            if not settings[name] then return end
        elseif args[i]:find "^%-" then
            return
        else
            addresses[#addresses + 1] = args[i]
        end
        i = i + 1
    end
    return #addresses == 2
end

local function dial(address)
    local target, err = neap.move_on(settings.timeout, neap.connect, address)
    if target or err then return target, err end
    return nil, ("connect %s: no answer for %g s"):format(address, settings.timeout)
end

local total = { connections = 0, up = 0, down = 0 }

-- Copies one direction up to its end.
local function copy(from, to, counter, direction)
    local data, err = from:read_some()
    while data do
        counter[direction] = counter[direction] + #data
        counter.last = neap.loop():time()
        assert(to:write(data))
        data, err = from:read_some()
    end
    if err then error(err, 0) end
    assert(to:write_eof())
end

local function end_when_idle(counter)
    local loop = neap.loop()
    while true do
        local left = counter.last + settings.idle - loop:time()
        if left <= 0 then error(("nothing has come for %g s"):format(settings.idle), 0) end
        neap.sleep(left)
    end
end

-- Both directions; the first that fails ends the other.
local function relay(client, target, counter)
    neap.group(function(group)
        local watch = settings.idle < math.huge and group:spawn(end_when_idle, counter)
        local up = group:spawn(copy, client, target, counter, "up")
        copy(target, client, counter, "down")
        up:await()
        if watch then watch:cancel() end
    end)
end

-- What ended a connection; of a target with several addresses, what each of them has answered.
local function reason(err)
    if type(err) ~= "table" then return tostring(err) end
    err = err.errors and err.errors[1] or err
    local list = {}
    for i, try in ipairs(err.tried or {}) do
        list[i] = try.address .. ": " .. try.error.message
    end
    return list[2] and ("connect %s: %s"):format(err.address, table.concat(list, ", ")) or tostring(err)
end

local function log(peer, counter, err)
    total.connections = total.connections + 1
    total.up, total.down = total.up + counter.up, total.down + counter.down
    if settings.quiet then return end
    local seconds = neap.loop():time() - counter.begun
    print(("%s: %d bytes up, %d down, %.3f s%s"):format(peer, counter.up, counter.down, seconds,
        err and ": " .. reason(err) or ""))
    io.stdout:flush()
end

local function serve(client, peer)
    local counter = { up = 0, down = 0, begun = neap.loop():time() }
    local target, err = dial(addresses[2])
    local ok = target ~= nil
    if ok then
        counter.last = neap.loop():time()
        ok, err = neap.pcall(relay, client, target, counter)
        if ok then target:close() else target:abort() end
    end
    if not ok then client:abort() end -- the other side is to know that it is not all
    log(peer, counter, not ok and err)
    if neap.is_cancelled(err) then error(err, 0) end
end

if not read_arguments(arg) then
    local help = arg[1] == "--help";
    (help and io.stdout or io.stderr):write(USAGE)
    neap.exit(help and 0 or 2)
end

local server, failure = neap.serve(addresses[1], serve, { max_connections = settings.max })
if not server then
    io.stderr:write("proxy: ", tostring(failure), "\n")
    neap.exit(1)
end
print("listening on " .. server:addresses()[1])
io.stdout:flush()
neap.wait_shutdown()
server:close { grace = settings.grace }
server:wait_closed()
print(("%d connections, %d bytes up, %d down"):format(total.connections, total.up, total.down))

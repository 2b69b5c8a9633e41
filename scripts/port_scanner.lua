-- A port scanner: tries to connect to each port of a range, a limited number at the same time, and prints those that
-- are open.
local USAGE = [[
usage: neap scripts/port_scanner.lua [options] HOST PORTS...
  HOST              a name, of which all addresses are tried, or a numeric address
  PORTS             one port, or a range: 22 8000-8100
  --limit N         attempts at the same time (default 100)
  --timeout SECONDS until an attempt is given up (default 2)
]]
local neap = require "neap"

local settings = { limit = 100, timeout = 2 }
local host
local ranges = {} -- of pairs: the first and the last port

local function complain(text)
    io.stderr:write("port_scanner: ", tostring(text), "\n")
    neap.exit(1)
end

local function read_range(text)
    local first, last = text:match "^(%d+)%-(%d+)$"
    first = tonumber(first or text:match "^%d+$")
    last = tonumber(last) or first
    if first and first >= 1 and first <= last and last <= 65535 then
        ranges[#ranges + 1] = { first, last }
        return true
    end
end

local function read_arguments(args)
    local i = 1
    while args[i] do
        local name = args[i]:match "^%-%-(%l+)$"
        if settings[name] then
            i = i + 1
            settings[name] = tonumber(args[i])
            if not settings[name] or settings[name] <= 0 or settings.limit % 1 ~= 0 then return end
        elseif args[i]:find "^%-" then
            return
        elseif not host then
            host = args[i]
        elseif not read_range(args[i]) then
            return
        end
        i = i + 1
    end
    return #ranges > 0
end

-- What the system answers to an attempt that says something of the port, or of the way to it.
local verdicts = {
    ECONNREFUSED = "closed", ECONNRESET = "closed",
    ETIMEDOUT = "silent", EHOSTUNREACH = "silent", ENETUNREACH = "silent", EACCES = "silent", EPERM = "silent",
}

-- "open", "closed" or "silent". All else is a failure of this machine, such as too few descriptors, and is raised.
local function probe(address)
    local sock = neap.tcp()
    local ok, err = neap.move_on(settings.timeout, sock.connect, sock, address)
    -- A port of this machine that nobody listens on may be the one that the attempt itself comes from, and then it
    -- reaches itself.
    local itself = ok and sock:getsockname() == sock:getpeername()
    sock:close()
    if ok then return itself and "closed" or "open" end
    local verdict = not err and "silent" or verdicts[err.code]
    return verdict or error(err, 0)
end

-- Calls found(address) for each open port as it is found; answers how many there are of each kind.
local function scan(addresses, found)
    local count = { open = 0, closed = 0, silent = 0 }
    local attempts = neap.channel(0)

    local function work()
        local address = attempts:recv()
        while address do
            local verdict = probe(address)
            count[verdict] = count[verdict] + 1
            if verdict == "open" then found(address) end
            address = attempts:recv()
        end
    end

    neap.group(function(group)
        for _ = 1, settings.limit do group:spawn(work) end
        for _, range in ipairs(ranges) do
            for port = range[1], range[2] do
                for _, address in ipairs(addresses) do
                    attempts:send((address:gsub("%d+$", port)))
                end
            end
        end
        attempts:close()
    end)
    return count
end

if not read_arguments(arg) then
    local help = arg[1] == "--help";
    (help and io.stdout or io.stderr):write(USAGE)
    neap.exit(help and 0 or 2)
end

local addresses, unknown = neap.resolve(host)
if not addresses then complain(unknown) end

local ok, result = neap.pcall(scan, addresses, function(address)
    print(address)
    io.stdout:flush()
end)
if not ok then
    if neap.is_cancelled(result) then error(result, 0) end
    complain(result.errors and result.errors[1] or result)
end
io.stderr:write(("%s: %d open, %d closed, %d without an answer\n"):format(
    host, result.open, result.closed, result.silent))

-- A service that stops gracefully. Each line from a client is a request, so many seconds of work. On SIGTERM or
-- SIGINT it takes no new connections, hangs up on those that have nothing to do, and finishes what has come.
--   neap scripts/graceful_service.lua [host:port]
local neap = require "neap"

local served = 0
local idle = {} -- connections whose next request has not come

local function answer(request)
    local seconds = tonumber(request)
    if not seconds then
        return "not a number of seconds"
    end
    neap.sleep(seconds)
    served = served + 1
    return "slept " .. request
end

-- Answers all requests that have come; what is left is the beginning of the next.
local function answer_all(conn, input)
    local request, rest = input:match "^([^\n]*)\n(.*)$"
    while request do
        if not conn:sendall(answer(request) .. "\n") then
            return nil -- the client has gone
        end
        input = rest
        request, rest = input:match "^([^\n]*)\n(.*)$"
    end
    return input
end

local function serve(conn)
    local input = ""
    while input and #input < 4096 and not neap.shutting_down() do
        idle[conn] = true
        local data = conn:recv(4096) -- nil once we or the client have closed
        idle[conn] = nil
        input = data and answer_all(conn, input .. data)
    end
    conn:close()
end

local listener = neap.tcp()
assert(listener:bind(arg and arg[1] or "127.0.0.1:9527"))
assert(listener:listen())
print("listening on " .. listener:getsockname())
io.stdout:flush()

neap.on_shutdown(function()
    listener:close()
    for conn in pairs(idle) do
        conn:close()
    end
end)

-- The group ends when the last connection has; SIGTERM leaves it 10 seconds for that, then its tasks are cancelled.
neap.group(function(group)
    while not neap.shutting_down() do
        local conn, err = listener:accept()
        if conn then
            group:spawn { serve, conn, owns = { conn } }
        elseif err.code ~= "closed" then
            io.stderr:write("accept: ", tostring(err), "\n")
            neap.sleep(0.1)
        end
    end
end)
print(("served %d requests"):format(served))

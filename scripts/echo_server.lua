-- An echo server: whatever a client sends comes back, until it hangs up.
--   neap scripts/echo_server.lua [host:port]
local neap = require "neap"

local function echo(stream)
    local data = stream:read_some()
    while data and stream:write(data) do
        data = stream:read_some()
    end
end

-- An interrupt does not wait for those who are connected.
local server = assert(neap.serve(arg and arg[1] or "127.0.0.1:9527", echo, { shutdown = false }))
print("listening on " .. server:addresses()[1])
io.stdout:flush()
server:wait_closed()

-- An echo server: whatever a client sends comes back, until it hangs up.
--   neap scripts/echo_server.lua [host:port]
local neap = require "neap"

local function serve(conn)
    while true do
        local data = conn:recv(65536)
        if not data or not conn:sendall(data) then
            break
        end
    end
    conn:close()
end

local listener = neap.tcp()
assert(listener:bind(arg and arg[1] or "127.0.0.1:9527"))
assert(listener:listen())
print("listening on " .. listener:getsockname())
io.stdout:flush()

while true do
    local conn, err = listener:accept()
    if conn then
        neap.spawn { serve, conn, owns = { conn } }
    else -- out of descriptors, say: those that are connected go on
        io.stderr:write("accept: ", tostring(err), "\n")
        neap.sleep(0.1)
    end
end

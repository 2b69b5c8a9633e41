-- neap's echo as a script would write it: an accept loop, a task per connection.
local neap = require "neap"

local function serve(conn)
    while true do
        local data = conn:recv(65536)
        if not data or not conn:sendall(data) then break end
    end
    conn:close()
end

local server = neap.tcp()
assert(server:bind("127.0.0.1:0"))
assert(server:listen(4096))
print((assert(server:getsockname()):match(":(%d+)$")))
io.stdout:flush()
while true do
    neap.spawn(serve, assert(server:accept()))
end

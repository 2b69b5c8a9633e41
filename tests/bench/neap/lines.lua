-- neap's echo by lines over streams.
local neap = require "neap"

local function serve(stream)
    while true do
        local line = stream:read_line(true)
        if not line or not stream:write(line) then break end
    end
    stream:close()
end

local server = neap.tcp()
assert(server:bind("127.0.0.1:0"))
assert(server:listen(4096))
print((assert(server:getsockname()):match(":(%d+)$")))
io.stdout:flush()
while true do
    neap.spawn(serve, assert(neap.stream(assert(server:accept()))))
end

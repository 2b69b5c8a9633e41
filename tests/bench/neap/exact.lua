-- neap's echo of messages of 64 bytes, each read and answered by itself: streams gather the answers.
local neap = require "neap"

local function serve(stream)
    while true do
        local message = stream:read_exactly(64)
        if not message or not stream:write(message) then break end
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

-- nginx's echo: a request makes it let go of the socket, which from then on is a raw one.
-- luacheck: globals ngx
local socket = assert(ngx.req.socket(true))
socket:settimeout(600000)
while true do
    local data = socket:receiveany(65536)
    if not data or not socket:send(data) then break end
end

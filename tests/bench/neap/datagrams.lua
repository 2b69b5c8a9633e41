-- As datagrams.c, in Lua: `many` by recv_many and send_many, `one` by sendto and recvfrom; `tables` as `many`, then a
-- table {data, address} for each datagram, as another interface could have it.
local neap = require "neap"

local BATCH, SIZE, ROUNDS = 64, 64, 4000
local mode = arg[1]

local a, b = neap.udp(), neap.udp()
assert(a:bind "127.0.0.1:0")
assert(b:bind "127.0.0.1:0")
local there, list = b:getsockname(), {}
for i = 1, BATCH do
    list[i] = ("x"):rep(SIZE)
end

local modes = {}

function modes.many()
    assert(a:send_many(list, there) == BATCH)
    local data, from = b:recv_many(BATCH)
    assert(#data == BATCH and #from == BATCH)
end

function modes.tables()
    assert(a:send_many(list, there) == BATCH)
    local data, from = b:recv_many(BATCH)
    local messages = {}
    for i = 1, #data do
        messages[i] = { data[i], from[i] }
    end
    assert(#messages == BATCH)
end

function modes.one()
    for i = 1, BATCH do
        assert(a:sendto(list[i], there))
    end
    for _ = 1, BATCH do
        local data, from = b:recvfrom(2048)
        assert(#data == SIZE and from)
    end
end

local start = os.clock()
for _ = 1, ROUNDS do
    modes[mode]()
end
print(("%.1f"):format((os.clock() - start) / ROUNDS / BATCH * 1e9))

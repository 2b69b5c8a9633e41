-- How does loop:create_server work?  By hand, out of a socket, its listening, and the protocol's callbacks; and neap's
-- own.
-- usage: create_server.lua [host:port [neap]]
local neap = require "neap"
local address, which = ...
local host, port = (address or "localhost:5566"):match "^(.-):(%d+)$"

-- A transport has what the protocol below needs: a name, and a write that does not wait.
local function transport_of(conn)
    local stream = neap.stream(conn)
    local transport = { stream = stream }
    function transport.get_extra_info(_, name)
        return name == "peername" and stream:peer() or nil
    end
    function transport.write(_, data)
        stream:buffer(data)
    end
    return transport
end

local function converse(protocol_factory, conn)
    local protocol = protocol_factory()
    local transport = transport_of(conn)
    protocol:connection_made(transport)
    local data = transport.stream:read_some()
    while data do
        protocol:data_received(data)
        data = transport.stream:read_some()
    end
    transport.stream:close()
end

local function start_serving(loop, protocol_factory, sock)
    return loop:create_task(function()
        local conn = sock:accept()
        while conn do
            loop:create_task(converse, protocol_factory, conn)
            conn = sock:accept()
        end
    end)
end

local function create_server(loop, protocol_factory, server_host, server_port)
    local sock = neap.tcp() -- with SO_REUSEADDR, and non-blocking
    assert(sock:bind(("%s:%d"):format(server_host:gsub("^localhost$", "127.0.0.1"), server_port)))
    assert(sock:listen(10))
    local serving = start_serving(loop, protocol_factory, sock)
    local server = {}
    function server.addresses() return { sock:getsockname() } end
    function server.close() sock:close() end
    function server.wait_closed() serving:await() end
    return server
end

local EchoProtocol = {}
EchoProtocol.__index = EchoProtocol

function EchoProtocol:connection_made(transport)
    print("Connection from " .. transport:get_extra_info "peername")
    io.stdout:flush()
    self.transport = transport
end

function EchoProtocol:data_received(data)
    self.transport:write(data)
end

local function echo_protocol()
    return setmetatable({}, EchoProtocol)
end

local function main()
    local loop = neap.loop()
    local create = which == "neap" and loop.create_server or create_server
    local server = assert(create(loop, echo_protocol, host, tonumber(port)))
    print("listening on " .. server:addresses()[1])
    io.stdout:flush()
    neap.wait_shutdown()
    server:close()
    server:wait_closed()
    print "closed"
end

if neap.current_task() then
    main()
else
    neap.run { main, signals = true }
end

-- asyncio's protocols and transports, over streams. Each connection has a task in which its callbacks run one after the
-- other, so they may wait, and their order is that of what happens: connection_made, data_received ..., eof_received,
-- connection_lost.
return function(neap, servers, streams, methods, hold, keep_trace)
    local pcall, xpcall = neap.pcall, neap.xpcall
    local close_soon, end_soon = streams.close_soon, streams.end_soon

    local FLUSH = 30 -- seconds that a closing connection has to send what is left

    local Transport = {}
    Transport.__index = Transport
    Transport.__name = "neap.transport"

    -- The connection's task goes on, if it waits for something else than bytes.
    local function wake(transport)
        local waiting = transport.waiting
        if waiting and not waiting:done() then waiting:set_result() end
    end

    local function wait(transport)
        transport.waiting = neap.future()
        transport.waiting:await()
        transport.waiting = nil
    end

    local function end_now(transport)
        transport.closing = true
        transport.stream:abort()
        wake(transport)
    end

    -- Runs a callback, if the protocol has it. Its error ends the connection, and is the one that is told.
    local function deliver(transport, name, ...)
        local protocol = transport.protocol
        local callback = protocol[name]
        if callback == nil then return end
        local ok, answer = xpcall(callback, keep_trace, protocol, ...)
        if ok then return answer end
        if transport.failure == nil then transport.failure = answer end
        transport:abort()
    end

    -- Writing

    -- Whoever writes hears at once that it is too much; that it goes on is told from the connection's own context.
    local arm
    local function tell_of_room(transport)
        local stream = transport.stream
        if not stream:write "" then stream:drain() end
        if stream:closed() or transport.closing then return end
        transport.full = false
        arm(transport)
        deliver(transport, "resume_writing")
    end

    function arm(transport)
        transport.filled = neap.future()
        transport.filled:add_done_callback(function()
            neap.spawn { tell_of_room, transport, name = "room to write to " .. transport.address }
        end)
    end

    local function wrote(transport, stream, err)
        if not stream then
            if not transport.closing then
                transport.lost = err
                end_now(transport)
            end
            return nil, err
        end
        if not transport.full and stream:unsent() > transport.high then
            transport.full = true
            deliver(transport, "pause_writing")
            if not transport.filled:done() then transport.filled:set_result() end
        end
        return true
    end

    function Transport:write(data)
        return wrote(self, self.stream:buffer(data))
    end

    function Transport:writelines(list)
        return wrote(self, self.stream:buffer(list))
    end

    function Transport:write_eof()
        return end_soon(self.stream)
    end

    function Transport:can_write_eof()
        return not self.closing
    end

    function Transport:get_write_buffer_size()
        return self.stream:unsent()
    end

    -- asyncio's defaults.
    local function marks(high, low)
        high = high or (low and 4 * low) or 65536
        return high, low or math.floor(high / 4)
    end

    function Transport:set_write_buffer_limits(high, low)
        high, low = marks(high, low)
        self.stream:set_marks(low, high)
        self.high = high
    end

    -- Reading

    function Transport:pause_reading()
        self.paused = true
    end

    function Transport:resume_reading()
        self.paused = false
        wake(self)
    end

    function Transport:is_reading()
        return not (self.paused or self.closing)
    end

    -- The end

    function Transport:close()
        if self.closing then return end
        self.closing = true
        close_soon(self.stream)
        wake(self)
    end

    function Transport:abort()
        end_now(self)
    end

    function Transport:is_closing()
        return self.closing
    end

    -- What is known

    function Transport:get_extra_info(name, default)
        if name == "peername" then return self.address or default end
        if name == "sockname" then return self.sockname or default end
        if name == "socket" then return self.sock or default end
        return default
    end

    function Transport:get_protocol()
        return self.protocol
    end

    function Transport:set_protocol(protocol)
        self.protocol = protocol
    end

    function Transport:__tostring()
        return "neap.transport: " .. self.address .. (self.closing and " (closing)" or "")
    end

    -- The connection's task

    -- What came before a pause was asked for is kept until it is over.
    local function wait_until_wanted(transport)
        while transport.paused and not transport.closing do
            wait(transport)
        end
    end

    local function converse(transport)
        deliver(transport, "connection_made", transport)
        while not transport.closing do
            wait_until_wanted(transport)
            if transport.closing then return end
            local data, err = transport.stream:read_some()
            wait_until_wanted(transport)
            if transport.closing then return end
            if data then
                deliver(transport, "data_received", data)
            elseif err then
                transport.lost = err
                end_now(transport)
            elseif deliver(transport, "eof_received") then
                while not transport.closing do
                    wait(transport)
                end
            else
                transport:close()
            end
        end
    end

    -- Sends what is left, tells of the end, raises the error of a callback.
    local function run(transport)
        arm(transport)
        local ok, err = xpcall(converse, keep_trace, transport)
        if not ok and transport.failure == nil then transport.failure = err end
        transport.closing = true
        if transport.failure == nil then -- also where it is closing already: what is left goes first
            local done, answer, why = pcall(neap.move_on, FLUSH, transport.stream.close, transport.stream)
            if not done then
                transport.failure = answer
            elseif not answer and transport.lost == nil then
                transport.lost = why
            end
        end
        transport.stream:abort()
        local failure = transport.failure
        deliver(transport, "connection_lost", failure or transport.lost)
        if transport.failure ~= nil then error(transport.failure, 0) end
    end

    local function make(factory)
        local protocol = factory()
        if type(protocol) ~= "table" and type(protocol) ~= "userdata" then
            error("the factory of protocols must answer one, not a " .. type(protocol), 0)
        end
        return protocol
    end

    local function new_transport(stream, sock, address, factory)
        return setmetatable({
            stream = stream, sock = sock, address = address, sockname = stream:name(), protocol = make(factory),
            paused = false, closing = false, full = false, high = 65536,
        }, Transport)
    end

    -- Addresses

    local function join(host, port)
        if host:find(":", 1, true) then host = "[" .. host .. "]" end
        return ("%s:%d"):format(host, port)
    end

    local function addresses_of(host, port)
        if port == nil then return type(host) == "table" and host or { host } end
        if host == nil or host == "" then return { join("0.0.0.0", port), join("::", port) } end
        if host == "localhost" then return { join("127.0.0.1", port) } end
        local list = {}
        for i, name in ipairs(type(host) == "table" and host or { host }) do
            list[i] = join(name, port)
        end
        return list
    end

    local function check_factory(factory, name)
        if type(factory) == "function" then return end
        local meta = getmetatable(factory)
        if type(meta) == "table" and meta.__call then return end
        error(("bad argument #1 to '%s' (a factory of protocols expected, got %s)"):format(name, type(factory)), 3)
    end

    -- Servers

    function methods.loop.create_server(_, factory, host, port, options)
        check_factory(factory, "create_server")
        if type(port) == "table" then
            port, options = nil, port
        end
        local list = addresses_of(host, port)
        local flags = { one_port = true }
        for name, value in pairs(options or {}) do
            flags[name] = value
        end
        local server, err = servers.listen(list, flags)
        if not server then return nil, err end
        servers.begin(server, function(sock, address)
            run(new_transport(neap.stream(sock), sock, address, factory))
        end)
        return hold(server)
    end

    function methods.server.start_serving(server)
        return server:resume()
    end

    function methods.server.is_serving(server)
        return server:state() == "open"
    end

    -- Connections

    -- The error of a callback is no failure of the group that the connection was made in.
    local function run_client(fn, transport)
        local ok, err = pcall(fn, transport)
        if ok then return end
        if neap.is_cancelled(err) then error(err, 0) end
        neap.loop():call_soon(error, err, 0)
    end

    function methods.loop.create_connection(_, factory, host, port, options)
        check_factory(factory, "create_connection")
        if type(port) == "table" then
            port, options = nil, port
        end
        local address = addresses_of(host, port)[1]
        local sock, err = neap.connect_sock(address, options)
        if not sock then return nil, err end
        local stream = neap.stream(sock)
        local ok, transport = pcall(new_transport, stream, sock, sock:getpeername() or address, factory)
        if not ok then
            stream:abort()
            error(transport, 0)
        end
        neap.spawn { run_client, run, transport, name = "connection to " .. address }
        neap.yield() -- its first step, in which the protocol is told
        return transport, transport.protocol
    end

    return {
        transport = Transport, check_factory = check_factory, make = make, deliver = deliver, marks = marks,
        run_client = run_client, keep_trace = keep_trace,
    }
end

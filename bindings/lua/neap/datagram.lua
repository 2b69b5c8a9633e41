-- asyncio's datagram endpoints: a protocol that is told of datagrams and errors, and a transport that sends. One task
-- runs all callbacks, one after the other, and receives between them; what happens meanwhile is noted, and told by it.
return function(neap, servers, methods, protocols)
    local pcall, xpcall = neap.pcall, neap.xpcall
    local deliver = protocols.deliver

    local FLUSH = 30 -- seconds that a closing endpoint has to send what is left
    local OVERHEAD = 8 -- bytes, the header of a datagram: empty ones count, too
    local DATAGRAM = 2 -- SOCK_DGRAM

    local Endpoint = {}
    Endpoint.__index = Endpoint
    Endpoint.__name = "neap.datagram_transport"
    for _, name in ipairs { "is_closing", "get_extra_info", "get_protocol", "set_protocol" } do
        Endpoint[name] = protocols.transport[name]
    end

    -- The task has something to tell, or to end. Only a wait of its own is cancelled, none of a callback.
    local function wake(endpoint)
        if endpoint.waiting then endpoint.waiting:cancel() end
    end

    local function wait_in(scope, endpoint, verb, ...)
        endpoint.waiting = scope
        return verb(...)
    end

    -- verb(...), which waits; nil if the task was woken.
    local function wait(endpoint, verb, ...)
        local value, more = neap.scope(wait_in, endpoint, verb, ...)
        endpoint.waiting = nil
        return value, more
    end

    -- Sending

    local function failed(endpoint, err)
        if not endpoint.closed then
            endpoint.errors[#endpoint.errors + 1] = err
            wake(endpoint)
        end
        return nil, err
    end

    local function went(endpoint, size, future)
        endpoint.unsent = endpoint.unsent - size
        local err = not future:cancelled() and future:exception()
        if err then failed(endpoint, err) end
        if endpoint.full or endpoint.closing then wake(endpoint) end
    end

    -- The socket's queue of sends keeps the order.
    local function send_later(endpoint, data, address)
        local size = #data + OVERHEAD
        endpoint.unsent = endpoint.unsent + size
        local future = neap.loop():sock_sendto(endpoint.sock, data, address)
        future:add_done_callback(function() went(endpoint, size, future) end)
        if not endpoint.full and endpoint.unsent > endpoint.high then
            endpoint.full = true
            deliver(endpoint, "pause_writing")
        end
        return true
    end

    function Endpoint:sendto(data, address)
        if self.closing then return servers.closed_error "sendto" end
        local n, err = self.sock:try_sendto(data, address)
        if n then return true end
        if err.code ~= "EAGAIN" then return failed(self, err) end
        return send_later(self, data, address)
    end

    function Endpoint:get_write_buffer_size()
        return self.unsent
    end

    function Endpoint:set_write_buffer_limits(high, low)
        self.high, self.low = protocols.marks(high, low)
    end

    -- The end

    function Endpoint:close()
        if self.closing then return end
        self.closing = true
        wake(self)
    end

    function Endpoint:abort()
        self.closing, self.closed = true, true
        self.sock:close()
        wake(self)
    end

    -- What is known

    local function named(endpoint)
        return endpoint.address and "to " .. endpoint.address or "on " .. endpoint.sockname
    end

    function Endpoint:__tostring()
        return "neap.datagram_transport: " .. named(self) .. (self.closing and " (closing)" or "")
    end

    -- The endpoint's task

    local function has_room(endpoint)
        return endpoint.full and endpoint.unsent <= endpoint.low and not endpoint.closing
    end

    local function tell(endpoint)
        for _ = 1, #endpoint.errors do
            if endpoint.closed then return end
            deliver(endpoint, "error_received", table.remove(endpoint.errors, 1))
        end
        if has_room(endpoint) then
            endpoint.full = false
            deliver(endpoint, "resume_writing")
        end
    end

    local function receive(endpoint)
        local data, from = wait(endpoint, endpoint.sock.recvfrom, endpoint.sock)
        if endpoint.closing then return end
        if data then
            deliver(endpoint, "datagram_received", data, from)
        elseif from and from.code == "closed" then
            endpoint.lost = from
            endpoint:abort()
        elseif from then
            failed(endpoint, from)
        end
    end

    local function flush(endpoint)
        local loop = neap.loop()
        local last = loop:time() + FLUSH
        while endpoint.unsent > 0 and loop:time() < last do
            wait(endpoint, neap.sleep, last - loop:time())
            tell(endpoint)
        end
    end

    local function converse(endpoint)
        deliver(endpoint, "connection_made", endpoint)
        while not endpoint.closing do
            if endpoint.errors[1] or has_room(endpoint) then
                tell(endpoint)
                neap.yield() -- error_received may have sent, in vain again
            else
                receive(endpoint)
            end
        end
        tell(endpoint)
        flush(endpoint)
    end

    -- Tells of the end, raises the error of a callback.
    local function run(endpoint)
        local ok, err = xpcall(converse, protocols.keep_trace, endpoint)
        if not ok and endpoint.failure == nil then endpoint.failure = err end
        endpoint:abort()
        local failure = endpoint.failure
        deliver(endpoint, "connection_lost", failure or endpoint.lost)
        if endpoint.failure ~= nil then error(endpoint.failure, 0) end
    end

    -- Addresses

    local function refuse(text, ...)
        error(("bad argument #2 to 'create_datagram_endpoint' (%s)"):format(text:format(...)), 4)
    end

    -- The addresses of "host:port", "[host]:port" or {host, port}.
    local function find(address, name, family)
        local host, port
        if type(address) == "table" then
            host, port = address[1] or "", address[2]
        elseif type(address) == "string" then
            host, port = address:match "^%[(.*)%]:(%w+)$"
            if not host then host, port = address:match "^([^:]*):(%w+)$" end
        end
        if not host or not port then refuse("the option '%s' must be \"host:port\" or {host, port}", name) end
        if host == "" then host = family == "inet6" and "::" or "0.0.0.0" end
        return neap.resolve(host, port, { family = family })
    end

    local function family_of(address)
        return address:find("[", 1, true) and "inet6" or "inet"
    end

    -- true, or nil and an error.
    local function prepare(sock, here, there, options)
        local ok, err = true, nil
        if options.reuse_port then ok, err = sock:setsockopt("reuseport", true) end
        if ok and options.broadcast then ok, err = sock:setsockopt("broadcast", true) end
        if ok and here then ok, err = sock:bind(here) end
        if ok and there then ok, err = sock:connect(there) end
        return ok, err
    end

    local function open(here, there, options)
        local sock = neap.udp(family_of(here or there))
        local ok, err = prepare(sock, here, there, options)
        if ok then return sock end
        sock:close()
        return nil, err
    end

    -- A socket and its peer, of the first addresses of one family that can be used; nil and the first error.
    local function open_first(options)
        local family = options.family
        local near, far = { false }, { false }
        local sock, err, first
        if options.local_addr or not options.remote_addr then
            near, err = find(options.local_addr or { "", 0 }, "local_addr", family)
            if not near then return nil, err end
        end
        if options.remote_addr then
            far, err = find(options.remote_addr, "remote_addr", family)
            if not far then return nil, err end
        end
        for _, there in ipairs(far) do
            for _, here in ipairs(near) do
                if not here or not there or family_of(here) == family_of(there) then
                    sock, err = open(here, there, options)
                    if sock then return sock, there or nil end
                    first = first or err
                end
            end
        end
        if not first then refuse "local and remote address are of different families" end
        return nil, first
    end

    local known = {
        local_addr = true, remote_addr = true, family = true, reuse_port = true, broadcast = true, sock = true,
    }

    local function checked(options)
        options = options or {}
        if type(options) ~= "table" then refuse("a table of options expected, got %s", type(options)) end
        for name in pairs(options) do
            if not known[name] then refuse("unknown option '%s'", tostring(name)) end
            if options.sock and name ~= "sock" then refuse("the option 'sock' stands alone, without '%s'", name) end
        end
        return options
    end

    local function socket_of(options)
        local sock = options.sock
        if not sock then return open_first(options) end
        if sock:getsockopt "type" ~= DATAGRAM then refuse "the option 'sock' must be a socket for datagrams" end
        return sock, (sock:getpeername())
    end

    function methods.loop.create_datagram_endpoint(_, factory, options)
        protocols.check_factory(factory, "create_datagram_endpoint")
        local sock, peer = socket_of(checked(options))
        if not sock then return nil, peer end
        local ok, protocol = pcall(protocols.make, factory)
        if not ok then
            sock:close()
            error(protocol, 0)
        end
        local endpoint = setmetatable({
            sock = sock, address = peer, sockname = sock:getsockname(), protocol = protocol, errors = {}, unsent = 0,
            closing = false, closed = false, full = false, high = 65536, low = 16384,
        }, Endpoint)
        neap.spawn { protocols.run_client, run, endpoint, name = "endpoint " .. named(endpoint), owns = { sock } }
        neap.yield() -- its first step, in which the protocol is told
        return endpoint, protocol
    end
end

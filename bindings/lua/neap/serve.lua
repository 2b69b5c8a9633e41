-- Servers: a task for each connection, in the scope of its server, and one task that stands for the server where it was
-- made.
return function(neap, servers, methods, keep_trace)
    local listen, begin = servers.listen, servers.begin
    local pcall, xpcall = neap.pcall, neap.xpcall

    local FLUSH = 30 -- seconds that what a handler has written may take to go
    local PATIENCE = 6 -- seconds; more than cancelled handlers have to clean up

    -- Waits until the server is closed. Who is cancelled closes it first, without a grace.
    local function keep(server)
        local ok, err = pcall(server.wait_closed, server)
        if ok then return end
        server:close { grace = 0 }
        neap.shielded(PATIENCE, server.wait_closed, server)
        error(err, 0)
    end

    local function list_of(addresses)
        return type(addresses) == "table" and addresses or { addresses }
    end

    -- A group that makes a server waits for it, as for a task.
    local function hold(server)
        local name = server:addresses()[1]
        local ok, err = pcall(neap.spawn, { keep, server, name = name and "server on " .. name or "server" })
        if ok then return server end
        server:abort()
        error(err, 0)
    end

    local function with_socket(handler)
        return function(sock, address)
            handler(sock, address)
        end
    end

    -- What was written goes before the connection ends, but a handler that was cancelled has no time for that.
    local function finish(stream, ok, err)
        if not ok and neap.is_cancelled(err) then
            stream:abort()
        elseif not stream:closed() then
            pcall(neap.move_on, FLUSH, stream.close, stream)
        end
        if not ok then error(err, 0) end
    end

    local function with_stream(handler)
        return function(sock, address)
            local stream = neap.stream(sock)
            finish(stream, xpcall(handler, keep_trace, stream, address))
        end
    end

    local function is_callable(value)
        local meta = type(value) ~= "function" and getmetatable(value)
        return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
    end

    function neap.serve(addresses, handler, options)
        if not is_callable(handler) then
            error("bad argument #2 to 'serve' (a function expected, got " .. type(handler) .. ")", 2)
        end
        local server, err = listen(list_of(addresses), options)
        if not server then return nil, err end
        local sockets = options and options.sockets or not neap.stream
        begin(server, (sockets and with_socket or with_stream)(handler))
        return hold(server)
    end

    function neap.listen(addresses, options)
        return listen(list_of(addresses), options)
    end

    -- for sock, address in server:iter() do ... end, until the server is closed.
    function methods.iter(server)
        return methods.accept, server
    end

    function methods.serve_forever(server)
        server:resume()
        keep(server)
    end

    return hold
end

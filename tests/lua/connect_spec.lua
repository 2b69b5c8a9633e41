-- neap.connect: to addresses and names, over all that a name stands for.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local dns = require "support.dns"
local in_real_loop, in_loop, fails, raises, contains =
    helper.in_real_loop, helper.in_loop, helper.fails, helper.raises, helper.contains

local function listen(address, backlog)
    local s = neap.tcp()
    assert(s:bind(address or "127.0.0.1:0"))
    assert(s:listen(backlog or 100))
    return s, s:getsockname():match ":(%d+)$"
end

local has_ipv6 = neap.run(function()
    local s = neap.tcp "inet6"
    return s and s:bind "[::1]:0" and true or false
end)

-- An address at which nobody listens; its port stays taken while fn runs.
local function without_listener(fn)
    local s = neap.tcp()
    assert(s:bind "127.0.0.1:0")
    fn(s:getsockname():match ":(%d+)$")
    s:close()
end

-- A listener that takes no more connections: whoever connects is left without an answer.
local function with_silent(address, fn)
    local listener, port = listen(address, 1)
    local callers, full = {}, false
    while not full do
        assert(#callers < 64, "the queue of a listener does not fill")
        local caller = neap.tcp()
        callers[#callers + 1] = caller
        local future = neap.loop():sock_connect(caller, listener:getsockname())
        neap.wait({ future }, { timeout = 0.2 })
        full = not future:done()
        future:cancel()
        neap.wait { future }
    end
    fn(port)
    listener:close()
    for _, caller in ipairs(callers) do
        caller:close()
    end
end

local has_ares = neap.run(function() return neap.resolver() end) == "c-ares"

-- What needs a name server that the test chooses.
local function with_ares(fn)
    return has_ares and fn or function()
        pending "c-ares was not built in"
    end
end

-- Names of these addresses while fn runs.
local function with_names(names, fn)
    dns.with_server(function(query)
        return dns.addresses(query, names[query.name] or {})
    end, function(address)
        neap.resolver { servers = { address } }
        fn()
    end)
end

local function tried(err)
    local list = {}
    for i, entry in ipairs(err.tried) do
        list[i] = entry.address:match "^(.*):%d+$" .. " " .. entry.error.code
    end
    return table.concat(list, ", ")
end

-- Greets through both ends.
local function check_pair(listener, client)
    local server = assert(listener:accept())
    assert(client:write "hello\n")
    assert.equal("hello\n", server:recv(100))
    assert(server:sendall "welcome\n")
    assert.equal("welcome", client:read "l")
    server:close()
    client:close()
end

describe("connect", function()
    it("goes to a numeric address", in_real_loop(function()
        local listener = listen()
        check_pair(listener, assert(neap.connect(listener:getsockname())))
        listener:close()
        if has_ipv6 then
            listener = listen "[::1]:0"
            check_pair(listener, assert(neap.connect(listener:getsockname())))
            listener:close()
        end
    end))

    it("goes to a Unix stream by its path, with unix: before it, and to an abstract one", in_real_loop(function()
        local dir = process.temp_dir()
        for _, address in ipairs { dir .. "/socket", "unix:" .. dir .. "/other", "@" .. dir } do
            local listener = neap.unix()
            assert(listener:bind(address))
            assert(listener:listen())
            check_pair(listener, assert(neap.connect(address)))
            listener:close()
        end
        fails("ENOENT", neap.connect(dir .. "/nobody"))
        process.remove(dir)
    end))

    it("goes to localhost, whichever family listens", in_real_loop(function()
        for _, address in ipairs { "127.0.0.1:0", has_ipv6 and "[::1]:0" or nil } do
            local listener, port = listen(address)
            check_pair(listener, assert(neap.connect("localhost:" .. port)))
            listener:close()
        end
    end))

    it("gives the bare socket to who wants it", in_real_loop(function()
        local listener = listen()
        local client = assert(neap.connect_sock(listener:getsockname()))
        local server = assert(listener:accept())
        assert(client:sendall "hello")
        assert.equal("hello", server:recv(100))
        server:close()
        client:close()
        without_listener(function(port)
            fails("ECONNREFUSED", neap.connect_sock("127.0.0.1:" .. port))
        end)
        listener:close()
    end))

    it("is what create_connection does: it goes to a name, too", in_real_loop(function(loop)
        local listener, port = listen()
        local transport, protocol = assert(loop:create_connection(function()
            return { connection_made = function(self, made) self.made = made end }
        end, "localhost", tonumber(port)))
        local server = assert(listener:accept())
        assert.equal(transport, protocol.made)
        transport:abort()
        server:close()
        listener:close()
    end))

    it("refuses what is no address", in_loop(function()
        for _, bad in ipairs { "", "host", "host:", ":80", "::1:80", "1.2.3.4", "[::1]", "@", "a\0b:80" } do
            fails("value_error", neap.connect(bad))
        end
        fails("value_error", neap.connect "host:70000")
        fails("bad_name", neap.connect "a..b:80")
        fails("bad_name", neap.connect "1.2.3:80")
        contains("an address (a string) expected", raises("type_error", neap.connect, 80).message)
        contains("table of options", raises("type_error", neap.connect, "localhost:80", 5).message)
        raises("value_error", neap.connect, "localhost:80", { colour = "red" })
        raises("value_error", neap.connect, "localhost:80", { local_addr = "localhost:0" })
        raises("value_error", neap.connect, "localhost:80", { prefer = "ipx" })
    end))

    it("says why a single address failed", in_real_loop(function()
        without_listener(function(port)
            local err = fails("ECONNREFUSED", neap.connect("127.0.0.1:" .. port))
            contains("connect 127.0.0.1:" .. port .. ": connection refused", tostring(err))
            assert.equal("127.0.0.1 ECONNREFUSED", tried(err))
        end)
    end))

    it("lists each address that was tried, and why it failed", with_ares(in_real_loop(function()
        without_listener(function(port)
            with_names({ ["x.test"] = { "127.0.0.2", "127.0.0.3" } }, function()
                local err = fails("ECONNREFUSED", neap.connect("x.test:" .. port))
                assert.equal("127.0.0.2 ECONNREFUSED, 127.0.0.3 ECONNREFUSED", tried(err))
                contains("127.0.0.3:" .. port .. ": Connection refused", err.message)
                assert.equal("x.test:" .. port, err.address)
                assert.equal("connect", err.op)
            end)
        end)
    end)))

    it("has the code of the address that says most", with_ares(in_real_loop(function()
        without_listener(function(port)
            with_names({ ["x.test"] = { "224.0.0.1", "127.0.0.3" } }, function()
                local err = fails("ECONNREFUSED", neap.connect("x.test:" .. port))
                contains("224.0.0.1 ENETUNREACH", tried(err))
            end)
        end)
        fails("ENETUNREACH", neap.connect "224.0.0.1:80")
    end)))

    it("tries the families in turn, the best address's or a preferred one first", with_ares(in_real_loop(function()
        if not has_ipv6 then
            return pending "this machine has no IPv6 loopback"
        end
        without_listener(function(port)
            with_names({ ["x.test"] = { "127.0.0.2", "127.0.0.3", "127.0.0.4", "::1" } }, function()
                local err = fails("ECONNREFUSED", neap.connect("x.test:" .. port))
                assert.equal("[::1] ECONNREFUSED, 127.0.0.2 ECONNREFUSED, 127.0.0.3 ECONNREFUSED, "
                    .. "127.0.0.4 ECONNREFUSED", tried(err))
                err = fails("ECONNREFUSED", neap.connect("x.test:" .. port, { prefer = "inet" }))
                assert.equal("127.0.0.2 ECONNREFUSED, [::1] ECONNREFUSED, 127.0.0.3 ECONNREFUSED, "
                    .. "127.0.0.4 ECONNREFUSED", tried(err))
            end)
        end)
    end)))

    it("passes a refused address over at once", with_ares(in_loop(function(loop)
        local listener, port = listen "127.0.0.3:0"
        with_names({ ["x.test"] = { "127.0.0.2", "127.0.0.3" } }, function()
            local before = loop:time()
            local client = assert(neap.connect("x.test:" .. port))
            assert.equal(before, loop:time())
            assert.equal("127.0.0.3:" .. port, client:peer())
            client:close()
        end)
        listener:close()
    end)))

    local function beside_a_silent_one(options, expected)
        return with_ares(in_loop(function(loop)
            with_silent("127.0.0.2:0", function(port)
                local listener = listen("127.0.0.3:" .. port)
                with_names({ ["x.test"] = { "127.0.0.2", "127.0.0.3" } }, function()
                    helper.ticks(2) -- the name server waits
                    local before, socks = loop:time(), loop:metrics().socks
                    local client = assert(neap.connect("x.test:" .. port, options))
                    assert.near(expected, loop:time() - before, 1e-6)
                    assert.equal(socks + 1, loop:metrics().socks) -- the one that lost is closed
                    assert.equal("127.0.0.3:" .. port, client:peer())
                    client:close()
                end)
                listener:close()
            end)
        end))
    end

    it("tries the next address after 250 ms beside one that does not answer", beside_a_silent_one(nil, 0.25))

    it("waits for as long as it is told before it tries the next one",
        beside_a_silent_one({ happy_eyeballs_delay = 3 }, 3))

    it("tries the next one only after a failure if the delay is endless", with_ares(in_loop(function()
        with_silent("127.0.0.2:0", function(port)
            local listener = listen("127.0.0.3:" .. port)
            with_names({ ["x.test"] = { "127.0.0.2", "127.0.0.3" } }, function()
                raises("timeout", neap.timeout, 10, neap.connect, "x.test:" .. port,
                    { happy_eyeballs_delay = math.huge })
            end)
            assert.is_nil(listener:try_accept())
            listener:close()
        end)
    end)))

    it("is bound to a local address", in_real_loop(function()
        local listener, port = listen()
        local client = assert(neap.connect("localhost:" .. port, { local_addr = "127.0.0.5:0" }))
        local server, peer = assert(listener:accept())
        contains("127.0.0.5:", peer)
        server:close()
        client:close()
        listener:close()
        fails("no_address", neap.connect("[::1]:80", { local_addr = "127.0.0.5:0" }))
        fails("no_address", neap.connect("/tmp/socket", { local_addr = "127.0.0.5:0" }))
        fails("EADDRNOTAVAIL", neap.connect("127.0.0.1:" .. port, { local_addr = "192.0.2.1:0" }))
    end))

    it("fails as the lookup fails", with_ares(in_real_loop(function()
        with_names({}, function()
            local err = fails("no_address", neap.connect "x.test:80")
            contains("x.test: the name has no address", err.message)
            fails("service_not_found", neap.connect "localhost:no-such-service")
        end)
    end)))

    it("C4: leaves nothing when it is cancelled while it looks up or connects", with_ares(in_loop(function(loop)
        with_silent("127.0.0.2:0", function(port)
            local asked = neap.event()
            dns.with_server(function(query)
                asked:set()
                return query.name == "silent.test" and dns.addresses(query, { "127.0.0.2", "127.0.0.2" }) or nil
            end, function(address)
                neap.resolver { servers = { address }, timeout = 60 }
                helper.ticks(2) -- the name server waits
                local socks = loop:metrics().socks
                for _, name in ipairs { "nobody.test", "silent.test", "silent.test" } do
                    asked:clear()
                    local task = neap.spawn(neap.connect, name .. ":" .. port)
                    asked:wait()
                    while name == "silent.test" and loop:metrics().socks < socks + 1 do
                        neap.yield()
                    end
                    task:cancel "enough"
                    neap.wait { task }
                    assert(task:cancelled())
                    assert.equal(socks, loop:metrics().socks)
                end
            end)
        end)
    end)))

    it("says what it waits for where tasks are shown", in_loop(function()
        with_silent("127.0.0.2:0", function(port)
            local address = "127.0.0.2:" .. port
            local task = neap.spawn(neap.connect, address)
            neap.yield()
            contains(("waits for a connection to %s of a connect on %s"):format(address, address), neap.tree())
            task:cancel()
            neap.wait { task }
        end)
    end))

    it("is done hundreds of times at once", in_real_loop(function()
        local listener, port = listen(nil, 2000)
        local clients = {}
        local accepting = neap.spawn(function()
            for _ = 1, 300 do
                assert(listener:accept()):close()
            end
        end)
        for i = 1, 300 do
            clients[i] = neap.spawn(neap.connect, "localhost:" .. port)
        end
        for _, task in ipairs(clients) do
            assert(task:await()):close()
        end
        accepting:await()
        listener:close()
    end))
end)

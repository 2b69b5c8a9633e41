-- Names: what they are looked up to, by a real name server and by ones that answer wrongly or not at all.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local dns = require "support.dns"
local dnsmasq = require "support.dnsmasq"
local in_real_loop, in_loop, fails, raises, contains =
    helper.in_real_loop, helper.in_loop, helper.fails, helper.raises, helper.contains

local function join(list, err)
    assert(list, err)
    return table.concat(list, " ")
end

-- An error of a name server comes after so few seconds, and no test depends on how many.
local function ask(address, options)
    options = options or {}
    neap.resolver {
        servers = { address }, timeout = options.timeout or 5, tries = options.tries or 2, cache = options.cache,
        negative = options.negative,
    }
end

local has_ares = neap.run(function() return neap.resolver() end) == "c-ares"

-- What needs a name server that the test chooses.
local function with_ares(fn)
    return has_ares and fn or function()
        pending "c-ares was not built in"
    end
end

local function threads()
    return tonumber((process.read_file "/proc/self/status":match "Threads:%s+(%d+)"))
end

describe("a name that needs no lookup", function()
    local function now(...)
        if has_ares then
            neap.resolver { servers = { "127.0.0.1:1" }, tries = 1, timeout = 0.01 } -- nobody is asked
        end
        return neap.resolve(...)
    end

    it("is a numeric address of either family", in_loop(function()
        assert.equal("192.0.2.1:80", join(now("192.0.2.1", 80)))
        assert.equal("[2001:db8::1]:443", join(now("2001:db8::1", "443")))
        assert.equal("[::1]:0", join(now "[::1]"))
    end))

    it("starts no thread", in_loop(function(loop)
        local before = threads()
        now "192.0.2.1"
        now "localhost"
        fails("bad_name", now "a..b")
        loop:getaddrinfo("192.0.2.1", 80):await()
        assert.equal(before, threads())
    end))

    it("N14: is localhost and what ends in it, the loopback of both families", in_loop(function()
        assert.equal("[::1]:80 127.0.0.1:80", join(now("localhost", 80)))
        assert.equal("[::1]:0 127.0.0.1:0", join(now "Some.LocalHost."))
        assert.equal("127.0.0.1:0", join(now("localhost", { family = "inet" })))
        assert.equal("[::1]:0", join(now("localhost", nil, { family = "inet6" })))
        assert.equal("localhost", now("localhost", { canonical = true }).canonical)
    end))

    it("has no address of the other family", in_loop(function()
        fails("no_address", now("192.0.2.1", 80, { family = "inet6" }))
    end))

    it("is refused if it is none", in_loop(function()
        local label = ("x"):rep(63)
        local longest = table.concat({ label, label, label, ("x"):rep(61) }, ".")
        assert.equal(253, #longest)
        for _, bad in ipairs { "", ".", "a..b", ".a", "a\0b", "a b", "127.1", "1.2.3.4.5", "256.1.1.1", "host:80",
            ("x"):rep(64) .. ".org", longest .. "x", longest .. ".x", "a\nb", "::g" } do
            local err = fails("bad_name", now(bad, 80))
            assert.equal(bad, err.host)
            contains(": not a host name", err.message)
        end
        if has_ares then
            fails("temporary_failure", now(longest .. "."))
        end
        fails("value_error", now("localhost", 65536))
        fails("value_error", now("localhost", "70000"))
    end))

    it("is asked for by arguments that make sense", in_loop(function(loop)
        contains("a host (a string) expected", raises("type_error", neap.resolve, 80).message)
        contains("a port or the name of a service", raises("type_error", neap.resolve, "localhost", true).message)
        raises("value_error", neap.resolve, "localhost", 80, { family = "ipx" })
        raises("value_error", neap.resolve, "localhost", 80, { colour = "red" })
        raises("value_error", neap.resolve, "localhost", -1)
        raises("bad_name", function() loop:getaddrinfo "a..b":await() end)
        fails("no_resolver", neap.getnameinfo "localhost:80")
        fails("no_resolver", neap.getnameinfo "/tmp/socket")
    end))

    it("has the port of a service that is known by name", in_real_loop(function()
        assert.equal("192.0.2.1:443", join(now("192.0.2.1", "https")))
        local err = fails("service_not_found", now("localhost", "no-such-service"))
        contains("no-such-service: no such service", err.message)
    end))
end)

describe("the resolver", function()
    it("is told by its options who is asked", in_loop(function()
        local engine = neap.resolver()
        assert(engine == "c-ares" or engine == "system")
        assert.equal(engine, neap.resolver { cache = 10 })
        raises("ENOTSUP", neap.resolver, { engine = "smoke signals" })
        raises("value_error", neap.resolver, { colour = "red" })
        raises("type_error", neap.resolver, { servers = {} })
        raises("type_error", neap.resolver, { servers = "127.0.0.1:53" })
        raises("value_error", neap.resolver, { tries = 1.5 })
        if engine == "c-ares" then
            local err = raises("value_error", neap.resolver, { servers = { "ns.example.org:53" } })
            contains("ns.example.org", err.message)
        end
    end))
end)

describe("a name in a real name server", function()
    local server, address

    local zone = {
        "--host-record=one.test,192.0.2.1,2001:db8::1", "--host-record=four.test,192.0.2.4",
        "--host-record=many.test,192.0.2.11", "--host-record=many.test,192.0.2.12",
        "--host-record=many.test,192.0.2.13", "--cname=alias.test,one.test", "--cname=far.test,alias.test",
        "--ptr-record=9.2.0.192.in-addr.arpa,nine.test", "--local=/test/", "--local=/2.0.192.in-addr.arpa/",
    }

    setup(function()
        server, address = dnsmasq.start(zone)
    end)

    teardown(function()
        server:dispose()
    end)

    local function test(fn)
        return with_ares(in_real_loop(function(loop)
            ask(address)
            fn(loop)
        end))
    end

    it("has its addresses of both families", test(function()
        local list = assert(neap.resolve("one.test", 80))
        table.sort(list)
        assert.equal("192.0.2.1:80 [2001:db8::1]:80", join(list))
    end))

    it("has those of one family", test(function()
        assert.equal("192.0.2.1:80", join(neap.resolve("one.test", 80, { family = "inet" })))
        assert.equal("[2001:db8::1]:80", join(neap.resolve("one.test", 80, { family = "inet6" })))
        assert.equal("192.0.2.4:0", join(neap.resolve "FOUR.test."))
        fails("no_address", neap.resolve("four.test", 80, { family = "inet6" }))
    end))

    it("has several", test(function()
        local list = neap.resolve("many.test", 1)
        table.sort(list)
        assert.equal("192.0.2.11:1 192.0.2.12:1 192.0.2.13:1", join(list))
    end))

    it("is found behind a chain of aliases, with the canonical one where asked", test(function()
        local list = neap.resolve("far.test", { family = "inet", canonical = true })
        assert.equal("192.0.2.1:0", join(list))
        assert.equal("one.test", list.canonical)
        assert.is_nil(neap.resolve("far.test", { family = "inet" }).canonical)
    end))

    it("is found by its address", test(function(loop)
        local host, service = neap.getnameinfo "192.0.2.9:443"
        assert.equal("nine.test", host)
        assert.equal("https", service)
        assert.equal("nine.test 64999", join { loop:getnameinfo "192.0.2.9:64999":await() })
        local err = fails("name_not_found", neap.getnameinfo "192.0.2.99:1")
        contains("192.0.2.99:1: no such name", err.message)
        assert.equal("192.0.2.99:1", err.host)
    end))

    it("N14: fails with the resolver's code if there is none", test(function(loop)
        local err = fails("name_not_found", neap.resolve("nobody.test", 80))
        assert.equal("nobody.test", err.host)
        assert.equal("resolve", err.op)
        contains("nobody.test: no such name (ARES_ENOTFOUND)", err.message)
        contains("nobody.test: no such name (ARES_ENOTFOUND)", raises("name_not_found", function()
            return loop:getaddrinfo("nobody.test", 80):await()
        end).message)
    end))

    it("N14: is the same by loop:getaddrinfo, in a task, by hand and by a run", with_ares(function()
        local results = {}
        local function main(loop)
            ask(address)
            results[1] = join(loop:getaddrinfo("four.test", 80):await())
            results[2] = join(neap.resolve("four.test", 80))
        end
        in_real_loop(main)()
        local loop = neap.new_loop()
        loop:run_until_complete(loop:create_task(function() ask(address) end))
        results[3] = join(loop:run_until_complete(loop:getaddrinfo("four.test", 80)))
        local future = loop:getaddrinfo("four.test", "80")
        while not future:done() do
            loop:run_once(0.01) -- a turn may find the answer before it waits
        end
        results[4] = join(future:result())
        loop:close()
        for i = 1, 4 do
            assert.equal("192.0.2.4:80", results[i])
        end
    end))

    it("is one of a thousand that are asked for at once", test(function()
        local tasks = {}
        for i = 1, 1000 do
            tasks[i] = neap.spawn(neap.resolve, i % 2 == 0 and "one.test" or "four.test", i, { family = "inet" })
        end
        for i, task in ipairs(tasks) do
            local list = task:await()
            assert.equal((i % 2 == 0 and "192.0.2.1:" or "192.0.2.4:") .. i, join(list))
        end
    end))

    it("is connected to by neap.connect", test(function()
        local err = fails("name_not_found", neap.connect "nobody.test:80")
        contains("nobody.test: no such name", err.message)
        assert.equal("nobody.test:80", err.address)
    end))
end)

describe("a name server", function()
    -- Asks a server that answers with what handler(query) returns.
    local function asking(handler, fn, options)
        return with_ares(in_real_loop(function(loop)
            dns.with_server(handler, function(address)
                ask(address, options)
                fn(address, loop)
            end)
        end))
    end

    local function good(query)
        return dns.addresses(query, { "192.0.2.7", "2001:db8::7" })
    end

    it("N14: that takes its time lets the others go on", (function()
        local asked
        return asking(function(query)
            while not asked do
                neap.sleep(0.001)
            end
            return good(query)
        end, function()
            asked = false
            local turns = 0
            neap.spawn(function()
                for _ = 1, 100 do
                    turns = turns + 1
                    neap.sleep(0)
                end
                asked = true
            end)
            assert.equal("192.0.2.7:80", join(neap.resolve("slow.test", 80, { family = "inet" })))
            assert.equal(100, turns)
        end)
    end)())

    it("that answers with a wrong id is not believed", asking(function(query)
        return dns.reply(query, { { query.name, "A", "192.0.2.66" } }, { id = (query.id + 1) % 65536 })
    end, function()
        local err = fails("temporary_failure", neap.resolve("x.test", 80, { family = "inet" }))
        contains("ARES_ETIMEOUT", err.message)
    end, { timeout = 0.05, tries = 1 }))

    it("that answers another question is not believed", asking(function(query)
        query.question = query.question:gsub("mine", "your")
        return dns.reply(query, { { "your.test", "A", "192.0.2.66" } })
    end, function()
        fails("temporary_failure", neap.resolve("mine.test", 80, { family = "inet" }))
    end, { timeout = 0.05, tries = 1 }))

    it("is asked again over TCP if its answer was cut", (function()
        local by_tcp = false
        return asking(function(query)
            by_tcp = by_tcp or query.tcp
            return query.tcp and good(query) or dns.reply(query, {}, { truncated = true })
        end, function()
            assert.equal("192.0.2.7:80", join(neap.resolve("long.test", 80, { family = "inet" })))
            assert(by_tcp)
        end)
    end)())

    it("is asked again if it did not answer", (function()
        local asked = 0
        return asking(function(query)
            asked = asked + 1
            return asked > 1 and good(query)
        end, function()
            assert.equal("192.0.2.7:80", join(neap.resolve("lost.test", 80, { family = "inet" })))
            assert(asked > 1)
        end, { timeout = 0.05, tries = 10 })
    end)())

    it("that never answers is a temporary failure", asking(function() return nil end, function()
        local err = fails("temporary_failure", neap.resolve("lost.test", 80))
        contains("lost.test: no name server has answered properly (ARES_ETIMEOUT)", err.message)
    end, { timeout = 0.02, tries = 2 }))

    it("that is not there is a temporary failure", with_ares(in_real_loop(function()
        local socket = neap.udp()
        assert(socket:bind "127.0.0.1:0")
        ask(socket:getsockname(), { timeout = 0.05, tries = 1 })
        socket:close()
        fails("temporary_failure", neap.resolve("lost.test", 80))
    end)))

    for name, rcode in pairs { SERVFAIL = dns.SERVFAIL, REFUSED = dns.REFUSED } do
        it("that says " .. name .. " is a temporary failure, and no absent name", asking(function(query)
            return dns.reply(query, {}, { rcode = rcode })
        end, function()
            fails("temporary_failure", neap.resolve("x.test", 80))
            fails("temporary_failure", neap.getnameinfo "192.0.2.1:80")
        end))
    end

    it("that knows no such name is not asked again", (function()
        local asked = 0
        return asking(function(query)
            asked = asked + 1
            return dns.reply(query, {}, { rcode = dns.NXDOMAIN })
        end, function()
            fails("name_not_found", neap.resolve("x.test", 80, { family = "inet" }))
            assert.equal(1, asked)
        end)
    end)())

    it("that knows the name and no address says so", asking(function(query)
        return dns.reply(query, {})
    end, function()
        fails("no_address", neap.resolve("x.test", 80))
    end))

    for name, cut in pairs {
        ["no more than half of one"] = function(text) return text:sub(1, math.floor(#text / 2)) end,
        ["nothing"] = function() return "" end,
        ["noise behind the head"] = function(text) return text:sub(1, 12) .. ("\255"):rep(40) end,
        ["a name that points at itself"] = function(text, query)
            return text:sub(1, 12) .. query.question .. "\192" .. string.char(12 + #query.question)
                .. "\0\1\0\1\0\0\0\0\0\4abcd"
        end,
    } do
        it("that answers " .. name .. " is a failure", asking(function(query)
            return cut(good(query), query)
        end, function()
            local list, err = neap.resolve("x.test", 80, { family = "inet" })
            assert.is_nil(list)
            assert(err.code == "temporary_failure" or err.code == "resolver_failure", tostring(err))
        end, { timeout = 0.05, tries = 1 }))
    end

    it("that answers one family and fails with the other gives what it has", asking(function(query)
        return query.type == dns.types.A and good(query) or dns.reply(query, {}, { rcode = dns.SERVFAIL })
    end, function()
        assert.equal("192.0.2.7:80", join(neap.resolve("x.test", 80)))
    end))

    it("that fails is followed by the next one", asking(good, function(address)
        local socket = neap.udp()
        assert(socket:bind "127.0.0.1:0")
        neap.resolver { servers = { socket:getsockname(), address }, timeout = 0.05, tries = 20 }
        assert.equal("192.0.2.7:80", join(neap.resolve("x.test", 80, { family = "inet" })))
        socket:close()
    end))
end)

describe("a lookup that is cancelled", function()
    local function never(fn)
        return with_ares(in_real_loop(function(loop)
            local asked = neap.event()
            dns.with_server(function() asked:set() end, function(address)
                ask(address, { timeout = 60 })
                fn(loop, asked)
            end)
        end))
    end

    it("C4: frees its caller at once, before and after the question has left", never(function(_, asked)
        for round = 1, 2 do
            local task = neap.spawn(neap.resolve, "x.test", 80)
            if round == 2 then
                asked:wait()
            else
                neap.yield()
            end
            task:cancel "enough"
            assert.equal("cancelled", select(2, pcall(task.await, task)).code)
        end
    end))

    it("is ended by the deadline of its scope", never(function()
        local err = raises("timeout", neap.timeout, 0.02, neap.resolve, "x.test", 80)
        assert.equal("timeout", err.code)
    end))

    it("drops the answer that comes late", (function()
        local late = {}
        return with_ares(in_real_loop(function()
            local asked, go = neap.event(), neap.event()
            dns.with_server(function(query)
                asked:set()
                go:wait()
                late[#late + 1] = query.name
                return dns.addresses(query, { "192.0.2.7" })
            end, function(address)
                ask(address)
                local task = neap.spawn(neap.resolve, "first.test", 80, { family = "inet" })
                asked:wait()
                task:cancel()
                go:set()
                assert.equal("192.0.2.7:80", join(neap.resolve("second.test", 80, { family = "inet" })))
                assert.equal("first.test", late[1])
                assert(task:cancelled())
            end)
        end))
    end)())

    it("is what a closed loop leaves of those under way", with_ares(function()
        local before, fds = threads(), helper.count_descriptors()
        local loop, future = neap.new_loop(), nil
        loop:run_until_complete(loop:create_task(function()
            local asked = neap.event()
            dns.with_server(function() asked:set() end, function(address)
                ask(address, { timeout = 60 })
                future = loop:getaddrinfo "x.test"
                asked:wait()
            end)
        end))
        assert(not future:done())
        loop:close()
        assert.equal(before, threads())
        assert.equal(fds, helper.count_descriptors())
    end))

    it("leaves no descriptor and no thread behind, however often", with_ares(function()
        local before = threads()
        local round = never(function(_, asked)
            local tasks = {}
            for i = 1, 20 do
                tasks[i] = neap.spawn(neap.resolve, "x" .. i .. ".test", 80)
            end
            asked:wait()
            assert(threads() > before)
            for _, task in ipairs(tasks) do
                task:cancel()
            end
            neap.wait(tasks)
        end)
        for _ = 1, 5 do
            round()
        end
        assert.equal(before, threads())
    end))
end)

describe("a lookup", function()
    it("keeps a run from being a deadlock", with_ares(function()
        assert.equal("name_not_found", neap.run(function()
            local code
            dns.with_server(function(query)
                return dns.reply(query, {}, { rcode = dns.NXDOMAIN })
            end, function(address)
                ask(address)
                code = select(2, neap.resolve "x.test").code
            end)
            return code
        end))
    end))

    it("is named where tasks are shown", with_ares(in_real_loop(function()
        dns.with_server(function() return nil end, function(address)
            ask(address)
            local task = neap.spawn { neap.resolve, "shown.test", name = "seeker" }
            neap.yield()
            contains(" waits for the lookup of shown.test", neap.tree())
            task:cancel()
            neap.wait { task }
        end)
    end)))
end)

describe("the cache of names", function()
    local function counting(ttl, fn)
        return with_ares(in_real_loop(function(loop)
            local asked = 0
            dns.with_server(function(query)
                asked = asked + 1
                return dns.addresses(query, { "192.0.2." .. asked }, ttl)
            end, function(address)
                fn(address, function() return asked end, loop)
            end)
        end))
    end

    local function resolve(name, port)
        return join(neap.resolve(name, port or 80, { family = "inet" }))
    end

    it("is off unless it is asked for", counting(3600, function(address, asked)
        ask(address)
        resolve "x.test"
        resolve "x.test"
        assert.equal(2, asked())
    end))

    it("answers again what the server allows, whatever the case and the port, and at once", counting(3600,
        function(address, asked, loop)
            ask(address, { cache = 10 })
            assert.equal("192.0.2.1:80", resolve "x.test")
            assert.equal("192.0.2.1:443", resolve("X.Test", 443))
            assert(loop:getaddrinfo("x.test", 1, { family = "inet" }):done())
            assert.equal("192.0.2.2:80", resolve "y.test")
            assert.equal(2, asked())
        end))

    it("keeps nothing that the server does not allow to be kept", counting(0, function(address)
        ask(address, { cache = 10 })
        assert.equal("192.0.2.1:80", resolve "x.test")
        assert.equal("192.0.2.2:80", resolve "x.test")
    end))

    it("keeps no more than so many names: those that were used last", counting(3600, function(address)
        ask(address, { cache = 2 })
        assert.equal("192.0.2.1:80", resolve "x.test")
        assert.equal("192.0.2.2:80", resolve "y.test")
        assert.equal("192.0.2.1:80", resolve "x.test")
        assert.equal("192.0.2.3:80", resolve "z.test")
        assert.equal("192.0.2.1:80", resolve "x.test")
        assert.equal("192.0.2.4:80", resolve "y.test")
    end))

    it("forgets by the clock of the loop", with_ares(in_loop(function(loop)
        local asked = 0
        dns.with_server(function(query)
            asked = asked + 1
            return dns.addresses(query, { "192.0.2.1" }, 60)
        end, function(address)
            ask(address, { cache = 10 })
            resolve "x.test"
            loop:advance(59)
            resolve "x.test"
            assert.equal(1, asked)
            loop:advance(2)
            resolve "x.test"
            assert.equal(2, asked)
        end)
    end)))

    -- A server that has no addresses, and says so in one of the two ways, or says nothing of use.
    local function refusing(rcode, fn)
        return with_ares(in_loop(function(loop)
            local asked = 0
            dns.with_server(function(query)
                asked = asked + 1
                return dns.reply(query, {}, { rcode = rcode })
            end, function(address)
                fn(address, function() return asked end, loop)
            end)
        end))
    end

    local function refused(code)
        local err = fails(code, neap.resolve("x.test.", 80, { family = "inet" }))
        assert.equal("x.test.", err.host)
        contains("x.test.: ", err.message)
    end

    for code, rcode in pairs { name_not_found = dns.NXDOMAIN, no_address = 0 } do
        it("keeps " .. code .. " for so long as it is told to", refusing(rcode, function(address, asked, loop)
            ask(address, { cache = 10, negative = 60 })
            refused(code)
            loop:advance(59)
            refused(code)
            local future = loop:getaddrinfo("X.Test.", 443, { family = "inet" })
            assert.is_true(future:done())
            raises(code, future.await, future)
            fails(code, neap.connect "x.test.:80")
            local before = asked()
            loop:advance(2)
            refused(code)
            assert.is_true(asked() > before)
        end))
    end

    it("does not keep that there is no address unless it is told to", refusing(dns.NXDOMAIN, function(address, asked)
        ask(address, { cache = 10 })
        refused "name_not_found"
        refused "name_not_found"
        assert.equal(2, asked())
    end))

    it("does not keep that a server had a failure", refusing(dns.SERVFAIL, function(address, asked)
        ask(address, { cache = 10, negative = 60, tries = 1 })
        refused "temporary_failure"
        local before = asked()
        refused "temporary_failure"
        assert.is_true(asked() > before)
    end))

    it("gives up a missing name for one that was used later", refusing(dns.NXDOMAIN, function(address, asked)
        ask(address, { cache = 1, negative = 60 })
        refused "name_not_found"
        fails("name_not_found", neap.resolve("y.test.", 80, { family = "inet" }))
        refused "name_not_found"
        assert.equal(3, asked())
    end))

    it("is empty after the resolver was set anew", counting(3600, function(address)
        ask(address, { cache = 10 })
        assert.equal("192.0.2.1:80", resolve "x.test")
        ask(address, { cache = 10 })
        assert.equal("192.0.2.2:80", resolve "x.test")
    end))
end)

describe("the files of the system", function()
    it("are asked: a name of the hosts file has the address that stands there", in_real_loop(function()
        local address, name
        for line in io.lines "/etc/hosts" do
            local a, n = line:match "^%s*(%d+%.%d+%.%d+%.%d+)%s+(%S+)"
            if a and not n:lower():find "localhost" then
                address, name = a, n
                break
            end
        end
        if not name then
            return pending "no IPv4 name but localhost stands in /etc/hosts"
        end
        if has_ares then
            neap.resolver { servers = { "127.0.0.1:1" }, tries = 1, timeout = 0.01 }
        end
        local found = {}
        for _, text in ipairs(assert(neap.resolve(name, 80, { family = "inet" }))) do
            found[text] = true
        end
        assert(found[address .. ":80"])
    end))

    it("are what the system's own resolver reads, on threads that end", function()
        local before = threads()
        in_real_loop(function(loop)
            assert.equal("system", neap.resolver { engine = "system", cache = 5 })
            assert.equal("192.0.2.1:443", join(neap.resolve("192.0.2.1", "https")))
            assert.equal("localhost", (neap.getnameinfo "127.0.0.1:443"))
            fails("service_not_found", neap.resolve("localhost", "no-such-service"))
            local future = loop:getaddrinfo("localhost", "https")
            assert(not future:done())
            future:cancel()
            raises("cancelled", future.await, future)
            contains("system", raises("ENOTSUP", neap.resolver, { engine = "system", tries = 2 }).message)
        end)()
        assert.equal(before, threads())
    end)

    it("are read again when they change", with_ares(in_real_loop(function()
        local dir, asked = process.temp_dir(), {}
        local file = dir .. "/resolv.conf"
        local function search(domain)
            process.write_file(file .. ".new", "search " .. domain .. "\n")
            os.rename(file .. ".new", file)
        end
        dns.with_server(function(query)
            asked[#asked + 1] = query.name
            return dns.addresses(query, { "192.0.2.1" })
        end, function(address)
            search "first.test"
            neap.resolver { resolv_conf = file, servers = { address } }
            for _, domain in ipairs { "first.test", "second.test", "second.test" } do
                search(domain)
                assert.equal("192.0.2.1:80", join(neap.resolve("x", 80, { family = "inet" })))
            end
        end)
        process.remove(dir)
        assert.same({ "x.first.test", "x.second.test", "x.second.test" }, asked)
    end)))
end)

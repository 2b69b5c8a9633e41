-- scripts/udp_echo.lua and scripts/dns_stub.lua as a user runs them, with clients and servers that are not ours.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local dnsmasq = require "support.dnsmasq"

local echo_script = helper.source_dir .. "/scripts/udp_echo.lua"
local stub_script = helper.source_dir .. "/scripts/dns_stub.lua"

local function start(script, ...)
    local child = process.start { helper.command, script, ... }
    finally(function()
        child:dispose()
    end)
    return child, child:await_line "^listening on ([^\n]+)\n"
end

local function stop(child)
    child:signal "TERM"
    assert.equal(0, child:wait())
    assert.is_nil(child:err():match "%a+_%a+: [^\n]+") -- its own complaints; a busy machine makes slow steps
    return child:out()
end

local function in_time(fn, ...)
    return neap.run(neap.timeout, helper.patience, fn, ...)
end

describe("udp_echo", function()
    it("sends back what Python sends, also nothing and much, and tells how many at its end", function()
        local child, address = start(echo_script, "127.0.0.1:0")
        local result = process.run { "python3", "-c", [[
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
for data in (b"hello", b"", b"x" * 60000):
    s.sendto(data, (host, int(port)))
    assert s.recvfrom(65536) == (data, (host, int(port)))
print("as sent")
]], address }
        assert.equal("", result.err)
        assert.equal("as sent\n", result.out)
        helper.contains("echoed 3, failed 0, dropped 0\n", stop(child))
    end)

    it("counts what its queue had no room for", function()
        local child, address = start(echo_script, "--rcvbuf", "8192", "127.0.0.1:0")
        child:signal "STOP"
        in_time(function()
            local sock, list = neap.udp(), {}
            for i = 1, 500 do
                list[i] = "datagram"
            end
            assert.equal(500, sock:send_many(list, address))
            child:signal "CONT"
            child:signal "TERM"
            sock:close()
        end)
        assert.equal(0, child:wait())
        assert.is_true(tonumber(child:out():match "dropped (%d+)") > 0)
    end)

    it("has a client that counts what comes back", function()
        local child, address = start(echo_script, "127.0.0.1:0")
        local result = process.run { helper.command, echo_script, "--client", address, "500" }
        assert.equal("sent 500, answered 500, lost 0\n", result.out)
        assert.equal(0, result.code)
        stop(child)
    end)

    it("tells its client that nobody listens", function()
        local result = process.run { helper.command, echo_script, "--client", "127.0.0.1:1", "10" }
        assert.equal("sent 10, answered 0, lost 10\n", result.out)
        helper.contains("udp_echo: nobody listens on 127.0.0.1:1\n", result.err)
        assert.equal(1, result.code)
    end)

    it("explains itself, and what is wrong with its arguments", function()
        local help = process.run { helper.command, echo_script, "--help" }
        helper.contains("usage: neap scripts/udp_echo.lua", help.out)
        assert.equal(0, help.code)
        local child, address = start(echo_script, "127.0.0.1:0")
        for text, arguments in pairs {
            ["there is no option --nonsense"] = { "--nonsense" },
            ["--rcvbuf needs a number of bytes"] = { "--rcvbuf", "much" },
            ["the client needs an address and a number"] = { "--client", address, "0" },
            ["bind " .. address .. ": address already in use"] = { address },
            ["bind nowhere: "] = { "nowhere" },
        } do
            local result = process.run { helper.command, echo_script, helper.unpack(arguments) }
            helper.contains("udp_echo: " .. text, result.err)
            assert.equal(2, result.code)
        end
        stop(child)
    end)
end)

-- --- DNS ----------------------------------------------------------------------------------------

local function name(text)
    return (text:gsub("([^.]+)%.?", function(label)
        return string.char(#label) .. label
    end)) .. "\0"
end

local function question(text)
    return name(text) .. "\0\1\0\1"
end

local function query(id, text)
    return id .. "\1\0\0\1\0\0\0\0\0\0" .. question(text)
end

local function record(address, ttl)
    return "\192\12\0\1\0\1\0\0\0" .. string.char(ttl) .. "\0\4" .. address
end

-- The answer of an upstream server to a query, with so many records, without the EDNS record of the query.
local function answer_to(packet, records, rcode)
    local behind = packet:find("\0", 13, true) + 4
    return packet:sub(1, 2) .. "\129" .. string.char(128 + (rcode or 0)) .. "\0\1\0" .. string.char(#records)
        .. "\0\0\0\0" .. packet:sub(13, behind) .. table.concat(records)
end

-- A stub over an upstream server of the test's own: fn(client, upstream, counters()).
local function with_stub(fn, ...)
    local options = { ... }
    in_time(function()
        local upstream, client = neap.udp(), neap.udp()
        assert(upstream:bind "127.0.0.1:0")
        options[#options + 1], options[#options + 2] = "--upstream", upstream:getsockname()
        options[#options + 1] = "127.0.0.1:0"
        local child, address = start(stub_script, helper.unpack(options))
        assert(client:connect(address))
        fn(client, upstream, function()
            local counters = {}
            for key, value in stop(child):gmatch "(%a+)\t(%d+)\n" do
                counters[key] = tonumber(value)
            end
            return counters
        end)
        upstream:close()
        client:close()
    end)
end

local function rcode_of(packet)
    return packet:byte(4) % 16
end

describe("dns_stub", function()
    it("answers dig, from dnsmasq and then from its cache", function()
        for _, tool in ipairs { "dig", "dnsmasq" } do
            if process.run({ "sh", "-c", "command -v " .. tool .. " /usr/sbin/" .. tool }).out == "" then
                pending(tool .. " is not installed")
                return
            end
        end
        local dns, upstream = dnsmasq.start { "--local-ttl=60", "--address=/a.test/192.0.2.7",
            "--address=/six.test/2001:db8::7", "--txt-record=text.test,hello" }
        local child, address = start(stub_script, "--upstream", upstream, "127.0.0.1:0")
        finally(function() -- in place of the other: busted keeps one
            child:dispose()
            dns:dispose()
        end)
        local stub = address:match ":(%d+)$"
        local function dig(...)
            local result = process.run { "dig", "+tries=1", "+time=20", "@127.0.0.1", "-p", stub, ... }
            assert.equal(0, result.code, result.out)
            return result.out
        end
        assert.equal("192.0.2.7\n", dig("a.test", "A", "+short"))
        assert.equal("2001:db8::7\n", dig("six.test", "AAAA", "+short"))
        assert.equal('"hello"\n', dig("text.test", "TXT", "+short", "+noedns"))
        helper.contains("status: REFUSED", dig("elsewhere.example", "A"))
        dns:signal "KILL"
        dns:wait()
        local again = dig("A.test", "A")
        helper.contains("status: NOERROR", again)
        helper.contains("\nA.test.", again) -- the question is the client's own
        helper.contains("192.0.2.7", again)
        assert.is_nil(again:find("WARNING", 1, true))
        local counters = stop(child)
        helper.contains("cached\t1\n", counters)
        helper.contains("forwarded\t4\n", counters)
        helper.contains("malformed\t0\n", counters)
    end)

    it("asks with an id of its own, once for all who ask at the same time", function()
        with_stub(function(client, upstream, counters)
            client:send_many { query("AA", "same.test"), query("BB", "SAME.test"), query("CC", "same.test") }
            local packet, from = upstream:recvfrom()
            local reply = answer_to(packet, { record("\192\0\2\9", 60) })
            upstream:sendto(reply, from)
            local ids = {}
            for _ = 1, 3 do
                local data = client:recv()
                ids[#ids + 1] = data:sub(1, 2)
                assert.equal("\192\0\2\9", data:sub(-4))
                if data:sub(1, 2) == "BB" then
                    helper.contains("SAME", data)
                end
            end
            table.sort(ids)
            assert.same({ "AA", "BB", "CC" }, ids)
            local found = counters()
            assert.equal(1, found.forwarded)
            assert.equal(2, found.shared + found.cached)
        end)
    end)

    it("hears only the answer to its question", function()
        with_stub(function(client, upstream, counters)
            client:send(query("AA", "true.test"))
            local packet, from = upstream:recvfrom()
            local right = answer_to(packet, { record("\192\0\2\1", 60) })
            local forged = packet:sub(1, 2) .. query("", "false.test"):sub(1):gsub("^\1", "\129")
            local stranger = neap.udp()
            stranger:sendto(right, from) -- not the server that was asked
            upstream:sendto(string.char((right:byte(1) + 1) % 256) .. right:sub(2), from)
            upstream:sendto(forged, from)
            upstream:sendto(right:sub(1, -3), from) -- cut in its record
            upstream:sendto("short", from)
            upstream:sendto(right, from)
            assert.equal("\192\0\2\1", client:recv():sub(-4))
            stranger:close()
            local found = counters()
            assert.equal(2, found.malformed)
            assert.equal(2, found.late)
            assert.equal(1, found.answered)
        end)
    end)

    it("tries twice, then tells that it failed; what comes late is counted", function()
        with_stub(function(client, upstream, counters)
            client:send(query("AA", "slow.test"))
            local packet, from = upstream:recvfrom()
            assert.equal(packet, (upstream:recvfrom()))
            local data = client:recv()
            assert.equal(2, rcode_of(data))
            assert.equal("AA", data:sub(1, 2))
            upstream:sendto(answer_to(packet, { record("\192\0\2\1", 60) }), from)
            client:send(query("BB", "slow.test"))
            packet, from = upstream:recvfrom()
            upstream:sendto(answer_to(packet, { record("\192\0\2\2", 60) }), from)
            assert.equal("\192\0\2\2", client:recv():sub(-4))
            local found = counters()
            assert.equal(1, found.timeouts)
            assert.equal(1, found.late)
        end, "--timeout", "0.4")
    end)

    it("keeps answers as long as they live, and failures not at all", function()
        with_stub(function(client, upstream, counters)
            local function ask(text, records, rcode)
                client:send(query("AA", text))
                local packet, from = upstream:recvfrom()
                upstream:sendto(answer_to(packet, records, rcode), from)
                return client:recv()
            end
            local first = ask("long.test", { record("\192\0\2\1", 200) })
            assert.equal(200, first:byte(-7))
            client:send(query("BB", "long.test"))
            local second = client:recv()
            assert.equal("BB", second:sub(1, 2))
            assert.is_true(second:byte(-7) <= 200)
            for _ = 1, 2 do
                ask("dead.test", { record("\192\0\2\1", 0) })
                assert.equal(2, rcode_of(ask("broken.test", {}, 2)))
                assert.equal(3, rcode_of(ask("nothing.test", {}, 3))) -- without a record that says for how long
            end
            local found = counters()
            assert.equal(1, found.cached)
            assert.equal(7, found.forwarded)
        end)
    end)

    it("cuts what is too long for the client", function()
        with_stub(function(client, upstream, counters)
            client:send(query("AA", "many.test"))
            local packet, from = upstream:recvfrom()
            local records = {}
            for i = 1, 60 do
                records[i] = record("\192\0\2" .. string.char(i), 60)
            end
            upstream:sendto(answer_to(packet, records), from)
            local data = client:recv()
            assert.equal(2, math.floor(data:byte(3) / 2) % 2 * 2)
            assert.equal(query("", "many.test"):sub(11), data:sub(13))
            counters()
        end)
    end)

    it("answers nonsense if it is a query, and nothing else", function()
        with_stub(function(client, upstream, counters)
            client:send "short"
            client:send((query("RR", "x.test"):gsub("^(..)\1", "%1\129"))) -- an answer
            client:send(query("S1", "x.test"):sub(1, -3))
            assert.equal("S1", client:recv():sub(1, 2))
            client:send((query("OP", "x.test"):gsub("^(..)\1", "%1\16")))
            local data = client:recv()
            assert.equal("OP", data:sub(1, 2))
            assert.equal(4, rcode_of(data))
            assert.equal("EAGAIN", select(2, upstream:try_recvfrom()).code)
            assert.equal(4, counters().malformed)
        end)
    end)

    it("drops what is more than it may ask at a time", function()
        with_stub(function(client, upstream, counters)
            client:send(query("AA", "one.test"))
            local packet, from = upstream:recvfrom()
            client:send(query("BB", "two.test"))
            client:send "short" -- behind it in the queue
            client:send((query("OP", "x.test"):gsub("^(..)\1", "%1\16")))
            assert.equal("OP", client:recv():sub(1, 2))
            upstream:sendto(answer_to(packet, { record("\192\0\2\1", 60) }), from)
            assert.equal("AA", client:recv():sub(1, 2))
            assert.equal(1, counters().dropped)
        end, "--queries", "1")
    end)

    it("explains itself, and what is wrong with its arguments", function()
        local help = process.run { helper.command, stub_script, "--help" }
        helper.contains("usage: neap scripts/dns_stub.lua", help.out)
        assert.equal(0, help.code)
        for text, arguments in pairs {
            ["--upstream HOST:PORT is missing"] = {},
            ["there is no option --nonsense"] = { "--nonsense" },
            ["--timeout needs a number"] = { "--timeout", "long" },
            ["connect nowhere: "] = { "--upstream", "nowhere", "127.0.0.1:0" },
        } do
            local result = process.run { helper.command, stub_script, helper.unpack(arguments) }
            helper.contains("dns_stub: " .. text, result.err)
            assert.equal(2, result.code)
        end
    end)
end)

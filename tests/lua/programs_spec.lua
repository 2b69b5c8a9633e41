-- The programs of the guide, as a user runs them.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"

local dir = helper.source_dir .. "/scripts/"

-- name = { arguments, output as a pattern, iterates = whether an iterator waits }
local programs = {
    crawler = { {}, "^300 pages, 20 connections at a time\n$" },
    worker_pool = { { "3", "10" }, "^7\tjob 7 is broken\n10 jobs, 1 broken, sum 336\n$", iterates = true },
    mirrors = { {}, "^\tfrom the quick one\n$" },
    resolve = { { "localhost", "a..b", "192.0.2.300" },
        "^localhost\t::1 127%.0%.0%.1\na%.%.b\ta%.%.b: not a host name[^\n]*\n"
            .. "192%.0%.2%.300\t192%.0%.2%.300: not [^\n]*\n$" },
}

describe("program", function()
    for name, program in pairs(programs) do
        it(name, function()
            local result = process.run { helper.command, dir .. name .. ".lua", helper.unpack(program[1]) }
            if program.iterates and not helper.waits_anywhere then
                helper.contains("an iterator can be called in a loop with 'while'", result.err)
                return
            end
            assert.equal("", result.err)
            assert.matches(program[2], result.out)
            assert.equal(0, result.code)
        end)
    end

    it("crawler: what cannot be fetched is named", function()
        local result = process.run { helper.command, dir .. "crawler.lua", "127.0.0.1:1/" }
        assert.matches("^127.0.0.1:1/\tconnect 127.0.0.1:1: connection refused\n0 pages, 1 connections", result.out)
    end)

    it("mirrors: if none delivers all their errors are told", function()
        local result = process.run { helper.command, dir .. "mirrors.lua", "127.0.0.1:1", "127.0.0.1:2" }
        helper.contains("2 tasks failed: connect 127.0.0.1:1: connection refused; connect 127.0.0.1:2:", result.err)
        assert.equal(1, result.code)
    end)

    it("graceful_service: D16: what has come is answered, who is idle hears the end, nobody new gets in", function()
        local child = process.start { helper.command, dir .. "graceful_service.lua", "127.0.0.1:0" }
        finally(function() child:dispose() end)
        local address = child:await_line "^listening on ([^\n]+)\n"
        neap.run(neap.timeout, helper.patience, function()
            local busy, idle = neap.tcp(), neap.tcp()
            assert(busy:connect(address))
            assert(idle:connect(address))
            assert(idle:sendall "0\n")
            assert.equal("slept 0\n", idle:recv(100))
            assert(busy:sendall "0\n0.5\n0.1\n")
            assert.equal("slept 0\n", busy:recv(100)) -- now all three have come
            child:signal "TERM"
            assert.is_nil(idle:recv(100))
            local late = neap.tcp()
            assert.is_nil((late:connect(address)))
            late:close()
            local answers = ""
            repeat
                local data = busy:recv(100)
                answers = answers .. (data or "")
            until not data
            assert.equal("slept 0.5\nslept 0.1\n", answers)
            busy:close()
            idle:close()
        end)
        assert.equal(0, child:wait())
        assert.matches("\nserved 4 requests\n$", child:out())
        assert.equal("", child:err())
    end)
end)

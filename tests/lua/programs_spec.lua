-- The programs of the guide, as a user runs them.
local helper = require "support.helper"
local process = require "support.process"

local dir = helper.source_dir .. "/scripts/"

-- name = { arguments, output as a pattern }
local programs = {
    crawler = { {}, "^300 pages, 20 connections at a time\n$" },
    worker_pool = { { "3", "10" }, "^7\tjob 7 is broken\n10 jobs, 1 broken, sum 336\n$" },
    mirrors = { {}, "^\tfrom the quick one\n$" },
}

describe("program", function()
    for name, program in pairs(programs) do
        it(name, function()
            local result = process.run { helper.command, dir .. name .. ".lua", helper.unpack(program[1]) }
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
end)

-- Errors: any value, identical; tracebacks; reports; error objects.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local in_loop, in_real_loop, raises, ticks = helper.in_loop, helper.in_real_loop, helper.raises, helper.ticks

local values = {
    ["a string"] = "text",
    ["the empty string"] = "",
    ["a number"] = 42,
    ["false"] = false,
    ["true"] = true,
    ["a table"] = {},
    ["a table that looks like our error"] = { code = "cancelled", message = "forged" },
    ["a function"] = function() end,
    ["a coroutine"] = coroutine.create(function() end),
    ["a userdata"] = io.stdout,
    ["a table whose __tostring fails"] = setmetatable({}, { __tostring = function() error "no text" end }),
}

describe("error values", function()
    for name, value in pairs(values) do
        it("G3: " .. name .. " as an error comes back identical from a task", in_loop(function()
            local task = neap.spawn(function()
                neap.yield()
                error(value, 0)
            end)
            local result = helper.pack(pcall(neap.await, task))
            assert.is_false(result[1])
            assert.is_true(rawequal(value, result[2]))
            assert.is_true(rawequal(value, task:exception()))
        end))

        it("G3: " .. name .. " as an error comes back identical from run", function()
            local result = helper.pack(pcall(neap.run, function()
                neap.yield()
                error(value, 0)
            end))
            assert.is_false(result[1])
            assert.is_true(rawequal(value, result[2]))
        end)

        it("X8: " .. name .. " as an error is reported identical", in_loop(function(_, reports)
            neap.spawn(error, value, 0)
            ticks(2)
            assert.equal(1, #reports)
            assert.is_true(rawequal(value, reports[1].error))
            assert.equal("string", type(reports[1].message))
        end, { reports = true }))
    end

    it("G3: nil as an error comes back as nil", in_loop(function()
        local task = neap.spawn(function()
            neap.yield()
            error(nil)
        end)
        local result = helper.pack(pcall(neap.await, task))
        assert.is_false(result[1])
        -- Some releases turn nil into a text of their own on the way to pcall; ours must not differ from theirs.
        local _, theirs = pcall(error, nil)
        assert.equal(theirs, result[2])
        assert.is_true(task:done())
        assert.is_false(task:cancelled())
    end))

    it("G3: a string error keeps the position that error() gave it", in_loop(function()
        local line = debug.getinfo(1, "l").currentline + 2
        local task = neap.spawn(function()
            error "with position"
        end)
        local _, err = pcall(neap.await, task)
        helper.contains("error_spec.lua:" .. line .. ": with position", err)
    end))

    it("G3: a runtime error of the engine is an error like any other", in_loop(function()
        local task = neap.spawn(function()
            local t = tonumber "no number"
            return t.field
        end)
        local _, err = pcall(neap.await, task)
        helper.contains("error_spec.lua", err)
        helper.contains("nil", err)
    end))

    it("C2: a table that looks like a cancellation does not cancel the task", in_loop(function()
        local task = neap.spawn(error, { code = "cancelled" }, 0)
        pcall(neap.await, task)
        assert.is_false(task:cancelled())
        assert.equal("table", type(task:exception()))
    end))
end)

describe("error objects", function()
    it("N5: an error of ours has code, message and text", in_loop(function()
        local f = neap.future()
        local err = raises("invalid_state", f.result, f)
        assert.equal("invalid_state", err.code)
        assert.equal("string", type(err.message))
        assert.is_true(#err.message > 0)
        helper.contains(err.message, tostring(err))
        assert.is_nil(err.no_such_field)
    end))

    it("N5: an error of the system has errno, operation and address", in_real_loop(function()
        local s = neap.unix()
        local value, err = s:connect "/no/such/place"
        assert.is_nil(value)
        assert.equal("ENOENT", err.code)
        assert.equal(2, err.errno)
        assert.equal("connect", err.op)
        assert.equal("/no/such/place", err.address)
        helper.contains("/no/such/place", tostring(err))
        s:close()
    end))

    it("W8: the error of a group has all errors and a text that shows them", in_loop(function()
        local err = raises("group", neap.gather, function()
            neap.yield()
            error("first", 0)
        end, function()
            pcall(neap.sleep, 10)
            error("second", 0)
        end)
        assert.same({ "first", "second" }, err.errors)
        helper.contains("first", tostring(err))
        helper.contains("second", tostring(err))
    end))

    it("N5: misuse raises with the position of the caller", in_loop(function()
        local line = debug.getinfo(1, "l").currentline + 2
        local ok, err = pcall(function()
            neap.socketpair():recv "many"
        end)
        assert.is_false(ok)
        helper.contains("error_spec.lua:" .. line, tostring(err))
        helper.collect()
        ticks(1)
    end))

    it("N5: a method called on the wrong object says so", in_loop(function()
        local f = neap.future()
        assert.has_error(function() f.result({}) end)
        assert.has_error(function() f.result(io.stdout) end)
        assert.has_error(function() f.result() end)
        assert.has_error(function() neap.loop().time(f) end)
        assert.has_error(function() neap.tcp().recv(f, 1) end)
        helper.collect()
        ticks(1)
    end))

    it("G7: neap.type or the metatable name tells our objects apart", in_loop(function(loop)
        local names = {}
        for _, object in ipairs { neap.future(), neap.spawn(function() end), loop } do
            names[#names + 1] = tostring(object):match "^[%w_%. ]+"
        end
        assert.not_equal(names[1], names[2])
        assert.not_equal(names[2], names[3])
        ticks(2)
    end))
end)

describe("tracebacks", function()
    it("X8: the report of a failure shows the line that failed", in_loop(function(_, reports)
        local line = debug.getinfo(1, "l").currentline + 3
        neap.spawn(function()
            neap.yield()
            error { "a table has no position" }
        end)
        ticks(3)
        helper.contains("error_spec.lua:" .. line, reports[1].traceback)
    end, { reports = true }))

    it("X8: the report shows every frame of a nested failure, coroutines included", in_loop(function(_, reports)
        local lines = {}
        local function here()
            lines[#lines + 1] = debug.getinfo(2, "l").currentline + 1
        end
        neap.spawn(function()
            here()
            local v = coroutine.wrap(function()
                neap.yield()
                here()
                error("deep", 0)
            end)()
            return v
        end)
        ticks(3)
        assert.equal(1, #reports)
        helper.contains("error_spec.lua:" .. lines[1], reports[1].traceback)
    end, { reports = true }))

    it("X8: the report shows the chain of awaiting tasks", in_loop(function(_, reports)
        local lines = {}
        local inner = neap.spawn { function()
            neap.yield()
            lines.fails = debug.getinfo(1, "l").currentline + 1
            error("innermost", 0)
        end, name = "inner" }
        local middle = neap.spawn { function()
            lines.middle = debug.getinfo(1, "l").currentline + 1
            local v = neap.await(inner)
            return v
        end, name = "middle" }
        neap.spawn { function()
            lines.outer = debug.getinfo(1, "l").currentline + 1
            local v = neap.await(middle)
            return v
        end, name = "outer" }
        ticks(6)
        assert.equal(1, #reports)
        assert.equal("outer", reports[1].task_name)
        assert.equal("innermost", reports[1].error)
        local trace = reports[1].traceback
        local function position(line)
            return assert(trace:find("error_spec.lua:" .. line, 1, true), "no line " .. line .. " in " .. trace)
        end
        assert.is_true(position(lines.fails) < position(lines.middle))
        assert.is_true(position(lines.middle) < position(lines.outer))
        helper.contains("inner", trace)
        helper.contains("middle", trace)
    end, { reports = true }))

    it("X8: an uncaught error of the main task goes to stderr with file, line and chain", function()
        local result = process.run_neap([[
            local neap = require "neap"
            local function fails()
                neap.sleep(0)
                error "the cause"
            end
            local task = neap.spawn(fails)
            local function waits()
                local v = neap.await(task)
                return v
            end
            waits()
        ]], { name = "chain.lua" })
        assert.equal(1, result.code)
        assert.equal("", result.out)
        helper.contains("chain.lua:4: the cause", result.err)
        helper.contains("chain.lua:8", result.err)
        helper.contains("chain.lua:11", result.err)
    end)

    it("X8: a failure in the background is shown on stderr by the command, with its spawn site", function()
        local result = process.run_neap([[
            local neap = require "neap"
            neap.spawn { function()
                error "in the background"
            end, name = "worker" }
            neap.sleep(0.01)
            print "main goes on"
        ]], { name = "background.lua" })
        assert.equal("main goes on\n", result.out)
        helper.contains("background.lua:3: in the background", result.err)
        helper.contains("worker", result.err)
        helper.contains("background.lua:2", result.err)
    end)
end)

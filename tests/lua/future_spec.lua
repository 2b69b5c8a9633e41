-- Futures: states, callbacks, outcomes.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, raises, ticks = helper.in_loop, helper.raises, helper.ticks

describe("future", function()
    describe("state", function()
        it("F1: a new future is pending", in_loop(function()
            local f = neap.future()
            assert.is_false(f:done())
            assert.is_false(f:cancelled())
        end))

        it("F1: a future with a result is done and not cancelled", in_loop(function()
            local f = neap.future()
            f:set_result(1)
            assert.is_true(f:done())
            assert.is_false(f:cancelled())
        end))

        it("F1: a future with an exception is done and not cancelled", in_loop(function()
            local f = neap.future()
            f:ignore()
            f:set_exception("no")
            assert.is_true(f:done())
            assert.is_false(f:cancelled())
        end))

        it("F1: a cancelled future is done and cancelled", in_loop(function()
            local f = neap.future()
            assert.is_true(f:cancel())
            assert.is_true(f:done())
            assert.is_true(f:cancelled())
        end))

        it("F1: tostring names the kind of object", in_loop(function()
            helper.contains("future", tostring(neap.future()))
        end))
    end)

    describe("callbacks", function()
        it("F2: callbacks run one tick after set_result, in order of registration", in_loop(function()
            local f, log = neap.future(), {}
            for _, name in ipairs { "a", "b", "c" } do
                f:add_done_callback(function()
                    log[#log + 1] = name
                end)
            end
            f:set_result(true)
            assert.same({}, log)
            neap.yield()
            assert.same({ "a", "b", "c" }, log)
        end))

        it("F2: callbacks run one tick after set_exception", in_loop(function()
            local f, log = neap.future(), {}
            f:add_done_callback(function(done)
                log[#log + 1] = done:exception()
            end)
            f:set_exception("why")
            assert.same({}, log)
            neap.yield()
            assert.same({ "why" }, log)
        end))

        it("F3: no callback runs twice, also when a callback adds another", in_loop(function()
            local f, log = neap.future(), {}
            f:add_done_callback(function(done)
                log[#log + 1] = "first"
                done:add_done_callback(function()
                    log[#log + 1] = "added"
                end)
            end)
            f:set_result(1)
            ticks(5)
            assert.same({ "first", "added" }, log)
        end))

        it("F3: the waiters are gone once the future is done", in_loop(function()
            local f = neap.future()
            f:add_done_callback(function() end)
            f:add_done_callback(function() end)
            assert.equal(2, f:waiters())
            f:set_result(1)
            neap.yield()
            assert.equal(0, f:waiters())
        end))

        it("F4: a callback added to a done future runs in the next tick, not at once", in_loop(function(loop)
            local f, log = neap.future(), {}
            f:set_result(1)
            loop:call_soon(function()
                log[#log + 1] = "queued before"
            end)
            f:add_done_callback(function()
                log[#log + 1] = "callback"
            end)
            assert.same({}, log)
            neap.yield()
            assert.same({ "queued before", "callback" }, log)
        end))

        for _, case in ipairs {
            { "a result", function(f) f:set_result(7) end },
            { "an exception", function(f) f:set_exception("x") end },
            { "a cancellation", function(f) f:cancel() end },
        } do
            it("F5: a callback runs after " .. case[1] .. " and gets the future", in_loop(function()
                local f, got = neap.future(), nil
                f:ignore()
                f:add_done_callback(function(...)
                    got = { n = select("#", ...), ... }
                end)
                case[2](f)
                neap.yield()
                assert.equal(1, got.n)
                assert.equal(f, got[1])
            end))
        end

        it("F6: remove_done_callback tells how many it removed", in_loop(function()
            local f, calls = neap.future(), 0
            local function callback()
                calls = calls + 1
            end
            f:add_done_callback(callback)
            f:add_done_callback(callback)
            assert.equal(2, f:remove_done_callback(callback))
            assert.equal(0, f:waiters())
            f:set_result(1)
            ticks(2)
            assert.equal(0, calls)
        end))

        it("F6: removing an unknown callback gives 0", in_loop(function()
            local f = neap.future()
            assert.equal(0, f:remove_done_callback(print))
        end))

        it("F6: removing one callback leaves the others", in_loop(function()
            local f, log = neap.future(), {}
            local function a() log[#log + 1] = "a" end
            local function b() log[#log + 1] = "b" end
            f:add_done_callback(a)
            f:add_done_callback(b)
            f:add_done_callback(a)
            assert.equal(2, f:remove_done_callback(a))
            f:set_result(1)
            neap.yield()
            assert.same({ "b" }, log)
        end))

        it("F5: a callback must be a function", in_loop(function()
            local f = neap.future()
            assert.has_error(function() f:add_done_callback(42) end)
            assert.has_error(function() f:add_done_callback(nil) end)
            assert.equal(0, f:waiters())
        end))

        it("F5: a callable table serves as a callback", in_loop(function()
            local f, got = neap.future(), nil
            f:add_done_callback(setmetatable({}, {
                __call = function(_, done)
                    got = done
                end,
            }))
            f:set_result(1)
            neap.yield()
            assert.equal(f, got)
        end))
    end)

    describe("outcome", function()
        it("F7: the result of a pending future is refused", in_loop(function()
            local f = neap.future()
            raises("invalid_state", f.result, f)
            raises("invalid_state", f.exception, f)
        end))

        it("F7: the result of a cancelled future raises the cancellation", in_loop(function()
            local f = neap.future()
            f:cancel()
            local err = raises("cancelled", f.result, f)
            assert.is_true(neap.is_cancelled(err))
            raises("cancelled", f.exception, f)
        end))

        it("F7: a failed future gives the same error value each time", in_loop(function()
            local f, why = neap.future(), { "why" }
            f:set_exception(why)
            for _ = 1, 3 do
                local ok, err = pcall(f.result, f)
                assert.is_false(ok)
                assert.equal(why, err)
                assert.equal(why, f:exception())
            end
        end))

        it("F7: a future with a result has no exception", in_loop(function()
            local f = neap.future()
            f:set_result("v")
            assert.is_nil(f:exception())
            assert.equal("v", f:result())
        end))

        it("F7: a result may be read again and again", in_loop(function()
            local f, value = neap.future(), {}
            f:set_result(value, nil, 3)
            for _ = 1, 2 do
                local got = helper.pack(f:result())
                assert.equal(3, got.n)
                assert.equal(value, got[1])
                assert.is_nil(got[2])
                assert.equal(3, got[3])
            end
        end))

        it("F8: a second result is refused and the first stays", in_loop(function()
            local f = neap.future()
            f:set_result(1)
            raises("invalid_state", f.set_result, f, 2)
            assert.equal(1, f:result())
        end))

        it("F8: an exception after a result is refused and the result stays", in_loop(function()
            local f = neap.future()
            f:set_result(1)
            raises("invalid_state", f.set_exception, f, "late")
            assert.equal(1, f:result())
            assert.is_nil(f:exception())
        end))

        it("F8: a result after an exception is refused and the exception stays", in_loop(function()
            local f = neap.future()
            f:set_exception("first")
            raises("invalid_state", f.set_result, f, 1)
            assert.equal("first", f:exception())
        end))

        it("F8: a result after a cancellation is refused", in_loop(function()
            local f = neap.future()
            f:cancel()
            raises("invalid_state", f.set_result, f, 1)
            assert.is_true(f:cancelled())
        end))

        it("F8: cancelling a done future answers false and changes nothing", in_loop(function()
            local f = neap.future()
            f:set_result(1)
            assert.is_false(f:cancel())
            assert.is_false(f:cancelled())
            assert.equal(1, f:result())
        end))

        it("F8: cancelling a failed future answers false", in_loop(function()
            local f = neap.future()
            f:set_exception("x")
            assert.is_false(f:cancel())
            assert.equal("x", f:exception())
        end))
    end)

    describe("await", function()
        it("F9: awaiting a done future takes no tick", in_loop(function(loop)
            local f = neap.future()
            f:set_result("there")
            neap.yield()
            local before = loop:metrics().ticks
            assert.equal("there", neap.await(f))
            assert.equal("there", f:await())
            assert.equal(before, loop:metrics().ticks)
        end))

        it("F9: awaiting done futures for ever does not starve the others", in_loop(function()
            local f, stop = neap.future(), false
            f:set_result(1)
            local sibling = neap.spawn(function()
                ticks(3)
                stop = true
            end)
            local rounds = 0
            while not stop do
                neap.await(f)
                rounds = rounds + 1
                assert.is_true(rounds < 1e5, "the sibling never ran")
            end
            sibling:await()
        end))

        it("F9: several tasks may await one future, and wake in order", in_loop(function()
            local f, log = neap.future(), {}
            local tasks = {}
            for i = 1, 5 do
                tasks[i] = neap.spawn(function()
                    local value = neap.await(f)
                    log[#log + 1] = { i, value }
                end)
            end
            neap.yield()
            assert.equal(5, f:waiters())
            f:set_result("v")
            neap.gather(helper.unpack(tasks))
            assert.same({ { 1, "v" }, { 2, "v" }, { 3, "v" }, { 4, "v" }, { 5, "v" } }, log)
        end))

        it("F9: the method and the function wait alike", in_loop(function(loop)
            local f = neap.future()
            loop:call_soon(function()
                f:set_result("x", "y")
            end)
            local a, b = f:await()
            assert.equal("x", a)
            assert.equal("y", b)
        end))

        it("F10: a future made by a loop object is that loop's", in_loop(function(loop)
            local f = loop:create_future()
            loop:call_soon(f.set_result, f, 5)
            assert.equal(5, neap.await(f))
        end))
    end)

    describe("reports", function()
        it("F11 X6: in debug mode the report of an unread failure names the line that made the future",
            in_loop(function(_, reports)
                local line = debug.getinfo(1, "l").currentline + 1
                local f = neap.future()
                f:set_exception("unread")
                ticks(2)
                assert.equal(1, #reports)
                assert.equal("unhandled", reports[1].kind)
                assert.equal(f, reports[1].future)
                assert.equal("unread", reports[1].error)
                local text = tostring(reports[1].message) .. tostring(reports[1].traceback)
                helper.contains("future_spec.lua:" .. line, text)
            end, { debug = true, reports = true }))

        it("F11: an ignored failure is not reported", in_loop(function()
            local f = neap.future()
            f:ignore()
            f:set_exception("unread")
            ticks(3)
        end))

        it("F11: a failure that a callback hears of is not reported", in_loop(function()
            local f, heard = neap.future(), nil
            f:add_done_callback(function(done)
                heard = done:exception()
            end)
            f:set_exception("x")
            ticks(3)
            assert.equal("x", heard)
        end))

        it("F11: a reported failure still raises when it is awaited later", in_loop(function(_, reports)
            local f = neap.future()
            f:set_exception("x")
            ticks(3)
            assert.equal(1, #reports)
            local ok, err = pcall(neap.await, f)
            assert.is_false(ok)
            assert.equal("x", err)
        end, { reports = true }))
    end)

    describe("values", function()
        local values = {
            ["an integer"] = 42,
            ["a large integer"] = 2 ^ 53,
            ["a float"] = 0.5,
            ["a truth value"] = true,
            ["false"] = false,
            ["a string"] = "text",
            ["bytes with zeros"] = "a\0b\0",
            ["the empty string"] = "",
            ["a table"] = { 1 },
            ["a function"] = print,
            ["a thread"] = coroutine.create(function() end),
            ["a file"] = io.stdout,
        }
        for name, value in pairs(values) do
            it("G2: " .. name .. " crosses a future unchanged", in_loop(function(loop)
                local f = neap.future()
                loop:call_soon(f.set_result, f, value)
                local got = helper.pack(neap.await(f))
                assert.equal(1, got.n)
                assert.equal(type(value), type(got[1]))
                assert.equal(value, got[1])
            end))
        end

        it("G2: the subtype of a number is kept where the engine has subtypes", in_loop(function()
            local subtype = math.type or type
            for _, value in ipairs { 3, 3.0, -0.0, math.huge } do
                local f = neap.future()
                f:set_result(value)
                assert.equal(subtype(value), subtype(f:result()))
                assert.equal(value, f:result())
            end
        end))

        it("G2: NaN stays NaN", in_loop(function()
            local f = neap.future()
            f:set_result(0 / 0)
            local value = f:result()
            assert.is_true(value ~= value)
        end))

        it("G2: the extreme integers of the engine cross unchanged", in_loop(function()
            for _, value in ipairs { math.maxinteger or 2 ^ 53, math.mininteger or -2 ^ 53 } do
                local f = neap.future()
                f:set_result(value)
                assert.equal(value, f:result())
            end
        end))
    end)
end)

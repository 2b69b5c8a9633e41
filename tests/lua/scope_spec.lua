-- Scopes: timeouts, shields, groups.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop = helper.in_loop, helper.in_real_loop

local function now()
    return neap.loop():time()
end

describe("timeout", function()
    it("a body that is in time gives its values", in_loop(function()
        local a, b, c = neap.timeout(1, function(x, y) neap.sleep(0.5) return x, nil, y end, 1, 2)
        assert.same({ 1, nil, 2 }, { a, b, c })
        assert.equal(0.5, now())
        neap.sleep(5)
    end))

    it("a body that is late is cancelled at its wait and raises a timeout", in_loop(function()
        local cleaned
        local ok, err = pcall(neap.timeout, 1, function()
            local _, e = pcall(neap.sleep, 5)
            cleaned = now()
            error(e, 0)
        end)
        assert.is_false(ok)
        assert.equal("timeout", err.code)
        assert.matches("scope_spec.lua:%d+: ", tostring(err))
        assert.equal(1, cleaned)
    end))

    it("D15: its end waits for the body", in_loop(function()
        local ok = pcall(neap.timeout, 1, function()
            pcall(neap.sleep, 5)
            neap.shielded(9, neap.sleep, 2)
            neap.sleep(0)
        end)
        assert.is_false(ok)
        assert.equal(3, now())
    end))

    it("a body that ends in spite of it gives its values", in_loop(function()
        assert.equal("late", neap.timeout(1, function()
            pcall(neap.sleep, 5)
            return "late"
        end))
    end))

    it("an error of the body comes through as it is", in_loop(function()
        local mine = {}
        local ok, err = pcall(neap.timeout, 1, error, mine)
        assert.is_false(ok)
        assert.equal(mine, err)
    end))

    it("D1: every wait after the deadline is cancelled", in_loop(function()
        local cancelled = 0
        pcall(neap.timeout, 1, function()
            for _ = 1, 5 do
                local ok, err = pcall(neap.sleep, 5)
                if not ok and neap.is_cancelled(err) then cancelled = cancelled + 1 end
            end
        end)
        assert.equal(5, cancelled)
        assert.equal(1, now())
    end))

    it("D15: the outer deadline is the outer one's timeout, not the inner one's", in_loop(function()
        local inner
        local ok, err = pcall(neap.timeout, 1, function()
            inner = { pcall(neap.timeout, 5, neap.sleep, 9) }
            neap.sleep(9)
        end)
        assert.is_false(inner[1])
        assert.equal("cancelled", inner[2].code)
        assert.is_false(ok)
        assert.equal("timeout", err.code)
        assert.equal(1, now())
    end))

    it("the inner deadline is the inner one's", in_loop(function()
        assert.equal("outer goes on", neap.timeout(5, function()
            local ok, err = pcall(neap.timeout, 1, neap.sleep, 9)
            assert.is_false(ok)
            assert.equal("timeout", err.code)
            neap.sleep(1)
            return "outer goes on"
        end))
        assert.equal(2, now())
    end))

    it("D1: a request to the task is not taken for a timeout", in_loop(function()
        local task = neap.spawn(neap.timeout, 5, neap.sleep, 9)
        neap.sleep(1)
        task:cancel "go"
        local ok, err = pcall(task.await, task)
        assert.is_false(ok)
        assert.equal("cancelled", err.code)
        assert.is_true(task:cancelled())
    end))

    it("a future that others wait for is left alone", in_loop(function()
        local future = neap.future()
        local other = neap.spawn(function() return future:await() end)
        assert.is_false(pcall(neap.timeout, 1, future.await, future))
        assert.is_false(future:done())
        future:set_result(7)
        assert.equal(7, other:await())
    end))

    it("timeout_at takes a time of the loop's clock", in_loop(function()
        neap.sleep(1)
        local ok, err = pcall(neap.timeout_at, 3, neap.sleep, 9)
        assert.is_false(ok)
        assert.equal("timeout", err.code)
        assert.equal(3, now())
    end))

    it("move_on answers nil at the deadline", in_loop(function()
        assert.is_nil(neap.move_on(1, function() neap.sleep(2) return 1 end))
        assert.equal(1, neap.move_on(1, function() return 1 end))
        assert.is_nil(neap.move_on_at(1.5, neap.sleep, 9))
        assert.equal(1.5, now())
    end))

    it("what is no function is refused", in_loop(function()
        local ok, err = pcall(neap.timeout, 1, nil)
        assert.is_false(ok)
        assert.matches("function", tostring(err))
        assert.is_false(pcall(neap.timeout, 0 / 0, function() end))
    end))

    it("D2: a receive that is late loses nothing", in_real_loop(function()
        local a, b = neap.socketpair()
        assert.is_nil(neap.move_on(0.01, a.recv, a, 10))
        assert(b:sendall "late")
        assert.equal("late", a:recv(10))
        a:close()
        b:close()
    end))
end)

describe("shielded", function()
    it("D18: keeps cancellations out until its end", in_loop(function()
        local done
        local task = neap.spawn(function()
            neap.shielded(5, function()
                neap.sleep(2)
                done = now()
            end)
            neap.sleep(1)
        end)
        neap.sleep(1)
        task:cancel()
        assert.is_false(pcall(task.await, task))
        assert.equal(2, done)
        assert.equal(2, now())
    end))

    it("lets them in when its time is over", in_loop(function()
        local task = neap.spawn(neap.shielded, 3, neap.sleep, 9)
        neap.sleep(1)
        task:cancel()
        assert.is_false(pcall(task.await, task))
        assert.equal(3, now())
    end))

    it("D18: needs a deadline", in_loop(function()
        assert.is_false(pcall(neap.shielded, math.huge, neap.sleep, 0))
    end))
end)

describe("scope", function()
    it("can be cancelled from inside and outside", in_loop(function()
        local seen
        assert.is_nil(neap.scope(function(scope)
            scope:cancel "enough"
            local _, err = pcall(neap.sleep, 1)
            seen = err
            neap.sleep(1)
        end))
        assert.equal("enough", seen.message)
        local scope
        local task = neap.spawn(neap.scope, function(s)
            scope = s
            neap.sleep(9)
        end)
        neap.sleep(1)
        assert.is_true(scope:cancel())
        assert.is_nil(task:await())
        assert.is_true(scope:cancelled())
        assert.is_false(scope:timed_out())
        assert.equal(1, now())
    end))

    it("D15: its deadline can be set and moved", in_loop(function()
        neap.scope(function(scope)
            assert.is_nil(scope:deadline())
            assert.equal(2, scope:deadline(2))
            neap.sleep(1)
            scope:deadline(4)
            neap.sleep(9)
        end)
        assert.equal(4, now())
        neap.scope(function(scope)
            scope:deadline(5)
            scope:deadline(math.huge)
            neap.sleep(9)
        end)
        assert.equal(13, now())
    end))
end)

describe("group", function()
    it("waits for its tasks and gives the values of its function", in_loop(function()
        local order = {}
        local a, b = neap.group(function(g)
            for i = 3, 1, -1 do
                g:spawn(function()
                    neap.sleep(i)
                    order[#order + 1] = i
                end)
            end
            return "x", "y"
        end)
        assert.same({ 1, 2, 3 }, order)
        assert.same({ "x", "y" }, { a, b })
        assert.equal(3, now())
    end))

    it("D3: the first failure cancels the others, and the error keeps all", in_loop(function()
        local mine, cancelled = { "mine" }, 0
        local ok, err = pcall(neap.group, function(g)
            g:spawn(function()
                neap.sleep(1)
                error(mine)
            end)
            g:spawn(function()
                local _, e = pcall(neap.sleep, 9)
                if neap.is_cancelled(e) then cancelled = cancelled + 1 end
                error "second"
            end)
            neap.sleep(9)
        end)
        assert.is_false(ok)
        assert.equal("group", err.code)
        assert.equal(2, #err.errors)
        assert.equal(mine, err.errors[1])
        assert.matches("second", err.errors[2])
        assert.equal(mine, err.cause)
        assert.matches("2 tasks failed", tostring(err))
        assert.equal(1, cancelled)
        assert.equal(1, now())
    end))

    it("an error of its function cancels the tasks and comes first", in_loop(function()
        local cancelled
        local ok, err = pcall(neap.group, function(g)
            g:spawn(function()
                local _, e = pcall(neap.sleep, 9)
                cancelled = neap.is_cancelled(e)
            end)
            neap.sleep(1)
            error("mine", 0)
        end)
        assert.is_false(ok)
        assert.equal("group", err.code)
        assert.same({ "mine" }, err.errors)
        assert.is_true(cancelled)
    end))

    it("any value can be the error", in_loop(function()
        for _, value in ipairs { false, 7, "text", {} } do
            local ok, err = pcall(neap.group, function() error(value, 0) end)
            assert.is_false(ok)
            assert.equal(value, err.errors[1])
        end
        local ok, err = pcall(neap.group, function() error() end)
        assert.is_false(ok)
        assert.equal(1, #err.errors)
    end))

    it("only gives the one error, of several the error of all", in_loop(function()
        local mine = {}
        local function fails() error(mine, 0) end
        local _, one = pcall(neap.group, function(g) g:spawn(fails) end)
        assert.equal(mine, one:only())
        local _, two = pcall(neap.group, function(g)
            g:spawn(fails)
            g:spawn(error, "yours")
        end, { policy = "collect" })
        assert.equal(two, two:only())
    end))

    it("cancel ends it early without an error", in_loop(function()
        neap.group(function(g)
            g:spawn(neap.sleep, 9)
            neap.sleep(1)
            g:cancel()
        end)
        assert.equal(1, now())
    end))

    it("D4: what its tasks spawn belongs to it", in_loop(function()
        local ended
        neap.group(function(g)
            g:spawn(function()
                neap.spawn(function()
                    neap.sleep(2)
                    ended = true
                end)
            end)
        end)
        assert.is_true(ended)
        assert.equal(2, now())
    end))

    it("a failure that its function handles is none", in_loop(function()
        assert.equal("fine", neap.group(function(g)
            local task = g:spawn(function()
                neap.sleep(1)
                error "handled"
            end)
            assert.is_false(pcall(task.await, task))
            return "fine"
        end))
    end))

    it("gather inside a group keeps its own errors", in_loop(function()
        assert.equal(2, neap.group(function()
            local results = neap.gather { function() error "one" end, function() return 2 end, return_errors = true }
            return results[2]
        end))
    end))

    it("a timeout around it ends its tasks", in_loop(function()
        local cleaned = 0
        local ok, err = pcall(neap.timeout, 1, neap.group, function(g)
            for _ = 1, 3 do
                g:spawn(function()
                    pcall(neap.sleep, 9)
                    cleaned = cleaned + 1
                end)
            end
        end)
        assert.is_false(ok)
        assert.equal("timeout", err.code)
        assert.equal(3, cleaned)
        assert.equal(1, now())
    end))

    it("a request to its task goes to its members and then on", in_loop(function()
        local cleaned
        local task = neap.spawn(neap.group, function(g)
            g:spawn(function()
                pcall(neap.sleep, 9)
                neap.shielded(9, neap.sleep, 1)
                cleaned = now()
            end)
        end)
        neap.sleep(1)
        task:cancel()
        local ok, err = pcall(task.await, task)
        assert.is_false(ok)
        assert.equal("cancelled", err.code)
        assert.equal(2, cleaned)
        assert.equal(2, now())
    end))

    it("collect lets all run to their end", in_loop(function()
        local ended
        local ok, err = pcall(neap.group, function(g)
            g:spawn(error, "one")
            g:spawn(function()
                neap.sleep(2)
                ended = true
                error("two", 0)
            end)
        end, { policy = "collect" })
        assert.is_false(ok)
        assert.equal(2, #err.errors)
        assert.is_true(ended)
    end))

    it("any answers the first result and cancels the rest", in_loop(function()
        local a, b = neap.group(function(g)
            g:spawn(function() neap.sleep(9) return "slow" end)
            g:spawn(function() neap.sleep(1) return "fast", { 1 } end)
            g:spawn(error, "fails")
        end, { policy = "any" })
        assert.equal("fast", a)
        assert.same({ 1 }, b)
        assert.equal(1, now())
    end))

    it("any raises if nobody succeeds", in_loop(function()
        local ok, err = pcall(neap.group, function(g)
            g:spawn(error, "one")
            g:spawn(error, "two")
        end, { policy = "any" })
        assert.is_false(ok)
        assert.equal(2, #err.errors)
    end))

    it("D3: supervise reports failures and goes on", in_loop(function(_, reports)
        local ended
        neap.group(function(g)
            g:spawn(error, "reported")
            g:spawn(function()
                neap.sleep(1)
                ended = true
            end)
        end, { policy = "supervise" })
        assert.is_true(ended)
        assert.equal(1, #reports)
    end, { reports = true }))

    it("another policy is refused", in_loop(function()
        for _, policy in ipairs { "some", "region", "(scope" } do
            assert.is_false(pcall(neap.group, function() end, { policy = policy }))
        end
    end))

    it("start waits until the task is ready", in_loop(function()
        local port, ended
        neap.group(function(g)
            port = g:start(function(ready, base)
                neap.sleep(1)
                ready(base + 1)
                neap.sleep(2)
                ended = true
            end, 8000)
            assert.equal(1, now())
        end)
        assert.equal(8001, port)
        assert.is_true(ended)
    end))

    it("start raises what the task fails with before it is ready", in_loop(function()
        local caught
        neap.group(function(g)
            local ok, err = pcall(g.start, g, function()
                neap.sleep(1)
                error("no port", 0)
            end)
            assert.is_false(ok)
            caught = err
        end)
        assert.equal("no port", caught)
    end))

    it("one that was left takes no task", in_loop(function()
        local kept
        neap.group(function(g) kept = g end)
        local ok, err = pcall(kept.spawn, kept, function() end)
        assert.is_false(ok)
        assert.equal("closed", err.code)
    end))

    it("groups in groups end from the inside", in_loop(function()
        local order = {}
        neap.group(function(g)
            g:spawn(function()
                neap.group(function(h)
                    h:spawn(function()
                        neap.sleep(2)
                        order[#order + 1] = "inner"
                    end)
                end)
                order[#order + 1] = "outer"
            end)
        end)
        assert.same({ "inner", "outer" }, order)
    end))

    it("a failing task ends the whole nest", in_loop(function()
        local ok, err = pcall(neap.group, function(g)
            g:spawn(function()
                neap.group(function(h)
                    h:spawn(neap.sleep, 9)
                    neap.sleep(9)
                end)
            end)
            g:spawn(function()
                neap.sleep(1)
                error("deep", 0)
            end)
        end)
        assert.is_false(ok)
        assert.same({ "deep" }, err.errors)
        assert.equal(1, now())
    end))

    it("a thousand tasks that all fail are a thousand errors", in_loop(function()
        local ok, err = pcall(neap.group, function(g)
            for i = 1, 1000 do
                g:spawn(function()
                    neap.yield()
                    error({ i }, 0)
                end)
            end
        end, { policy = "collect" })
        assert.is_false(ok)
        assert.equal(1000, #err.errors)
        assert.same({ 1000 }, err.errors[1000])
    end))

    it("members that ignore their cancellation are waited for", in_loop(function()
        neap.group(function(g)
            g:spawn(function()
                for _ = 1, 100 do pcall(neap.sleep, 1) end
            end)
            g:cancel()
        end)
        assert.equal(0, now())
    end))
end)

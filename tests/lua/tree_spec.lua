-- A look at the program from inside: neap.tree, task:explain, the times in metrics, where slow steps were.
local helper = require "support.helper"
local neap = helper.neap
local in_loop, in_real_loop = helper.in_loop, helper.in_real_loop

local function line_here()
    return debug.getinfo(2, "l").currentline
end

local function count(text, pattern)
    local _, n = text:gsub(pattern, "")
    return n
end

describe("tree", function()
    it("D21: shows each task below the one whose group it belongs to, with what it waits for", in_loop(function()
        local lock = neap.lock()
        local line = line_here() + 1
        neap.spawn { function() lock:acquire() neap.sleep(10) lock:release() end, name = "holder" }
        neap.yield()
        neap.group(function(g)
            g:spawn(function() lock:acquire() lock:release() end)
            neap.sleep(2)
            local text = neap.tree()
            assert.matches("^test: 3 tasks\n", text)
            assert.matches("\ntask%-1 #1 runs; at [^\n]*tree_spec%.lua:%d+; ", text)
            assert.matches("\n  %- in a group of 1\n  task%-3 #3 waits for a lock that holder has, for 2 s; at ", text)
            assert.matches("\nholder #2 sleeps for another 8 s; at [^\n]*tree_spec%.lua:" .. line
                .. "; spawned at [^\n]*tree_spec%.lua:" .. line .. "; 1 step, 0 us\n", text)
        end)
    end))

    it("shows stacks with the coroutine that waits inside", in_loop(function()
        local line = line_here() + 1
        local task = neap.spawn { function()
            local inner = coroutine.wrap(function()
                neap.future():await()
            end)
            inner()
        end, name = "nested" }
        neap.yield()
        local text = neap.tree { stacks = true }
        helper.contains(("nested #2 waits for a future; at "), text)
        assert.matches("\n    [^\n]*:" .. line + 2 .. ": in the function at line " .. line + 1 .. "\n    [^\n]*:"
            .. line + 4 .. ": in ", text)
        task:cancel()
        pcall(task.await, task)
    end))

    it("names scopes with their deadlines, and rings", in_loop(function()
        local a, b
        a = neap.spawn { function() neap.timeout(5, function() b:await() end) end, name = "a" }
        b = neap.spawn { function() a:await() end, name = "b" }
        neap.sleep(1)
        local text = neap.tree()
        helper.contains("- in a scope, deadline in 4 s\n", text)
        assert.matches("\nin a ring: a %-> b %-> a\n$", text)
        local why = b:explain()
        assert.matches("^b #3 waits for a, for 1 s; at ", why)
        assert.matches("\n%-> a #2 waits for b, for 1 s; at ", why)
        assert.matches("\n  which waits for b: a ring\n$", why)
        assert.equal(1, count(why, "\n%-> a #2"))
        pcall(b.await, b)
    end))

    it("a socket's wait has its operation, address and descriptor", in_real_loop(function()
        local listener = neap.tcp()
        listener:bind "127.0.0.1:0"
        listener:listen()
        local task = neap.spawn(function() listener:accept() end)
        neap.yield()
        helper.contains(("waits for an accept on %s (descriptor %d)"):format(listener:getsockname(), listener:fileno()),
            task:explain())
        listener:close()
        task:await()
    end))

    it("as a table it has the same, for programs", in_loop(function()
        local line = line_here() + 2
        neap.group(function(g)
            local task = g:spawn(function() neap.sleep(3) end)
            neap.timeout(9, function()
                neap.sleep(1)
                local tree = neap.tree { format = "table" }
                assert.equal("test", tree.name)
                assert.equal(1, #tree.tasks)
                local main = tree.tasks[1]
                assert.equal("runs", main.doing)
                assert.equal(2, #main.scopes)
                assert.equal(8, main.scopes[1].left)
                assert.is_false(main.scopes[1].group)
                assert.is_true(main.scopes[2].group)
                assert.equal(1, main.scopes[2].members)
                local child = main.tasks[1]
                assert.same({ "task-2", 2, 1, 1, "sleeps for another 2 s" },
                    { child.name, child.id, child.steps, child.since, child.doing })
                assert.matches("tree_spec%.lua:" .. line .. "$", child.where)
                assert.matches("tree_spec%.lua:" .. line .. "$", child.site)
                assert.same({}, child.tasks)
            end)
            task:cancel()
        end)
    end))

    it("D21: prints 36 tasks that await each other in layers once each", in_loop(function()
        local start = neap.future()
        local layer
        for _ = 1, 6 do
            local below, next_layer = layer, {}
            for i = 1, 6 do
                next_layer[i] = neap.spawn(function()
                    if below then neap.gather(helper.unpack(below)) else start:await() end
                end)
            end
            layer = next_layer
            neap.yield()
        end
        local text = neap.tree()
        assert.equal(38, count(text, "\n"))
        assert.equal(31, count(layer[1]:explain(), "#"))
        start:set_result()
        neap.gather(helper.unpack(layer))
    end))

    it("the tree of very many tasks is one line for each", in_loop(function()
        local n = helper.sanitized and 2000 or 50000
        local stop = neap.future()
        local tasks = {}
        for i = 1, n do
            tasks[i] = neap.spawn(function() stop:await() end)
        end
        neap.yield()
        assert.equal(n + 2, count(neap.tree(), "\n"))
        assert.equal(n + 1, #neap.tree { format = "table" }.tasks)
        stop:set_result()
        for i = 1, n do tasks[i]:await() end
    end))

    it("background tasks are shown when they are asked for", in_loop(function()
        local task = neap.spawn { function() neap.sleep(1) end, name = "guard", background = true }
        neap.yield()
        assert.is_nil(neap.tree():find("guard", 1, true))
        assert.equal(1, #neap.all_tasks())
        helper.contains("guard #", neap.tree { background = true })
        task:await()
    end))

    it("what it does not know is refused", in_loop(function()
        helper.raises("type_error", neap.tree, 5)
        helper.raises("value_error", neap.tree, { format = "json" })
        helper.raises("value_error", neap.tree, { stack = true })
    end))

    it("a task that has ended says so", in_loop(function()
        local task = neap.spawn(function() end)
        task:await()
        assert.equal("task-2 has ended\n", task:explain())
        local failed = neap.spawn { function() error "x" end, name = "failed" }
        pcall(failed.await, failed)
        assert.matches("^failed #3 has ended; ", failed:explain())
    end))
end)

describe("metrics", function()
    it("tell how long the loop was busy, the longest step and whose it was", in_loop(function(loop)
        local line
        neap.spawn { function()
            loop:advance(0.25)
            line = line_here() + 1
            neap.yield()
        end, name = "cruncher" }:await()
        neap.sleep(1)
        local m = loop:metrics()
        assert.equal(1.25, m.elapsed)
        assert.equal(0.25, m.busy)
        assert.equal(0.25, m.longest_step)
        assert.equal(0.25, m.longest_batch)
        assert.matches("^cruncher at .*tree_spec%.lua:" .. line .. "$", m.longest_step_of)
    end))

    it("tell how late timers were", in_loop(function(loop)
        neap.spawn(function() neap.sleep(1) end)
        neap.yield()
        loop:advance(1.5)
        neap.yield()
        local m = loop:metrics()
        assert.equal(0.5, m.late_last)
        assert.equal(0.5, m.late_longest)
        assert.equal(1, m.late[20]) -- less than 2^19 us, at least 2^18
        neap.sleep(1)
        assert.equal(0, loop:metrics().late_last)
    end))
end)

describe("slow steps", function()
    it("X1: the report has the line of the script up to which the step went", in_loop(function(loop)
        local reports, line = {}, nil
        loop:on_slow(0.1, function(report) reports[#reports + 1] = report end)
        neap.spawn { function()
            loop:advance(0.2)
            line = line_here() + 1
            neap.yield()
        end, name = "cruncher" }:await()
        assert.equal(1, #reports)
        assert.equal("slow", reports[1].kind)
        assert.equal("cruncher", reports[1].task:name())
        assert.matches("tree_spec%.lua:" .. line .. "$", reports[1].where)
        helper.contains("a step took 0.2 s, up to " .. reports[1].where, reports[1].message)
    end))

    it("X1: of a slow callback it has the function", in_loop(function(loop)
        local reports, line = {}, line_here() + 2 -- the report itself would keep the handle
        loop:on_slow(0.1, function(report) reports[#reports + 1] = report.where end)
        loop:call_soon(function(seconds)
            loop:advance(seconds)
        end, 0.2)
        neap.yield()
        neap.yield()
        assert.equal(1, #reports)
        assert.matches("tree_spec%.lua:" .. line .. "$", reports[1])
    end))
end)

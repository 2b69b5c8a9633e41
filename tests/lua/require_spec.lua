-- require in a run: a module body that waits, modules that several tasks want at once, rings; and who is named when a
-- wait is impossible.
local helper = require "support.helper"
local process = require "support.process"
local neap = require "neap"

local pack, unpack = helper.pack, helper.unpack
local engine_require = require

-- A test with modules of its own, which are gone afterwards.
local function with_modules(modules, fn)
    return helper.in_loop(function()
        for name, body in pairs(modules) do package.preload[name] = body end
        local ok, err = pcall(fn)
        for name in pairs(modules) do
            package.preload[name], package.loaded[name] = nil, nil
        end
        if not ok then error(err, 0) end
    end)
end

local function new_table()
    neap.sleep(0.1)
    return {}
end

describe("require", function()
    it("R1: a module's body may wait at top level", with_modules({ waits = new_table }, function()
        local before = neap.loop():time()
        local module = require "waits"
        assert.is_true(neap.loop():time() >= before + 0.1)
        assert.equal("table", type(module))
        assert.equal(module, package.loaded.waits)
        assert.equal(module, require "waits")
    end))

    it("R1: a file that is required may wait, and the modules that it requires", function()
        local dir = process.temp_dir()
        process.write_file(dir .. "/outer.lua", "require 'neap'.sleep(0.001) return 'outer ' .. require 'inner'")
        process.write_file(dir .. "/inner.lua", "require 'neap'.sleep(0.001) return 'inner'")
        local result = process.run_neap("print((require 'outer'))", { env = { LUA_PATH = dir .. "/?.lua;;" } })
        process.remove(dir)
        assert.equal("", result.err)
        assert.equal("outer inner\n", result.out)
    end)

    it("R1: a module's body may wait in a coroutine of the script", with_modules({ waits = new_table }, function()
        local values = coroutine.wrap(function() coroutine.yield(require "waits") end)
        assert.equal("table", type(values()))
    end))

    it("R1: two tasks that want a module at the same time get the same value", function()
        local runs = 0
        with_modules({ once = function() runs = runs + 1 neap.sleep(0.1) return { runs } end }, function()
            local tasks = {}
            for i = 1, 3 do
                tasks[i] = neap.spawn(function() return (require "once") end)
            end
            local first = tasks[1]:await()
            assert.equal(first, tasks[2]:await())
            assert.equal(first, tasks[3]:await())
            assert.equal(1, runs)
        end)()
    end)

    it("R1: who waits for a module gets the value false, too", with_modules({
        no = function() neap.sleep(0.1) return false end,
    }, function()
        local a = neap.spawn(function() return (require "no") end)
        local b = neap.spawn(function() return (require "no") end)
        assert.is_false(a:await())
        assert.is_false(b:await())
    end))

    it("R1: a module that requires itself is an error that names the ring", with_modules({
        a = function() neap.sleep(0) return require "b" end,
        b = function() return require "c" end,
        c = function() neap.sleep(0) return require "a" end,
    }, function()
        local ok, err = pcall(require, "a")
        assert.is_false(ok)
        helper.contains("a -> b -> c -> a", err)
    end))

    it("R1: a ring through two tasks is an error that names it, and no hang", with_modules({
        left = function() neap.sleep(0.1) return require "right" end,
        right = function() neap.sleep(0.1) return require "left" end,
    }, function()
        local a, b = neap.spawn(pcall, require, "left"), neap.spawn(pcall, require, "right")
        local ok_a, err_a = a:await()
        local ok_b, err_b = b:await()
        assert.is_false(ok_a or ok_b)
        helper.contains("left -> right -> left", err_b)
        assert.equal(err_b, err_a)
    end))

    it("R1: two tasks whose modules share one that waits are no ring", with_modules({
        shared = new_table,
        one = function() return require "shared" end,
        two = function() neap.sleep(0.05) return require "shared" end,
    }, function()
        local a = neap.spawn(function() return (require "one") end)
        local b = neap.spawn(function() return (require "two") end)
        assert.equal(a:await(), b:await())
    end))

    it("R1: a body that fails raises in all who wait, and the next require tries again", function()
        local runs = 0
        local function fails()
            runs = runs + 1
            neap.sleep(0.1)
            error("broken " .. runs, 0)
        end
        with_modules({ fails = fails }, function()
            local a, b = neap.spawn(pcall, require, "fails"), neap.spawn(pcall, require, "fails")
            assert.same({ false, "broken 1", n = 2 }, pack(a:await()))
            assert.same({ false, "broken 1", n = 2 }, pack(b:await()))
            assert.is_nil(package.loaded.fails)
            assert.same({ false, "broken 2", n = 2 }, pack(pcall(require, "fails")))
        end)()
    end)

    it("R1: a searcher may wait, and two tasks share what it has found", function()
        local searchers, runs = package.searchers or rawget(package, "loaders"), 0
        local function searcher(name)
            if name ~= "spec.searched" then return nil end
            neap.sleep(0.1)
            return function() runs = runs + 1 return { runs } end
        end
        with_modules({}, function()
            table.insert(searchers, 1, searcher)
            local a = neap.spawn(function() return (require "spec.searched") end)
            local b = neap.spawn(function() return (require "spec.searched") end)
            local first, second = a:await(), b:await()
            table.remove(searchers, 1)
            package.loaded["spec.searched"] = nil
            assert.equal(first, second)
            assert.equal(1, runs)
        end)()
    end)

    it("C2: a loader that is cancelled leaves the module to the next who waits", function()
        local runs = 0
        with_modules({ slow = function() runs = runs + 1 neap.sleep(0.1) return { runs } end }, function()
            local a = neap.spawn(require, "slow")
            local b = neap.spawn(function() return (require "slow") end)
            local c = neap.spawn(function() return (require "slow") end)
            neap.yield()
            a:cancel()
            assert.is_false((pcall(a.await, a)))
            assert.same({ 2 }, b:await())
            assert.equal(b:await(), c:await())
            assert.equal(2, runs)
        end)()
    end)

    it("C2: who waits for a module can be cancelled, and the module is loaded all the same", with_modules({
        slow = new_table,
    }, function()
        local a = neap.spawn(function() return (require "slow") end)
        local b = neap.spawn(require, "slow")
        neap.yield()
        b:cancel()
        helper.raises("cancelled", b.await, b)
        assert.equal("table", type(a:await()))
    end))

    it("C2: who was cancelled while it waited for a module closes no ring", with_modules({
        slow = new_table,
        other = function() neap.sleep(0.2) return require "slow" end,
    }, function()
        neap.move_on(0.05, function() neap.spawn(require, "slow") neap.yield() require "slow" end)
        local a = neap.spawn(function() return (require "other") end)
        assert.equal(a:await(), require "slow")
    end))

    it("R1: a body that does not wait costs no tick", with_modules({ quick = function() return 1 end }, function()
        local ticks = 0
        neap.loop():call_soon(function() ticks = ticks + 1 end)
        assert.equal(1, (require "quick"))
        assert.equal(0, ticks)
    end))

    it("the error of a module keeps the lines of its body", with_modules({
        fails = function()
            neap.sleep(0)
            local function innermost() error "broken" end
            innermost()
        end,
    }, function()
        local seen
        neap.loop():on_error(function(report) seen = report.traceback end)
        neap.spawn(function() return require "fails" end)
        helper.ticks(3)
        helper.contains("innermost", seen)
    end))

    it("L15: during a run it is ours, then the engine's again", function()
        assert.equal(engine_require, require)
        neap.run(function() assert.equal(neap.require, require) end)
        assert.equal(engine_require, require)
        neap.run { function() assert.equal(engine_require, require) end, coroutines = false }
    end)

    it("L15: a require that somebody has put there stays", function()
        local calls = 0
        local function mine(...)
            calls = calls + 1
            return engine_require(...)
        end
        rawset(_G, "require", mine)
        local ok, err = pcall(neap.run, function() return require "string" end)
        local after = require
        rawset(_G, "require", engine_require)
        assert.is_true(ok, err)
        assert.equal(mine, after)
        assert.equal(1, calls)
    end)

    it("L15: outside of tasks it is the engine's", function()
        package.preload["spec.plain"] = function(...) return select("#", ...) end
        local expected = pack(engine_require "spec.plain")
        package.loaded["spec.plain"] = nil
        assert.same(expected, pack(neap.require "spec.plain"))
        package.preload["spec.plain"], package.loaded["spec.plain"] = nil, nil
    end)
end)

-- What the engine answers, ours answers in a task.
describe("require in a task is as the engine's:", function()
    local function both(prepare, ...)
        local args = pack(...)
        local function call(fn)
            local undo = prepare and prepare()
            local answer = pack(pcall(fn, unpack(args, 1, args.n)))
            package.loaded["spec.module"], package.preload["spec.module"] = nil, nil
            if undo then undo() end
            return answer
        end
        local expected = call(engine_require)
        local got = neap.run(function() return call(neap.require) end)
        assert.same(expected, got)
        return got
    end

    local function preload(body)
        return function() package.preload["spec.module"] = body end
    end

    it("the arguments of the loader, and the second value", function()
        both(preload(function(...) return table.concat({ tostring((...)), select("#", ...) }, " ") end), "spec.module")
    end)

    it("a body that answers nothing", function()
        assert.is_true(both(preload(function() end), "spec.module")[2])
    end)

    it("a body that sets package.loaded", function()
        both(preload(function() package.loaded["spec.module"] = "set" end), "spec.module")
        both(preload(function() package.loaded["spec.module"] = "set" return "answered" end), "spec.module")
    end)

    it("a body that answers false", function()
        both(preload(function() return false end), "spec.module")
    end)

    it("a module that is loaded", function()
        both(nil, "string")
    end)

    it("a module that is nowhere", function()
        local message = both(nil, "spec.no_such_module")[2]
        helper.contains("module 'spec.no_such_module' not found:", message)
        helper.contains("no field package.preload['spec.no_such_module']", message)
    end)

    it("where the error of a module that is nowhere says it is", function()
        local function here(fn)
            local value = fn "spec.nowhere"
            return value
        end
        local _, expected = pcall(here, engine_require)
        local _, got = neap.run(function() return pcall(here, neap.require) end)
        assert.equal(expected, got)
    end)

    it("a searcher of the program", function()
        both(function()
            local searchers = package.searchers or rawget(package, "loaders")
            table.insert(searchers, 1, function(name)
                if name == "spec.module" then return function(_, extra) return { extra } end, "from my searcher" end
                return 42
            end)
            return function() table.remove(searchers, 1) end
        end, "spec.module")
    end)

    it("searchers that are no table", function()
        both(function()
            local field = package.searchers and "searchers" or "loaders"
            local searchers = package[field]
            package[field] = nil
            return function() package[field] = searchers end
        end, "spec.module")
    end)

    it("a name that is a number", function()
        both(nil, 17)
    end)

    it("a name that is none", function()
        for _, bad in ipairs { {}, true } do
            local got = neap.run(function() return pack(pcall(neap.require, bad)) end)
            assert.is_false(got[1])
            helper.contains("string expected, got " .. type(bad), got[2])
        end
    end)
end)

-- Who is named when a wait is impossible.
describe("cannot wait inside", function()
    local function nap()
        neap.sleep(0)
    end

    local function blamed(what, fn)
        return helper.in_loop(function()
            local err = helper.raises("no_yield", fn)
            helper.contains("cannot wait inside " .. what .. ":", err.message)
        end)
    end

    it("G5: table.sort", blamed("'table.sort'", function() table.sort({ 1, 2, 3 }, nap) end))
    it("G5: string.gsub", blamed("'string.gsub'", function() return (("x"):gsub("x", nap)) end))
    if helper.version ~= "5.1" then -- its format does not call __tostring
        it("G5: string.format", blamed("'string.format'", function()
            return ("%s"):format(setmetatable({}, { __tostring = nap }))
        end))
    end
    local older = helper.version ~= nil and helper.version ~= "5.4"
    it("G5: print", blamed(older and "'tostring'" or "'print'", function() -- which older ones call for it
        print(setmetatable({}, { __tostring = nap }))
    end))
    it("G5: the innermost of several", blamed("'string.gsub'", function()
        table.sort({ 1, 2, 3 }, function() return (("x"):gsub("x", nap)) == "" end)
    end))
    it("G5: a function outside of a coroutine", blamed("'table.sort'", function()
        table.sort({ 1, 2, 3 }, function() return coroutine.wrap(nap)() end)
    end))
    it("G5: a function inside a coroutine", blamed("'table.sort'", function()
        coroutine.wrap(function() table.sort({ 1, 2, 3 }, nap) end)()
    end))

    it("G5: a reader of load", helper.in_loop(function()
        local err
        load(function()
            err = err or helper.raises("no_yield", nap)
        end)
        helper.contains("cannot wait inside 'load", err.message) -- or loadstring, which is the same in 5.2
    end))

    it("G5: the engine's require, where it was kept", helper.in_loop(function()
        package.preload["spec.naps"] = nap
        local err = helper.raises("no_yield", engine_require, "spec.naps")
        package.preload["spec.naps"], package.loaded["spec.naps"] = nil, nil
        helper.contains("cannot wait inside 'require':", err.message)
    end))

    it("G5: a C function that no module has, as its caller calls it", helper.in_loop(function()
        local sort = table.sort
        local err = helper.raises("no_yield", function()
            rawset(table, "sort", nil)
            local ok, problem = pcall(function()
                return (sort({ 1, 2 }, nap))
            end)
            rawset(table, "sort", sort)
            if not ok then error(problem, 0) end
        end)
        helper.contains("cannot wait inside 'sort':", err.message)
    end))

    it("G5: a finalizer", helper.in_loop(function()
        local err
        local function finalize()
            local ok
            ok, err = pcall(nap)
            assert(not ok)
        end
        if rawget(_G, "newproxy") then
            getmetatable(rawget(_G, "newproxy")(true)).__gc = finalize
        else
            setmetatable({}, { __gc = finalize })
        end
        helper.collect()
        assert.equal("no_yield", helper.code_of(err))
        helper.contains(helper.version == "5.4" and "a finalizer:" or "'collectgarbage'", err.message)
    end))

    it("G5: a hook", helper.in_loop(function()
        local err
        local function step()
            debug.sethook()
            local _
            _, err = pcall(nap)
        end
        if helper.is_luajit then rawget(_G, "jit").off(true, true) end
        debug.sethook(step, "l")
        local line = 1
        line = line + 1
        debug.sethook()
        if helper.is_luajit then rawget(_G, "jit").on(true, true) end
        assert.equal(2, line)
        if helper.version == "5.2" then -- no frame shows it there: the engine itself refuses
            helper.contains("attempt to yield", err)
            return
        end
        assert.equal("no_yield", helper.code_of(err))
        helper.contains(helper.version == "5.1" and "metamethod" or "a hook", err.message)
    end))
end)

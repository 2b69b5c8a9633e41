-- Garbage is collected while the loop has nothing to do.
local neap = require "neap"
local helper = require "support.helper"
local in_real_loop = helper.in_real_loop

-- A collector that does next to nothing by itself.
local function lazily(fn, options)
    options = options or {}
    options.objects = false
    return in_real_loop(function(...)
        local mode
        if helper.has_close then
            mode = collectgarbage("incremental", 1000, 100)
        else
            collectgarbage("setpause", 1000)
        end
        helper.collect()
        local ok, err = pcall(fn, ...)
        if helper.has_close then
            collectgarbage("incremental", 200, 100)
            collectgarbage(mode)
        else
            collectgarbage("setpause", 200)
        end
        collectgarbage "restart"
        assert(ok, err)
    end, options)
end

-- Waits are long here: a machine that is busy with others sees the end of a short one too late to find silence in it.

-- Growth is measured from the first wait.
local function see_heap()
    neap.sleep(0.25)
end

local function is_soon(condition)
    for _ = 1, helper.patience * 4 do
        if condition() then return true end
        neap.sleep(0.25)
    end
    return false
end

local function object_with_finalizer(fn)
    if not helper.has_proxies then return setmetatable({}, { __gc = fn }) end
    local object = rawget(_G, "newproxy")(true)
    getmetatable(object).__gc = fn
    return object
end

-- Enough for a collection in silence, and not for one by the collector itself.
local function burst()
    local strings = {}
    for i = 1, 20000 do strings[i] = "a string of some length, number " .. i end
    return #strings
end

describe("in silence", function()
    if helper.version == "5.1" then
        it("a collector that does not tell whether it was stopped is left alone", lazily(function()
            local box = setmetatable({}, { __mode = "k" })
            see_heap()
            box[{}] = true
            burst()
            for _ = 1, 10 do neap.sleep(0.01) end
            assert.is_not_nil(next(box))
        end))
        return
    end

    it("garbage that a burst has left is collected", lazily(function()
        local box = setmetatable({}, { __mode = "k" })
        see_heap()
        box[{}] = true
        burst()
        assert.is_true(is_soon(function() return next(box) == nil end))
    end))

    it("a collector that was stopped stays so", lazily(function()
        local box = setmetatable({}, { __mode = "k" })
        see_heap()
        collectgarbage "stop"
        box[{}] = true
        burst()
        for _ = 1, 10 do neap.sleep(0.01) end
        assert.is_not_nil(next(box))
    end))

    it("a finalizer may resolve a future and spawn a task", lazily(function()
        local future = neap.future()
        see_heap()
        object_with_finalizer(function()
            neap.spawn(function()
                neap.yield()
                future:set_result "from a finalizer"
            end)
        end)
        burst()
        assert.equal("from a finalizer", neap.wait_for(future, helper.patience))
    end))

    -- Lua 5.4 makes it a warning.
    it("a finalizer that fails is reported and ends nothing", lazily(function(_, reports)
        local ran = false
        see_heap()
        object_with_finalizer(function()
            ran = true
            error("from a finalizer", 0)
        end)
        burst()
        assert.is_true(is_soon(function() return ran end))
        assert.equal(helper.version == "5.4" and 0 or 1, #reports)
    end, { reports = true }))

    it("a finalizer cannot wait and hears so", lazily(function()
        local code
        see_heap()
        object_with_finalizer(function()
            local _, err = pcall(neap.sleep, 1)
            code = type(err) == "table" and err.code
        end)
        burst()
        assert.is_true(is_soon(function() return code ~= nil end))
        assert.equal("no_task", code)
    end))
end)

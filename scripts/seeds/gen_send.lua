-- Generators by hand: the first advance runs to the first yield, a sent value is what the yield returns, a thrown
-- error appears at the yield, the return value ends it.  A task is this, with futures deciding when to send and when to
-- throw.
local Generator = {}
Generator.__index = Generator

local function generator(fn)
    return setmetatable({ thread = coroutine.create(fn) }, Generator)
end

-- What a body calls to yield: gives what was sent, or raises what was thrown.
local function yield(value)
    local how, sent = coroutine.yield(value)
    if how == "throw" then
        error(sent, 0)
    end
    return sent
end

local function advance(self, ...)
    if coroutine.status(self.thread) == "dead" then
        return "StopIteration"
    end
    local ok, value = coroutine.resume(self.thread, ...)
    if not ok then
        return "raised " .. tostring(value)
    elseif coroutine.status(self.thread) == "dead" then
        return "StopIteration" .. (value ~= nil and ": " .. tostring(value) or "")
    end
    return value
end

function Generator:next()
    return advance(self, "send")
end

function Generator:send(value)
    return advance(self, "send", value)
end

function Generator:throw(err)
    return advance(self, "throw", err)
end

print "next"
local gen = generator(function()
    yield(1)
    yield(2)
end)
print(gen:next())
print(gen:next())
print(gen:next())

print "send"
gen = generator(function()
    local val = yield(1)
    print(val)
    yield(2)
end)
print(gen:next())
print(gen:send "abc")

print "throw"
print(gen:throw "Exception")

print "yield from: a plain call tunnels all of it"
local function inner()
    local inner_result = yield(2)
    print("inner", inner_result)
    return 3
end
gen = generator(function()
    yield(1)
    local val = inner()
    print("outer", val)
    yield(4)
end)
print(gen:next())
print(gen:next())
print(gen:send "abc")

print "the same with a task and a future"
local neap = require "neap"
local function main()
    local future, failing = neap.future(), neap.future()
    local task = neap.spawn(function()
        print(neap.await(future))
        local _, err = pcall(neap.await, failing)
        print("raised " .. err)
        return 3
    end)
    future:set_result "abc"
    neap.yield()
    neap.yield()
    failing:set_exception "Exception"
    print("StopIteration: " .. task:await())
end
if neap.current_task() then
    main()
else
    neap.run(main)
end

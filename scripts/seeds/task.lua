-- What is a task?  A class written here, over nothing but the public futures and call_soon, runs beside a task of
-- neap's own; both can be waited for.
local neap = require "neap"

local Task = {}
Task.__index = Task

function Task.new(gen, loop)
    local self = setmetatable({ gen = coroutine.create(gen), loop = loop, future = loop:create_future() }, Task)
    loop:call_soon(self.step, self)
    return self
end

function Task:step(...)
    local ok, value = coroutine.resume(self.gen, ...)
    if not ok then
        self.future:set_exception(value)
    elseif coroutine.status(self.gen) == "dead" then
        self.future:set_result(value)
    else
        value:add_done_callback(function(future)
            self:wakeup(future)
        end)
    end
end

function Task:wakeup(future)
    self:step(pcall(future.result, future))
end

-- Inside such a task a wait is a yield of a future; the answer comes as pcall gives it.
local function await(future)
    local ok, value = coroutine.yield(future)
    if not ok then
        error(value, 0)
    end
    return value
end

local function sleep(loop, seconds)
    local future = loop:create_future()
    loop:call_later(seconds, future.set_result, future)
    return future
end

local function main()
    local loop = neap.loop()

    local function foo()
        await(sleep(loop, 3))
        print "Hello Foo"
    end

    local function bar()
        neap.sleep(1)
        print "Hello Bar"
    end

    neap.wait { Task.new(foo, loop).future, loop:create_task(bar) }
end

-- In the neap command the script is a task already.
if neap.current_task() then
    main()
else
    neap.run { main, virtual = (...) == "virtual" }
end

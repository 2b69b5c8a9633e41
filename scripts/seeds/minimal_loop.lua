-- How does an event loop work?  A ready queue, and whoever runs it.  This one runs its own callbacks and gives
-- neap's tasks one turn after each batch of them; that is enough to drive tasks and to wait for them.
local neap = require "neap"

local Loop = {}
Loop.__index = Loop

function Loop.new(turn)
    return setmetatable({ ready = {}, stopping = false, turn = turn }, Loop)
end

function Loop:create_task(fn)
    local task = neap.spawn(fn)
    task:add_done_callback(function(done)
        self:call_soon(function()
            if done:exception() ~= nil then
                self:call_exception_handler(done:exception())
            end
        end)
    end)
    return task
end

function Loop:run_until_complete(future)
    future:add_done_callback(function()
        self:stop()
    end)
    self:run_forever()
    return future:result()
end

function Loop:run_forever()
    repeat
        self:run_once()
    until self.stopping
    self.stopping = false
end

function Loop:call_soon(callback, ...)
    table.insert(self.ready, { callback, ... })
end

function Loop:call_exception_handler(err)
    print("failed: " .. tostring(err))
end

function Loop:run_once()
    for _ = 1, #self.ready do -- what these add waits for the next round
        local entry = table.remove(self.ready, 1)
        entry[1](entry[2], entry[3])
    end
    self.turn()
end

function Loop:stop()
    self.stopping = true
end

function Loop:close()
    self.ready = {}
end

function Loop:get_debug()
    return false
end

local function main(turn)
    local loop = Loop.new(turn)
    local tasks = {
        loop:create_task(function()
            print "Foo"
        end),
        loop:create_task(function()
            print "Bar"
        end),
    }
    loop:run_until_complete(neap.ensure_future(function()
        return neap.wait(tasks)
    end))
    loop:close()
end

-- A turn of neap's loop: from outside, or (in the neap command, where the script is a task) by yielding.
if neap.current_task() then
    main(neap.yield)
else
    local inner = neap.loop()
    main(function()
        inner:run_once(0)
    end)
    inner:close()
end

-- One turn of the loop at a time, with the length of its ready queue before and after.
local neap = require "neap"

local function demo(loop, turn)
    local function show(when)
        print(("%s: %d ready"):format(when, loop:metrics().ready))
    end

    local task = loop:create_task(function()
        for i = 1, 2 do
            print("  task, step " .. i)
            neap.yield()
        end
        print "  task ends"
    end)
    loop:call_soon(function()
        print "  callback"
        loop:call_soon(print, "  callback of a callback")
    end)
    while not task:done() do
        show "before"
        turn()
    end
    show "after"
end

-- A turn from outside is run_once; in the neap command, where the script is a task, it is a yield.
if neap.current_task() then
    demo(neap.loop(), neap.yield)
else
    local loop = neap.new_loop()
    demo(loop, function()
        loop:run_once(0)
    end)
    loop:close()
end

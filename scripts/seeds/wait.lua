-- How does wait work?  Written by hand next to neap.wait: a count, a callback on each, a future for the waiter.
local neap = require "neap"

local function wait(list)
    local fs = {}
    for i, x in ipairs(list) do
        fs[i] = neap.ensure_future(x)
    end
    if #fs == 0 then
        error("nothing to wait for", 2)
    end
    local waiter = neap.future()
    local counter = #fs

    local function on_complete()
        counter = counter - 1
        if counter == 0 and not waiter:done() then
            waiter:set_result()
        end
    end

    for _, f in ipairs(fs) do
        f:add_done_callback(on_complete)
    end
    local ok, err = pcall(neap.await, waiter)
    local done, pending = {}, {}
    for _, f in ipairs(fs) do
        f:remove_done_callback(on_complete)
        table.insert(f:done() and done or pending, f)
    end
    if not ok then
        error(err, 0)
    end
    return done, pending
end

local function slow_task(n)
    return function()
        neap.sleep(n)
        print(('sleep "%d" sec'):format(n))
    end
end

local function main()
    print "---> wait"
    wait { slow_task(1), slow_task(2) }
    print "---> neap.wait"
    neap.wait { slow_task(1), slow_task(2) }
end

if neap.current_task() then
    main()
else
    neap.run { main, virtual = (...) == "virtual" }
end

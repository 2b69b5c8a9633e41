-- Ten tasks made in a loop that sleeps for no time before each: they interleave with the one that makes them.
local neap = require "neap"

local function f(i)
    neap.sleep(i)
    print("done " .. i)
end

local function main()
    local tasks = {}
    for i = 0, 9 do
        neap.sleep(0)
        print("create " .. i)
        tasks[#tasks + 1] = neap.spawn(f, i)
    end
    for _, task in ipairs(tasks) do
        task:await()
    end
end

if neap.current_task() then
    main()
else
    neap.run { main, virtual = (...) == "virtual" }
end

-- How is a receive implemented?  The seven steps of one, as the loop's trace shows them.
local neap = require "neap"

local steps = {
    { "poll", "1. select waits" },
    { "ready", "2. the socket is ready" },
    { "io", "3. data is moved from the socket into a buffer" },
    { "settle", "4. future.set_result()" },
    { "wake", "5. the task rises back to life by its callback" },
    { "step", "6. the task resumes the inner-most coroutine" },
}

local function main()
    local loop = neap.loop()
    local a, b = neap.socketpair()
    local received

    local task = neap.spawn { function()
        received = neap.await(loop:sock_recv(a, 100))
    end, name = "receiver" }
    neap.yield()
    neap.yield() -- it waits in the poll now

    loop:trace(true)
    b:try_send "hello"
    task:await()
    local next_step = 1
    for _, entry in ipairs(loop:trace(false)) do
        local step = steps[next_step]
        if step and entry.event == step[1] and (not entry.task or entry.task == "receiver") then
            print(step[2])
            next_step = next_step + 1
        end
    end
    print("7. the user has its data: " .. received)
    a:close()
    b:close()
end

if neap.current_task() then
    main()
else
    neap.run(main)
end

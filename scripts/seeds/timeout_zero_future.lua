-- A future awaited with no time at all: a value that is there comes, one that is not is a timeout.
local neap = require "neap"

local function main()
    local there = neap.future()
    there:set_result "the value"
    print("done:    " .. neap.wait_for(there, 0))

    local pending = neap.future()
    local ok, err = pcall(neap.wait_for, pending, 0)
    print("pending: " .. tostring(ok) .. " " .. err.code .. ", cancelled: " .. tostring(pending:cancelled()))
end

if neap.current_task() then
    main()
else
    neap.run(main)
end

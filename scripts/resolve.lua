-- Looks names and addresses up, all at once: the addresses of a name, the name of an address.
--   neap scripts/resolve.lua [-s server:port] name|address...
local neap = require "neap"

local function is_address(text)
    return text:find ":" or text:find "^[%d.]+$"
end

local function without_port(address)
    return (address:gsub(":%d+$", ""):gsub("[%[%]]", ""))
end

local function look_up(text)
    local addresses, err = neap.resolve(text, { canonical = true })
    if not addresses then
        return err.message
    end
    if is_address(text) then
        local name, why = neap.getnameinfo(addresses[1])
        return name or why.message
    end
    local list = {}
    for i, address in ipairs(addresses) do
        list[i] = without_port(address)
    end
    local alias = addresses.canonical:lower() ~= text:lower() and " (" .. addresses.canonical .. ")" or ""
    return table.concat(list, " ") .. alias
end

local function main(...)
    local names = { ... }
    if names[1] == "-s" then
        table.remove(names, 1)
        neap.resolver { servers = { table.remove(names, 1) } }
    end
    if not names[1] then
        error("usage: resolve.lua [-s server:port] name|address...", 0)
    end
    local tasks = {}
    for i, name in ipairs(names) do
        tasks[i] = neap.spawn(look_up, name)
    end
    for i, name in ipairs(names) do
        local answer = tasks[i]:await()
        print(name .. "\t" .. answer)
    end
end

if neap.current_task() then
    main(...)
else
    neap.run(main, ...)
end

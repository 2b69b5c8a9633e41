-- What the micro benchmarks in Lua share: processor time, resident memory, one line of JSON.
local figures = {}

figures.case = arg[1] or "tasks"
figures.scale = tonumber(arg[2]) or 1

function figures.scaled(count)
    return math.max(1, math.floor(count * figures.scale))
end

-- Runs fn and returns the nanoseconds of processor time per operation.
function figures.cost(operations, fn)
    collectgarbage()
    local start = os.clock()
    fn()
    return (os.clock() - start) * 1e9 / operations
end

function figures.rss_bytes()
    local file = assert(io.open("/proc/self/statm"))
    local _, resident = file:read("*n", "*n")
    file:close()
    return resident * 4096
end

function figures.print(values)
    local parts = {}
    for name, value in pairs(values) do
        parts[#parts + 1] = ("%q: %.2f"):format(name, value)
    end
    table.sort(parts)
    print("{" .. table.concat(parts, ", ") .. "}")
end

return figures

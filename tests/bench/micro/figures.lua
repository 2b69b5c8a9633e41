-- What the micro benchmarks in Lua share: processor time, resident memory, one line of JSON.
local figures = {}

figures.case = arg[1] or "spawn"
figures.scale = tonumber(arg[2]) or 1

function figures.scaled(count)
    return math.max(1, math.floor(count * figures.scale))
end

-- The longest delay of the timers: a second, less when the counts are small.
figures.delay_max_ms = math.max(50, math.floor(1000 * math.min(1, figures.scale)))

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

-- Runs what the table has under the name of the case.
function figures.run(cases)
    local case = cases[figures.case]
    if not case then error("no case " .. figures.case) end
    case()
end

-- A string in place of a number says why there is none.
function figures.print(values)
    local parts = {}
    for name, value in pairs(values) do
        parts[#parts + 1] = (type(value) == "string" and "%q: %q" or "%q: %.3f"):format(name, value)
    end
    table.sort(parts)
    print("{" .. table.concat(parts, ", ") .. "}")
end

return figures

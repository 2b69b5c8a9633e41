-- What the Lua scripts of this directory share. Each begins with
--   local top = arg[0]:match("^(.*)/scripts/dev/[^/]*$") or "."
--   package.path = top .. "/scripts/dev/lib/?.lua;" .. package.path
local tool = {}

function tool.quote(s)
    return "'" .. s:gsub("'", "'\\''") .. "'"
end

-- The whole output of a shell command and whether it succeeded.
function tool.capture(command)
    local pipe = assert(io.popen(command))
    local out = pipe:read("a")
    return out, (pipe:close())
end

function tool.lines(command)
    local list = {}
    for line in tool.capture(command):gmatch("[^\n]+") do list[#list + 1] = line end
    return list
end

function tool.read(path)
    local file = io.open(path)
    if not file then return nil end
    local text = file:read("a")
    file:close()
    return text
end

function tool.write(path, text)
    local file = assert(io.open(path, "w"))
    assert(file:write(text))
    assert(file:close())
end

function tool.exists(path)
    local file = io.open(path)
    if file then file:close() end
    return file ~= nil
end

-- Files below some folders whose names end in one of the endings, sorted, relative to `top`.
function tool.files(top, folders, endings)
    local names = {}
    for i, ending in ipairs(endings) do names[i] = "-name '*" .. ending .. "'" end
    local command = "cd " .. tool.quote(top) .. " && find " .. table.concat(folders, " ")
        .. " -type f \\( " .. table.concat(names, " -o ") .. " \\) 2>/dev/null | LC_ALL=C sort"
    return tool.lines(command)
end

-- Collects complaints; report() prints them and ends the program with their verdict.
function tool.complaints(name)
    local list = {}
    return {
        add = function(...) list[#list + 1] = string.format(...) end,
        report = function(fine)
            for _, text in ipairs(list) do io.stderr:write(name, ": ", text, "\n") end
            if #list > 0 then os.exit(1) end
            print(name .. ": " .. fine)
        end,
    }
end

return tool

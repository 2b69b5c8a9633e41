-- Reads include/neap.h as a list of items in the order of the file. An item has
--   kind  "section" | "comment" | "function" | "declaration"
--   text  the title, the comment's text, or the declaration without NEAP_API
--   doc   of functions and declarations: the comment directly above, or nil
--   line  where it begins
--   name  of functions; label  of functions: the thread label letter, or nil
local header = {}

-- The text of a comment without its delimiters and common indentation.
local function comment_text(raw)
    local body = raw:gsub("^/%*+", ""):gsub("%*/$", "")
    local lines = {}
    for line in (body .. "\n"):gmatch("(.-)\n") do
        lines[#lines + 1] = line:gsub("^%s+", ""):gsub("^%* ?", ""):gsub("%s+$", "")
    end
    return (table.concat(lines, "\n"):gsub("^\n+", ""):gsub("\n+$", ""))
end

-- The end of the declaration that begins at `from`: the semicolon outside braces and comments.
local function declaration_end(text, from)
    local depth, i = 0, from
    while i <= #text do
        local c = text:sub(i, i)
        if text:sub(i, i + 1) == "/*" then
            i = select(2, text:find("*/", i, true))
        elseif c == "{" then
            depth = depth + 1
        elseif c == "}" then
            depth = depth - 1
        elseif c == ";" and depth == 0 then
            return i
        end
        i = i + 1
    end
    error("a declaration without an end: " .. text:sub(from, from + 60))
end

local function function_item(item)
    item.kind = "function"
    item.text = item.text:gsub("^NEAP_API%s+", "")
    item.name = item.text:gsub("/%*.-%*/", ""):match("([%w_]+)%s*%(")
    item.label = item.doc and item.doc:match("%f[^%s%z]%[([LMS])%]")
end

function header.parse(text)
    -- What only C++ sees is no part of the interface.
    text = text:gsub("#ifdef __cplusplus\n.-#endif\n", function(block)
        return (block:gsub("[^\n]", ""))
    end)
    local items, pos, line, counted = {}, 1, 1, 1
    local pending -- the comment that ended on the line before

    local function line_at(where)
        local _, n = text:sub(counted, where - 1):gsub("\n", "")
        line, counted = line + n, where
        return line
    end

    local function flush()
        if pending then
            items[#items + 1] = { kind = "comment", text = pending.text, line = pending.line }
            pending = nil
        end
    end

    while true do
        local start = text:find("%S", pos)
        if not start then break end
        local blank = text:sub(pos, start - 1):find("\n%s*\n")
        if blank then flush() end
        if text:sub(start, start + 1) == "/*" then
            flush()
            local stop = select(2, text:find("*/", start, true))
            local raw = text:sub(start, stop)
            local title = raw:match("^/%* %-%-%-%- (.-) %-+ ?%*/$")
            if title then
                items[#items + 1] = { kind = "section", text = title, line = line_at(start) }
            else
                pending = { text = comment_text(raw), line = line_at(start) }
            end
            pos = stop + 1
        elseif text:sub(start, start) == "#" then
            flush()
            pos = (text:find("[^\\]\n", start) or #text - 1) + 2
        else
            local stop = declaration_end(text, start)
            local tail = text:match("^[ \t]*(/%*[^\n]-%*/)[ \t]*\n", stop + 1)
            local item = { kind = "declaration", text = text:sub(start, stop), line = line_at(start),
                doc = pending and pending.text, note = tail and comment_text(tail) }
            pending = nil
            pos = tail and select(2, text:find(tail, stop + 1, true)) + 1 or stop + 1
            if item.text:find("^NEAP_API%s") then function_item(item) end
            items[#items + 1] = item
        end
    end
    flush()
    return items
end

function header.read(path)
    local file = assert(io.open(path))
    local text = file:read("a")
    file:close()
    return header.parse(text)
end

-- The functions of the header, in its order.
function header.functions(items)
    local list = {}
    for _, item in ipairs(items) do
        if item.kind == "function" then list[#list + 1] = item end
    end
    return list
end

return header

-- The prompt of `neap -i`, which is the end of the main task: each line runs in it and may wait, and so does the prompt
-- for the keyboard. `keyboard` is what prompt.c has of it.
local compile = rawget(_G, "loadstring") or load

-- The traceback without the prompt's own frames, which are below.
local function trim(trace)
    local kept, last = {}, nil
    -- In Lua 5.1 a handler runs when the stack of the error is gone: what follows that stack is ours alone.
    trace = trace:gsub("\nreached: stack traceback:\n\t%[C%]: in function 'engine_pcall'.*", "")
    for line in trace:gmatch "[^\n]+" do
        if last and last:find("xpcall", 1, true) and line:find("neap/prompt.lua", 1, true) then
            kept[#kept] = nil
            break
        end
        kept[#kept + 1], last = line, line
    end
    return table.concat(kept, "\n")
end

local function text_of(err)
    local ok, text = pcall(tostring, err)
    return ok and text or ("(error object is a %s value)"):format(type(err))
end

local function is_incomplete(message)
    return message:find("<eof>'?$") ~= nil
end

return function(core, keyboard)
    local neap = require "neap"
    local yield, is_cancelled, interrupted = neap.coroutine.yield, neap.is_cancelled, core.interrupted
    local can_wait = true

    local function say(text)
        io.stdout:flush()
        io.stderr:write(text, "\n")
    end

    -- ---- Reading ----

    -- Waits until a byte is there. A file is always ready, and cannot be waited for.
    local function await_byte()
        local ok, err = pcall(yield, 0, "read")
        if ok then return end
        if is_cancelled(err) then error(err, 0) end
        can_wait = false
    end

    local function read_bytes()
        if not can_wait then neap.yield() end
        while true do
            if can_wait then await_byte() end
            local line = keyboard.key()
            if line ~= nil then return line end
        end
    end

    -- Answers a line, false at the end of the input, or nil if an interrupt has cleared it.
    local function read_line(name, default)
        local text = rawget(_G, name)
        text = text == nil and default or text_of(text)
        keyboard.begin(text)
        local ok, line = pcall(read_bytes)
        keyboard.stop()
        if ok then
            if line and line:find "%S" then keyboard.remember(line) end
            return line
        end
        if not (is_cancelled(line) and interrupted()) then error(line, 0) end
        io.stdout:write("\n")
        return nil
    end

    -- Answers a function and how many of its values are not to be shown, or nil and the message; false and what
    -- read_line has answered. An expression is compiled with a value before it: a call at the end would have no line.
    local function read_chunk()
        local line = read_line("_PROMPT", "> ")
        if not line then return false, line end
        local expression = compile("return 0, " .. line:gsub("^=", ""), "=stdin")
        if expression then return expression, 1 end
        local text = line:gsub("^=", "return ")
        local chunk, message = compile(text, "=stdin")
        while not chunk and is_incomplete(message) do
            line = read_line("_PROMPT2", ">> ")
            if line == nil then return false, nil end
            if line == false then break end
            text = text .. "\n" .. line
            chunk, message = compile(text, "=stdin")
        end
        return chunk, chunk and 0 or message
    end

    -- ---- Running ----

    local function explain(err)
        local failure = { error = err, cancelled = is_cancelled(err), text = text_of(err) }
        if not failure.cancelled then
            failure.text = failure.text .. "\n" .. trim(core.trace(err, 2))
        elseif failure.text ~= "cancelled" then
            failure.text = "cancelled: " .. failure.text
        end
        return failure
    end

    local function finish(hidden, ok, ...)
        core.line(false)
        if not ok then
            local failure = ...
            if type(failure) ~= "table" then failure = explain(failure) end -- explain itself has failed
            if failure.cancelled and interrupted() == false then error(failure.error, 0) end
            say(failure.text)
        elseif select("#", ...) > hidden then
            local printed, err = pcall(print, select(hidden + 1, ...))
            if not printed then say(("error calling 'print' (%s)"):format(text_of(err))) end
        end
    end

    -- What others print while a line is edited goes above it.
    local function above_line(plain)
        return function(...)
            keyboard.hide()
            local ok, err = pcall(plain, ...)
            keyboard.show()
            if not ok then error(err, 0) end
        end
    end

    local function run_lines()
        core.line(false) -- from now on an interrupt ends a line, not the program
        while true do
            local chunk, rest = read_chunk()
            if chunk then
                core.line(true)
                finish(rest, xpcall(chunk, explain))
                interrupted() -- one that the line has caught is over
            elseif chunk == nil then
                say(rest)
            elseif rest == false then
                return io.stdout:write("\n")
            end
        end
    end

    return function()
        if rawget(_G, "neap") == nil then rawset(_G, "neap", neap) end
        local jit = rawget(_G, "jit")
        io.stdout:write(neap._VERSION, ", ", jit and jit.version or _VERSION,
            "; the module is the global neap; Ctrl-D or neap.exit() leaves\n")
        local plain = print
        local ours = above_line(plain)
        rawset(_G, "print", ours)
        local ok, err = pcall(run_lines)
        if rawequal(print, ours) then rawset(_G, "print", plain) end
        keyboard.close()
        if not ok then error(err, 0) end
    end
end

-- What streams have beyond their verbs in C: the formats of io, numbers, lines in a loop.
return function(methods)
    local read_line, read_all, read_some = methods.read_line, methods.read_all, methods.read_some

    -- A numeral as io reads it: the longest of at most 200 characters that can begin one.
    local NUMERAL_MOST = 200

    -- How many bytes at the front of `text` may belong to a numeral, and whether more bytes could change that.
    local function numeral(text)
        local at = text:match("^%s*()")
        local from = at
        local function accept(set)
            if text:find("^[" .. set .. "]", at) then
                at = at + 1
                return true
            end
        end
        local function digits(set)
            local _, last = text:find("^" .. set .. "+", at)
            at = last and last + 1 or at
        end
        accept("+-")
        local set, exponent = "%d", "eE"
        if accept("0") and accept("xX") then
            set, exponent = "%x", "pP"
        end
        digits(set)
        if accept(".") then digits(set) end
        if at > from and accept(exponent) then
            accept("+-")
            digits("%d")
        end
        return from, at - 1, at > #text
    end

    -- What stands there stays, if it is no number.
    local function read_number(stream)
        local text = stream:peek(NUMERAL_MOST)
        while text do
            local from, to, open = numeral(text)
            local have = #text
            if open and have < NUMERAL_MOST then
                local n, err = stream:fill(have + 1)
                if not n then return nil, err end
                text = stream:peek(NUMERAL_MOST)
                open = #text > have
            else
                open = false
            end
            if not open then
                local number = tonumber(text:sub(from, to))
                if number then stream:consume(to) end
                return number
            end
        end
    end

    local function read_as(stream, format)
        if format == nil then return read_line(stream) end
        if type(format) == "number" then
            if format == 0 then
                local n, err = stream:fill(1)
                if not n then return nil, err end
                return n > 0 and "" or nil
            end
            return read_some(stream, format)
        end
        local letter = type(format) == "string" and format:match("^%*?([alLn])$")
        if letter == "l" then return read_line(stream) end
        if letter == "L" then return read_line(stream, true) end
        if letter == "a" then return read_all(stream) end
        if letter == "n" then return read_number(stream) end
        error("bad argument to 'read': a number of bytes or one of \"l\", \"L\", \"a\", \"n\" expected, got "
            .. (type(format) == "string" and ("%q"):format(format) or type(format)), 3)
    end

    local function read_rest(stream, values, n, format, ...)
        local value, err = read_as(stream, format)
        values[n] = value
        if value == nil then
            if err ~= nil then
                n = n + 1
                values[n] = err
            end
            return (table.unpack or unpack)(values, 1, n)
        elseif select("#", ...) == 0 then
            return (table.unpack or unpack)(values, 1, n)
        end
        return read_rest(stream, values, n + 1, ...)
    end

    -- As io.read; a number takes what is there, up to so many bytes.
    function methods.read(stream, format, ...)
        if select("#", ...) == 0 then
            return read_as(stream, format)
        end
        return read_rest(stream, {}, 1, format, ...)
    end

    local function checked(value, err, ...)
        if value == nil and err ~= nil then error(err, 0) end
        return value, err, ...
    end

    -- for line in stream:lines() do ... end; a failure is raised.
    function methods.lines(stream, format, limit)
        if format == nil or format == "l" or format == "*l" then
            return function() return checked(read_line(stream, false, limit)) end
        elseif format == "L" or format == "*L" then
            return function() return checked(read_line(stream, true, limit)) end
        end
        return function() return checked(read_as(stream, format)) end
    end
end

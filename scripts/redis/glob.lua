-- Patterns of the shell, for names of keys and channels: * ? [set] [^set] and \ before a character that is
-- meant itself.
local byte, sub = string.byte, string.sub

local STAR, ANY = "*", "?"

-- The set that begins behind a "[" at `at`, as bytes, and where the pattern goes on.
local function set_at(pattern, at)
    local set = { members = {}, negated = sub(pattern, at, at) == "^" }
    if set.negated then at = at + 1 end
    while at <= #pattern and sub(pattern, at, at) ~= "]" do
        if sub(pattern, at, at) == "\\" and at < #pattern then at = at + 1 end
        local low, high = byte(pattern, at), byte(pattern, at)
        if sub(pattern, at + 1, at + 1) == "-" and at + 2 <= #pattern then
            high = byte(pattern, at + 2)
            at = at + 2
        end
        if low > high then low, high = high, low end
        for c = low, high do set.members[c] = true end
        at = at + 1
    end
    return set, at + 1
end

-- The elements of a pattern: STAR, ANY, a byte or a set.
local function elements_of(pattern)
    local elements, at = {}, 1
    while at <= #pattern do
        local c = sub(pattern, at, at)
        local element
        if c == "*" then
            element, at = STAR, at + 1
        elseif c == "?" then
            element, at = ANY, at + 1
        elseif c == "[" then
            element, at = set_at(pattern, at + 1)
        else
            if c == "\\" and at < #pattern then at = at + 1 end
            element, at = byte(pattern, at), at + 1
        end
        elements[#elements + 1] = element
    end
    return elements
end

local function fits(element, c)
    if element == ANY or element == c then return true end
    return type(element) == "table" and (element.members[c] or false) ~= element.negated
end

-- Makes a function of a pattern: whether a text matches. What stands behind a star is tried from the left, and
-- only the last star is ever moved, so the time is bounded by the product of the lengths.
return function(pattern)
    local elements = elements_of(pattern)
    return function(text)
        local i, at, star, resume = 1, 1, nil, nil
        while at <= #text do
            local element = elements[i]
            if element == STAR then
                star, resume, i = i, at, i + 1
            elseif element and fits(element, byte(text, at)) then
                i, at = i + 1, at + 1
            elseif star then
                resume = resume + 1
                i, at = star + 1, resume
            else
                return false
            end
        end
        while elements[i] == STAR do i = i + 1 end
        return elements[i] == nil
    end
end

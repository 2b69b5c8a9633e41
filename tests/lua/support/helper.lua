-- What every spec uses: running a test inside a fresh loop with leak checks, reading error codes.
--
-- in_loop(fn [, options]) gives a function for `it`.  It makes a loop, runs fn(loop, reports) as a task on it and
-- afterwards fails the test if a task, timer, operation, socket, future, object or descriptor is left, or if the
-- loop reported an error that the test did not ask for.
--   real     the real clock (needed where sockets must become ready); else the virtual one
--   debug    debug mode
--   reports  the test looks at the error reports itself (second argument, a list)
--   objects  false: the count of live objects is not compared (the test leaves some on purpose)
local neap = require "neap"

local helper = {}

helper.neap = neap
helper.is_luajit = rawget(_G, "jit") ~= nil
helper.version = not helper.is_luajit and _VERSION:match "%d%.%d" or nil -- of PUC Lua
helper.lua = os.getenv "NEAP_LUA" or (helper.is_luajit and "luajit" or "lua" .. helper.version)
helper.has_close = helper.version == "5.4" -- to-be-closed variables
helper.has_subtypes = math.type ~= nil -- integers beside floats
helper.has_proxies = rawget(_G, "newproxy") ~= nil -- finalizers for them alone, not for tables
helper.waits_anywhere = helper.version ~= "5.1" -- also inside iterators and metamethods
helper.backend = os.getenv "NEAP_BACKEND" or "epoll"
helper.sanitized = (os.getenv "NEAP_SANITIZE" or "") ~= ""
helper.source_dir = os.getenv "NEAP_SOURCE_DIR" or "."
helper.build_dir = os.getenv "NEAP_BUILD_DIR" or (helper.source_dir .. "/build")
helper.command = os.getenv "NEAP_COMMAND"
    or (helper.build_dir .. "/neap" .. (helper.is_luajit and "-luajit" or helper.has_close and "" or helper.version))

helper.pack = table.pack or function(...)
    return { n = select("#", ...), ... }
end
helper.unpack = table.unpack or rawget(_G, "unpack")

-- How long a test may wait for the outside world, in seconds; no test asserts that anything is quicker.
helper.patience = helper.sanitized and 90 or 30

-- --- descriptors and memory of this process ------------------------------------------------

-- The open descriptors, as a set.
function helper.descriptors()
    local open = {}
    for fd = 0, 1023 do
        local file = io.open("/proc/self/fdinfo/" .. fd)
        if file then
            open[fd] = true
            file:close()
        end
    end
    return open
end

function helper.count_descriptors()
    local n = 0
    for _ in pairs(helper.descriptors()) do
        n = n + 1
    end
    return n
end

-- A figure of /proc/self/status in bytes, for example "VmRSS".
function helper.memory(name)
    for line in io.lines "/proc/self/status" do
        local kib = line:match("^" .. name .. ":%s+(%d+) kB")
        if kib then
            return tonumber(kib) * 1024
        end
    end
end

-- What the callers' frames hold beyond their live variables counts for the collector; this writes over it.
local function wipe()
    -- luacheck: push ignore 211
    local a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19
    local a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, a35, a36, a37, a38, a39
    local a40, a41, a42, a43, a44, a45, a46, a47, a48, a49, a50, a51, a52, a53, a54, a55, a56, a57, a58, a59
    local a60, a61, a62, a63, a64, a65, a66, a67, a68, a69, a70, a71, a72, a73, a74, a75, a76, a77, a78, a79
    local a80, a81, a82, a83, a84, a85, a86, a87, a88, a89, a90, a91, a92, a93, a94, a95, a96, a97, a98, a99
    -- luacheck: pop
end

function helper.collect(cycles)
    wipe()
    if helper.is_luajit then
        rawget(_G, "jit").flush() -- traces hold what they were compiled for
    end
    for _ = 1, cycles or 4 do
        collectgarbage()
    end
end

-- --- errors --------------------------------------------------------------------------------

-- The code of an error value: err.code of our objects, nil of any other value.
function helper.code_of(err)
    local kind = type(err)
    if kind == "table" or kind == "userdata" then
        local ok, code = pcall(function()
            return err.code
        end)
        return ok and code or nil
    end
end

-- Calls fn, which must raise an error with this code; returns the error.
function helper.raises(code, fn, ...)
    local ok, err = pcall(fn, ...)
    if ok then
        error("expected an error '" .. code .. "', but the call succeeded", 2)
    end
    local got = helper.code_of(err)
    if got ~= code then
        error("expected an error '" .. code .. "', got " .. tostring(got) .. ": " .. tostring(err), 2)
    end
    return err
end

-- Checks a pair nil, err with this code, as a failing operation returns it; returns the error.
function helper.fails(code, value, err)
    if value ~= nil then
        error("expected nil and an error '" .. code .. "', got " .. tostring(value), 2)
    end
    local got = helper.code_of(err)
    if got ~= code then
        error("expected nil and an error '" .. code .. "', got " .. tostring(got) .. ": " .. tostring(err), 2)
    end
    return err
end

-- Checks that text contains a plain string; returns the text.
function helper.contains(part, text)
    if type(text) ~= "string" or not text:find(part, 1, true) then
        error("expected to find '" .. tostring(part) .. "' in: " .. tostring(text), 2)
    end
    return text
end

-- --- the loop of a test --------------------------------------------------------------------

local function report_text(report)
    local text = tostring(report.kind) .. ": " .. tostring(report.message)
    if report.error ~= nil then
        text = text .. " (" .. tostring(report.error) .. ")"
    end
    return text
end

local function leftovers(loop, before)
    local now = loop:metrics()
    local found = {}
    for _, name in ipairs { "tasks", "timers", "operations", "futures", "socks", "ready", "objects" } do
        if before[name] ~= nil and now[name] > before[name] then
            found[#found + 1] = ("%s %d, before the test %d"):format(name, now[name], before[name])
        end
    end
    return found
end

local function new_loop(options, reports)
    local loop = neap.new_loop {
        virtual = not options.real,
        debug = options.debug or false,
        backend = os.getenv "NEAP_BACKEND",
        name = "test",
    }
    loop:on_slow(math.huge) -- the machine may be busy with other tests
    -- A report is copied: what it names may be gone when the test looks.
    loop:on_error(function(report)
        local copy = {}
        for _, key in ipairs { "kind", "message", "error", "task", "future", "handle", "traceback", "elapsed" } do
            copy[key] = report[key]
        end
        copy.task_name = report.task and report.task:name()
        reports[#reports + 1] = copy
    end)
    return loop
end

local function run_in(loop, fn, reports, real)
    local late = false
    local watchdog
    if real then
        watchdog = loop:call_later(helper.patience, function()
            late = true
            loop:stop()
        end)
    end
    local task = loop:create_task(fn, loop, reports)
    local ok, err = pcall(loop.run_until_complete, loop, task)
    if watchdog then
        watchdog:cancel()
    end
    if late then
        local where = {}
        for _, frame in ipairs(task:stack()) do
            where[#where + 1] = tostring(frame.source) .. ":" .. tostring(frame.line)
        end
        return false, "the test did not end; it waits at " .. table.concat(where, " < ")
    end
    return ok, err
end

-- Collects as often as it may take: finalizers run in one cycle, what they held goes in the next.
local function until_clean(is_clean)
    for _ = 1, 4 do
        if is_clean() then
            return
        end
        helper.collect(1)
    end
    is_clean()
end

-- Dead variables of a running function count as alive for the collector: each step has a function of its own.
local function run_and_check(fn, options)
    local reports = {}
    local loop = new_loop(options, reports)
    local before = loop:metrics()
    local ok, err = run_in(loop, fn, reports, options.real)
    if not ok then
        pcall(loop.close, loop)
        error(err, 0)
    end
    local unexpected = {}
    if not options.reports then
        for i, report in ipairs(reports) do
            unexpected[i] = report_text(report)
        end
    end
    for i = #reports, 1, -1 do
        reports[i] = nil -- reports name tasks and futures
    end
    if options.objects == false then
        before.objects = nil
    end
    local left
    until_clean(function()
        loop:run_once(0) -- what finalizers queued
        left = leftovers(loop, before)
        return #left == 0
    end)
    loop:close()
    return unexpected, left
end

function helper.in_loop(fn, options)
    options = options or {}
    return function()
        local fds = helper.descriptors()
        local unexpected, left = run_and_check(fn, options)
        local more
        until_clean(function()
            more = {}
            for fd in pairs(helper.descriptors()) do
                if not fds[fd] then
                    more[#more + 1] = "descriptor " .. fd
                end
            end
            return #more == 0
        end)
        for _, text in ipairs(more) do
            left[#left + 1] = text
        end
        if #unexpected > 0 then
            error("reported: " .. table.concat(unexpected, "; "), 0)
        end
        if #left > 0 then
            error("left behind: " .. table.concat(left, "; "), 0)
        end
    end
end

function helper.in_real_loop(fn, options)
    options = options or {}
    options.real = true
    return helper.in_loop(fn, options)
end

-- Lets n ticks pass.
function helper.ticks(n)
    for _ = 1, n do
        neap.yield()
    end
end

-- Lets the others go on until condition() holds; for how long at most says helper.patience.
function helper.eventually(condition)
    local late = neap.loop():time() + helper.patience
    while not condition() do
        if neap.loop():time() > late then
            error("this never came true", 2)
        end
        neap.sleep(0.001)
    end
end

-- for ... in iterator, state, value do body(...) end, also where an iterator cannot be suspended and so cannot wait.
function helper.each(body, iterator, state, value)
    if helper.waits_anywhere then
        for a, b, c in iterator, state, value do body(a, b, c) end
        return
    end
    local a, b, c = iterator(state, value)
    while a ~= nil do
        body(a, b, c)
        a, b, c = iterator(state, a)
    end
end

-- Compiles text that only some engines can: nil and the message where this one cannot.
function helper.compile(text, name)
    return (rawget(_G, "loadstring") or load)(text, name or "=compiled")
end

-- Random numbers that are the same in each run and on each engine.
function helper.repeatable(seed)
    seed = tonumber(os.getenv "NEAP_TEST_SEED") or seed
    local state = seed % 2147483647
    if state == 0 then
        state = 1
    end
    return function(low, high) -- the minimal standard generator
        state = (state * 16807) % 2147483647
        return low + state % (high - low + 1)
    end
end

return helper

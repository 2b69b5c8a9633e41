-- Tests of programs that wait: under Busted, or any framework in which a test is a function that returns or raises.
local neap = require "neap"
local core = package.loaded["neap.testing.core"]

local testing = { wait_all_blocked = core.wait_all_blocked }

local KINDS = { "tasks", "handles", "sockets", "errors", "descriptors" }

-- --- options -------------------------------------------------------------------------------

local function is_one_of(list, word)
    for _, known in ipairs(list) do
        if known == word then return true end
    end
    return false
end

-- With the position of whoever called this module.
local function complain(format, ...)
    local level, here = 2, debug.getinfo(1, "S").source
    while debug.getinfo(level, "S").source == here do level = level + 1 end
    error("neap.testing: " .. format:format(...), level)
end

local checks = {
    virtual = "boolean", debug = "boolean", shuffle = "boolean", backend = "string", name = "string",
    limit = "number", real_limit = "number", seed = "number", settle = "number",
}

-- What may stay, by kind.
local function read_leaks(leaks)
    local allowed = {}
    if leaks ~= nil and leaks ~= "fail" and leaks ~= "allow" and type(leaks) ~= "table" then
        complain("the option 'leaks' is \"fail\", \"allow\", or a table of these by kind")
    end
    for _, kind in ipairs(KINDS) do
        local word = leaks
        if type(leaks) == "table" then word = leaks[kind] end
        allowed[kind] = word == "allow"
    end
    for kind, word in pairs(type(leaks) == "table" and leaks or {}) do
        if not is_one_of(KINDS, kind) then complain("nothing of the kind '%s' leaks", tostring(kind)) end
        if word ~= "allow" and word ~= "fail" then complain("leaks of %s: \"fail\" or \"allow\"", kind) end
    end
    return allowed
end

local function read_options(options)
    local read = { virtual = true, limit = 60, real_limit = 10 }
    for name, value in pairs(options or {}) do
        if name ~= "leaks" and not checks[name] then complain("unknown option '%s'", tostring(name)) end
        if name ~= "leaks" and type(value) ~= checks[name] then
            complain("the option '%s' is a %s", name, checks[name])
        end
        read[name] = value
    end
    for _, name in ipairs { "limit", "real_limit" } do
        if not (read[name] > 0 and read[name] < math.huge) then complain("the option '%s' is not a limit", name) end
    end
    read.leaks = read_leaks(read.leaks)
    return read
end

-- --- seeds ---------------------------------------------------------------------------------

local drawn = 0

-- Another one for each test and run.
local function draw()
    drawn = drawn + 1
    return (os.time() * 1000003 + math.floor(os.clock() * 1e6) * 31 + drawn) % 2147483647 + 1
end

local function seed_of(how)
    if how.seed then return how.seed end
    if how.shuffle then return tonumber(os.getenv "NEAP_TEST_SEED") or draw() end
    return 0
end

-- The failure, which tells how its order can be had again. A table stays the same table.
local function with_seed(failure, seed)
    if seed == 0 then return failure end
    local text = ("\nThe order was shuffled: seed = %d, or NEAP_TEST_SEED=%d, repeats it."):format(seed, seed)
    if type(failure) == "string" then return failure .. text end
    if type(failure) == "table" and type(rawget(failure, "message")) == "string" then
        failure.message = failure.message .. text
    end
    return failure
end

-- --- what a test leaves --------------------------------------------------------------------

local function split(text)
    local list = {}
    for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
    return list
end

local function counted(n, word)
    return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

local function add_leak(found, lines, before, word, after)
    if #lines == 0 then return end
    found[#found + 1] = before .. counted(#lines, word) .. after .. "\n\t" .. table.concat(lines, "\n\t")
end

local function report_line(report)
    local text = report.message
    if report.error ~= nil and not text:find(tostring(report.error), 1, true) then
        text = text .. ": " .. tostring(report.error)
    end
    return (report.kind .. ": " .. text):gsub("\n", "\n\t\t")
end

local function leaks_of(loop, reports, allowed)
    local found, errors = {}, {}
    if not allowed.tasks then add_leak(found, split(core.tasks(loop)), "the test left ", "task", " behind:") end
    if not allowed.handles then
        add_leak(found, split(core.handles(loop)), "the test left ", "callback", " to come:")
    end
    if not allowed.sockets then add_leak(found, split(core.socks(loop)), "the test left ", "socket", " open:") end
    for _, report in ipairs(reports) do
        if report.kind ~= "deadlock" then errors[#errors + 1] = report_line(report) end
    end
    if not allowed.errors then add_leak(found, errors, "", "report", " that nobody has read:") end
    return found
end

local function new_descriptors(before)
    local known, new = {}, {}
    for _, line in ipairs(split(before)) do known[line] = true end
    for _, line in ipairs(split(core.descriptors())) do
        if not known[line] then new[#new + 1] = line end
    end
    return new
end

-- What the collector has not closed yet is no leak.
local function descriptor_leaks(before)
    local found = {}
    for _ = 1, 3 do
        if #new_descriptors(before) == 0 then break end
        collectgarbage()
    end
    add_leak(found, new_descriptors(before), "the test left ", "descriptor", " open in the process:")
    return found
end

-- --- one run -------------------------------------------------------------------------------

local function new_loop(how, seed, reports)
    local loop = neap.new_loop {
        virtual = how.virtual, debug = how.debug, backend = how.backend, name = how.name or "test",
        shuffle_seed = seed, settle = how.settle,
    }
    loop:on_slow(false) -- a test asserts no time
    loop:on_error(function(report)
        -- What it names may be gone when it is read.
        reports[#reports + 1] = { kind = report.kind, message = report.message, error = report.error }
    end)
    return loop
end

local function list_tasks(loop)
    local lines = split(core.tasks(loop))
    if #lines == 0 then return "no task is left" end
    lines[1] = lines[1]:gsub("^(main .*), spawned at .*", "%1") -- that was here
    return "its tasks:\n\t" .. table.concat(lines, "\n\t")
end

local function add_failures(text, task, reports)
    if task:done() then
        local ok, err = pcall(task.result, task)
        if not ok then text = text .. "\nmain has failed: " .. tostring(err) end
    end
    for _, report in ipairs(reports) do
        if report.kind ~= "deadlock" then text = text .. "\n" .. report_line(report) end
    end
    return text
end

-- Why the run did not come to its end.
local function explain(loop, how, begun, word, text)
    if word == "deadlock" then return "the test is deadlocked: " .. text end
    if word ~= "timeout" then return "the test did not end: " .. text end
    local limit = ("%g s of real time"):format(how.real_limit)
    if loop:time() - begun >= how.limit then limit = ("%g s of the loop's time"):format(how.limit) end
    return ("the test took longer than %s; %s"):format(limit, list_tasks(loop))
end

-- Answers whether the test has failed, and with what.
local function run_on(loop, fn, how, reports)
    local begun = loop:time()
    local task = loop:create_task { fn, name = "main" }
    local word, text = core.run(loop, task, how.limit, how.real_limit)
    if word then
        return true, how.at .. add_failures(explain(loop, how, begun, word, text), task, reports)
    end
    local ok, err = pcall(task.result, task)
    if not ok then return true, err end
    core.settle(loop, how.real_limit)
    local found = leaks_of(loop, reports, how.leaks)
    return #found > 0, how.at .. table.concat(found, "\n")
end

local function run_test(fn, how, seed)
    local before = how.leaks.descriptors and "" or core.descriptors()
    local reports = {}
    local loop = new_loop(how, seed, reports)
    local ok, failed, failure = pcall(run_on, loop, fn, how, reports)
    loop:on_error(function() end) -- what its end aborts was told above
    loop:close()
    if not ok then error(failed, 0) end
    if not failed and not how.leaks.descriptors then
        local found = descriptor_leaks(before)
        failed, failure = #found > 0, how.at .. table.concat(found)
    end
    if failed then error(with_seed(failure, seed), 0) end
end

-- --- the module ----------------------------------------------------------------------------

-- The options, and where the test stands, for what has no other place.
local function prepare(fn, options)
    if type(fn) ~= "function" then complain("a function expected, got %s", type(fn)) end
    local how, info = read_options(options), debug.getinfo(fn, "S")
    how.at = ("%s:%d: "):format(info.short_src, info.linedefined)
    return how
end

function testing.neap_test(fn, options)
    local how = prepare(fn, options)
    return function() run_test(fn, how, seed_of(how)) end
end

testing.test = testing.neap_test

function testing.explore(n, fn, options)
    if type(n) ~= "number" then complain("a number of orders expected, got %s", type(n)) end
    local how = prepare(fn, options)
    local replay = tonumber(os.getenv "NEAP_TEST_SEED")
    local first = replay or how.seed or 1
    return function()
        for seed = first, replay or first + n - 1 do run_test(fn, how, seed) end
    end
end

function testing.raises(code, fn, ...)
    local ok, err = pcall(fn, ...)
    if ok then error(("expected an error of code '%s', but the call succeeded"):format(code), 2) end
    local kind = type(err)
    local got = (kind == "table" or kind == "userdata") and err.code or nil
    if got ~= code then
        error(("expected an error of code '%s', got '%s': %s"):format(code, tostring(got), tostring(err)), 2)
    end
    return err
end

local function sure(value, ...)
    if not value then error((...), 0) end
    return value, ...
end

local function tcp_pair()
    local listener, client = sure(neap.tcp()), sure(neap.tcp())
    sure(listener:bind "127.0.0.1:0")
    sure(listener:listen())
    sure(client:connect(listener:getsockname()))
    local server = sure(listener:accept())
    listener:close()
    return client, server
end

function testing.pair(sort)
    if sort == "tcp" then return tcp_pair() end
    return sure(neap.socketpair(sort))
end

-- The parts of a sequence run one after the other, whichever tasks they are in.
function testing.sequencer()
    local ended, taken, broken = {}, {}, false

    local function end_of(n)
        ended[n] = ended[n] or neap.event()
        return ended[n]
    end

    local function leave(n, ok, ...)
        broken = broken or not ok
        end_of(n):set()
        if ok then return ... end
        error((...), 0)
    end

    local function enter(n, fn, ...)
        if n > 1 then end_of(n - 1):wait() end
        if broken then error("neap.testing: a part of the sequence before has failed", 0) end
        if fn then return fn(...) end
    end

    return function(n, fn, ...)
        if taken[n] then error(("neap.testing: part %d of the sequence is there already"):format(n), 2) end
        taken[n] = true
        return leave(n, pcall(enter, n, fn, ...))
    end
end

return testing

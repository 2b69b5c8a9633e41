-- A `require` that lets the body of a module wait: the engine's protocol, with the loader called from Lua. Outside of
-- tasks it is the engine's own.
local package, require, loaded = package, require, package.loaded

-- What this engine does is found out by a module that is there for it. Some mark what is being loaded; those look for
-- loaders in another field, and hand them the name alone. Some answer two values; those join the searchers' messages.
local mark, answers
do
    local probe = "neap.probe"
    package.preload[probe] = function() mark = loaded[probe] end
    answers = select("#", pcall(require, probe)) - 1
    package.preload[probe], loaded[probe] = nil, nil
end
local field = mark ~= nil and "loaders" or "searchers"
local separator = answers > 1 and "\n\t" or ""

-- Answers a loader and the value that goes with it, or nil and why there is none.
local function find_loader(name)
    local searchers, tried = package[field], ""
    if type(searchers) ~= "table" then
        return nil, ("'package.%s' must be a table"):format(field)
    end
    for i = 1, math.huge do
        local searcher = rawget(searchers, i)
        if searcher == nil then
            return nil, ("module '%s' not found:%s"):format(name, tried)
        end
        local loader, extra = searcher(name)
        if type(loader) == "function" then
            return loader, extra
        elseif type(loader) == "string" or type(loader) == "number" then
            tried = tried .. separator .. loader
        end
    end
end

return function(neap, keep_trace)
    local current_task, is_cancelled = neap.current_task, neap.is_cancelled
    local pcall, xpcall = neap.pcall or pcall, neap.xpcall or xpcall

    -- One record for each module that is being loaded: by which task, what that was loading before, how it ended.
    local loading = {}
    -- By task: the record of the module that it loads innermost, and the name that it waits for.
    local innermost = setmetatable({}, { __mode = "k" })
    local awaited = setmetatable({}, { __mode = "k" })

    -- Adds the modules from `record` to what its task is at.
    local function add_path(path, record)
        local at, names = innermost[record.task], {}
        while at and at ~= record do
            table.insert(names, 1, at.name)
            at = at.outer
        end
        path[#path + 1] = record.name
        for _, name in ipairs(names) do path[#path + 1] = name end
    end

    -- The ring that would be closed if the task waited for the module of the record, or nil.
    local function find_ring(task, record)
        local path, seen = {}, {}
        while record and not seen[record] do
            seen[record] = true
            add_path(path, record)
            if record.task == task then
                path[#path + 1] = path[1]
                return table.concat(path, " -> ")
            end
            record = loading[awaited[record.task]]
        end
    end

    -- Waits until the module is loaded, or nobody loads it any more.
    local function wait_for(task, record)
        record.ended = record.ended or neap.future()
        awaited[task] = record.name
        local ok, err = pcall(neap.wait, { record.ended, record.task }, { return_when = "first_completed" })
        awaited[task] = nil
        if not ok then error(err, 0) end
    end

    local function begin(name, task)
        local record = { name = name, task = task, outer = innermost[task] }
        loading[name], innermost[task] = record, record
        return record
    end

    local function finish(record)
        if loading[record.name] == record then loading[record.name] = nil end
        if innermost[record.task] == record then innermost[record.task] = record.outer end
        if record.ended then record.ended:set_result() end
    end

    local function fail(record, err)
        if loaded[record.name] == mark then loaded[record.name] = nil end
        record.failed, record.error = not is_cancelled(err), err
        finish(record)
        error(err, 0)
    end

    -- Takes what xpcall answered.
    local function end_load(record, extra, ok, value)
        local name = record.name
        if not ok then fail(record, value) end
        if value ~= nil then loaded[name] = value end
        value = loaded[name]
        if value == mark then
            value = true
            loaded[name] = value
        end
        record.loaded, record.value = true, value
        finish(record)
        if separator == "" then return value end
        return value, extra
    end

    local function load_module(record, loader, extra)
        local name = record.name
        if mark == nil then
            return end_load(record, extra, xpcall(loader, keep_trace, name, extra))
        end
        loaded[name] = mark
        return end_load(record, extra, xpcall(loader, keep_trace, name))
    end

    -- The position in messages is that of our caller.
    return function(name)
        local task = current_task()
        if task == nil then return require(name) end
        if type(name) == "number" then
            name = tostring(name)
        elseif type(name) ~= "string" then
            error(("bad argument #1 to 'require' (string expected, got %s)"):format(
                name == nil and "no value" or type(name)), 2)
        end
        while true do
            local value, record = loaded[name], loading[name]
            if value and value ~= mark then return value end
            if record and not record.task:done() then
                local ring = find_ring(task, record)
                if ring then
                    error(("loop loading module '%s': %s"):format(name, ring), 2)
                end
                wait_for(task, record)
                if record.loaded then return record.value end
                if record.failed then error(record.error, 0) end
            elseif value and not record then
                error(("loop or previous error loading module '%s'"):format(name), 2)
            else
                record = begin(name, task)
                local ok, loader, extra = xpcall(find_loader, keep_trace, name)
                if not ok then fail(record, loader) end
                if loader then return load_module(record, loader, extra) end
                finish(record) -- each who waits searches again
                error(extra, 2)
            end
        end
    end
end

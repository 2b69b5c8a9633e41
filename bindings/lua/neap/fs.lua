-- Files: what neap.fs and file objects have beyond their verbs in C.
return function(core, methods, stream)
    stream(methods) -- read(...) and lines(...)

    local fs = {}
    for name, value in pairs(core) do
        fs[name] = value
    end
    fs.new_watch = nil

    local stat, lstat, readdir, unlink, rmdir, open = fs.stat, fs.lstat, fs.readdir, fs.unlink, fs.rmdir, fs.open

    local function is_gone(err)
        return err.code == "ENOENT" or err.code == "ENOTDIR"
    end

    -- A failure to look is neither yes nor no.
    function fs.exists(path)
        local found, err = stat(path)
        if found then return true end
        if is_gone(err) then return false end
        return nil, err
    end

    -- Closes the file when its last line was read; a failure is raised.
    function fs.lines(path, format)
        local file, err = open(path)
        if not file then error(err, 0) end
        local next_line = file:lines(format)
        return function()
            local line = next_line()
            if line == nil then file:close() end
            return line
        end
    end

    local function join(directory, name)
        return directory:sub(-1) == "/" and directory .. name or directory .. "/" .. name
    end

    local walk_options = { follow = true, depth = true, sorted = true }

    local function check_options(options)
        for name in pairs(options) do
            if not walk_options[name] then
                error(("unknown option '%s' of walk: they are depth, follow and sorted"):format(tostring(name)), 3)
            end
        end
    end

    local function by_name(a, b)
        return a.name < b.name
    end

    -- What a directory is known by, where links may lead back to it.
    local function identity(path)
        local found = stat(path)
        return found and found.type == "directory" and found.device .. ":" .. found.inode
    end

    -- Each step answers path, entry, err. A directory is read when the walk goes on; no descriptor is open in between.
    function fs.walk(top, options)
        options = options or {}
        check_options(options)
        -- Levels under way: a list of entries, how many of them have been answered, the path of their directory.
        local levels, pending = {}, top
        local above = {} -- of the levels: the directories on the way down, by identity
        local deepest = options.depth or math.huge

        local function enter(path)
            local id = options.follow and identity(path)
            if id and above[id] then return end
            local entries, err = readdir(path, { nofollow = #levels > 0 and not options.follow })
            if not entries then return err end
            if options.sorted then table.sort(entries, by_name) end
            levels[#levels + 1] = { entries = entries, at = 0, path = path, id = id }
            if id then above[id] = true end
        end

        local function leave()
            local level = table.remove(levels)
            if level.id then above[level.id] = nil end
        end

        local function descends(entry, path)
            if #levels >= deepest then return false end
            if entry.type == "link" and options.follow then
                return identity(path) and true or false
            end
            return entry.type == "directory"
        end

        return function()
            if pending then
                local path = pending
                pending = nil
                local err = enter(path)
                if err then return path, nil, err end
            end
            while levels[1] do
                local level = levels[#levels]
                level.at = level.at + 1
                local entry = level.entries[level.at]
                if entry then
                    local path = join(level.path, entry.name)
                    pending = descends(entry, path) and path or nil
                    return path, entry
                end
                leave()
            end
        end
    end

    -- Empties the directory; the first failure ends it.
    local function empty(directory)
        local entries, err = readdir(directory, { nofollow = true })
        if not entries then return nil, err end
        for _, entry in ipairs(entries) do
            local path = join(directory, entry.name)
            local ok, failed
            if entry.type == "directory" then
                ok, failed = empty(path)
                if ok then ok, failed = rmdir(path) end
            else
                ok, failed = unlink(path)
            end
            if not ok and failed.code ~= "ENOENT" then return nil, failed end
        end
        return true
    end

    function fs.remove_tree(path)
        local found, err = lstat(path)
        if not found then return nil, err end
        if found.type ~= "directory" then return unlink(path) end
        local ok
        ok, err = empty(path)
        if not ok then return nil, err end
        return rmdir(path)
    end

    -- Watches: which number is which path; of a recursive one, directories are added as they appear.
    local new_watch = core.new_watch
    local watch = {}
    watch.__index = watch
    watch.__name = "neap.fs.watch"

    local watch_names = { recursive = true }

    -- Adds a directory and those below it, but for what is gone meanwhile.
    -- With a queue, entries that are there already are told as created: they may have
    -- come before their directory was watched.
    local function add_tree(self, path, queue)
        local id, err = self.events:add(path)
        if not id then return nil, err end
        self.paths[id] = path
        local entries
        entries, err = readdir(path, { nofollow = true })
        if not entries and not is_gone(err) then return nil, err end
        for _, entry in ipairs(entries or {}) do
            local below = join(path, entry.name)
            if queue then
                queue[#queue + 1] = {
                    path = below, name = entry.name, created = true, is_directory = entry.type == "directory" or nil,
                }
            end
            if entry.type == "directory" then
                local added
                added, err = add_tree(self, below, queue)
                if not added and not is_gone(err) then return nil, err end
            end
        end
        return id
    end

    function fs.watch(path, options)
        options = options or {}
        for name in pairs(options) do
            if not watch_names[name] then
                error(("unknown option '%s' of watch: there is recursive"):format(tostring(name)), 2)
            end
        end
        local events, err = new_watch()
        if not events then return nil, err end
        local self = { events = events, paths = {}, queue = {}, at = 1, recursive = options.recursive }
        local found = options.recursive and lstat(path)
        local id
        if found and found.type == "directory" then
            id, err = add_tree(self, path)
        else
            id, err = events:add(path)
            if id then self.paths[id] = path end
        end
        if not id then
            events:close()
            return nil, err
        end
        return setmetatable(self, watch)
    end

    local function queued(self)
        local event = self.queue[self.at]
        if event then
            self.at = self.at + 1
        elseif self.at > 1 then
            self.queue, self.at = {}, 1
        end
        return event
    end

    function watch.next(self)
        while true do
            local waiting = queued(self)
            if waiting then return waiting end
            local failed = self.failed
            self.failed = nil
            if failed then return nil, failed end
            local event, err = self.events:next_event()
            if not event then
                if err.code == "closed" then return nil end
                return nil, err
            end
            local directory = self.paths[event.id]
            event.path = directory and (event.name and join(directory, event.name) or directory)
            if event.ended then self.paths[event.id] = nil end
            local appeared = event.created or event.moved_to
            if directory and self.recursive and event.is_directory and event.name and appeared then
                local added, why = add_tree(self, event.path, self.queue)
                if not added and not is_gone(why) then self.failed = why end
            end
            event.id = nil
            if directory or event.overflow then return event end
        end
    end

    function watch.__call(self)
        local event, err = watch.next(self)
        if err then error(err, 0) end
        return event
    end

    function watch.close(self)
        return self.events:close()
    end

    watch.__close = watch.close

    return fs
end

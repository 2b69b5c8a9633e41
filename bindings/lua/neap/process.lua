-- Child processes that belong to the scope in which they were started: when it is left they are asked to end, after
-- their grace they are killed, and they are awaited.
return function(neap, processes, scopes, signals)
    local pcall = neap.pcall
    local before_leaving, innermost, reached = scopes.before_leaving, scopes.innermost, scopes.reached

    local GRACE = 3 -- less than that of a run, so that who ignores the signal is killed before the run gives up

    -- Ending

    local function send(process, signal)
        local handle = process._handle
        if process._leads then return handle:kill_group(signal) end
        return handle:kill(signal)
    end

    local function has_ended(process)
        return select("#", process._handle:status()) > 0
    end

    -- As has_ended, and nobody is left in the group that it has led.
    local function is_over(process)
        return has_ended(process) and not (process._leads and process._handle:kill_group(0))
    end

    local function checked_grace(seconds)
        if type(seconds) ~= "number" or not (seconds >= 0 and seconds < math.huge) then
            error("the grace of a process is a number of seconds, and finite", 3)
        end
        return seconds
    end

    local function by_grace(a, b)
        return a._grace < b._grace
    end

    -- Asks all of them, then waits for each until its grace is over. What else is in its group goes with it.
    local function end_all(list)
        local began = neap.loop():time()
        for _, process in ipairs(list) do
            send(process, process._kill_signal)
        end
        table.sort(list, by_grace)
        for _, process in ipairs(list) do
            local left = began + process._grace - neap.loop():time()
            neap.move_on(left, process._handle.wait, process._handle)
            send(process, "KILL")
        end
        for _, process in ipairs(list) do
            process._handle:wait()
        end
    end

    -- No cancellation comes in between. The time above the graces is for processes that the kernel lets die slowly.
    local function end_shielded(list)
        local longest = 0
        for _, process in ipairs(list) do
            longest = math.max(longest, process._grace)
        end
        if not list[1] or pcall(neap.shielded, longest + 1, end_all, list) then return end
        for _, process in ipairs(list) do -- memory is out, or the time
            send(process, "KILL")
        end
    end

    -- Belonging

    local Keeper = {}
    Keeper.__index = Keeper

    local function new_keeper()
        return setmetatable({ processes = {}, n = 0, most = 16 }, Keeper)
    end

    -- Those that are not over; the others are forgotten.
    function Keeper:running()
        local list = {}
        for process in pairs(self.processes) do
            list[#list + 1] = not is_over(process) and process or nil
        end
        self.processes, self.n = {}, #list
        for _, process in ipairs(list) do
            self.processes[process] = true
        end
        return list
    end

    -- Looks for those that are over each time their number has doubled.
    function Keeper:add(process)
        self.processes[process], self.n = true, self.n + 1
        if self.n > self.most then
            self.most = 2 * #self:running() + 16
        end
    end

    function Keeper:finish()
        end_shielded(self:running())
    end

    -- What no scope has belongs to the run, which cancels this task in the end.
    local keepers = setmetatable({}, { __mode = "k" }) -- by loop

    local function keep_until_cancelled(keeper)
        local process = next(keeper.processes)
        while process do
            process._handle:wait()
            if not is_over(process) then send(process, "KILL") end
            keeper.processes[process] = nil
            process = next(keeper.processes)
        end
    end

    local function keep_for_run(loop)
        if keepers[loop] then return keepers[loop] end
        local keeper = new_keeper()
        local function retire()
            if keepers[loop] == keeper then keepers[loop] = nil end
        end
        local task = loop:create_task(function()
            local ok, err = pcall(keep_until_cancelled, keeper)
            retire()
            if not ok then
                keeper:finish()
                error(err, 0)
            end
        end)
        task:add_done_callback(retire) -- it may have been cancelled before it began
        task:set_name "processes"
        keepers[loop] = keeper
        return keeper
    end

    local function keep_in(scope)
        before_leaving[scope] = before_leaving[scope] or new_keeper()
        return before_leaving[scope]
    end

    local function keep(process)
        local scope = innermost()
        local keeper = scope and keep_in(scope) or keep_for_run(neap.loop())
        keeper:add(process)
    end

    -- The object

    local methods = {}

    -- Waits until it has ended, whoever has its pipes: true or nil, "exit" or "signal", and the number.
    function methods.wait(process)
        return process._handle:wait()
    end

    -- As wait answered, or nothing while it runs.
    function methods.status(process)
        return process._handle:status()
    end

    function methods.usage(process)
        return process._handle:usage()
    end

    function methods.kill(process, signal)
        return process._handle:kill(signal or "TERM")
    end

    function methods.kill_group(process, signal)
        return process._handle:kill_group(signal or "TERM")
    end

    local function close_streams(process)
        for _, stream in pairs(process.streams) do
            stream:abort()
        end
    end

    -- Ends it as the end of its scope would, and closes its pipes. Answers what wait does.
    function methods.close(process, grace)
        process._grace = checked_grace(grace or process._grace)
        end_shielded { process }
        close_streams(process)
        return process._handle:status()
    end

    -- Talking

    -- Who does not read all of it may have reasons.
    local function feed(stream, input)
        if input and input ~= "" then stream:write(input) end
        stream:close()
    end

    local function drink(stream, limit)
        local bytes, err = stream:read_all(limit)
        if not bytes then error(err, 0) end
        return bytes
    end

    local function talk(process, input, limit)
        local out, err
        neap.group(function(group)
            if process.stdin then group:spawn(feed, process.stdin, input) end
            if process.stdout then group:spawn(function() out = drink(process.stdout, limit) end) end
            if process.stderr then group:spawn(function() err = drink(process.stderr, limit) end) end
        end)
        close_streams(process)
        return out, err
    end

    local function answer(process, ok, out, err)
        if ok then return out, err, process:wait() end
        local failure = type(out) == "table" and out.only and out:only() or out
        if type(failure) ~= "table" or neap.is_cancelled(failure) then error(out, 0) end
        if failure.code == "limit" then process:close() end
        failure.op, failure.address = "communicate", process.program
        return nil, failure
    end

    -- Writes the input, reads both outputs to their ends, each up to the limit, and waits. Answers both, and what wait
    -- does.
    function methods.communicate(process, input, limit)
        return answer(process, pcall(talk, process, input, limit))
    end

    local meta = { __index = methods, __name = "neap.process", __metatable = "neap.process" }

    function meta.__close(process)
        process:close()
    end

    function meta.__tostring(process)
        local _, how, code = process:status()
        local state = how and (code and how .. " " .. code or how) or "running"
        return ("neap.process: %d %s (%s)"):format(process.pid, process.program, state)
    end

    -- Starting

    local function add_streams(process, options)
        local streams = {}
        for number in pairs(options.fds or {}) do
            streams[number] = process._handle:stream(number)
        end
        for number = 0, 2 do
            streams[number] = process._handle:stream(number)
        end
        process.streams = streams
        process.stdin, process.stdout, process.stderr = streams[0], streams[1], streams[2]
    end

    local process = processes.spawn -- errors blame it by this name

    function neap.process(options)
        local grace, kill_signal = GRACE, "TERM"
        if type(options) == "table" then
            grace = checked_grace(options.grace or GRACE)
            kill_signal = signals.number(options.kill_signal or "TERM")
            if not options.detach and reached() then neap.check() end
        end
        local handle, err = process(options)
        if not handle then
            return nil, err
        end
        local made = setmetatable({
            _handle = handle,
            _leads = options.session or options.process_group,
            _grace = grace,
            _kill_signal = kill_signal,
            pid = handle:pid(),
            program = options[1],
        }, meta)
        add_streams(made, options)
        if not options.detach then keep(made) end
        return made
    end

    function neap.shell(line, options)
        local all = {}
        for key, value in pairs(options or {}) do
            all[key] = value
        end
        all[1], all[2], all[3] = "/bin/sh", "-c", line
        return neap.process(all)
    end
end

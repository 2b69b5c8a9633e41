-- Workers: threads of this process, each with a Lua state and a loop of its own, which do the same and listen together.
--
-- A crew belongs to one task of the starting script, its supervisor, which is spawned where the crew is made, and
-- spawns a task per worker: that starts the worker, hears how it ended, and starts it anew if that is the policy.  So
-- whatever ends the supervisor stops the workers: the shutdown of the run (they stop while its tasks may end by
-- themselves), a cancelled scope, the end of a group, a failure.  Workers end by the shutdown of their own runs; one
-- that does not return to its loop is given up at the end of all graces.

local INTENSITY, PERIOD = 5, 10 -- so many restarts of a worker within so many seconds, and no more
local BACKOFF, BACKOFF_MAX = 0.1, 5
local STOP_GRACE, GRACE = 10, 4 -- of a worker; the end of both comes before that of the starter's run
local MARGIN = 1

local unpack = table.unpack or unpack

local names = {
    n = true, restart = true, intensity = true, period = true, backoff = true, channels = true, grace = true,
    stop_grace = true, control = true,
}

-- The sums of figures that are counts or times; of the others the greatest is told.
local greatest = {
    elapsed = true, longest_batch = true, longest_step = true, late_last = true, late_longest = true,
}

local function add(total, figures)
    if (figures.longest_step or 0) >= (total.longest_step or 0) then
        total.longest_step_of = figures.longest_step_of
    end
    for name, value in pairs(figures) do
        if type(value) == "table" then
            local sum = total[name] or {}
            for i, n in ipairs(value) do
                sum[i] = (sum[i] or 0) + n
            end
            total[name] = sum
        elseif greatest[name] then
            total[name] = math.max(total[name] or 0, value)
        elseif type(value) == "number" then
            total[name] = (total[name] or 0) + value
        end
    end
end

return function(neap, system)
    local crew_class = {}
    crew_class.__index = crew_class
    crew_class.__name = "neap.crew"

    local function refuse(format, ...)
        system.refuse(format:format(...))
    end

    -- The policy of restart, and what the workers will need, copied: one that is started anew gets the same.
    local function read(options)
        local n, main = options[1], options[2]
        for name in pairs(options) do
            if type(name) == "string" and not names[name] then refuse("unknown option '%s'", name) end
        end
        if type(n) ~= "number" or n < 1 or n > 256 or n ~= math.floor(n) then
            refuse("the number of workers is between 1 and 256")
        end
        if type(main) ~= "string" and type(main) ~= "function" then
            refuse("expected a function or the path of a script, got %s", type(main))
        end
        local restart = options.restart or "on_failure"
        if restart ~= "on_failure" and restart ~= "never" then
            refuse("the policies of restart are 'on_failure' and 'never'")
        end
        local channels = options.channels or {}
        if type(channels) ~= "table" then refuse "the option 'channels' must be a table" end
        local how = {
            count = n, control = options.control, grace = options.grace or GRACE, stop_grace = options.stop_grace,
        }
        return restart, system.crew(how, channels, main, unpack(options, 3, options.n or #options))
    end

    -- One worker, and those that take its place

    -- An error that says which worker has failed, and how.
    local function failure(member, how, text, traceback)
        local what = how == "exit" and "has exited with status " .. text or "has failed: " .. tostring(text)
        local err = system.failure(("worker %d %s"):format(member.id, what))
        err.code = "worker"
        err.worker = member.id
        err.traceback = traceback
        err.status = how == "exit" and text or 1
        return err
    end

    local function set_state(crew, member, state)
        member.state = state
        if state == "running" then
            for _, other in ipairs(crew.members) do
                if other.state == "starting" then return end
            end
            if not crew.started:done() then crew.started:set_result(true) end
        end
    end

    -- Starts a worker and waits for its end.
    local function attend(crew, member)
        local ready
        member.worker, ready, member.ended = system.start(crew.core, member.id, member.restarts)
        set_state(crew, member, "starting")
        if crew.stopping then member.worker:stop() end
        neap.wait({ ready, member.ended }, { return_when = "first_completed" })
        if ready:done() then
            set_state(crew, member, "running")
            neap.wait { member.ended }
        end
        set_state(crew, member, "ended")
        return member.worker:outcome()
    end

    -- How long a worker may take to end, at most.
    local function patience(crew)
        return crew.stop_grace + crew.grace + MARGIN
    end

    -- This task is cancelled.  The command goes on without it: see command.finish.
    local function give_up(crew, member)
        crew:stop()
        local ended = member.ended
        if crew.is_command or not ended then return end
        pcall(neap.shielded, patience(crew), neap.wait, { ended })
        if not ended:done() then
            member.worker:hasten()
            member.state = "abandoned"
            crew.tell(("worker %d does not return to its loop and is abandoned"):format(member.id))
        end
    end

    -- Notes a restart; how long to wait before it, or nil if there were too many.
    local function next_delay(crew, member)
        local now, kept = neap.loop():time(), {}
        for _, when in ipairs(member.times) do
            if now - when < crew.period then kept[#kept + 1] = when end
        end
        member.times = kept
        if #kept >= crew.intensity then return nil end
        kept[#kept + 1] = now
        return math.min(crew.backoff * 2 ^ (#kept - 1), BACKOFF_MAX)
    end

    local function with_traceback(err, text)
        return (text or err.message) .. (err.traceback and "\n" .. err.traceback or "")
    end

    -- Answers whether the worker is to be started again.
    local function consider(crew, member, how, text, traceback, was_ready)
        if how == "signal" then crew.cut_off = true end
        local failed = how == "error" or (how == "exit" and text ~= 0)
        if not failed then return false end
        local err = failure(member, how, text, traceback)
        member.error = err
        if crew.stopping then
            crew.failed = crew.failed or err
            return false
        end
        local delay
        if crew.restart == "on_failure" and (was_ready or member.restarts > 0) then
            delay = next_delay(crew, member)
        end
        if delay then
            local plan = ("%s; it is started again in %.1f s"):format(err.message, delay)
            crew.tell(with_traceback(err, plan))
            member.state = "waiting"
            neap.wait({ crew.stop_begun }, { timeout = delay })
            member.restarts = member.restarts + 1
            return not crew.stopping
        end
        crew.failed = crew.failed or err
        if crew.restart == "never" and was_ready then
            crew.tell(with_traceback(err))
        else
            crew:stop()
        end
        return false
    end

    local function keep(crew, member)
        local ok, err = pcall(function()
            repeat until not consider(crew, member, attend(crew, member))
        end)
        if not ok then
            if not neap.is_cancelled(err) then crew.failed = crew.failed or err end
            give_up(crew, member)
            if neap.is_cancelled(err) then error(err, 0) end
        end
        crew.core:leave(member.id)
    end

    -- Not a group: when the time of the run is over, nobody waits for anybody.
    local function supervise(crew)
        local hook = neap.on_shutdown(crew.stop, crew)
        local keepers = {}
        for id, member in ipairs(crew.members) do
            keepers[id] = neap.spawn { keep, crew, member, name = "worker " .. id }
        end
        local ok, err = pcall(neap.wait, keepers)
        hook:cancel()
        if not crew.started:done() then crew.started:set_result(false) end
        if ok then return end
        for _, keeper in ipairs(keepers) do
            keeper:cancel()
        end
        if not crew.is_command then pcall(neap.shielded, patience(crew) + MARGIN, neap.wait, keepers) end
        error(err, 0)
    end

    -- The crew

    -- Starts workers; see meta.lua.
    function neap.workers(options)
        if type(options) ~= "table" then refuse("expected a table: the number of workers, a function or script") end
        local restart, core = read(options)
        local crew = setmetatable({
            core = core,
            count = options[1],
            restart = restart,
            intensity = options.intensity or INTENSITY,
            period = options.period or PERIOD,
            backoff = options.backoff or BACKOFF,
            stop_grace = options.stop_grace or STOP_GRACE,
            grace = options.grace or GRACE,
            tell = system.report,
            members = {},
            started = neap.future(),
            stop_begun = neap.future(),
        }, crew_class)
        for id = 1, crew.count do
            crew.members[id] = { id = id, restarts = 0, times = {}, state = "starting" }
        end
        crew.task = neap.spawn { supervise, crew, name = "workers" }
        return crew
    end

    -- Begins the orderly stop of all workers; none is started again.
    function crew_class:stop()
        if self.stopping then return end
        self.stopping = system.now()
        for _, member in ipairs(self.members) do
            self.core:leave(member.id)
            if member.worker then member.worker:stop() end
        end
        if not self.stop_begun:done() then self.stop_begun:set_result(true) end
    end

    -- Waits until all workers have ended for good; raises the failure that was not made up for by a restart.
    function crew_class:wait()
        neap.await(neap.shield(self.task))
        if self.failed then error(self.failed, 0) end
        return true
    end

    -- Waits until each worker has had its first step; false if that does not come about.
    function crew_class:ready()
        return neap.await(neap.shield(self.started))
    end

    -- A list of { id, state, restarts, error }.
    function crew_class:list()
        local list = {}
        for id, member in ipairs(self.members) do
            list[id] = { id = id, state = member.state, restarts = member.restarts, error = member.error }
        end
        return list
    end

    -- The figures of the workers' loops: their sums, and in the field `workers` those of each by its number.
    function crew_class:metrics()
        local asked, total = {}, { workers = {} }
        for id, member in ipairs(self.members) do
            local answer = member.state == "running" and member.worker:ask()
            if answer then asked[id] = { answer, member.ended } end
        end
        for id, futures in pairs(asked) do
            neap.wait(futures, { return_when = "first_completed" })
            if futures[1]:done() then
                local figures = system.figures(futures[1]:result())
                add(total, figures)
                total.workers[id] = figures
            end
        end
        return total
    end

    -- The command

    local command = {}
    local crew

    local function print_error(text)
        io.stderr:write("neap: ", text, "\n")
    end

    -- The main task of `neap --workers N script args`.
    function command.run(options)
        crew = neap.workers(options)
        crew.is_command = true
        crew.tell = print_error
        local ok, err = pcall(crew.wait, crew)
        if not ok and not neap.is_cancelled(err) then
            print_error(with_traceback(err))
            neap.exit(err.status)
        end
        if not ok then error(err, 0) end
        if crew.cut_off and neap.shutting_down() then -- as a script that was cut off itself
            neap.current_task():cancel()
            neap.yield()
        end
    end

    -- The run is over: all workers have ended, or its time is over, or somebody has hastened it, which is when one
    -- has not had its stop grace.  Waits for those that are left, blocking, and says who they are; answers whether
    -- there are such.
    function command.finish()
        if not crew then return false end
        local now = system.now()
        local since = now - (crew.stopping or now)
        local hasty = since < crew.stop_grace
        local left = system.finish(hasty and MARGIN or patience(crew) - since, hasty)
        for _, id in ipairs(left) do
            print_error(("worker %d does not return to its loop and is abandoned"):format(id))
        end
        return #left > 0
    end

    return command
end

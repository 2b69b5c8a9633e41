-- Regions of a task that are cancelled as a whole, and groups of tasks: each is a scope of the core, which the running
-- task enters, and leaves when the function has ended in whatever way.
return function(neap, scopes, methods)
    local enter, leave_now, join, keep_trace = scopes.enter, scopes.leave, scopes.join, scopes.keep_trace
    local is_cancelled, pcall, xpcall = neap.is_cancelled, neap.pcall, neap.xpcall

    -- What has to end before a scope is left, by scope.
    local before_leaving = {}
    scopes.before_leaving = before_leaving

    local function leave(scope, err)
        local last = before_leaving[scope]
        if last then
            before_leaving[scope] = nil
            last:finish()
        end
        return leave_now(scope, err)
    end
    scopes.leave = leave

    -- Each of these takes the scope and what xpcall answered.

    local function raise_timeout(scope, ok, ...)
        if ok then
            leave(scope)
            return ...
        end
        local err = ...
        error(leave(scope, err) == "timeout" and scopes.timeout_error() or err, 0)
    end

    local function answer_nothing(scope, ok, ...)
        if ok then
            leave(scope)
            return ...
        end
        local err = ...
        if leave(scope, err) then return nil end
        error(err, 0)
    end

    local function pass_on(scope, ok, ...)
        leave(scope)
        if ok then return ... end
        error((...), 0)
    end

    function neap.timeout(seconds, fn, ...)
        return raise_timeout(enter("(region)", fn, seconds), xpcall(fn, keep_trace, ...))
    end

    function neap.timeout_at(when, fn, ...)
        return raise_timeout(enter("(region)", fn, when, true), xpcall(fn, keep_trace, ...))
    end

    function neap.move_on(seconds, fn, ...)
        return answer_nothing(enter("(region)", fn, seconds), xpcall(fn, keep_trace, ...))
    end

    function neap.move_on_at(when, fn, ...)
        return answer_nothing(enter("(region)", fn, when, true), xpcall(fn, keep_trace, ...))
    end

    function neap.shielded(seconds, fn, ...)
        return pass_on(enter("(shield)", fn, seconds), xpcall(fn, keep_trace, ...))
    end

    function neap.scope(fn, ...)
        local scope = enter("(scope)", fn)
        return answer_nothing(scope, xpcall(fn, keep_trace, scope, ...))
    end

    -- Groups

    -- Waits for all members. Answers whether it had to, and the request to the task itself that came meanwhile: it goes
    -- to the members first.
    local function join_all(group)
        local waited, request = group:members() > 0, nil
        while group:members() > 0 do
            local ok, err = pcall(join, group)
            if not ok then
                group:cancel(is_cancelled(err) and err.message or nil)
                if not is_cancelled(err) then error(err, 0) end
                request = request or err
            end
        end
        return waited, request
    end

    -- A list has no place for nil.
    local function add_first(errors, err)
        for _, known in ipairs(errors) do
            if rawequal(known, err) then return end
        end
        table.insert(errors, 1, err == nil and "nil" or err)
    end

    local function first_values(_, ...)
        return ...
    end

    local function end_group(group, ok, ...)
        if not ok then group:cancel() end
        local waited, request = join_all(group)
        local errors = scopes.failures(group)
        local err
        if not ok then err = ... end
        local verdict = leave(group, err)
        if not request and scopes.winner(group) then return first_values(scopes.winner(group)) end
        if not ok and not is_cancelled(err) then add_first(errors, err) end
        if #errors > 0 then error(scopes.group_error(errors), 0) end
        if request then error(request, 0) end
        if waited and scopes.reached() then neap.yield() end -- the wait for the members was cancelled, too
        if ok then return ... end
        if verdict then return nil end
        error(err, 0)
    end

    function neap.group(fn, options)
        local group = enter(options and options.policy or "all", fn)
        return end_group(group, xpcall(fn, keep_trace, group))
    end

    -- Runs fn(ready, ...) as a member and waits until it calls ready; answers what it was called with.
    function methods.start(group, fn, ...)
        local ready = neap.future()
        local task = group:spawn(fn, function(...)
            if not ready:done() then ready:set_result(...) end
        end, ...)
        local ok, err = pcall(neap.wait, { ready, task }, { return_when = "first_completed" })
        if not ok then
            task:cancel()
            error(err, 0)
        end
        if not ready:done() then
            task:result()
            error("the task ended before it was ready", 2)
        end
        return ready:result()
    end

    return join_all
end

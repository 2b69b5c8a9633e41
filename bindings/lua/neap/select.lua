-- The first of several, and all of several as they come.
return function(neap, selects, scopes, join_all)
    local now, await, sort_of = selects.now, selects.await, selects.sort_of
    local is_cancelled, pcall, xpcall = neap.is_cancelled, neap.pcall, neap.xpcall

    -- Functions that lost have ended by now. What they completed with all the same is not lost silently.
    local function hand_out_late(cases, tasks, chosen)
        for i = 1, #cases do
            local task = i ~= chosen and tasks[i]
            if task and not task:cancelled() and not task:exception() and select("#", task:result()) > 0 then
                if cases.late then
                    cases.late(i, task:result())
                else
                    selects.dropped(i)
                end
            end
        end
    end

    -- The tasks among the cases, told to stop, end before the select does; only its own cancellation comes
    -- before that. Answers a request to the task itself, which is then to be made again: its values come first.
    local function await_losers(scope, given)
        local request
        if scope then
            scope:cancel("another case of the select was first")
            request = select(2, join_all(scope))
            scopes.leave(scope)
        end
        local ok, err = true, nil
        if given[1] then ok, err = pcall(neap.wait, given) end
        if not ok and not is_cancelled(err) then error(err, 0) end
        return request or not ok and not scopes.reached() and err
    end

    local function end_select(scope, given, cases, tasks, ok, ...)
        local request = await_losers(scope, given)
        hand_out_late(cases, tasks, ok and ... or nil)
        if request then neap.current_task():cancel(request.message) end
        if not ok then error((...), 0) end
        return ...
    end

    local function select_from(cases)
        local tasks, given, futures, scope = {}, {}, {}, nil
        for i = 1, #cases do
            local sort = sort_of(cases[i])
            futures[i] = cases[i]
            if sort == "body" then
                scope = scope or scopes.enter("(select)", await)
                tasks[i] = scope:spawn(cases[i])
                futures[i] = tasks[i]
            elseif sort == "task" then
                given[#given + 1] = cases[i]
            end
        end
        if not scope and not given[1] then return await(futures) end
        return end_select(scope, given, cases, tasks, xpcall(await, scopes.keep_trace, futures))
    end

    local function or_wait(cases, ...)
        if ... then return ... end
        return select_from(cases)
    end

    function neap.select(cases)
        return or_wait(cases, now(cases))
    end

    -- What is appended to the list meanwhile is found at the next turn of the loop over it.
    function neap.each_completed(list)
        local futures, completed = selects.futures(list), neap.channel("unbounded")
        local known, left = 0, 0
        local function watch_new()
            for i = known + 1, #list do
                known = i
                futures[i] = futures[i] or neap.ensure_future(list[i])
                futures[i]:add_done_callback(function() completed:try_send(i) end)
                left = left + 1
            end
        end
        watch_new()
        return function()
            watch_new()
            if left == 0 then return nil end
            local i = completed:recv()
            local future = futures[i]
            left, futures[i] = left - 1, nil
            return future, i
        end
    end
end

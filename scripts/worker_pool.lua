-- A pool of workers: they take jobs from a queue that has room for a few, so whoever makes the jobs waits for them.
--   neap scripts/worker_pool.lua [workers [jobs]]
local neap = require "neap"

local WORKERS = tonumber(arg and arg[1]) or 4
local JOBS = tonumber(arg and arg[2]) or 20

-- What a job does; every seventh one breaks.
local function work(job)
    neap.sleep(0.01 * (job % 3))
    if job % 7 == 0 then
        error("job " .. job .. " is broken", 0)
    end
    return job * job
end

-- Calls done(job, ok, result) for each job, in the order in which they end.
local function run_pool(workers, jobs, done)
    neap.group(function(group)
        for _ = 1, workers do
            group:spawn(function()
                for job in jobs:iter() do
                    local ok, result = pcall(work, job)
                    if not ok and neap.is_cancelled(result) then
                        error(result, 0)
                    end
                    done(job, ok, result)
                    jobs:task_done()
                end
            end)
        end
    end)
end

local jobs = neap.queue(WORKERS)
local sum, broken = 0, 0

neap.gather(
    function()
        for job = 1, JOBS do
            jobs:put(job, job % 5 == 0 and 0 or 1) -- each fifth one is urgent
        end
        jobs:join()
        jobs:close()
    end,
    function()
        run_pool(WORKERS, jobs, function(job, ok, result)
            if ok then
                sum = sum + result
            else
                broken = broken + 1
                print(job, result)
            end
        end)
    end)
print(("%d jobs, %d broken, sum %d"):format(JOBS, broken, sum))

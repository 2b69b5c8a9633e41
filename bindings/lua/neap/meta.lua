---@meta neap
-- What neap offers to scripts, for language servers and for the reference.  Never run.

--- An asynchronous runtime in which a coroutine is a task.
---
--- Functions marked as suspending wait inside the running task and let the others go on; they raise an error with the code
--- `no_loop`, `no_task` or `no_yield` where no task can wait. Times are seconds as floats; negative is 0, `math.huge` is
--- never, NaN is refused. Expected failures of the world are answered as `nil, err`; misuse raises an error object.
---@class neap
---@field _VERSION string name and version
local neap = {}

--- Anything that can be waited for: a future, a task, a function (it becomes a task), a coroutine that has not ended, or
--- an object whose metatable has `__await`.
---@alias neap.awaitable neap.future|neap.task|function|thread|table

--- An address: `"1.2.3.4:80"`, `"[::1]:80"`, a path with a slash, or `"@abstract"`. Host names are refused with the code
--- `no_resolver` but where it says otherwise: `neap.resolve` looks them up, and so does `neap.connect`.
---@alias neap.address string

--- A number of seconds.
---@alias neap.seconds number

-- Running

--- Runs `fn(...)` as the main task of a loop and answers its values or raises its error. The state's loop is adopted if it
--- is idle, else one is made. In the end the run shuts down: hooks of `neap.on_shutdown` are called, tasks may end by
--- themselves within the stop grace, what is left is cancelled, waited for within the grace, then aborted, and the loop is
--- closed. After `neap.exit(n)` the answer is `n`, after `neap.shutdown()` nothing if that has ended the main task.
---@param fn function|thread|neap.run.options the main task, or the one-table form `{fn, args..., option = value}`
---@param ... any arguments
---@return any ... the values of the main task
function neap.run(fn, ...) end

--- Options of the one-table form of `neap.run`.
---@class neap.run.options
---@field debug? boolean debug mode: creation sites, reports of swallowed cancellations and forgotten sockets
---@field signals? boolean SIGINT and SIGTERM begin the shutdown; a second one, or the end of its time, ends the graces
---@field virtual? boolean a clock that starts at 0 and jumps to the next deadline when nothing else can happen
---@field backend? string `"epoll"`, `"poll"` or `"io_uring"`; default: the environment's `NEAP_BACKEND`, else the best that works
---@field name? string the loop's name
---@field stop_grace? neap.seconds how long tasks may end by themselves; default 0, and 10 once somebody was told of a shutdown
---@field grace? neap.seconds how long cancelled tasks may clean up; default 5
---@field control? boolean `neap ps` and `neap tree` may ask the program; default: the environment's `NEAP_CONTROL`, else false
---@field coroutines? boolean `false`: leave the functions of the `coroutine` table, `require` and other replaced globals alone

--- Ends the run with a status after its clean-up. The calling task does not go on.
---@param status? integer|boolean default 0
function neap.exit(status) end

--- Begins the shutdown, as SIGTERM does: intake stops, tasks may end by themselves, the main task is cancelled, then the
--- others, and what outlives its grace is aborted. The calling task goes on meanwhile. In a loop that is run by other means
--- than `neap.run` only those who listen are told. False if it had begun.
---@param reason? string for reports, and the message of the cancellations
---@return boolean
function neap.shutdown(reason) end

--- Whether the running loop shuts down.
---@return boolean
function neap.shutting_down() end

--- Waits until the shutdown begins.
---@async
function neap.wait_shutdown() end

--- Calls `fn(...)` when the shutdown of the present loop begins, in order of registration: to close what takes in work.
---@param fn function
---@param ... any
---@return neap.handle
function neap.on_shutdown(fn, ...) end

--- The loop of the running task, else the running one, else the state's, which is made when it is first needed.
---@return neap.loop
function neap.loop() end

--- Options of `neap.new_loop`; the first four are those of `neap.run`.
---@class neap.loop.options
---@field virtual? boolean
---@field debug? boolean
---@field backend? string
---@field name? string
---@field shuffle_seed? integer for tests: each batch runs in random order, the same for the same seed; 0: in order
---@field settle? neap.seconds real time without news after which nothing is on its way between sockets; default 0.001

--- Makes a loop that is not the state's.
---@param options? neap.loop.options
---@return neap.loop
function neap.new_loop(options) end

-- Tasks

--- Starts a task; its first step comes in the next tick. The one-table form is
--- `neap.spawn{fn, args..., name = "worker", owns = {conn}, slice = 0.005}`: what it owns is closed if the task is cancelled
--- before it starts; `slice` is that of `task:set_slice`.
--- With `background = true` the task looks after the program and is no part of it: no group takes it, no list shows it, what it
--- waits for keeps nothing from being a deadlock, and it is cancelled when all others have ended.
---@param fn function|thread|table
---@param ... any arguments
---@return neap.task
function neap.spawn(fn, ...) end

--- The task that runs, nil in a callback and outside.
---@return neap.task?
function neap.current_task() end

--- The live tasks of the present loop as a tree, each once: below the one whose group it belongs to, with what it waits for
--- and for how long, where, where it was spawned, its steps and their time, and the scopes that it is inside of.
---@param options? {stacks?: boolean, background?: boolean, format?: "text"|"table"} with stacks; with background tasks; as tables: `{name=, tasks={{name=, id=, doing=, waits_for=, since=, where=, site=, steps=, time=, scopes={...}, tasks={...}}, ...}}`
---@return string|table
function neap.tree(options) end

--- The live tasks of the present loop, in order of creation.
---@return neap.task[]
function neap.all_tasks() end

--- A value that each task sees on its own: a task inherits what its spawner sees, and what it sets is seen by itself, by
--- callbacks that it registers and by tasks that it spawns afterwards.
---@param default? any what is seen where nothing was set
---@return neap.task_local
function neap.task_local(default) end

-- Waiting

--- Waits for a number of seconds; 0 is one tick.
---@async
---@param seconds neap.seconds
function neap.sleep(seconds) end

--- Lets everything else that is ready run once.
---@async
function neap.yield() end

--- Raises the cancellation that a wait here would raise, also that of a deadline which has passed meanwhile; does not wait. For
--- loops that compute for long.
function neap.check() end

--- Waits for the outcome: answers its values or raises the very error.
---@async
---@param x neap.awaitable
---@return any ...
function neap.await(x) end

--- Waits for all and answers their first values in argument order. The first failure cancels the others, and when all have
--- ended an error with the code `group` is raised; its `errors` lists all. The one-table form
--- `neap.gather{a, b, return_errors = true}` waits for all and puts errors among the values.
---@async
---@param ... neap.awaitable
---@return table results with `n`
function neap.gather(...) end

--- Waits until the condition holds or the time is over. Cancels nothing.
---@async
---@param list neap.awaitable[] duplicates collapse
---@param options? {timeout?: neap.seconds, return_when?: "all"|"first_completed"|"first_exception"}
---@return neap.future[] done in the order of the list
---@return neap.future[] pending in the order of the list
function neap.wait(list, options) end

--- Waits for the outcome at most so long; then cancels it, waits for its end, and raises an error with the code `timeout`.
---@async
---@param x neap.awaitable
---@param seconds neap.seconds
---@return any ...
function neap.wait_for(x, seconds) end

--- A future with the outcome of `x`; cancelling it leaves `x` alone.
---@param x neap.awaitable
---@return neap.future
function neap.shield(x) end

--- The future itself, or a task made of the value.
---@param x neap.awaitable
---@return neap.future|neap.task
function neap.ensure_future(x) end

--- A pending future.
---@return neap.future
function neap.future() end

--- Whether the error value is a cancellation.
---@param err any
---@return boolean
function neap.is_cancelled(err) end

-- Scopes

--- Runs `fn(...)` and answers its values; after so many seconds its waits are cancelled, and if that ends it, an error with
--- the code `timeout` is raised. The function is waited for in any case.
---@async
---@param seconds neap.seconds
---@param fn function
---@param ... any
---@return any ...
function neap.timeout(seconds, fn, ...) end

--- As `neap.timeout`, with a time of the loop's clock.
---@async
---@param when neap.seconds
---@param fn function
---@param ... any
---@return any ...
function neap.timeout_at(when, fn, ...) end

--- As `neap.timeout`, but answers nil if the function was late.
---@async
---@param seconds neap.seconds
---@param fn function
---@param ... any
---@return any ...
function neap.move_on(seconds, fn, ...) end

--- As `neap.move_on`, with a time of the loop's clock.
---@async
---@param when neap.seconds
---@param fn function
---@param ... any
---@return any ...
function neap.move_on_at(when, fn, ...) end

--- Runs `fn(...)` such that no cancellation gets in for so many seconds, which are not endless; then what has come gets in.
---@async
---@param seconds neap.seconds
---@param fn function
---@param ... any
---@return any ...
function neap.shielded(seconds, fn, ...) end

--- Runs `fn(scope, ...)`. Answers its values, or nil if the scope's own cancellation has ended it.
---@async
---@param fn fun(scope: neap.scope, ...: any): any
---@param ... any
---@return any ...
function neap.scope(fn, ...) end

--- Runs `fn(group)` and waits for all tasks that were spawned into the group. Answers the values of `fn`, or raises an error
--- with the code `group`, whose `errors` keeps all, that of `fn` first.
---
--- Policies: `"all"` (the default: the first failure that nobody awaits cancels the others), `"collect"` (all run to their end),
--- `"any"` (the first result cancels the others and is answered), `"supervise"` (failures are reported and change nothing).
---@async
---@param fn fun(group: neap.group): any
---@param options? {policy?: "all"|"collect"|"any"|"supervise"}
---@return any ...
function neap.group(fn, options) end

--- A region of a task that is cancelled as a whole.
---@class neap.scope
local scope = {}

--- Cancels each wait inside, now and until the scope is left. False if that was so already, or the scope was left.
---@param message? string
---@return boolean
function scope:cancel(message) end

--- Whether waits inside are cancelled, by this scope or one around it.
---@return boolean
function scope:cancelled() end

--- Whether its own deadline has cancelled it.
---@return boolean
function scope:timed_out() end

--- The deadline as a time of the loop's clock, nil if there is none; sets it if one is given, `math.huge`: none.
---@param when? neap.seconds
---@return neap.seconds?
function scope:deadline(when) end

--- A scope that owns tasks.
---@class neap.group: neap.scope
local group = {}

--- As `neap.spawn`, into this group. `closed` once the group was left.
---@param fn function|thread|table
---@param ... any
---@return neap.task
function group:spawn(fn, ...) end

--- Runs `fn(ready, ...)` as a task of the group, waits until it calls `ready(...)`, and answers what that was called with.
--- What the task fails with before is raised.
---@async
---@param fn fun(ready: fun(...: any), ...: any)
---@param ... any
---@return any ...
function group:start(fn, ...) end

--- How many of its tasks live.
---@return integer
function group:members() end

-- The first of several

--- Waits for the first of several cases; answers its place and its values, or raises its error. A case is a function, which is
--- run as a task, a task, a future, a channel or queue (a value is received), `{channel, value}` or `{queue, value, priority}` (a
--- value is sent), an event, lock, semaphore, limiter or barrier. What is there already wins in the order of the list. The others
--- are cancelled, and tasks have ended when this returns. Of the channels, locks and the like exactly one happens. What a
--- function that lost has completed with all the same goes to `late`, and is reported without it.
---@async
---@param cases table list of cases; `late = fun(i: integer, ...: any)`
---@return integer i
---@return any ...
function neap.select(cases) end

--- `for future, i in neap.each_completed{...} do`: the futures or tasks of the list, functions become tasks, in the order in
--- which they complete, with their places. What is appended to the list meanwhile is included. What is left when the loop is
--- left goes on.
---@param list table of functions, tasks and futures
---@return fun(): neap.future?, integer?
function neap.each_completed(list) end

-- Locks, conditions, semaphores, limiters, events, barriers, channels, queues: served in the order of arrival; what was handed
-- over is not lost to a cancellation

--- A lock, which tasks hold.
---@return neap.lock
function neap.lock() end

--- A condition: tasks that hold the lock wait there until something is true.
---@param lock neap.lock
---@return neap.condition
function neap.condition(lock) end

--- A limiter with so many tokens: a semaphore that knows which tasks have them.
---@param total? integer default 1
---@return neap.limiter
function neap.limiter(total) end

--- A barrier where so many tasks wait for each other.
---@param parties integer
---@return neap.barrier
function neap.barrier(parties) end

--- A semaphore with so many permits.
---@param permits? integer default 1
---@return neap.semaphore
function neap.semaphore(permits) end

--- An event, which is not set.
---@return neap.event
function neap.event() end

--- A channel with room for so many values; 0: a sender waits for its receiver.
---@param capacity? integer|"unbounded" default 0
---@return neap.channel
function neap.channel(capacity) end

--- A channel to scripts in other threads, for all that can be copied: see `neap.blocking`. It goes to other states as an
--- argument of that or of workers, inside a value sent over another channel, or by a host (`neap_lua_push_shared_chan`).
---@param capacity? integer|"unbounded" default 0
---@return neap.shared_channel
function neap.shared_channel(capacity) end

--- A queue with room for so many values, out of which the one of the least priority comes first.
---@param capacity integer|"unbounded"
---@return neap.queue
function neap.queue(capacity) end

---@class neap.lock
local lock = {}

--- Takes the lock, now or later. `deadlock` if the task has it already.
---@async
---@return true
function lock:acquire() end

--- Takes the lock if it is free.
---@return boolean
function lock:try_acquire() end

--- Hands the lock to the oldest waiter, or frees it. `EPERM` if the task does not hold it.
function lock:release() end

--- Whether a task holds it.
---@return boolean
function lock:locked() end

--- Runs `fn(...)` with the lock held; releases it in whatever way that ends.
---@async
---@param fn function
---@param ... any
---@return any ...
function lock:with(fn, ...) end

---@class neap.condition
local condition = {}

--- Hands the lock on, waits to be notified, and takes the lock again; also when the wait is cancelled. `EPERM` if the task does
--- not hold the lock.
---@async
---@return true
function condition:wait() end

--- Waits until `predicate(...)` is true, which is asked with the lock held. Answers what it answered.
---@async
---@param predicate fun(...: any): any
---@param ... any
---@return any
function condition:wait_for(predicate, ...) end

--- Lets the tasks go on that have waited longest, as soon as they get the lock. Answers how many there were. `EPERM` if the
--- task does not hold the lock.
---@param n? integer default 1
---@return integer
function condition:notify(n) end

--- As `notify`, for all who wait.
---@return integer
function condition:notify_all() end

---@class neap.limiter
local limiter = {}

--- Borrows a token, now or later. `deadlock` if the task has one already.
---@async
---@return true
function limiter:acquire() end

--- Borrows a token if there is one and the task has none.
---@return boolean
function limiter:try_acquire() end

--- Gives the token back. `EPERM` if the task has none.
function limiter:release() end

--- Runs `fn(...)` with a token; gives it back in whatever way that ends.
---@async
---@param fn function
---@param ... any
---@return any ...
function limiter:with(fn, ...) end

--- The number of tokens; changes it if one is given.
---@param n? integer
---@return integer
function limiter:total(n) end

--- How many tokens are out.
---@return integer
function limiter:borrowed() end

---@class neap.barrier
local barrier = {}

--- Waits until all parties are here. Answers the place in the order of arrival, from 1; nil and an error once it is closed.
---@async
---@return integer?
---@return neap.error?
function barrier:wait() end

--- Nobody waits any more. False if it was closed.
---@return boolean
function barrier:close() end

--- How many wait.
---@return integer
function barrier:waiting() end

---@class neap.semaphore
local semaphore = {}

--- Takes a permit, now or later.
---@async
---@return true
function semaphore:acquire() end

--- Takes a permit if there is one.
---@return boolean
function semaphore:try_acquire() end

--- Gives a permit: to the oldest waiter, or to the store.
function semaphore:release() end

--- The permits in the store.
---@return integer
function semaphore:permits() end

--- Runs `fn(...)` with a permit; gives it back in whatever way that ends.
---@async
---@param fn function
---@param ... any
---@return any ...
function semaphore:with(fn, ...) end

---@class neap.event
local event = {}

--- Waits until the event is set.
---@async
---@return true
function event:wait() end

--- Sets the event: all who wait go on, and nobody waits from now on. False if it was set.
---@return boolean
function event:set() end

--- Takes it back for those who come later. False if it was not set.
---@return boolean
function event:clear() end

---@return boolean
function event:is_set() end

---@class neap.channel
local channel = {}

--- Sends a value that is not nil; waits for room. Nil and an error with the code `closed` once the channel is closed.
---@async
---@param value any
---@return true?
---@return neap.error?
function channel:send(value) end

--- The next value; waits for it. Nil once the channel is closed and empty.
---@async
---@return any
function channel:recv() end

--- Sends a value if there is room or a receiver. Nil and an error once the channel is closed.
---@param value any
---@return boolean?
---@return neap.error?
function channel:try_send(value) end

--- The next value if there is one, else nil.
---@return any
function channel:try_recv() end

--- Ends sending: those who wait are woken, what was sent can be received. False if it was closed.
---@return boolean
function channel:close() end

---@return boolean
function channel:is_closed() end

--- How many values are in it; `#channel` as well.
---@return integer
function channel:len() end

--- `for value in channel:iter() do`, until the channel is closed and empty.
---@return fun(channel: neap.channel): any
---@return neap.channel
function channel:iter() end

--- As `neap.channel`, between threads.
---@class neap.shared_channel
local shared_channel = {}

---@async
---@param value number|boolean|string|table|neap.shared_channel
---@return true?
---@return neap.error?
function shared_channel:send(value) end

--- The next value, a copy; waits for it. Nil once the channel is closed and empty.
---@async
---@return number|boolean|string|table|neap.shared_channel|nil
function shared_channel:recv() end

---@param value number|boolean|string|table|neap.shared_channel
---@return boolean?
---@return neap.error?
function shared_channel:try_send(value) end

---@return number|boolean|string|table|neap.shared_channel|nil
function shared_channel:try_recv() end

---@return boolean
function shared_channel:close() end

---@return boolean
function shared_channel:is_closed() end

---@return integer
function shared_channel:len() end

---@return fun(channel: neap.shared_channel): any
---@return neap.shared_channel
function shared_channel:iter() end

-- Workers

--- Starts workers: threads with a Lua state and a loop each, which run the same function or script and listen together on
--- what they bind. A task of the present scope supervises them: when it is cancelled, or the run's shutdown begins, they
--- are stopped. A worker that fails at its first start ends all.
---@param options neap.workers.options
---@return neap.crew
function neap.workers(options) end

--- Options of `neap.workers`: `{n, fn or script, args..., option = value}`. The function may use nothing of the state that it
--- comes from but globals, which are those of the worker. Arguments are copied when this is called, as for `neap.blocking`; a
--- worker that is started anew gets them as they were. Where the last are nil, `n` counts the list.
---@class neap.workers.options
---@field n? integer how many values the list has, where the last are nil
---@field restart? string `"on_failure"` (the default): a worker that fails is started again; `"never"`: the others go on without it
---@field intensity? integer so many restarts of a worker within `period`; one more failure ends all; default 5
---@field period? neap.seconds default 10
---@field backoff? neap.seconds before the first restart; doubled with each further one in the period, to at most 5 s; default 0.1
---@field channels? table<string, neap.shared_channel> what the workers find in `neap.worker.channels`
---@field stop_grace? neap.seconds how long their tasks may end by themselves; as in `neap.run`
---@field grace? neap.seconds how long their cancelled tasks may clean up; default 4
---@field control? boolean `neap ps` and `neap tree` may ask them

--- In a worker: which it is.
---@class neap.worker
---@field id integer from 1
---@field count integer how many there are
---@field restarts integer how often this place was taken before
---@field channels table<string, neap.shared_channel>

--- What a worker is; nil elsewhere.
---@type neap.worker?
neap.worker = nil

--- The workers of one `neap.workers`.
---@class neap.crew
---@field count integer
---@field task neap.task the task that supervises them
local crew = {}

--- Waits until all workers have ended for good; raises the failure that no restart has made up for, an error with the code
--- `worker`, the fields `worker` (its number), `status` and `traceback`.
---@async
---@return true
function crew:wait() end

--- Waits until each worker has had its first step; false if that does not come about.
---@async
---@return boolean
function crew:ready() end

--- Begins the shutdown of all workers; none is started again. Does not wait.
function crew:stop() end

--- The workers as a list of `{id, state, restarts, error}`; the states are `starting`, `running`, `waiting` (for its restart),
--- `ended` and `abandoned`.
---@return table[]
function crew:list() end

--- The figures of the workers' loops (see `loop:metrics`), read by each in its own loop: sums, of `elapsed`, `longest_...` and
--- `late_...` the greatest, and in the field `workers` those of each by its number.
---@async
---@return table
function crew:metrics() end

--- Calls the function on a thread of a pool, in a Lua state of that thread, and waits for its results; other tasks run meanwhile.
--- Arguments and results are copied: nil, booleans, numbers, strings, tables of these (nested, shared, in circles, without metatables) and shared
--- channels. A function in Lua may use globals, which are those of the other state and fresh for each call, and no other variables from outside;
--- instead of it the name "module:function" can stand, or a function in C without upvalues. `require` works there, waiting does not. An error comes
--- back with its `traceback`. A cancelled call is free at once; its function is interrupted where it is in Lua (not on LuaJIT), else runs on for nobody.
--- As one table also with options: `neap.blocking{fn, args..., name = "for reports", pool = pool}`.
---@async
---@param fn function|string|table
---@param ... any
---@return any ...
function neap.blocking(fn, ...) end

--- In a function that runs by `neap.blocking`: whether somebody still waits for it. Elsewhere true.
---@return boolean
function neap.is_wanted() end

--- Makes a pool of threads for `neap.blocking` and `run`. Its threads are made for work and end without it.
---@param options? neap.pool.options
---@return neap.pool
function neap.pool(options) end

---@class neap.pool.options
---@field threads? integer at most; default 4
---@field queue? integer how many calls may wait for a thread; one more raises "EBUSY"; default 1024
---@field name? string for reports
---@field idle? number seconds after which a thread without work ends; default 10

---@class neap.pool
local pool = {}

--- As `neap.blocking`, on this pool.
---@async
---@param fn function|string|table
---@param ... any
---@return any ...
function pool:run(fn, ...) end

--- Figures: threads, idle, queued, running, done, dropped (before they began); in seconds longest_queue_time, queue_time of all
--- calls together, longest_run_time.
---@return table<string, number>
function pool:stats() end

--- Ends the pool: refuses new work, finishes what waits (with `cancel` it fails as "closed"), and waits at most `timeout` seconds for the
--- threads. Answers the names of the calls that it leaves behind.
---@async
---@param options? {timeout?: number, cancel?: boolean}
---@return string[]
function pool:shutdown(options) end

---@class neap.queue
local queue = {}

--- Puts a value that is not nil, with a priority; waits for room. Nil and an error with the code `closed` once the queue is closed.
---@async
---@param value any
---@param priority? number the least comes first; default 0
---@return true?
---@return neap.error?
function queue:put(value, priority) end

--- The value of the least priority, among equals the oldest; waits for it. Nil once the queue is closed and empty.
---@async
---@return any
function queue:get() end

--- Puts a value if there is room. Nil and an error once the queue is closed.
---@param value any
---@param priority? number
---@return boolean?
---@return neap.error?
function queue:try_put(value, priority) end

--- The next value if there is one, else nil.
---@return any
function queue:try_get() end

--- Says that the work on one value is done. `invalid_state` if that was said of all.
function queue:task_done() end

--- Waits until `task_done` was called for each value that was put.
---@async
function queue:join() end

--- Ends putting: those who wait are woken, what was put can be got. False if it was closed.
---@return boolean
function queue:close() end

---@return boolean
function queue:is_closed() end

--- How many values are in it; `#queue` as well.
---@return integer
function queue:len() end

--- `for value in queue:iter() do`, until the queue is closed and empty.
---@return fun(queue: neap.queue): any
---@return neap.queue
function queue:iter() end

--- The functions of Lua's `coroutine` table, with `yield`, `resume` and `wrap` such that waits pass through to the task. While
--- a loop of the state runs, the `coroutine` table itself holds them.
neap.coroutine = {}

--- As Lua's `require`, but in a task the body of the module may wait. Who requires a module that another task loads waits
--- for it. A module that fails is tried again by the next call, under every Lua. While a loop of the state runs, the
--- global `require` is this; outside of tasks it is the engine's own.
---@param name string
---@return any
---@return any # with Lua 5.4, the loader's data if this call has loaded the module
function neap.require(name) end

--- `pcall` in which a function can wait: the engine's own, but in Lua 5.1, where it runs the function in a coroutine of its own.
--- While a loop runs it stands in the place of the global there.
---@async
---@param fn function
---@param ... any arguments
---@return boolean ok
---@return any ... the values of the function, or its error
function neap.pcall(fn, ...) end

--- Likewise `xpcall`. In Lua 5.1 it passes arguments on, too, and calls the handler when the stack of the error is gone.
---@async
---@param fn function
---@param handler fun(err: any): any
---@param ... any arguments
---@return boolean ok
---@return any ... the values of the function, or what the handler answered
function neap.xpcall(fn, handler, ...) end

--- `assert` that raises any value: the engine's own, but in Lua 5.1 and 5.2, where it stands in the place of the global while a
--- loop runs.
---@param value any
---@param err? any what is raised if `value` is nil or false
---@param ... any
---@return any ... all arguments
function neap.assert(value, err, ...) end

-- Errors

--- What is raised, or answered behind nil. `tostring` gives "file:line: operation address: message" of what is known.
---@class neap.error
---@field code string the system's names (`"ECONNREFUSED"`) or a word (`"cancelled"`, `"timeout"`, `"closed"`, `"type_error"`)
---@field message string a sentence
---@field errno? integer of system errors
---@field op? string the operation
---@field address? string the address or name that it was about
---@field path? string the file that it was about; of two the first
---@field to? string the second
---@field where? string the position of the script that misused something
---@field cause? any of a group: the first error
---@field errors? any[] of a group: all errors
---@field partial? integer how many bytes a send, write or copy had moved
---@field traceback? string of the task that the error ended first
---@field signal? integer of a cancellation of the main task: the signal that caused it
---@field scope? neap.scope of a cancellation: the scope that caused it
local neap_error

--- The one error that a group's error keeps; of several, and of any other error, that itself: `error(err:only(), 0)`.
---@return any
function neap_error:only() end

-- Futures

--- An outcome that is there or will be: values, an error, a cancellation.
---@class neap.future
local future = {}

--- Waits for the outcome: answers its values or raises the very error.
---@async
---@return any ...
function future:await() end

--- Whether the outcome is there.
---@return boolean
function future:done() end

--- Whether the outcome is a cancellation.
---@return boolean
function future:cancelled() end

--- The values, or raises the error; `invalid_state` while pending.
---@return any ...
function future:result() end

--- The error, nil if there is a result; raises `cancelled` or `invalid_state`.
---@return any
function future:exception() end

--- Completes the future; `invalid_state` if it has its outcome. A task answers `task_owned`.
---@param ... any the values
function future:set_result(...) end

--- Fails the future with any value.
---@param err any
function future:set_exception(err) end

--- Asks for cancellation.
---@param message? string
---@return boolean requested false if the outcome is there already
function future:cancel(message) end

--- Calls `fn(future)` from the loop once the outcome is there, in order of registration.
---@param fn fun(future: neap.future)
function future:add_done_callback(fn) end

--- Removes a function as often as it was added.
---@param fn function
---@return integer removed
function future:remove_done_callback(fn) end

--- Says that nobody will read the outcome: a failure is not reported.
---@return neap.future self
function future:ignore() end

--- How many callbacks and tasks wait for it now.
---@return integer
function future:waiters() end

--- A coroutine that the loop runs; a future as well, without the setters.
---@class neap.task: neap.future
local task = {}

--- The task's name.
---@return string
function task:name() end

--- Changes the name.
---@param name string
---@return neap.task self
function task:set_name(name) end

--- From now on a step of the task that takes longer is interrupted where it is, for one turn of the others; nil: never.
--- No cancellation comes in there, only at waits and in `neap.check`. Not while the task is inside a function that cannot be
--- suspended, nor under a hook of `debug.sethook`. `ENOTSUP` on all engines but Lua 5.4.
---@param seconds? neap.seconds 0: as short as can be, 1,000 instructions
---@return neap.task self
function task:set_slice(seconds) end

--- Where the task was spawned, `"file:line"`.
---@return string
function task:site() end

--- The Lua frames, innermost first: of a live task where it is, of a failed one where it failed.
---@return {source: string, line: integer, defined: integer, name?: string}[]
function task:stack() end

--- The traceback of a live or failed task as text, with the chain of tasks that await it.
---@return string?
function task:traceback() end

--- All about the task as text: what `neap.tree` says of it, with its stack, then what it waits for, from task to task, each
--- once.
---@return string
function task:explain() end

--- A value that each task sees on its own.
---@class neap.task_local
local task_local = {}

--- The value that is seen here.
---@return any
function task_local:get() end

--- Sets what this task, and what it starts from now on, will see.
---@param value any
function task_local:set(value) end

-- Loops

--- An event loop, with the names of asyncio's.
---@class neap.loop
local loop = {}

--- Calls `fn(...)` in the next tick.
---@param fn function
---@param ... any
---@return neap.handle
function loop:call_soon(fn, ...) end

--- Calls `fn(...)` after some seconds.
---@param seconds neap.seconds
---@param fn function
---@param ... any
---@return neap.handle
function loop:call_later(seconds, fn, ...) end

--- Calls `fn(...)` at a time of the loop's clock.
---@param time neap.seconds
---@param fn function
---@param ... any
---@return neap.handle
function loop:call_at(time, fn, ...) end

--- As `neap.on_shutdown`, of this loop.
---@param fn function
---@param ... any
---@return neap.handle
function loop:on_shutdown(fn, ...) end

--- Calls `fn(...)` each so many seconds, without drift; what was missed is skipped.
---@param seconds neap.seconds
---@param fn function
---@param ... any
---@return neap.handle
function loop:call_every(seconds, fn, ...) end

--- The loop's time.
---@return neap.seconds
function loop:time() end

--- Moves a virtual clock forward.
---@param seconds neap.seconds
function loop:advance(seconds) end

--- Runs until `stop`.
function loop:run_forever() end

--- Runs until `x` is done; answers its values or raises its error.
---@param x neap.awaitable
---@return any ...
function loop:run_until_complete(x) end

--- One tick.
---@param seconds? neap.seconds how long it may wait for something to happen; default: for ever
---@return integer ran how many callbacks and steps
function loop:run_once(seconds) end

--- Ends the run after the current batch.
function loop:stop() end

--- Ends everything and lets go of all descriptors. Closing twice is fine.
function loop:close() end

--- Whether the loop runs now.
---@return boolean
function loop:is_running() end

--- Whether the loop was closed.
---@return boolean
function loop:is_closed() end

--- The loop's name.
---@return string
function loop:name() end

--- The backend in use, `"epoll"`, `"poll"` or `"io_uring"`.
---@return string
function loop:backend() end

--- A pending future of this loop.
---@return neap.future
function loop:create_future() end

--- As `neap.spawn`, on this loop.
---@param fn function|thread|table
---@param ... any
---@return neap.task
function loop:create_task(fn, ...) end

--- Reports of failures that nobody awaits go to `fn`; nil: to standard error.
---@param fn? fun(report: neap.report)
function loop:on_error(fn) end

--- Reports steps and callbacks that take longer than some seconds.
---@param seconds neap.seconds|false false: never
---@param fn? fun(report: neap.report) default: the error handler
function loop:on_slow(seconds, fn) end

--- Turns debug mode on or off.
---@param on? boolean nil only asks
---@return boolean before the former setting
function loop:debug(on) end

--- What an error handler gets.
---@class neap.report
---@field kind "callback"|"unhandled"|"pending"|"slow"|"swallowed"|"aborted"|"deadlock"|"left"|"shortage"
---@field message string
---@field code? string
---@field error? any the very error value
---@field task? neap.task
---@field future? neap.future
---@field handle? neap.handle the callback that was running
---@field site? string where the task was spawned or the future made
---@field traceback? string
---@field elapsed? neap.seconds of a slow step
---@field where? string the line up to which a slow step went, or the function of a slow callback

--- Calls `fn(...)` in each tick in which the descriptor is readable, until it is removed.
---@param fd integer|neap.sock|table a descriptor, a socket, or an object with `fileno`
---@param fn function
---@param ... any
---@return boolean replaced whether there was one already
function loop:add_reader(fd, fn, ...) end

--- Removes the reader.
---@param fd integer|neap.sock|table
---@return boolean removed
function loop:remove_reader(fd) end

--- As `add_reader`, when the descriptor is writable.
---@param fd integer|neap.sock|table
---@param fn function
---@param ... any
---@return boolean replaced
function loop:add_writer(fd, fn, ...) end

--- Removes the writer.
---@param fd integer|neap.sock|table
---@return boolean removed
function loop:remove_writer(fd) end

--- Calls `fn(...)` when the signal has arrived, until it is removed; a second handler replaces the first. As with
--- `neap.signal`, the signal is the script's meanwhile.
---@param signal string|integer
---@param fn function
---@param ... any
---@return boolean replaced
function loop:add_signal_handler(signal, fn, ...) end

--- Removes the handler.
---@param signal string|integer
---@return boolean removed
function loop:remove_signal_handler(signal) end

--- A future of the next connection and its address.
---@param sock neap.sock
---@return neap.future
function loop:sock_accept(sock) end

--- A future of up to `n` bytes, `""` at the end of the stream.
---@param sock neap.sock
---@param n integer
---@return neap.future
function loop:sock_recv(sock, n) end

--- A future that is done when all of the string is sent.
---@param sock neap.sock
---@param data string
---@return neap.future
function loop:sock_sendall(sock, data) end

--- A future that is done when the datagram is sent, to `address` or to the connected peer.
---@param sock neap.sock
---@param data string
---@param address? neap.address
---@return neap.future
function loop:sock_sendto(sock, data, address) end

--- A future that is done when the socket is connected.
---@param sock neap.sock
---@param address neap.address
---@return neap.future
function loop:sock_connect(sock, address) end

--- As `neap.blocking`, but answers a future. As in asyncio a pool, or nil for the loop's own, may come first.
---@param fn function|string|table|neap.pool|nil
---@param ... any
---@return neap.future
function loop:run_in_executor(fn, ...) end

--- The pool that `neap.blocking` uses on this loop; nil: one of the loop's own.
---@param executor? neap.pool
function loop:set_default_executor(executor) end

--- The loop's figures: ticks, polls, tasks, timers, futures, operations, socks, objects, bytes and more. In seconds: `elapsed`
--- since the loop was made, `busy` in steps and callbacks, `longest_batch`, `longest_step` (of `longest_step_of`), `late_last`
--- and `late_longest` of timers; `late[n]` timers were late by less than 2^(n-1) microseconds and not by less than half of that.
---@return table<string, integer|number|string|integer[]>
function loop:metrics() end

--- `trace(true)` begins to record what the loop does; `trace(false)` ends that and answers the recording.
---@param on boolean
---@return {event: string, value: integer, time: number, task?: string, id?: integer, by?: integer}[]?
function loop:trace(on) end

--- A callback that is to come.
---@class neap.handle
local handle = {}

--- Prevents the call.
---@return boolean prevented false if it ran or was cancelled already
function handle:cancel() end

--- Whether it was cancelled.
---@return boolean
function handle:cancelled() end

--- The deadline of a timer, nil of what is none.
---@return neap.seconds?
function handle:when() end

--- Moves the deadline of a timer: it fires so many seconds from now. `invalid_state` if it was cancelled or has fired, unless
--- its own callback asks.
---@param seconds neap.seconds
---@return neap.handle self
function handle:reset(seconds) end

--- A future of what `neap.resolve` answers; await raises where that answers an error.
---@param host string
---@param port? integer|string
---@param options? neap.resolve.options
---@return neap.future
function loop:getaddrinfo(host, port, options) end

--- A future of what `neap.getnameinfo` answers; await raises where that answers an error.
---@param address neap.address
---@return neap.future
function loop:getnameinfo(address) end

-- Names and connecting

---@class neap.resolve.options
---@field family? "any"|"inet"|"inet6" default: any
---@field canonical? boolean whether the canonical name is asked for

--- Looks a host name up: a list of its addresses, the best first, with the port of the service (a number or a name, default 0).
--- With the option `canonical` the list has the canonical name in its field of that name. Numeric addresses, `localhost` and
--- what ends in `.localhost` are answered on the spot; files and name servers are asked by other threads.
---
--- Errors have the host in `err.host` and one of the codes `name_not_found`, `no_address` (none of that family),
--- `temporary_failure` (no server answered, or each failed), `resolver_failure`, `bad_name`, `service_not_found`, `value_error`.
---@async
---@param host string
---@param service? integer|string
---@param options? neap.resolve.options may stand in the place of the service
---@return neap.address[]? addresses
---@return neap.error? err
function neap.resolve(host, service, options) end

--- Looks for the name of an address and of the service at its port; where the service has no name, that is the port.
---@async
---@param address neap.address
---@return string? host
---@return string|neap.error service or the error
function neap.getnameinfo(address) end

---@class neap.resolver.options
---@field engine? "c-ares"|"system" default: c-ares where it was built in
---@field servers? string[] numeric addresses with their ports; default: those of resolv.conf
---@field resolv_conf? string the path of another one; it is read again whenever it changes
---@field timeout? neap.seconds of the first try, of each server
---@field tries? integer of each server
---@field cache? integer so many names are kept for as long as their servers allow; default 0
---@field negative? neap.seconds for how long it is kept, in the cache, that a name has no addresses; default 0

--- Sets how the running loop, or the state's, looks names up, and empties its cache. An option that is not given has its
--- default. Without options it only asks.
---@param options? neap.resolver.options
---@return "c-ares"|"system" engine
function neap.resolver(options) end

---@class neap.connect.options
---@field local_addr? neap.address numeric; bound first, and only its family is tried
---@field happy_eyeballs_delay? neap.seconds after which the next address is tried beside; default 0.25
---@field prefer? "any"|"inet"|"inet6" the family that is tried first; default: that of the best address

--- Connects to `"host:port"`, where the host is a name or a numeric address and the port may be the name of a service, or to
--- a Unix stream (`"/path"`, `"unix:PATH"`, `"@abstract"`). All addresses of a name are tried as RFC 8305 says, until one
--- has a connection.
---
--- If none could be connected to, `err.tried` is a list of `{address=, error=}`, and `err.code` is the first that does not only
--- say that there is no route. A failed lookup has the codes of `neap.resolve`.
---@async
---@param address neap.address
---@param options? neap.connect.options
---@return neap.stream?
---@return neap.error? err
function neap.connect(address, options) end

--- As `neap.connect`, the bare socket.
---@async
---@param address neap.address
---@param options? neap.connect.options
---@return neap.sock?
---@return neap.error? err
function neap.connect_sock(address, options) end

-- Sockets

--- A TCP socket, opened by `bind` or `connect` in the family of the address.
---@param family? "any"|"inet"|"inet6"
---@return neap.sock?
---@return neap.error? err
function neap.tcp(family) end

--- A UDP socket.
---@param family? "any"|"inet"|"inet6"
---@return neap.sock?
---@return neap.error? err
function neap.udp(family) end

--- A Unix socket.
---@param sort? "stream"|"dgram"
---@return neap.sock?
---@return neap.error? err
function neap.unix(sort) end

--- Two connected Unix sockets.
---@param sort? "stream"|"dgram"
---@return neap.sock? a
---@return neap.sock b or the error
function neap.socketpair(sort) end

--- A socket of a descriptor, which becomes the socket's.
---@param fd integer|neap.descriptor
---@return neap.sock?
---@return neap.error? err
function neap.adopt(fd) end

--- A socket. It is closed by `close`, at the end of the scope of a `<close>` variable, and as a last resort by the collector.
---@class neap.sock
local sock = {}

--- Binds to an address.
---@param address neap.address
---@return boolean? done
---@return neap.error? err
function sock:bind(address) end

--- Starts to listen.
---@param backlog? integer default: the system's maximum
---@return boolean? done
---@return neap.error? err
function sock:listen(backlog) end

--- The next connection.
---@async
---@return neap.sock? conn
---@return neap.address|neap.error address or the error
function sock:accept() end

--- Connects.
---@async
---@param address neap.address
---@return boolean? done
---@return neap.error? err
function sock:connect(address) end

--- Up to `n` bytes; nil alone at the end of the stream.
---@async
---@param n? integer default 65536
---@return string? data
---@return neap.error? err
function sock:recv(n) end

--- One datagram, cut to `n` bytes, and its sender.
---@async
---@param n? integer default 65536
---@return string? data
---@return neap.address|neap.error address or the error
function sock:recvfrom(n) end

--- Sends what fits, at least a byte.
---@async
---@param data string
---@return integer? count
---@return neap.error? err
---@return integer? partial
function sock:send(data) end

--- Sends all, as one unit among the sends of this socket.
---@async
---@param data string
---@return integer? count
---@return neap.error? err
---@return integer? partial how much went all the same
function sock:sendall(data) end

--- Sends one datagram.
---@async
---@param data string
---@param address? neap.address default: the connected peer
---@return integer? count
---@return neap.error? err
function sock:sendto(data, address) end

--- Datagrams by one system call, as many as are there, at least one; an empty array only if none was asked for. Those that were cut
--- to `size` bytes stand in `cut`, which is nil if there are none, with the lengths that they had had. A connected socket tells
--- here, once each, that an earlier datagram was refused (`ECONNREFUSED`), and goes on.
---@async
---@param max? integer default 64; a system call takes at most 128
---@param size? integer bytes of each that are kept; default 2048
---@return string[]? data
---@return neap.address[]|neap.error from the sender of each, or the error
---@return table<integer, integer>? cut
function sock:recv_many(max, size) end

--- Sends datagrams, all of them and in order, as one unit among the sends of this socket, by as few system calls as there can be.
--- The one that fails is that behind those that went. With `segment` those in a row that are of one length (the last may be shorter)
--- and go to one receiver are given to the kernel as one, which cuts it (`UDP_SEGMENT`): several times as quick.
---@async
---@param data string[]
---@param to? neap.address|neap.address[] the address of all, or of each; default: the connected peer
---@param options? {segment?: boolean}
---@return integer? count
---@return neap.error? err
---@return integer? partial how many went all the same
function sock:send_many(data, to, options) end

--- Sends bytes and copies of descriptors together over a Unix socket. They stay the caller's, who may close them even while this
--- waits. On a stream at least one byte is needed.
---@async
---@param data string
---@param fds (integer|neap.sock|neap.descriptor|table)[] descriptors, sockets, or objects with `fileno`; at most 253
---@return integer? count
---@return neap.error? err
---@return integer? partial
function sock:send_fds(data, fds) end

--- Bytes from a Unix socket, nil at the end of a stream, and the descriptors that came with them. On a stream bytes that were sent
--- before may stand in front. What is unusual is told: `cut`, the datagram was longer; `lost`, more descriptors came than were
--- wanted, or than the process may have, and were closed; with the option `"passcred"` also `pid`, `uid` and `gid` of the sender.
---@async
---@param n? integer bytes; default 4096
---@param max? integer descriptors; default 16
---@return string? data
---@return neap.descriptor[]|neap.error fds or the error
---@return {cut: boolean, lost: boolean, pid?: integer, uid?: integer, gid?: integer}? note
function sock:recv_fds(n, max) end

--- Who was at the other end of a Unix socket when it was connected.
---@return {pid: integer, uid: integer, gid: integer}?
---@return neap.error? err
function sock:peer_credentials() end

--- Receives what is sent to a group of multicast, too; opens the socket in the family of the group.
---@param address string an address of the group, with or without a port
---@param interface? string its name; default: the system chooses
---@param source? string the only sender to hear
---@return boolean? done
---@return neap.error? err
function sock:join(address, interface, source) end

--- Ends a membership, named as it was joined.
---@param address string
---@param interface? string
---@param source? string
---@return boolean? done
---@return neap.error? err
function sock:leave(address, interface, source) end

--- Sends to groups of multicast through this interface.
---@param interface? string its name; default: the system chooses
---@return boolean? done
---@return neap.error? err
function sock:multicast_via(interface) end

--- As `accept`, but never suspends: the code is `EAGAIN` if nobody is there.
---@return neap.sock? conn
---@return neap.address|neap.error address or the error
function sock:try_accept() end

--- As `recv`, but never suspends, and answers `""` at the end of the stream.
---@param n? integer
---@return string? data
---@return neap.error? err
function sock:try_recv(n) end

--- As `recvfrom`, but never suspends.
---@param n? integer
---@return string? data
---@return neap.address|neap.error address or the error
function sock:try_recvfrom(n) end

--- As `send`, but never suspends.
---@param data string
---@return integer? count
---@return neap.error? err
function sock:try_send(data) end

--- As `sendto`, but never suspends.
---@param data string
---@param address? neap.address default: the connected peer
---@return integer? count
---@return neap.error? err
function sock:try_sendto(data, address) end

--- Ends one direction or both.
---@param how? "read"|"write"|"both"
---@return boolean? done
---@return neap.error? err
function sock:shutdown(how) end

--- Closes at once; operations that wait end with the code `closed`.
---@return boolean done
function sock:close() end

--- Whether it was closed.
---@return boolean
function sock:closed() end

--- The descriptor.
---@return integer? fd
---@return neap.error? err
function sock:fileno() end

--- The address that the socket is bound to.
---@return neap.address?
---@return neap.error? err
function sock:getsockname() end

--- The address of the peer.
---@return neap.address?
---@return neap.error? err
function sock:getpeername() end

--- Sets an option: `"nodelay"`, `"keepalive"`, `"sndbuf"`, `"rcvbuf"`, `"linger"`, `"reuseport"`, `"broadcast"` and others of neap.h.
---@param name string
---@param value integer|boolean
---@return boolean? done
---@return neap.error? err
function sock:setsockopt(name, value) end

--- Reads an option; `"drops"` tells how many datagrams found no room in the socket's queue.
---@param name string
---@return integer?
---@return neap.error? err
function sock:getsockopt(name) end

--- A descriptor that came over a Unix socket. It is closed by `close`, at the end of the scope of a `<close>` variable, and as a last
--- resort by the collector. `neap.adopt` makes a socket of it, `neap.stream` a stream.
---@class neap.descriptor
local descriptor = {}

--- Its number.
---@return integer? fd
---@return neap.error? err
function descriptor:fileno() end

--- Its number, which the caller has to close from now on.
---@return integer? fd
---@return neap.error? err
function descriptor:detach() end

--- Closes it.
---@return boolean done
function descriptor:close() end

--- Whether it was closed, detached or adopted.
---@return boolean
function descriptor:closed() end

-- Streams

--- A stream over a connected socket, which it closes with itself, or over the descriptor of a pipe, terminal or file, which becomes
--- the stream's. Nobody else should receive from the socket or send to it any more.
---@param from neap.sock|integer|neap.descriptor
---@return neap.stream?
---@return neap.error? err
function neap.stream(from) end

--- A stream over a descriptor that other processes may use, too, such as the terminal's: it stays the caller's, and its flags stay as
--- they are.
---@param fd integer
---@return neap.stream?
---@return neap.error? err
function neap.shared_stream(fd) end

--- Standard input of the process, as a stream of the loop that asks first. The descriptor and its flags stay as they are.
---@type neap.stream
neap.stdin = nil

--- Standard output. What was written goes before the run ends.
---@type neap.stream
neap.stdout = nil

--- Standard errors, likewise.
---@type neap.stream
neap.stderr = nil

--- Two streams that are connected to each other.
---@return neap.stream? a
---@return neap.stream b or the error
function neap.stream_pair() end

--- Bytes in order, both ways. One task at a time reads; what a read does not take stays for the next, also if it fails or is
--- cancelled. Any number of tasks write; each write goes as one, soon after the step of its task. Reads answer nil alone at the end,
--- and nil and an error for a failure.
---@class neap.stream
local stream = {}

--- Reads as `io.read` does: `"l"` (a line, the default), `"L"` (with its end), `"n"` (a number), `"a"` (all up to the end), or a number of
--- bytes, of which it takes what is there, at least one. Stops at the first format that finds nothing.
---@param format? string|integer
---@param ... string|integer
---@return any ...
function stream:read(format, ...) end

--- Reads `n` bytes. `incomplete` if the end comes before; what is there can be read by other means.
---@param n integer
---@return string?
---@return neap.error? err
function stream:read_exactly(n) end

--- Reads up to and with the delimiter, or that of several which ends first; `limit` bytes at most, as `stream:limit` if none is given.
--- `limit` and `incomplete` take nothing.
---@param delimiters string|string[] at most 16
---@param limit? integer
---@return string?
---@return neap.error? err
function stream:read_until(delimiters, limit) end

--- Reads a line; the last one may have no end. `limit` as for `read_until`.
---@param keep? boolean with its end
---@param limit? integer
---@return string?
---@return neap.error? err
function stream:read_line(keep, limit) end

--- Reads all up to the end, which may be `""`.
---@param limit? integer
---@return string?
---@return neap.error? err
function stream:read_all(limit) end

--- Reads what is there, at least one byte, up to `max`, 65536 if none is given.
---@param max? integer
---@return string?
---@return neap.error? err
function stream:read_some(max) end

--- `for line in stream:lines() do ... end`; the formats are those of `read`. A failure is raised.
---@param format? string|integer
---@param limit? integer of lines
---@return fun(): any
function stream:lines(format, limit) end

--- Waits until `n` bytes can be seen by `peek`; answers how many, fewer before the end.
---@param n integer
---@return integer?
---@return neap.error? err
function stream:fill(n) end

--- What has come and was not read, at most `max` bytes of it. Never waits.
---@param max? integer
---@return string?
---@return neap.error? err
function stream:peek(max) end

--- Takes `n` of the bytes that `peek` shows.
---@param n integer
---@return neap.stream? self
---@return neap.error? err
function stream:consume(n) end

--- Puts a string in front of what is to be read.
---@param data string
---@return neap.stream? self
---@return neap.error? err
function stream:unread(data) end

--- As `read_some`, without waiting: `EAGAIN`, and `""` at the end.
---@param max? integer
---@return string?
---@return neap.error? err
function stream:try_read(max) end

--- Sets the limit of lines and of what stands before delimiters (65536 at first); answers the one before.
---@param limit? integer
---@return integer before
function stream:limit(limit) end

--- Whether all was read and the end has come.
---@return boolean
function stream:at_end() end

--- Writes strings, numbers and lists of them as one. Waits while more than the high mark is unsent. A failure to send is told by the
--- next call that writes, drains or closes.
---@param ... string|number|(string|number)[]
---@return neap.stream? self
---@return neap.error? err
function stream:write(...) end

--- As `write`, without waiting: `EAGAIN` above the high mark, and then nothing is taken.
---@param ... string|number|(string|number)[]
---@return neap.stream? self
---@return neap.error? err
function stream:try_write(...) end

--- As `write`, but takes everything and never waits: for callbacks. Nothing but `unsent` tells that it is too much.
---@param ... string|number|(string|number)[]
---@return neap.stream? self
---@return neap.error? err
function stream:buffer(...) end

--- Waits until the system has all that was written.
---@return neap.stream? self
---@return neap.error? err
function stream:drain() end

--- Ends writing: the peer reads the end when it has read the rest, and can still answer. A pipe or terminal is closed.
---@return neap.stream? self
---@return neap.error? err
function stream:write_eof() end

--- Sends `count` bytes of a file (all that is left, if none is given) from `offset` on, in its place among the writes, without
--- copying them where the system can.
---@param file neap.file|file*|integer
---@param offset? integer
---@param count? integer
---@return neap.stream? self
---@return neap.error? err
function stream:sendfile(file, offset, count) end

--- Sets from how many unsent bytes on writers wait, and until how many: 16384 and 65536 at first.
---@param low integer
---@param high integer
---@return boolean? done
---@return neap.error? err
function stream:set_marks(low, high) end

--- The number of bytes that were written and that the system does not have yet.
---@return integer
function stream:unsent() end

--- Closes when all has gone. If the wait is cancelled it closes at once, as `abort`. Where no wait is possible, as in an aborted
--- task, the rest goes by itself.
---@return boolean? done
---@return neap.error? err why something could not be sent; the stream is closed then, too
function stream:close() end

--- Closes at once: what was not sent is lost, and a peer over TCP is told so by a reset.
---@return boolean done
function stream:abort() end

--- Whether it was closed.
---@return boolean
function stream:closed() end

--- The address of the peer, also when that has gone, and after close.
---@return neap.address?
---@return neap.error? err
function stream:peer() end

--- The stream's own address, until it is closed.
---@return neap.address?
---@return neap.error? err
function stream:name() end

--- The descriptor, borrowed.
---@return integer?
---@return neap.error? err
function stream:fileno() end

--- As `sock:setsockopt`.
---@param name string
---@param value integer|boolean
---@return boolean? done
---@return neap.error? err
function stream:setsockopt(name, value) end

--- As `sock:getsockopt`.
---@param name string
---@return integer?
---@return neap.error? err
function stream:getsockopt(name) end

-- Servers

--- Listens on one or several addresses and runs `handler(stream, address)` in a task of its own for each connection. When the handler
--- has ended, what it wrote is sent and the connection is closed; one that fails is reported with the address of its peer. The
--- server belongs to the group that it was made in, as a task does, and is closed by a shutdown. A failure to listen is nil and an
--- error that names the address.
---@param addresses string|string[]
---@param handler fun(stream: neap.stream, address: string)
---@param options? neap.serve.options
---@return neap.server?
---@return neap.error? err
function neap.serve(addresses, handler, options) end

--- Options of `serve`, `listen` and `create_server`.
---@class neap.serve.options
---@field max_connections? integer open at the same time; more wait in the kernel's queue; default: any number
---@field backlog? integer connections that the kernel queues; default: the system's maximum
---@field reuse_port? boolean other sockets may share the port: the kernel spreads connections
---@field one_port? boolean IP addresses with port 0 share the port that the first of them is given
---@field keep_alive? boolean peers that are silent are asked whether they are there (`SO_KEEPALIVE`)
---@field shed? boolean `false`: while descriptors are short connections wait, instead of being closed at once
---@field backoff? neap.seconds how often the server looks again while it is short of something; default 0.1
---@field batch? integer connections accepted in one turn of the loop; default 64
---@field unlink? boolean `false`: the path of a Unix socket stays when the server is closed
---@field shutdown? boolean `false`: a shutdown of the loop leaves the server alone
---@field paused? boolean accept only after `resume`
---@field sockets? boolean the handler gets a socket instead of a stream

--- A server without a handler: its connections are taken by `accept`. It stops when nobody has it any more.
---@param addresses string|string[]
---@param options? neap.serve.options
---@return neap.server?
---@return neap.error? err
function neap.listen(addresses, options) end

--- A server. The end of the block of a `<close>` variable closes it and waits for its end; if an error has ended the block, without a
--- grace.
---@class neap.server
local server = {}

--- The addresses on which it listens now.
---@return string[]
function server:addresses() end

--- The sockets on which it listens now.
---@return neap.sock[]
function server:sockets() end

--- The connections that are open or whose handler runs, in the order in which they came.
---@return neap.connection[]
function server:connections() end

---@class neap.connection
---@field id integer from 1
---@field address string of the peer
---@field age neap.seconds since it was accepted
---@field open boolean
---@field task? neap.task of the handler

--- Figures: `open` connections now, `accepted` ever, `shed` for lack of descriptors, `shortages` in which that happened, `turns` in
--- which it looked for connections.
---@return table<string, integer>
function server:metrics() end

--- `"open"`, `"closing"`, `"cancelling"` or `"closed"`.
---@return string
function server:state() end

--- Connections wait in the kernel's queue from now on.
---@return boolean
function server:pause() end

--- They are accepted again.
---@return boolean
function server:resume() end

--- Begins its end: it listens no more; with a grace, who had connected before is still served. Handlers may finish within the
--- grace, are then cancelled, and aborted if that takes too long. Called again it can only shorten the graces. False if it was closed.
---@param options? neap.server.close_options
---@return boolean
function server:close(options) end

---@class neap.server.close_options
---@field grace? neap.seconds default 10
---@field cancel_grace? neap.seconds default 5
---@field reason? string the message of the cancellation

--- Closes all connections now and cancels the handlers, which have one turn to clean up. False if it was closed.
---@return boolean
function server:abort() end

--- Waits until no connection is open and no task is left of the handlers and what they have spawned.
---@async
---@return boolean
function server:wait_closed() end

--- `wait_closed`; if that is cancelled the server is closed first, without a grace.
---@async
function server:serve_forever() end

--- The next connection, of a server without a handler.
---@async
---@return neap.sock?
---@return string address or the error: `closed`
function server:accept() end

--- `for sock, address in server:iter() do ... end`, until the server is closed.
---@return function
---@return neap.server
function server:iter() end

--- As `resume`, after asyncio.
---@return boolean
function server:start_serving() end

--- Whether its state is `"open"`.
---@return boolean
function server:is_serving() end

--- asyncio's server: `factory()` answers a protocol for each connection, an object of which these methods are called if it has them:
--- `connection_made(transport)`, `data_received(data)` any number of times, `eof_received()` (true: go on writing), then once
--- `connection_lost(err)`, with nil after a normal end; `pause_writing()` and `resume_writing()` when too much is unsent. Those of
--- one connection run one after the other in a task of its own, so they may wait. An error in one ends that connection, and
--- is reported. `pause_writing` is called inside `write`.
---@param factory fun(): table
---@param host string|string[]|nil numeric, `"localhost"`, `nil` for all, or whole addresses if there is no port
---@param port? integer
---@param options? neap.serve.options
---@return neap.server?
---@return neap.error? err
function loop:create_server(factory, host, port, options) end

--- asyncio's connection: connects as `neap.connect` does, and answers when the protocol of `factory()` has been told.
---@async
---@param factory fun(): table
---@param host string
---@param port? integer
---@param options? neap.connect.options
---@return neap.transport? transport or nil
---@return table protocol or the error
function loop:create_connection(factory, host, port, options) end

--- What a protocol writes to. None of its methods waits.
---@class neap.transport
local transport = {}

--- Writes a string. What cannot be sent at once is kept, however much it is: mind `pause_writing`.
---@param data string
---@return boolean?
---@return neap.error? err
function transport:write(data) end

--- Writes a list of strings as one.
---@param list string[]
---@return boolean?
---@return neap.error? err
function transport:writelines(list) end

--- Ends writing when all has gone.
---@return boolean?
---@return neap.error? err
function transport:write_eof() end

---@return boolean
function transport:can_write_eof() end

--- The number of bytes that are unsent.
---@return integer
function transport:get_write_buffer_size() end

--- From how many unsent bytes on `pause_writing` is called, and until how many. 65536 and a quarter of the first.
---@param high? integer
---@param low? integer
function transport:set_write_buffer_limits(high, low) end

--- Nothing is received until `resume_reading`.
function transport:pause_reading() end

--- Calls nobody: what has come is told later.
function transport:resume_reading() end

---@return boolean
function transport:is_reading() end

--- Closes when all has gone; nothing more is received.
function transport:close() end

--- Closes at once.
function transport:abort() end

---@return boolean
function transport:is_closing() end

--- `"peername"`, `"sockname"` or `"socket"`; the default for all else.
---@param name string
---@param default? any
---@return any
function transport:get_extra_info(name, default) end

---@return table
function transport:get_protocol() end

--- Another protocol is told from now on.
---@param protocol table
function transport:set_protocol(protocol) end

--- asyncio's endpoint for datagrams: opens a socket and answers when the protocol of `factory()` has been told. Of that these methods
--- are called if it has them: `connection_made(transport)`, then `datagram_received(data, address)` and `error_received(err)` any
--- number of times, then once `connection_lost(err)`, with nil after a normal end; `pause_writing()` and `resume_writing()` when
--- too much is unsent. They run one after the other in a task of their own, so they may wait. An error in one ends the endpoint,
--- and is reported. `pause_writing` is called inside `sendto`.
---@async
---@param factory fun(): table
---@param options? neap.datagram.options
---@return neap.datagram_transport? transport or nil
---@return table protocol or the error
function loop:create_datagram_endpoint(factory, options) end

--- An address is `"host:port"`, `"[host]:port"` or `{host, port}`; names are looked up, and the first addresses of one family that
--- can be used are taken.
---@class neap.datagram.options
---@field local_addr? string|table where it receives; no host: all, port 0: any. Default: any address, or what `remote_addr` needs
---@field remote_addr? string|table the only one that it hears, and whom it sends to
---@field family? "any"|"inet"|"inet6" default: any
---@field reuse_port? boolean other sockets may share the port: the kernel spreads datagrams by sender
---@field broadcast? boolean datagrams may go to broadcast addresses
---@field sock? neap.sock one that was made before, instead of all else: in a group of multicast, or of a Unix path

--- What a protocol sends datagrams with. None of its methods waits.
---@class neap.datagram_transport
local datagram_transport = {}

--- Sends one datagram. What cannot be sent at once is kept, in order, however much it is: mind `pause_writing`. A failure is also
--- told by `error_received`, and ends nothing.
---@param data string
---@param address? neap.address default: the remote address
---@return boolean?
---@return neap.error? err
function datagram_transport:sendto(data, address) end

--- The number of bytes that are unsent, with eight for each datagram.
---@return integer
function datagram_transport:get_write_buffer_size() end

--- From how many unsent bytes on `pause_writing` is called, and until how many. 65536 and a quarter of the first.
---@param high? integer
---@param low? integer
function datagram_transport:set_write_buffer_limits(high, low) end

--- Closes when all has gone; nothing more is received.
function datagram_transport:close() end

--- Closes at once.
function datagram_transport:abort() end

---@return boolean
function datagram_transport:is_closing() end

--- `"peername"` (of a remote address), `"sockname"` or `"socket"`; the default for all else. Names stay known after the end.
---@param name string
---@param default? any
---@return any
function datagram_transport:get_extra_info(name, default) end

---@return table
function datagram_transport:get_protocol() end

--- Another protocol is told from now on.
---@param protocol table
function datagram_transport:set_protocol(protocol) end
-- Processes

--- Starts a program and gives the process: the list of its name and arguments, and options. It belongs to the innermost scope or
--- group of the running task, without one to the run: when that is left the process gets `kill_signal`, after `grace` seconds it is
--- killed, and it is awaited. The calling task does not wait, but the whole loop stands still for the moment that the program
--- needs to begin. Raises the cancellation in a scope that is cancelled.
---@param options neap.process.options
---@return neap.process?
---@return neap.error? err names the program; `err.step` is what failed: `"exec"`, `"chdir"`, `"setuid"`, ...
function neap.process(options) end

--- As `neap.process { "/bin/sh", "-c", line, ... }`. Whatever of the line came from elsewhere the shell reads as well: use it for
--- lines that you wrote yourself, and arguments or the environment for the rest.
---@param line string
---@param options? neap.process.options
---@return neap.process?
---@return neap.error? err
function neap.shell(line, options) end

--- What a descriptor of a process is: `"inherit"` (the default for 0, 1, 2), `"null"`, `"pipe"` (to a stream of ours: the child
--- reads 0 and writes the others), `"pipe_in"` (a pipe that it reads), `"pair"` (both ways), `"stdout"` (what its stdout is), or a
--- number, a file of `io`, or a socket, which it gets a copy of.
---@alias neap.process.fd string|integer|file*|neap.sock

--- Options of `neap.process`. The list holds the program, searched along PATH if it has no slash, and its arguments.
---@class neap.process.options
---@field [integer] string|number
---@field env? table<string, string|number|false> variables that are added to ours or replaced; `false` removes
---@field clear_env? boolean nothing is inherited: the environment is only `env`
---@field cwd? string where it runs, and where relative paths begin
---@field stdin? neap.process.fd
---@field stdout? neap.process.fd
---@field stderr? neap.process.fd
---@field fds? table<integer, neap.process.fd> further ones, by number; all others are closed
---@field user? string|integer with a name, also with the user's groups
---@field group? string|integer
---@field groups? integer[] supplementary groups; default: none, or those of the user's name
---@field session? boolean it leads a session of its own
---@field process_group? boolean it leads a process group of its own, which is signalled, and ends, as a whole
---@field kill_signal? string|integer what asks it to end; default `"TERM"`
---@field grace? neap.seconds between that and `"KILL"`; default 3
---@field death_signal? string|integer that it gets if our thread ends without having ended it
---@field detach? boolean it belongs to no scope and runs on, also after the loop and its variables are gone
---@field keep_fds? boolean inherits also other descriptors that are not close-on-exec
---@field keep_signals? boolean inherits the signal mask, and which signals are ignored

--- A child process. With a to-be-closed variable it ends with it.
---@class neap.process
---@field pid integer
---@field program string
---@field stdin neap.stream?
---@field stdout neap.stream?
---@field stderr neap.stream?
---@field streams table<integer, neap.stream> by the child's number
local process = {}

--- Waits until it has ended, whoever else has its pipes; any number of tasks may. Answers as `os.execute`: `true, "exit", 0`, or
--- `nil, "exit", code`, or `nil, "signal", number, name`; `nil, "unknown"` if the host reaps all children.
---@async
---@return true?
---@return string how
---@return integer? code
---@return string|integer? name of the signal
function process:wait() end

--- What `wait` answers, or nothing while it runs.
---@return true?
---@return string? how
---@return integer? code
---@return string|integer? name of the signal
function process:status() end

--- What it has used once it has ended: `user` and `system` seconds, `max_rss` in bytes; `dumped`: it left a core.
---@return { user: number, system: number, max_rss: number, dumped: boolean }?
function process:usage() end

--- Sends a signal, `"TERM"` if none is given. Never reaches another process that has taken over the number.
---@param signal? string|integer
---@return true?
---@return neap.error? err `"ESRCH"` if it has ended
function process:kill(signal) end

--- Sends a signal to all processes of the group that it leads.
---@param signal? string|integer
---@return true?
---@return neap.error? err
function process:kill_group(signal) end

--- Writes `input` to its stdin and closes that, reads stdout and stderr to their ends, all at once, and waits for its end. With
--- more than `limit` bytes in one of them the process is ended, and the error's code is `limit`.
---@async
---@param input? string
---@param limit? integer
---@return string? out nil without a pipe
---@return string|neap.error|nil err what came through stderr, or the error
---@return true? ... as `wait`
function process:communicate(input, limit) end

--- Ends it as the end of its scope would: signal, grace, kill; then closes its streams. Answers what `wait` does.
---@async
---@param grace? neap.seconds
---@return true?
---@return string how
---@return integer? code
---@return string|integer? name of the signal
function process:close(grace) end

-- Signals

--- A stream of the arrivals of these signals, `"HUP"`, `"SIGHUP"` or a number each. What arrives before the last arrival was received
--- counts as one; several streams of a signal all see it. The handlers that were there are put back when it is closed, collected,
--- or the loop ends. While it is open `"INT"` and `"TERM"` end neither the run nor, in a stock interpreter, the script.
---
--- `for name, number in stream do` receives until it is closed.
---@param ... string|integer
---@return neap.signal
function neap.signal(...) end

---@class neap.signal
---@operator call: string|integer
local signal_stream = {}

--- Waits for the next; nil once the stream is closed.
---@async
---@return string|integer? name
---@return integer? number
function signal_stream:recv() end

--- The next if it has arrived, else nil.
---@return string|integer? name
---@return integer? number
function signal_stream:try_recv() end

--- Who waits receives nil. False if it was closed.
---@return boolean
function signal_stream:close() end

-- Files

--- Files: each call is one trip to a pool of threads, or to the kernel (io_uring), so nobody else waits meanwhile. Paths with a zero
--- byte inside are refused. Errors have `op`, `path` and, of two paths, `to`.
---@class neap.fs
local fs = {}
neap.fs = fs

--- Opens a file with the modes of `io.open`; `"wx"` makes one that must be new. Where a read or write would wait for the other end of a
--- pipe, or for a terminal, it fails with `EAGAIN`: those are read as streams.
---@async
---@param path string
---@param mode? string default `"r"`
---@param options? neap.fs.open.options
---@return neap.file?
---@return neap.error? err
function fs.open(path, mode, options) end

---@class neap.fs.open.options
---@field permissions? integer of a new file, before the umask; default 438 (octal 666)
---@field nofollow? boolean fail if the path ends in a symbolic link

--- A file of the number of a descriptor, which becomes the file's.
---@param fd integer
---@return neap.file?
---@return neap.error? err
function fs.adopt(fd) end

--- Makes and opens a new file for this user only; the six X at the end of the pattern become others. `file:path()` is its name.
---@async
---@param pattern? string default `"/tmp/neap-XXXXXX"`
---@return neap.file?
---@return neap.error? err
function fs.mkstemp(pattern) end

--- Likewise a directory.
---@async
---@param pattern? string default `"/tmp/neap-XXXXXX"`
---@return string? path
---@return neap.error? err
function fs.mkdtemp(pattern) end

--- Reads a whole file.
---@async
---@param path string
---@return string?
---@return neap.error? err
function fs.read(path) end

--- Makes a file of the string, or writes over the one that is there. Answers the number of bytes.
---@async
---@param path string
---@param data string|number
---@param options? neap.fs.write.options
---@return integer?
---@return neap.error? err
function fs.write(path, data, options) end

---@class neap.fs.write.options
---@field permissions? integer of a new file, before the umask; default 438 (octal 666)
---@field exclusive? boolean `EEXIST` if it is there
---@field sync? boolean answer when it is on the medium

--- Adds the string to the end of a file, which is made if it is not there.
---@async
---@param path string
---@param data string|number
---@param options? neap.fs.write.options
---@return integer?
---@return neap.error? err
function fs.append(path, data, options) end

--- Replaces a file at once: whoever looks, also after a crash, finds the old bytes or the new ones. Permissions are kept.
---@async
---@param path string
---@param data string|number
---@param options? { permissions?: integer }
---@return integer?
---@return neap.error? err
function fs.replace(path, data, options) end

--- Copies bytes and permissions of a file. Answers the number of bytes.
---@async
---@param from string
---@param to string
---@param options? { exclusive?: boolean }
---@return integer?
---@return neap.error? err
function fs.copy(from, to, options) end

--- Renames; what has the new name goes, unless `exclusive` is set.
---@async
---@param from string
---@param to string
---@param options? { exclusive?: boolean }
---@return boolean? done
---@return neap.error? err
function fs.rename(from, to, options) end

--- Removes a name.
---@async
---@param path string
---@return boolean? done
---@return neap.error? err
function fs.unlink(path) end

--- Makes a symbolic link at `path` with the text `target`.
---@async
---@param target string
---@param path string
---@return boolean? done
---@return neap.error? err
function fs.symlink(target, path) end

--- Gives a file another name.
---@async
---@param from string
---@param to string
---@return boolean? done
---@return neap.error? err
function fs.link(from, to) end

--- The text of a symbolic link.
---@async
---@param path string
---@return string?
---@return neap.error? err
function fs.readlink(path) end

--- The absolute path without symbolic links, `.` and `..`.
---@async
---@param path string
---@return string?
---@return neap.error? err
function fs.realpath(path) end

--- Makes a directory; with `parents` also those above it, and one that is there is no failure.
---@async
---@param path string
---@param options? { parents?: boolean, permissions?: integer }
---@return boolean? done
---@return neap.error? err
function fs.mkdir(path, options) end

--- Removes an empty directory.
---@async
---@param path string
---@return boolean? done
---@return neap.error? err
function fs.rmdir(path) end

--- What a path leads to.
---@async
---@param path string
---@return neap.fs.stat?
---@return neap.error? err
function fs.stat(path) end

--- As `stat`, of a symbolic link itself.
---@async
---@param path string
---@return neap.fs.stat?
---@return neap.error? err
function fs.lstat(path) end

---@class neap.fs.stat
---@field type string `"file"`, `"directory"`, `"link"`, `"fifo"`, `"socket"`, `"char"`, `"block"` or `"unknown"`
---@field permissions integer
---@field size integer in bytes
---@field allocated integer bytes on the medium
---@field device integer
---@field inode integer
---@field links integer names that it has
---@field user integer
---@field group integer
---@field accessed number seconds since 1970, as the next three
---@field modified number
---@field changed number
---@field born? number where that is known

--- Whether there is something; nil and the error if that cannot be told.
---@async
---@param path string
---@return boolean?
---@return neap.error? err
function fs.exists(path) end

--- All entries of a directory but `.` and `..`, in no order.
---@async
---@param path string
---@param options? { nofollow?: boolean }
---@return neap.fs.entry[]?
---@return neap.error? err
function fs.readdir(path, options) end

---@class neap.fs.entry
---@field name string
---@field type string as in `neap.fs.stat`; a link is a link
---@field inode integer

--- `for path, entry, err in fs.walk(top) do ... end`: a directory comes before what it holds and is read when the walk goes on; no
--- descriptor is open in between, however deep the tree. If it cannot be read, its path comes again with the error and without an entry.
---@param top string
---@param options? neap.fs.walk.options
---@return fun(): string?, neap.fs.entry?, neap.error?
function fs.walk(top, options) end

---@class neap.fs.walk.options
---@field depth? integer how many levels; 1: the entries of `top` alone
---@field follow? boolean go through symbolic links to directories, but not in circles
---@field sorted? boolean by name within each directory

--- `for line in fs.lines(path) do ... end`: the file is closed after its last line. A failure is raised.
---@param path string
---@param format? string|integer
---@return fun(): any
function fs.lines(path, format) end

--- Removes a directory with all that is in it, or a file. Symbolic links go and are not followed. Not for trees that others can
--- write to: between the look at an entry and its removal it may become another.
---@async
---@param path string
---@return boolean? done
---@return neap.error? err
function fs.remove_tree(path) end

--- Sets the permissions.
---@async
---@param path string
---@param permissions integer
---@return boolean? done
---@return neap.error? err
function fs.chmod(path, permissions) end

--- Sets the times, in seconds since 1970 or `"now"`; nil: it stays.
---@async
---@param path string
---@param accessed? number|string
---@param modified? number|string
---@return boolean? done
---@return neap.error? err
function fs.utimes(path, accessed, modified) end

--- Cuts a file to `size` bytes, or extends it by zeros.
---@async
---@param path string
---@param size integer
---@return boolean? done
---@return neap.error? err
function fs.truncate(path, size) end

--- Watches a file, or a directory and its entries, by inotify. The system keeps events until they are asked for, up to a bound of its
--- own; then one event says `overflow`: look at everything anew. `for event in watch do ... end`; the loop ends when the watch is
--- closed, and raises a failure, such as `ENOSPC` for a new directory that would be one more than the system watches for a user.
---@async
---@param path string
---@param options? { recursive?: boolean } recursive: also all directories below, and those that appear later
---@return neap.fs.watch?
---@return neap.error? err
function fs.watch(path, options) end

---@class neap.fs.watch
local watch = {}

--- Waits for the next event; nil when the watch was closed.
---@async
---@return neap.fs.event?
---@return neap.error? err
function watch:next() end

--- Closes the watch.
---@return boolean done
function watch:close() end

---@class neap.fs.event
---@field path? string
---@field name? string of the entry, in a watched directory
---@field created? boolean an entry, as the next and both moves
---@field deleted? boolean
---@field modified? boolean written to, or cut
---@field written? boolean closed by somebody who could write
---@field attributes? boolean permissions, times, number of names
---@field moved_from? boolean
---@field moved_to? boolean
---@field gone? boolean what is watched itself was deleted, moved or unmounted
---@field ended? boolean it is watched no more
---@field overflow? boolean events were lost
---@field is_directory? boolean
---@field cookie? integer the same in both halves of a move

--- An open file. Reads are buffered, writes are not. One task reads at a time, a second gets `EBUSY`; writes happen in the order of the
--- calls. `<close>` closes it.
---@class neap.file
local file = {}

--- Reads as the method of `io`'s files: `"l"` (a line, the default), `"L"` (with its end), `"n"` (a number), `"a"` (all up to the end), or a
--- number of bytes, of which fewer come only at the end. Stops at the first format that finds nothing.
---@async
---@param format? string|integer
---@param ... string|integer
---@return any ...
function file:read(format, ...) end

--- `for line in file:lines() do ... end`; the formats are those of `read`. A failure is raised.
---@param format? string|integer
---@return fun(): any
function file:lines(format) end

--- Reads a line.
---@async
---@param keep? boolean with its end
---@return string?
---@return neap.error? err
function file:read_line(keep) end

--- Reads all up to the end, which may be `""`.
---@async
---@return string?
---@return neap.error? err
function file:read_all() end

--- Reads `n` bytes; fewer at the end, nil if there are none.
---@async
---@param n integer
---@return string?
---@return neap.error? err
function file:read_some(n) end

--- Reads ahead until `n` bytes can be seen by `peek`; answers how many, fewer at the end.
---@async
---@param n integer
---@return integer?
---@return neap.error? err
function file:fill(n) end

--- What has been read ahead, at most `max` bytes of it. Never waits.
---@param max? integer
---@return string
function file:peek(max) end

--- Takes `n` of the bytes that `peek` shows.
---@param n integer
---@return neap.file self
function file:consume(n) end

--- Reads `n` bytes from `offset` on and leaves the position alone; nil behind the end.
---@async
---@param n integer
---@param offset integer
---@return string?
---@return neap.error? err
function file:pread(n, offset) end

--- Writes strings and numbers as one. After a failure `err.partial` tells how many bytes went.
---@async
---@param ... string|number
---@return neap.file? self
---@return neap.error? err
function file:write(...) end

--- Writes from `offset` on and leaves the position alone.
---@async
---@param data string
---@param offset integer
---@return neap.file? self
---@return neap.error? err
function file:pwrite(data, offset) end

--- Moves the position, as the method of `io`'s files; answers it.
---@async
---@param whence? "set"|"cur"|"end" default `"cur"`
---@param offset? integer default 0
---@return integer?
---@return neap.error? err
function file:seek(whence, offset) end

--- What is known of the file.
---@async
---@return neap.fs.stat?
---@return neap.error? err
function file:stat() end

--- Answers when what was written is on the medium.
---@async
---@param data_only? boolean without what only describes the file
---@return boolean? done
---@return neap.error? err
function file:sync(data_only) end

--- Cuts the file to `size` bytes, or extends it by zeros; the position stays.
---@async
---@param size integer
---@return boolean? done
---@return neap.error? err
function file:truncate(size) end

--- Closes the file; what waits for it gets `closed`. Where no wait is possible that happens by itself.
---@async
---@return boolean? done
---@return neap.error? err
function file:close() end

--- The number of the descriptor.
---@return integer?
---@return neap.error? err
function file:fd() end

--- As `fd`, for functions that want an object with a descriptor.
---@return integer?
---@return neap.error? err
function file:fileno() end

--- The path that the file was opened by; nil for an adopted descriptor.
---@return string?
function file:path() end

--- Whether the file was closed.
---@return boolean
function file:closed() end

-- Testing

--- What `require "neap.testing"` gives: tests on a virtual clock, for Busted or any framework in which a test is a function
--- that returns or raises.
---@class neap.testing
local testing = {}

--- A function for `it`. It runs `fn` as the main task of a fresh loop and raises what that raises. It fails as well if the test
--- is deadlocked or reaches a limit, with the list of its tasks and what each waits for, and if it leaves something behind.
--- When the test has ended, what is ready still runs; what then waits is left behind.
---@param fn function
---@param options? neap.testing.options
---@return function
function testing.neap_test(fn, options) end

--- The same function under a shorter name.
---@param fn function
---@param options? neap.testing.options
---@return function
function testing.test(fn, options) end

--- Options of a test.
---@class neap.testing.options
---@field virtual? boolean `false`: the real clock
---@field limit? neap.seconds of the loop's time; default 60
---@field real_limit? neap.seconds of real time; default 10. Also ends a script that runs without waiting, except where LuaJIT has compiled it
---@field leaks? "fail"|"allow"|table what may stay; a table says so by kind, `{sockets = "allow"}`: `tasks`, `handles` (timers, readers, writers, callbacks to come), `sockets`, `errors` (that nobody has read), `descriptors` (of the process)
---@field shuffle? boolean each batch runs in random order; a failure tells the seed, and the environment's `NEAP_TEST_SEED` repeats it
---@field seed? integer as `shuffle`, in this order
---@field debug? boolean debug mode
---@field backend? string
---@field name? string the loop's name; default `"test"`
---@field settle? neap.seconds as of `neap.new_loop`

--- As `neap_test`, in `n` random orders, those of the seeds from `options.seed` (default 1) on, until the first that fails.
---@param n integer
---@param fn function
---@param options? neap.testing.options
---@return function
function testing.explore(n, fn, options) end

--- Waits until all other tasks are blocked: nothing is ready, nothing is on its way between sockets, and nothing has come for
--- `cushion` seconds of real time. A virtual clock does not move before. Of several who wait the one with the shortest cushion
--- goes first, of equal ones the oldest; each waits for all to be blocked anew.
---@async
---@param cushion? neap.seconds default 0
function testing.wait_all_blocked(cushion) end

--- Calls `fn(...)`, which must raise an error with this code, and answers the error.
---@param code string
---@param fn function
---@param ... any
---@return neap.error
function testing.raises(code, fn, ...) end

--- Two connected sockets.
---@async
---@param sort? "stream"|"dgram"|"tcp" default `"stream"`
---@return neap.sock
---@return neap.sock
function testing.pair(sort) end

--- A function `sequence(n, fn, ...)` that waits until parts 1 to n - 1 have ended, in whichever tasks they are, and answers
--- `fn(...)`; without `fn` the part ends at once. Once a part has failed those behind it fail.
---@return fun(n: integer, fn?: function, ...: any): any
function testing.sequencer() end

return neap

-- What a loop did, as a file for Perfetto's viewer (https://ui.perfetto.dev) and Chrome's: in the Trace Event Format.
-- Each task is a track with its steps; on the loop's own track are polls and callbacks; arrows lead from who spawned or
-- woke a task to the step that followed.
local neap = require "neap"

local trace = {}

local LOOP = 0 -- the loop's track; that of a task is its number

-- Whether each character is one of UTF-8; what is none would make the file no JSON.
local function is_utf8(bytes)
    for _, pattern in ipairs {
        "[\194-\223][\128-\191]", "\224[\160-\191][\128-\191]", "[\225-\236\238\239][\128-\191][\128-\191]",
        "\237[\128-\159][\128-\191]", "\240[\144-\191][\128-\191][\128-\191]",
        "[\241-\243][\128-\191][\128-\191][\128-\191]", "\244[\128-\143][\128-\191][\128-\191]",
    } do
        bytes = bytes:gsub(pattern, "")
    end
    return bytes == ""
end

local function quote(text)
    text = text:gsub('[%c"\\]', function(c)
        return ("\\u%04x"):format(c:byte())
    end)
    text = text:gsub("[\128-\255]+", function(bytes)
        return not is_utf8(bytes) and ("?"):rep(#bytes) or nil
    end)
    return '"' .. text .. '"'
end

-- An event's text; of a slice the duration is known when it ends.
local function text_of(event)
    local time = event.time * 1e6
    local parts = {
        ('{"ph":"%s","pid":1,"tid":%d,"ts":%.3f,"name":%s'):format(event.ph, event.track, time, quote(event.name)),
    }
    if event.till then parts[#parts + 1] = (',"dur":%.3f'):format((event.till - event.time) * 1e6) end
    if event.id then parts[#parts + 1] = (',"cat":"%s","id":%d'):format(event.name, event.id) end
    if event.ph == "f" then parts[#parts + 1] = ',"bp":"e"' end
    if event.ph == "i" then parts[#parts + 1] = ',"s":"t"' end
    if event.note then parts[#parts + 1] = (',"args":{"%s":%s}'):format(event.key, event.note) end
    return table.concat(parts) .. "}"
end

local function track_names(names, order)
    local texts = {}
    for i, track in ipairs(order) do
        texts[i] = ('{"ph":"M","pid":1,"tid":%d,"ts":0,"name":"thread_name","args":{"name":%s}}'):format(track,
            quote(names[track]))
    end
    return texts
end

-- How the notes of a recording become events.
local Writer = {}
Writer.__index = Writer

function Writer:add(ph, track, time, name)
    local event = { ph = ph, track = track, time = time, name = name }
    self.events[#self.events + 1] = event
    return event
end

function Writer:open(track, note, name)
    self.slices[track] = self:add("X", track, note.time, name)
end

function Writer:close(track, note, key, value)
    local slice = self.slices[track]
    if slice then
        slice.till, slice.key, slice.note = note.time, key, value
        self.slices[track] = nil
    end
end

-- The tail of an arrow to the task's next step; it needs a slice to begin at.
function Writer:leave(note, name)
    local track = note.by or self.ended or LOOP
    if not self.slices[track] then
        self:add("X", track, note.time, name).till = note.time
    end
    self.arrows[note.id] = self:add("s", track, note.time, name)
end

function Writer:arrive(note)
    local tail = self.arrows[note.id]
    if tail then
        self.arrows[note.id] = nil
        self.ids = self.ids + 1
        tail.id = self.ids
        self:add("f", note.id, note.time, tail.name).id = tail.id
    end
end

function Writer:know(track, name)
    if not self.names[track] then
        self.order[#self.order + 1] = track
    end
    self.names[track] = name
end

local kinds = {}

function kinds.poll(w, note)
    w.ended = nil
    w:open(LOOP, note, "poll")
end

function kinds.polled(w, note)
    w:close(LOOP, note, "events", note.value)
end

function kinds.call(w, note)
    w.ended = nil
    w:open(LOOP, note, "callback")
end

function kinds.called(w, note)
    w:close(LOOP, note)
end

function kinds.spawn(w, note)
    w:leave(note, "spawn")
end

function kinds.wake(w, note)
    w:leave(note, "wake")
end

-- A task's outcome wakes those who wait for it after its last step.
function kinds.settle(w, note)
    w.ended = note.id
end

function kinds.step(w, note)
    w.ended = nil
    w:open(note.id, note, note.task)
    w:arrive(note)
end

function kinds.suspend(w, note)
    w:close(note.id, note, "then", '"waits"')
end

function kinds.yield(w, note)
    w:close(note.id, note, "then", '"yields"')
end

local outcomes = { "done", "failed", "cancelled" }

function kinds.done(w, note)
    local outcome = outcomes[note.value] or "done"
    if w.slices[note.id] then
        w:close(note.id, note, "then", quote(outcome))
    else
        w:add("i", note.id, note.time, outcome)
    end
end

--- The text of the file for what `loop:trace(false)` has answered.
function trace.json(notes)
    local w = setmetatable({ events = {}, slices = {}, arrows = {}, names = {}, order = {}, ids = 0 }, Writer)
    w:know(LOOP, "loop")
    for _, note in ipairs(notes) do
        if note.id then w:know(note.id, note.task) end
        if kinds[note.event] then kinds[note.event](w, note) end
    end
    for track in pairs(w.slices) do
        w:close(track, notes[#notes])
    end
    local texts = track_names(w.names, w.order)
    for _, event in ipairs(w.events) do
        if event.ph ~= "s" or event.id then texts[#texts + 1] = text_of(event) end
    end
    return '{"traceEvents":[\n' .. table.concat(texts, ",\n") .. "\n]}\n"
end

local function finish(loop, path, ok, ...)
    local text = trace.json(loop:trace(false))
    local file, err = io.open(path, "wb")
    if file then
        file:write(text)
        file:close()
    end
    if not ok then error((...), 0) end
    if not file then error(err, 0) end
    return ...
end

--- Calls fn(...) and writes what the loop did meanwhile; answers its values.
function trace.record(path, fn, ...)
    local loop = neap.loop()
    loop:trace(true)
    return finish(loop, path, pcall(fn, ...))
end

return trace

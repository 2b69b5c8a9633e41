-- docs/guide.md: every Lua block runs, and prints what the block after it shows.
--   <!-- file: PATH -->  the block is that file
--   <!-- part -->        runs in the stock interpreter if it calls neap.run, under Busted if it describes; else it
--                        has to parse where the engine has its syntax
local helper = require "support.helper"
local process = require "support.process"

local function blocks(path)
    local list, block, mark, number = {}, nil, nil, 0
    for line in io.lines(path) do
        number = number + 1
        local fence = line:match "^```%s*(%w*)"
        if block and fence then
            block.text = table.concat(block.lines, "\n") .. "\n"
            list[#list + 1] = block
            block = nil
        elseif block then
            block.lines[#block.lines + 1] = line
        elseif fence then
            block = { language = fence, lines = {}, line = number, mark = mark }
            mark = nil
        elseif line:find "^<!%-%-" then
            mark = line:match "^<!%-%-%s*(.-)%s*%-%->"
        elseif line:find "%S" then
            mark = nil
        end
    end
    return list
end

-- Engines without integers print integral numbers without a fraction.
local function adapt(output)
    return helper.has_subtypes and output or output:gsub("%f[%d.](%d+)%.0%f[^%d.]", "%1")
end

-- What the guide says of this engine: it refuses an iterator that waits. In a handler that is reported, and the program
-- goes on.
local function is_refused(text, result)
    local failed = result.code == 1 or result.err:find("the handler of the connection", 1, true)
    return not helper.waits_anywhere and text:find("for .- in ") and failed and
        result.err:find("an iterator can be called in a loop with 'while'", 1, true)
end

local function check(result, output, text)
    if is_refused(text, result) then return end
    assert.equal("", result.err)
    if output then
        assert.equal(adapt(output), result.out)
    end
    assert.equal(0, result.code)
end

describe("guide", function()
    local list = blocks(helper.source_dir .. "/docs/guide.md")
    local shown = 0

    for i, block in ipairs(list) do
        local following = list[i + 1]
        local output = following and following.language == "output" and following.text
        local file = (block.mark or ""):match "^file:%s*(%S+)$"
        local name = "line " .. block.line
        if block.language == "lua" then
            shown = shown + 1
            if file then
                it(name .. " is " .. file, function()
                    assert.equal(process.read_file(helper.source_dir .. "/" .. file), block.text)
                end)
            elseif block.mark == "part" and block.text:find("describe(", 1, true) then
                it(name .. " passes under Busted", function()
                    local dir = process.temp_dir()
                    process.write_file(dir .. "/guide_spec.lua", block.text)
                    local busted = process.capture("command -v busted"):gsub("%s+$", "")
                    local result = process.run({ helper.lua, busted, dir .. "/guide_spec.lua" }, { dir = dir })
                    process.remove(dir)
                    assert.equal(0, result.code, result.out .. result.err)
                end)
            elseif block.mark == "part" and block.text:find("neap.run", 1, true) then
                it(name .. " runs in a stock interpreter", function()
                    check(process.run_lua(block.text), output, block.text)
                end)
            elseif block.mark == "part" then
                it(name .. " parses where the engine has its syntax", function()
                    local chunk, err = helper.compile(block.text)
                    if not chunk then
                        assert.is_true(not helper.has_close and block.text:find("<close>", 1, true) ~= nil, err)
                    end
                end)
            else
                it(name .. " runs with the command", function()
                    check(process.run_neap(block.text, { name = "guide.lua" }), output, block.text)
                end)
            end
        end
    end

    it("has its examples", function()
        assert.is_true(shown >= 25)
    end)
end)

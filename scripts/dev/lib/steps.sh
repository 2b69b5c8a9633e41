# A list of named steps that all run, a line for each, and a verdict at the end: sourced after common.sh.
# shellcheck shell=sh

logs=$top/build/logs
mkdir -p "$logs"
failed=
steps=0
began=$(date +%s)

# step NAME COMMAND...: runs the command quietly; what it said is shown when it fails.
step() {
    name=$1
    shift
    steps=$((steps + 1))
    log=$logs/$(printf '%s' "$name" | tr -c 'A-Za-z0-9.\n' '-').log
    from=$(date +%s)
    if "$@" >"$log" 2>&1 </dev/null; then verdict=ok; else verdict=FAILED; fi
    printf '[%4ds] %-44s %-6s %4ds\n' $(($(date +%s) - began)) "$name" $verdict $(($(date +%s) - from))
    # The closing lines of the test runner, and the tests that were not run.
    grep -E '^[0-9]+% tests passed|^No tests were found|\*\*\*(Skipped|Not Run)' "$log" | sed 's/^/         /'
    if [ $verdict = FAILED ]; then
        failed="$failed
  $name (log: ${log#"$top"/})"
        tail -n "${NEAP_LOG_LINES:-200}" "$log" | sed 's/^/    | /'
        return 1
    fi
}

# skipped NAME REASON: a step that this machine cannot take; the verdict names it again.
not_run=
skipped() {
    printf '[%4ds] %-44s NOT RUN: %s\n' $(($(date +%s) - began)) "$1" "$2"
    not_run="$not_run
  $1: $2"
}

# finish: the verdict; ends the program.
finish() {
    [ -z "$not_run" ] || printf 'not run on this machine:%s\n' "$not_run"
    seconds=$(($(date +%s) - began))
    if [ -n "$failed" ]; then
        printf 'FAILED after %d s:%s\n' "$seconds" "$failed"
        exit 1
    fi
    printf 'all %d steps passed in %d s\n' "$steps" "$seconds"
    exit 0
}

# build PRESET [OPTION...]: configures and builds all of it.
build() {
    configure "$@" && cmake --build "$(build_dir "$1")" -j "$(jobs)"
}

# suite PRESET CTEST-ARGUMENTS...: what matches, except what takes long; finding nothing is a failure.
suite() {
    directory=$(build_dir "$1")
    shift
    ctest --test-dir "$directory" --output-on-failure --no-tests=error -j "$(jobs)" -LE long "$@"
}

shell_clean() {
    status=0
    for script in scripts/run scripts/test .ci/run scripts/dev/* scripts/dev/lib/*.sh tests/lua/run-busted; do
        case $(head -n 1 "$top/$script" 2>/dev/null) in '#!/bin/sh' | '# '*) sh -n "$top/$script" || status=1 ;; esac
    done
    return $status
}

# A test file that tests/CMakeLists.txt does not name would never run.
registered() {
    if [ -s "$top/build/tests/unregistered" ]; then
        say "not named in tests/CMakeLists.txt:"
        cat "$top/build/tests/unregistered"
        return 1
    fi
}

# The scripts of scripts/dev that are Lua have no ending to be found by.
lua_clean() {
    (cd "$top" && luacheck --no-color -q bindings scripts tests $(grep -sl '^#!.*lua5' scripts/dev/*))
}

# gates: everything that reads the tree and runs no test.
gates() {
    step 'floors' "$top/scripts/dev/floors"
    step 'symbols, cdef, reference' "$top/scripts/dev/symbols"
    step 'headers alone' "$top/scripts/dev/headers"
    step 'every test registered' registered
    step 'coverage of ids' "$top/scripts/dev/coverage" --check
    step 'abi against the dump' "$top/scripts/dev/abi"
    step 'clang-format' "$top/scripts/dev/format" --check
    step 'luacheck' lua_clean
}

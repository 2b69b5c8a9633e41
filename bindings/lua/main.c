/* main.c: the neap command: as `lua`, but the script is the main task of a loop and may wait at top level. */
#include "compat.h"
#include "neap_lua.h"
#include "prompt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Options ---- */

enum {
    WORKERS_MAX = 256
};

typedef struct options {
    int version;
    int interactive;
    int control;
    int workers;      /* 0: none */
    int actions;      /* -e or -l */
    int stdin_script; /* "-" */
    int script;       /* index of the script in argv; argc if there is none */
    int first;        /* index of the first option behind the last of ours */
} options;

static int usage(const char *bad) {
    if (bad != NULL)
        fprintf(stderr, "%s: unrecognized option '%s'\n", NEAP_COMMAND, bad);
    fprintf(stderr,
            "usage: %s [options] [script [args]]\n"
            "  -e text    run the text\n"
            "  -i         show a prompt after the script\n"
            "  -l name    require the module 'name' into the global 'name'\n"
            "  -v         show the version\n"
            "  --control  let '%s ps' and '%s tree' ask the program\n"
            "  --workers n  run the script in so many threads, which listen together\n"
            "  --         stop handling options\n"
            "  -          run standard input as the script\n"
            "   or: %s ps [pid]   the tasks of a program, or which programs can be asked\n"
            "   or: %s tree pid   what each task waits for, with stacks\n",
            NEAP_COMMAND, NEAP_COMMAND, NEAP_COMMAND, NEAP_COMMAND, NEAP_COMMAND);
    return EXIT_FAILURE;
}

static int read_count(const char *text) {
    char *end;
    long n = text != NULL ? strtol(text, &end, 10) : 0;
    return n >= 1 && n <= WORKERS_MAX && *end == '\0' ? (int)n : 0;
}

/* Workers run a script; the rest of the options is for one state. */
static int check_workers(int argc, char **argv, const options *o) {
    if (o->workers == 0 || (o->script < argc && !o->interactive && !o->actions))
        return 0;
    fprintf(stderr, "%s: --workers needs a script, and goes with neither -e, -i, -l nor -\n",
            argv[0]);
    return EXIT_FAILURE;
}

/* Answers 0, or an exit status. */
static int read_options(int argc, char **argv, options *o) {
    memset(o, 0, sizeof *o);
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        if (strcmp(arg, "-") == 0) {
            o->stdin_script = 1;
            break;
        }
        if (strcmp(arg, "-v") == 0) {
            o->version = 1;
        } else if (strcmp(arg, "--control") == 0) {
            o->control = 1;
        } else if (strcmp(arg, "--workers") == 0) {
            o->workers = read_count(i + 1 < argc ? argv[++i] : NULL);
            if (o->workers == 0)
                return usage(arg);
        } else if (strcmp(arg, "-i") == 0) {
            o->interactive = 1;
        } else if (arg[1] == 'e' || arg[1] == 'l') {
            if (arg[2] == '\0' && ++i >= argc)
                return usage(arg);
            o->actions = 1;
        } else {
            return usage(arg);
        }
    }
    o->script = i;
    return check_workers(argc, argv, o);
}

/* ---- Where modules are ---- */

/* The directory of this program, without a final slash; "." if it cannot be told. */
static void own_directory(char *buf, size_t cap) {
    ssize_t n = readlink("/proc/self/exe", buf, cap - 1);
    if (n <= 0) {
        snprintf(buf, cap, ".");
        return;
    }
    buf[n] = '\0';
    char *slash = strrchr(buf, '/');
    if (slash != NULL)
        *slash = '\0';
}

/* Pushes the templates with the directory in the place of "!". */
static void push_templates(lua_State *L, const char *templates, const char *directory) {
    luaL_gsub(L, templates, "!", directory);
}

/* Puts templates in front of package[field]. */
static void prepend(lua_State *L, const char *field, const char *templates, const char *directory) {
    lua_getglobal(L, "package");
    push_templates(L, templates, directory);
    lua_pushliteral(L, ";");
    lua_getfield(L, -3, field);
    lua_concat(L, 3);
    lua_setfield(L, -2, field);
    lua_pop(L, 1);
}

/* Whether the first of the templates holds the module: a build tree knows its own. */
static int has_module(lua_State *L, const char *templates, const char *directory) {
    push_templates(L, templates, directory);
    char path[4096];
    snprintf(path, sizeof path, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    path[strcspn(path, ";")] = '\0';
    char *mark = strchr(path, '?');
    if (mark == NULL)
        return 0;
    char name[4096 + 32];
    snprintf(name, sizeof name, "%.*sneap/init%s", (int)(mark - path), path, mark + 1);
    return access(name, R_OK) == 0;
}

static void set_paths(lua_State *L) {
    char directory[4096];
    own_directory(directory, sizeof directory);
    int built = has_module(L, NEAP_BUILD_LUA_PATH, directory);
    prepend(L, "path", built ? NEAP_BUILD_LUA_PATH : NEAP_INSTALL_LUA_PATH, directory);
    prepend(L, "cpath", built ? NEAP_BUILD_LUA_CPATH : NEAP_INSTALL_LUA_CPATH, directory);
}

/* ---- The program ---- */

/* What the main task runs: each option in its order, the script, the prompt.  A C function in between could not be
   suspended. */
static const char driver[] =
    "local actions, load_script, args, prompt = ...\n"
    "return function()\n"
    "    for _, action in ipairs(actions) do\n"
    "        if action.module then\n"
    "            _G[action.module] = require(action.module)\n"
    "        else\n"
    "            assert((loadstring or load)(action.text, '=(command line)'))()\n"
    "        end\n"
    "    end\n"
    "    if load_script then\n"
    "        load_script()((table.unpack or unpack)(args, 1, #args))\n"
    "    end\n"
    "    if prompt then\n"
    "        prompt()\n"
    "    end\n"
    "end\n";

/* Pushes the list of -e and -l. */
static void push_actions(lua_State *L, char **argv, int end) {
    int n = 0;
    lua_newtable(L);
    for (int i = 1; i < end; i++) {
        char kind = argv[i][1];
        if (argv[i][0] != '-' || (kind != 'e' && kind != 'l'))
            continue;
        const char *value = argv[i][2] != '\0' ? argv[i] + 2 : argv[++i];
        lua_createtable(L, 0, 1);
        lua_pushstring(L, value);
        lua_setfield(L, -2, kind == 'e' ? "text" : "module");
        lua_rawseti(L, -2, ++n);
    }
}

static int load_script(lua_State *L) {
    if (luaL_loadfile(L, lua_tostring(L, lua_upvalueindex(1))) != 0)
        return lua_error(L);
    return 1;
}

/* The global `arg`, as lua sets it. */
static void set_arg(lua_State *L, int argc, char **argv, int script) {
    if (script == argc)
        script = 0;
    lua_createtable(L, argc - script, script + 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

static void push_args(lua_State *L, int argc, char **argv, int script) {
    lua_newtable(L);
    for (int i = script + 1; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - script);
    }
}

/* Pushes what require answers for the module. */
static void push_module(lua_State *L, const char *name) {
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

/* Pushes neap's own table of functions. */
static void push_core(lua_State *L) {
    push_module(L, "neap");
    lua_getglobal(L, "jit");
    const char *name = lua_isnil(L, -1) ? "neap.core" : "neap.corejit";
    lua_pop(L, 2);
    push_module(L, name);
}

/* Pushes the function that is the prompt. */
static void push_prompt(lua_State *L, int core) {
    push_module(L, "neap.prompt");
    lua_pushvalue(L, core);
    nl_push_keyboard(L, NEAP_COMMAND);
    lua_call(L, 2, 1);
}

/* Pushes the function of the main task. */
static void push_main(lua_State *L, int core, int argc, char **argv, const options *o) {
    if (luaL_loadbuffer(L, driver, sizeof driver - 1, "=neap") != 0)
        lua_error(L);
    push_actions(L, argv, o->script);
    if (o->script < argc || o->stdin_script) {
        if (o->stdin_script)
            lua_pushnil(L);
        else
            lua_pushstring(L, argv[o->script]);
        lua_pushcclosure(L, load_script, 1);
    } else {
        lua_pushnil(L);
    }
    push_args(L, argc, argv, o->script);
    if (o->interactive)
        push_prompt(L, core);
    else
        lua_pushnil(L);
    lua_call(L, 4, 1);
}

/* What the main task of `neap --workers` runs; and what is left to do when it has ended. */
static const char crew[] = "local command, n, control, script, args = ...\n"
                           "return function()\n"
                           "    command.run { n, script, control = control, n = #args + 2, "
                           "(table.unpack or unpack)(args) }\n"
                           "end\n";

/* Pushes the table of neap/workers.lua for the command. */
static void push_command(lua_State *L, int core) {
    lua_getfield(L, core, "workers");
    lua_getfield(L, -1, "command");
    lua_replace(L, -2);
}

/* Pushes the function of the main task. */
static void push_crew(lua_State *L, int core, int argc, char **argv, const options *o) {
    if (luaL_loadbuffer(L, crew, sizeof crew - 1, "=neap") != 0)
        lua_error(L);
    push_command(L, core);
    lua_pushinteger(L, o->workers);
    lua_pushboolean(L, o->control);
    lua_pushstring(L, argv[o->script]);
    push_args(L, argc, argv, o->script);
    lua_call(L, 5, 1);
}

/* What the main task of `neap ps` and the like runs. */
static const char questions[] =
    "local args = ...\n"
    "return function()\n"
    "    local command = require('neap.control').command\n"
    "    require('neap').exit(command((table.unpack or unpack)(args)))\n"
    "end\n";

static int is_question(int argc, char **argv) {
    return argc > 1 && (strcmp(argv[1], "ps") == 0 || strcmp(argv[1], "tree") == 0);
}

/* Pushes the function of the main task. */
static void push_question(lua_State *L, int argc, char **argv) {
    if (luaL_loadbuffer(L, questions, sizeof questions - 1, "=neap") != 0)
        lua_error(L);
    push_args(L, argc, argv, 0);
    lua_call(L, 1, 1);
}

/* The error at index as text: errors of the program are strings or say __tostring. */
static const char *error_text(lua_State *L, int index) {
    if (lua_isstring(L, index))
        return lua_tostring(L, index);
    if (luaL_callmeta(L, index, "__tostring") && lua_isstring(L, -1))
        return lua_tostring(L, -1);
    return lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
}

static int report(lua_State *L, int error, const char *traceback) {
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", NEAP_COMMAND, error_text(L, error));
    if (traceback != NULL)
        fprintf(stderr, "%s\n", traceback);
    return EXIT_FAILURE;
}

/* The exit status for what run_command answered from index 1. */
static int status_of(lua_State *L) {
    const char *how = lua_tostring(L, 1);
    if (strcmp(how, "exit") == 0)
        return (int)lua_tointeger(L, 2);
    if (strcmp(how, "signal") == 0)
        return 128 + (int)lua_tointeger(L, 2);
    if (strcmp(how, "error") == 0)
        return report(L, 2, lua_tostring(L, 3));
    return EXIT_SUCCESS;
}

typedef struct program {
    int argc;
    char **argv;
    int status;
    int abandoned; /* workers still run: nothing of the process may be taken down around them */
} program;

/* Their threads have had all graces. */
static void finish_workers(lua_State *L, program *p) {
    push_core(L);
    push_command(L, lua_gettop(L));
    lua_getfield(L, -1, "finish");
    lua_call(L, 0, 1);
    p->abandoned = lua_toboolean(L, -1);
}

/* Somebody may hold the lock of a stream for ever. */
static void leave_now(int status) {
    if (ftrylockfile(stdout) == 0)
        fflush(stdout);
    _exit(status);
}

static void show_version(lua_State *L) {
    lua_getglobal(L, "jit");
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "version");
    else
        lua_getglobal(L, "_VERSION");
    int32_t v = neap_version();
    printf("neap %d.%d.%d, %s\n", v / 10000, v / 100 % 100, v % 100, lua_tostring(L, -1));
    fflush(stdout);
}

/* Runs the function at 2, behind core, as the main task.  `control`: as the option of run; -1: as the environment says. */
static int run_main(lua_State *L, int control) {
    lua_getfield(L, 1, "run_command");
    lua_replace(L, 1);
    lua_createtable(L, 1, 2);
    lua_insert(L, 2);
    lua_rawseti(L, 2, 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, 2, "signals");
    if (control >= 0) {
        lua_pushboolean(L, control);
        lua_setfield(L, 2, "control");
    }
    lua_call(L, 1, LUA_MULTRET);
    return status_of(L);
}

static int run_question(lua_State *L, int argc, char **argv) {
    luaL_openlibs(L);
    set_paths(L);
    push_core(L);
    push_question(L, argc, argv);
    return run_main(L, 0);
}

static int run_program(lua_State *L) {
    program *p = lua_touserdata(L, 1);
    options o;
    lua_settop(L, 0);
    if (is_question(p->argc, p->argv)) {
        p->status = run_question(L, p->argc, p->argv);
        return 0;
    }
    p->status = read_options(p->argc, p->argv, &o);
    if (p->status != 0)
        return 0;
    luaL_openlibs(L);
    set_paths(L);
    set_arg(L, p->argc, p->argv, o.script);
    if (o.version && !o.interactive)
        show_version(L);
    if (o.version && p->argc == 2)
        return 0;
    if (p->argc == 1) {
        o.interactive = isatty(STDIN_FILENO);
        o.stdin_script = !o.interactive;
    }
    if (o.interactive)
        nl_prompt_prepare();
    lua_settop(L, 0);
    push_core(L);
    if (o.workers > 0)
        push_crew(L, 1, p->argc, p->argv, &o);
    else
        push_main(L, 1, p->argc, p->argv, &o);
    p->status = run_main(L, o.control ? 1 : -1);
    if (o.workers > 0)
        finish_workers(L, p);
    return 0;
}

static int add_traceback(lua_State *L) {
    if (lua_isstring(L, 1))
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

int main(int argc, char **argv) {
    program p = {argc, argv, EXIT_SUCCESS, 0};
    lua_State *L = nl_newstate();
    if (L == NULL) {
        fprintf(stderr, "%s: not enough memory\n", NEAP_COMMAND);
        return EXIT_FAILURE;
    }
    signal(SIGPIPE, SIG_IGN);
    lua_pushcfunction(L, add_traceback);
    lua_pushcfunction(L, run_program);
    lua_pushlightuserdata(L, &p);
    if (lua_pcall(L, 1, 0, 1) != 0)
        p.status = report(L, -1, NULL);
    if (p.abandoned)
        leave_now(p.status);
    lua_close(L);
    return p.status;
}

/* lspawn.c: what neap.process is given: reads it for the core, and starts the process.  Whatever the core is shown lies on the Lua
   stack, which keeps it until the call is over. */
#include "lneap.h"

#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is being read from the table of options. */
typedef struct plan {
    lua_State *L;
    nl_state *st;
    int at;   /* the table */
    int kept; /* a list of what has to live until the call */
    neap_process_options o;
    neap_process_fd *fds;
} plan;

/* ---- Reading ---- */

static const char *const option_names[] = {
    "env",         "clear_env",     "cwd",          "stdin",  "stdout",
    "stderr",      "fds",           "user",         "group",  "groups",
    "session",     "process_group", "death_signal", "detach", "grace",
    "kill_signal", "keep_fds",      "keep_signals", NULL};

/* Takes the value on top. */
static void keep(plan *p) {
    lua_rawseti(p->L, p->kept, (int)lua_rawlen(p->L, p->kept) + 1);
}

static void *keep_block(plan *p, size_t size) {
    void *block = lua_newuserdata(p->L, size);
    keep(p);
    return block;
}

/* The text on top, which is kept. */
static const char *text(plan *p, const char *what) {
    size_t len;
    if (lua_type(p->L, -1) != LUA_TSTRING && lua_type(p->L, -1) != LUA_TNUMBER)
        nl_throw(p->L, p->st, NEAP_ETYPE, "%s must be a string, not a %s", what,
                 luaL_typename(p->L, -1));
    const char *bytes = lua_tolstring(p->L, -1, &len);
    if (strlen(bytes) != len)
        nl_throw(p->L, p->st, NEAP_EVALUE, "%s must not contain a zero byte", what);
    keep(p);
    return bytes;
}

static int has(plan *p, const char *name) {
    lua_getfield(p->L, p->at, name);
    if (!lua_isnil(p->L, -1))
        return 1;
    lua_pop(p->L, 1);
    return 0;
}

static void flag(plan *p, const char *name, uint32_t bit) {
    lua_getfield(p->L, p->at, name);
    if (lua_toboolean(p->L, -1))
        p->o.flags |= bit;
    lua_pop(p->L, 1);
}

static void read_args(plan *p) {
    size_t n = lua_rawlen(p->L, p->at);
    const char **list = keep_block(p, (n + 1) * sizeof *list);
    if (n == 0)
        nl_throw(p->L, p->st, NEAP_EVALUE,
                 "a program is needed: neap.process{\"name\", \"argument\", ...}");
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(p->L, p->at, (int)i + 1);
        list[i] = text(p, "an argument");
    }
    list[n] = NULL;
    p->o.args = list;
}

/* The entry for the key and value on top, which stay. */
static const char *env_entry(plan *p) {
    lua_State *L = p->L;
    if (lua_type(L, -2) != LUA_TSTRING || strchr(lua_tostring(L, -2), '=') != NULL ||
        *lua_tostring(L, -2) == '\0')
        nl_throw(L, p->st, NEAP_EVALUE, "the keys of 'env' are names of variables");
    if (lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1)) {
        lua_pushvalue(L, -2);
        return text(p, "a variable of 'env'");
    }
    lua_pushvalue(L, -1);
    const char *value = text(p, "a variable of 'env'");
    lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), value);
    return text(p, "a variable of 'env'");
}

static void need_table(plan *p, const char *name) {
    if (!lua_istable(p->L, -1))
        nl_throw(p->L, p->st, NEAP_ETYPE, "the option '%s' must be a table, not a %s", name,
                 luaL_typename(p->L, -1));
}

static size_t count(lua_State *L, int table) {
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        n++;
    return n;
}

static void read_env(plan *p) {
    flag(p, "clear_env", NEAP_PROCESS_CLEAR_ENV);
    if (!has(p, "env"))
        return;
    need_table(p, "env");
    int env = lua_gettop(p->L);
    const char **list = keep_block(p, (count(p->L, env) + 1) * sizeof *list);
    p->o.env = list;
    for (lua_pushnil(p->L); lua_next(p->L, env); lua_pop(p->L, 1))
        *list++ = env_entry(p);
    *list = NULL;
    lua_settop(p->L, env - 1);
}

/* ---- Descriptors ---- */

typedef struct word {
    const char *text;
    int32_t source;
} word;

/* "pipe" is what most want: the child reads 0 and writes the others. */
static int32_t source_of(plan *p, int32_t number) {
    static const word words[] = {
        {"inherit", NEAP_PROCESS_INHERIT}, {"null", NEAP_PROCESS_NULL},
        {"pair", NEAP_PROCESS_PAIR},       {"pipe_in", NEAP_PROCESS_PIPE_IN},
        {"stdout", NEAP_PROCESS_SAME},
    };
    const char *given = lua_tostring(p->L, -1);
    if (strcmp(given, "pipe") == 0)
        return number == STDIN_FILENO ? NEAP_PROCESS_PIPE_IN : NEAP_PROCESS_PIPE_OUT;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].text, given) == 0)
            return words[i].source;
    nl_throw(p->L, p->st, NEAP_EVALUE,
             "a descriptor can be \"inherit\", \"null\", \"pipe\", \"pipe_in\", \"pair\", "
             "\"stdout\", a number, a file or a socket, not \"%s\"",
             given);
    return 0;
}

/* The descriptor of a file of the io library, or -1; what was written to it before goes before. */
static int file_fd(lua_State *L) {
    if (!lua_isuserdata(L, -1) || !lua_getmetatable(L, -1))
        return -1;
    luaL_getmetatable(L, LUA_FILEHANDLE);
    int is_file = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    FILE *file = is_file ? *(FILE **)lua_touserdata(L, -1) : NULL;
    if (file == NULL)
        return -1;
    (void)fflush(file);
    return fileno(file);
}

static neap_fd given_fd(plan *p) {
    int fd = file_fd(p->L);
    neap_fd any = fd >= 0 ? fd : nl_to_fd(p->L, p->st, lua_gettop(p->L));
    if (any < 0)
        nl_throw(p->L, p->st, (int32_t)any, "the descriptor for a process is closed");
    return any;
}

/* The value on top is taken. */
static void read_fd(plan *p, int32_t number) {
    neap_process_fd *fd = &p->fds[p->o.n_fds++];
    fd->number = number;
    if (lua_type(p->L, -1) == LUA_TSTRING) {
        fd->source = source_of(p, number);
        fd->fd = STDOUT_FILENO; /* of "stdout" */
    } else {
        fd->source = NEAP_PROCESS_FD;
        fd->fd = given_fd(p);
    }
    keep(p);
}

static void read_further_fds(plan *p) {
    need_table(p, "fds");
    int fds = lua_gettop(p->L);
    for (lua_pushnil(p->L); lua_next(p->L, fds); lua_pop(p->L, 1)) {
        lua_Integer number = lua_type(p->L, -2) == LUA_TNUMBER ? lua_tointeger(p->L, -2) : -1;
        if (number <= STDERR_FILENO || number >= INT_MAX)
            nl_throw(p->L, p->st, NEAP_EVALUE, "the keys of 'fds' are numbers above 2");
        lua_pushvalue(p->L, -1);
        read_fd(p, (int32_t)number);
    }
    lua_settop(p->L, fds - 1);
}

static void read_fds(plan *p) {
    static const char *const standard[] = {"stdin", "stdout", "stderr"};
    size_t further = 0;
    if (has(p, "fds")) {
        need_table(p, "fds");
        further = count(p->L, lua_gettop(p->L));
        lua_pop(p->L, 1);
    }
    p->o.fds = p->fds = keep_block(p, (3 + further) * sizeof *p->fds);
    for (int32_t i = 0; i < 3; i++)
        if (has(p, standard[i]))
            read_fd(p, i);
    if (has(p, "fds"))
        read_further_fds(p);
}

/* ---- Users ---- */

static uint32_t id_at_top(plan *p, const char *name) {
    double id = (double)lua_tonumber(p->L, -1);
    if (!(id >= 0 && id < UINT32_MAX && id == (double)(uint32_t)id))
        nl_throw(p->L, p->st, NEAP_EVALUE, "the option '%s' is a name or a number", name);
    lua_pop(p->L, 1);
    return (uint32_t)id;
}

enum {
    ENTRY_BYTES = 65536
};

/* The groups that the user's logins have. */
static void read_groups_of(plan *p, const char *user, gid_t gid) {
    int n = 0;
    (void)getgrouplist(user, gid, NULL, &n); /* says how many there are */
    gid_t *groups = keep_block(p, (size_t)(n + 1) * sizeof *groups);
    if (getgrouplist(user, gid, groups, &n) < 0)
        nl_throw(p->L, p->st, NEAP_EVALUE, "the groups of the user '%s' cannot be found", user);
    p->o.groups = groups;
    p->o.n_groups = (size_t)n;
}

/* A database that cannot be asked is no answer. */
static void refuse_unknown(plan *p, int error, const void *found, const char *what,
                           const char *name) {
    if (error != 0)
        nl_throw(p->L, p->st, NEAP_EVALUE, "the %s '%s' cannot be looked up: %s", what, name,
                 neap_strerror(-error));
    if (found == NULL)
        nl_throw(p->L, p->st, NEAP_EVALUE, "there is no %s '%s'", what, name);
}

static void read_user_name(plan *p) {
    struct passwd entry, *found = NULL;
    const char *user = text(p, "the option 'user'");
    char *buf = keep_block(p, ENTRY_BYTES);
    int error = getpwnam_r(user, &entry, buf, ENTRY_BYTES, &found);
    refuse_unknown(p, error, found, "user", user);
    p->o.flags |= NEAP_PROCESS_UID | NEAP_PROCESS_GID;
    p->o.uid = entry.pw_uid;
    p->o.gid = entry.pw_gid;
    read_groups_of(p, user, entry.pw_gid);
}

static void read_group_name(plan *p) {
    struct group entry, *found = NULL;
    const char *group = text(p, "the option 'group'");
    char *buf = keep_block(p, ENTRY_BYTES);
    int error = getgrnam_r(group, &entry, buf, ENTRY_BYTES, &found);
    refuse_unknown(p, error, found, "group", group);
    p->o.gid = entry.gr_gid;
}

static void read_groups(plan *p) {
    need_table(p, "groups");
    int list = lua_gettop(p->L);
    size_t n = lua_rawlen(p->L, list);
    uint32_t *groups = keep_block(p, (n + 1) * sizeof *groups);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(p->L, list, (int)i + 1);
        groups[i] = id_at_top(p, "groups");
    }
    p->o.groups = groups;
    p->o.n_groups = n;
    lua_pop(p->L, 1);
}

static void read_user(plan *p) {
    if (has(p, "user")) {
        if (lua_type(p->L, -1) == LUA_TSTRING) {
            read_user_name(p);
        } else {
            p->o.uid = id_at_top(p, "user");
            p->o.flags |= NEAP_PROCESS_UID;
        }
    }
    if (has(p, "group")) {
        p->o.flags |= NEAP_PROCESS_GID;
        if (lua_type(p->L, -1) == LUA_TSTRING)
            read_group_name(p);
        else
            p->o.gid = id_at_top(p, "group");
    }
    if (has(p, "groups"))
        read_groups(p);
}

/* ---- Starting ---- */

static void read_rest(plan *p) {
    lua_State *L = p->L;
    flag(p, "session", NEAP_PROCESS_SESSION);
    flag(p, "process_group", NEAP_PROCESS_GROUP);
    flag(p, "keep_fds", NEAP_PROCESS_KEEP_FDS);
    flag(p, "keep_signals", NEAP_PROCESS_KEEP_SIGNALS);
    lua_getfield(L, p->at, "detach");
    if (!lua_toboolean(L, -1))
        p->o.flags |= NEAP_PROCESS_KILL;
    lua_pop(L, 1);
    if (has(p, "cwd"))
        p->o.cwd = text(p, "the option 'cwd'");
    if (has(p, "death_signal")) {
        p->o.death_signal = nl_to_signal(L, p->st, lua_gettop(L));
        lua_pop(L, 1);
    }
}

/* nil and an error that names the program and the step. */
static int refuse(plan *p, int32_t code, const char *step) {
    lua_State *L = p->L;
    (void)nl_fail(L, p->st, code, "process", p->o.args[0]);
    lua_pushstring(L, step);
    lua_setfield(L, -2, "step");
    lua_getfield(L, -1, "message");
    int at_cwd = strcmp(step, "chdir") == 0;
    lua_pushfstring(L, "%s%s%s: %s", step, at_cwd ? " " : "", at_cwd ? p->o.cwd : "",
                    lua_tostring(L, -1));
    lua_setfield(L, -3, "message");
    lua_pop(L, 1);
    return 2;
}

/* spawn(options): the handle of a new process, or nil and an error. */
static int spawn(lua_State *L) {
    const char *step = "";
    plan p = {.L = L, .st = NL_STATE(L), .at = 1, .kept = 2};
    if (!lua_istable(L, 1))
        nl_type_error(L, p.st, 1, "a table: {\"program\", \"argument\", ...}");
    lua_settop(L, 1);
    nl_check_options(L, p.st, 1, option_names);
    lua_newtable(L);
    p.o.size = sizeof p.o;
    p.o.step = &step;
    read_args(&p);
    read_env(&p);
    read_fds(&p);
    read_user(&p);
    read_rest(&p);
    nl_loop *l = nl_loop_now(L, p.st);
    neap_process **ret_process = nl_new_process(L, p.st);
    int32_t code = neap_process_spawn(l->loop, &p.o, ret_process);
    return code < 0 ? refuse(&p, code, step) : 1;
}

const luaL_Reg nl_spawn_calls[] = {{"spawn", spawn}, {NULL, NULL}};

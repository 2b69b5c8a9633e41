/* lcontrol.c: what neap/control.lua needs of the system: a directory that is this user's alone, and who lives. */
#include "lneap.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_CAP = 80 /* an address of a Unix socket has room for little more */
};

/* ---- The directory ---- */

static int is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Answers 0 or -errno. */
static int32_t directory_path(char *buf) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int n = runtime != NULL && *runtime == '/' && is_directory(runtime)
                ? snprintf(buf, PATH_CAP, "%s/neap", runtime)
                : snprintf(buf, PATH_CAP, "/tmp/neap-%lu", (unsigned long)geteuid());
    return n < PATH_CAP ? 0 : -ENAMETOOLONG;
}

/* A link, somebody else's, or one that others may look into, is none. */
static int32_t verify(const char *path) {
    struct stat st;
    if (lstat(path, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    if (st.st_uid != geteuid())
        return -EPERM;
    return (st.st_mode & (S_IRWXG | S_IRWXO)) != 0 ? -EACCES : 0;
}

/* directory(create): its path, or nil and an error. */
static int directory(lua_State *L) {
    nl_state *st = NL_STATE(L);
    char path[PATH_CAP];
    int32_t code = directory_path(path);
    if (code == 0 && lua_toboolean(L, 1) && mkdir(path, S_IRWXU) < 0 && errno != EEXIST)
        code = -errno;
    if (code == 0)
        code = verify(path);
    if (code < 0)
        return nl_fail(L, st, code, "control", path);
    lua_pushstring(L, path);
    return 1;
}

/* names(path): what is in a directory. */
static int names(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    struct dirent *entry;
    int n = 0;
    lua_newtable(L);
    DIR *dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++n);
    }
    if (dir != NULL)
        closedir(dir);
    return 1;
}

/* ---- Who ---- */

static int is_alive(lua_State *L) {
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    lua_pushboolean(L, pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH));
    return 1;
}

static int pid(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)getpid());
    return 1;
}

static int uid(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)geteuid());
    return 1;
}

/* ---- For runs ---- */

/* Whether a run that says nothing about it is to have a control server. */
int nl_control_wanted(void) {
    const char *wanted = getenv("NEAP_CONTROL");
    return wanted != NULL && *wanted != '\0' && strcmp(wanted, "0") != 0;
}

/* On a virtual clock the deadlines of clients would be over before they could ask. */
void nl_control_start(lua_State *L, nl_state *st, nl_loop *l) {
    static const nl_spawning how = {"control", 0, NULL, 0, NEAP_TASK_BACKGROUND};
    if (l->attached || neap_loop_advance(l->loop, 0) != NEAP_ENOTSUP)
        return;
    int top = lua_gettop(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "neap.control");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "serve");
    nl_spawn(L, st, l, top + 2, &how);
    lua_settop(L, top);
}

void nl_open_control(lua_State *L, nl_state *st) {
    static const luaL_Reg functions[] = {{"directory", directory},
                                         {"names", names},
                                         {"is_alive", is_alive},
                                         {"pid", pid},
                                         {"uid", uid},
                                         {NULL, NULL}};
    lua_newtable(L);
    nl_functions(L, st, functions);
    lua_setfield(L, -2, "control");
}

/* lerror.c: error objects: tables with code, message and what else is known, made from codes of the core. */
#include "lneap.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Where ---- */

/* Whether the frame is one of the functions that our own files in Lua put around those in C. */
int nl_is_wrapper(const lua_Debug *ar) {
    static const char *const files[] = {"wrap.lua",   "require.lua", "scope.lua", "select.lua",
                                        "sync.lua",   "workers.lua", "serve.lua", "protocol.lua",
                                        "signal.lua", "process.lua"};
    const char *slash = strrchr(ar->short_src, '/');
    if (slash == NULL || slash - ar->short_src < 4 || memcmp(slash - 4, "neap", 4) != 0)
        return 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(slash + 1, files[i]) == 0)
            return 1;
    return 0;
}

/* Writes "source:line": this is done for each task, where printf would be a third of the cost. */
static void write_site(const lua_Debug *ar, char *buf, size_t cap) {
    char digits[16];
    size_t n = 0, at = strnlen(ar->short_src, cap - sizeof digits - 2);
    memcpy(buf, ar->short_src, at);
    buf[at++] = ':';
    for (int line = ar->currentline; line > 0; line /= 10)
        digits[n++] = (char)('0' + line % 10);
    while (n > 0)
        buf[at++] = digits[--n];
    buf[at] = '\0';
}

/* Writes where the thread's innermost frame of a script is, from this level on; answers whether there is one. */
static int site_in(lua_State *at, int level, char *buf, size_t cap) {
    lua_Debug ar;
    for (; lua_getstack(at, level, &ar); level++) {
        lua_getinfo(at, "Sl", &ar);
        if (ar.currentline > 0 && !nl_is_wrapper(&ar)) {
            write_site(&ar, buf, cap);
            return 1;
        }
    }
    return 0;
}

/* "file:line" of the script that called us, or "" where no script did. */
const char *nl_site(lua_State *L, char *buf, size_t cap) {
    buf[0] = '\0';
    if (site_in(L, 1, buf, cap) || !NL_PROTECTS || nl_running_step.st == NULL)
        return buf;
    const nl_link *link = nl_running_step.st->chain; /* a protected call has a thread of its own */
    for (; link != NULL && link->inner == L && link->through; L = link->outer, link = link->up)
        if (site_in(link->outer, 0, buf, cap))
            break;
    return buf;
}

/* Notes in the error object at `error` where the script is. */
void nl_set_where(lua_State *L, int error) {
    char site[LUA_IDSIZE + 16];
    error = lua_absindex(L, error);
    if (*nl_site(L, site, sizeof site) == '\0')
        return;
    lua_pushstring(L, site);
    lua_setfield(L, error, "where");
}

/* ---- Making ---- */

/* The core's sentence; the system's begin small, as the rest of a line "op address: sentence". */
static void push_text(lua_State *L, int32_t code) {
    char text[128];
    snprintf(text, sizeof text, "%s", neap_strerror(code));
    if (islower((unsigned char)text[0]) == 0 && islower((unsigned char)text[1]))
        text[0] = (char)tolower((unsigned char)text[0]);
    lua_pushstring(L, text);
}

/* Pushes an error object; message NULL: the code's own. */
void nl_push_error(lua_State *L, nl_state *st, int32_t code, const char *message) {
    lua_createtable(L, 0, 4);
    lua_pushstring(L, neap_err_word(code));
    lua_setfield(L, -2, "code");
    if (message != NULL && *message != '\0')
        lua_pushstring(L, message);
    else
        push_text(L, code);
    lua_setfield(L, -2, "message");
    if (code < 0 && code > NEAP_PENDING && code != NEAP_ECANCELED) {
        lua_pushinteger(L, -code);
        lua_setfield(L, -2, "errno");
    }
    nl_setmeta(L, st, NL_ERROR);
}

void nl_push_cancelled(lua_State *L, nl_state *st, const char *message) {
    nl_push_error(L, st, NEAP_ECANCELED, message);
}

int nl_throw(lua_State *L, nl_state *st, int32_t code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *message = lua_pushvfstring(L, format, args);
    va_end(args);
    nl_push_error(L, st, code, message);
    nl_set_where(L, -1);
    return lua_error(L);
}

int nl_throw_code(lua_State *L, nl_state *st, int32_t code) {
    nl_push_error(L, st, code, NULL);
    nl_set_where(L, -1);
    return lua_error(L);
}

/* Raises a failure that is a misuse. */
void nl_check_code(lua_State *L, nl_state *st, int64_t code) {
    if (code < 0)
        nl_throw_code(L, st, (int32_t)code);
}

/* As luaL_argerror, with an error object. */
int nl_arg_error(lua_State *L, nl_state *st, int arg, int32_t code, const char *text) {
    lua_Debug ar;
    if (!lua_getstack(L, 0, &ar))
        return nl_throw(L, st, code, "bad argument #%d (%s)", arg, text);
    lua_getinfo(L, "nf", &ar);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->passers);
    lua_insert(L, -2);
    lua_rawget(L, -2);
    if (lua_type(L, -1) == LUA_TSTRING) /* a wait, whose name is sure also behind a wrapper */
        ar.name = lua_tostring(L, -1);
    if (ar.namewhat != NULL && strcmp(ar.namewhat, "method") == 0 && --arg == 0)
        return nl_throw(L, st, code, "calling '%s' on bad self (%s)", ar.name, text);
    return nl_throw(L, st, code, "bad argument #%d to '%s' (%s)", arg,
                    ar.name != NULL ? ar.name : "?", text);
}

int nl_type_error(lua_State *L, nl_state *st, int arg, const char *expected) {
    const char *got = lua_isnoneornil(L, arg) ? "nothing" : luaL_typename(L, arg);
    return nl_arg_error(L, st, arg, NEAP_ETYPE,
                        lua_pushfstring(L, "%s expected, got %s", expected, got));
}

/* Failures of a program, not of the world: these raise also where others are answered. */
static int is_misuse(int32_t code) {
    switch (code) {
    case NEAP_ENOMEM:
    case NEAP_EWRONGTHREAD:
    case NEAP_EFORKED:
    case NEAP_EREENTRANT:
    case NEAP_ECORRUPT:
    case NEAP_ETYPE:
    case NEAP_EOTHER_LOOP:
        return 1;
    default:
        return 0;
    }
}

/* Answers nil and an error object, for an operation that may fail in a correct program. */
int nl_fail(lua_State *L, nl_state *st, int32_t code, const char *op, const char *address) {
    if (is_misuse(code))
        return nl_throw_code(L, st, code);
    lua_pushnil(L);
    nl_push_error(L, st, code, NULL);
    lua_pushstring(L, op);
    lua_setfield(L, -2, "op");
    if (address != NULL) {
        lua_pushstring(L, address);
        lua_setfield(L, -2, "address");
    }
    return 2;
}

/* ---- Reading: none of these allocates or calls Lua ---- */

int nl_is_error(lua_State *L, nl_state *st, int index) {
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return 0;
    const void *meta = lua_topointer(L, -1);
    lua_pop(L, 1);
    return meta == st->error_meta;
}

static const char *raw_text(lua_State *L, int index, int key) {
    lua_pushvalue(L, index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, key);
    lua_rawget(L, -2);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 2);
    return text;
}

/* The core's code of an error value: NEAP_EFOREIGN for what is not ours. */
int32_t nl_error_code(lua_State *L, nl_state *st, int index) {
    if (!nl_is_error(L, st, index))
        return NEAP_EFOREIGN;
    const char *word = raw_text(L, index, st->key_code);
    if (word == NULL)
        return NEAP_EFOREIGN;
    if (strcmp(word, neap_err_word(NEAP_ECANCELED)) == 0)
        return NEAP_ECANCELED;
    if (islower((unsigned char)*word)) {
        for (int32_t code = NEAP_ECLOSED; code >= NEAP_ESERVICE_NOT_FOUND; code--)
            if (strcmp(word, neap_err_word(code)) == 0)
                return code;
        return NEAP_EFOREIGN;
    }
    for (int32_t code = -1; code > -134; code--)
        if (strcmp(word, neap_err_word(code)) == 0)
            return code;
    return NEAP_EFOREIGN;
}

/* A text for the core's reports. */
const char *nl_error_text(lua_State *L, nl_state *st, int index) {
    if (lua_type(L, index) == LUA_TSTRING)
        return lua_tostring(L, index);
    const char *text = nl_is_error(L, st, index) ? raw_text(L, index, st->key_message) : NULL;
    return text != NULL ? text : luaL_typename(L, index);
}

int nl_is_cancelled(lua_State *L, nl_state *st, int index) {
    return nl_is_error(L, st, index) && nl_error_code(L, st, index) == NEAP_ECANCELED;
}

static int is_cancelled(lua_State *L) {
    lua_settop(L, 1);
    lua_pushboolean(L, nl_is_cancelled(L, NL_STATE(L), 1));
    return 1;
}

/* ---- Showing ---- */

static void add_field(lua_State *L, luaL_Buffer *b, const char *name, const char *after) {
    lua_getfield(L, 1, name);
    if (lua_isstring(L, -1)) {
        luaL_addvalue(b);
        luaL_addstring(b, after);
    } else {
        lua_pop(L, 1);
    }
}

static int has_field(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    int has = lua_isstring(L, -1);
    lua_pop(L, 1);
    return has;
}

/* "file:line: op address: message" of what is known; of files the paths are the address. */
static int error_tostring(lua_State *L) {
    luaL_Buffer b;
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_buffinit(L, &b);
    add_field(L, &b, "where", ": ");
    int has_path = has_field(L, "path"), has_to = has_field(L, "to");
    if (has_field(L, "op"))
        add_field(L, &b, "op", has_path || has_field(L, "address") ? " " : ": ");
    if (has_path)
        add_field(L, &b, "path", has_to ? " to " : ": ");
    add_field(L, &b, has_to ? "to" : "address", ": ");
    add_field(L, &b, "message", "");
    luaL_pushresult(&b);
    return 1;
}

/* The one error that a group's error keeps; of several, and of any other error, that itself. */
static int error_only(lua_State *L) {
    nl_state *st = NL_STATE(L);
    if (!lua_istable(L, 1))
        nl_type_error(L, st, 1, "an error");
    lua_settop(L, 1);
    lua_getfield(L, 1, "errors");
    if (lua_istable(L, 2) && lua_rawlen(L, 2) == 1)
        lua_rawgeti(L, 2, 1);
    else
        lua_settop(L, 1);
    return 1;
}

void nl_open_error(lua_State *L, nl_state *st) {
    static const luaL_Reg methods[] = {{"only", error_only}, {NULL, NULL}};
    static const luaL_Reg metas[] = {{"__tostring", error_tostring}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"is_cancelled", is_cancelled}, {NULL, NULL}};
    nl_class(L, st, NL_ERROR, "neap.error", methods, NULL, metas);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->meta_ref[NL_ERROR]);
    st->error_meta = lua_topointer(L, -1);
    lua_pop(L, 1);
    lua_pop(L, 1);
    nl_functions(L, st, functions);
}

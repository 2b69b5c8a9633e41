/* lcopy.c: copies of values on their way from one Lua state to another: nil, booleans, numbers, strings, tables of all that
   (nested, shared, in circles) and shared channels.  A parcel is memory of no state, so that any thread may carry it, and end it. */
#include "lneap.h"

#include <stdlib.h>
#include <string.h>

const char nl_parcel_tag = 0;

enum {
    DEPTH_MAX = 1000, /* of tables in tables: each level takes C stack and some places of Lua's */
    PATH_MAX_BYTES = 256
};

/* What stands before each value; a table's pairs are followed by END. */
enum {
    IS_NIL,
    IS_FALSE,
    IS_TRUE,
    IS_INTEGER,
    IS_FLOAT,
    IS_STRING,
    IS_TABLE,
    IS_ERROR, /* a table that is an error object of ours */
    IS_AGAIN, /* a table that was there before */
    IS_CHANNEL,
    IS_CFUNCTION,
    END
};

struct nl_parcel {
    char *bytes;
    size_t len, cap;
    uint32_t values;
    uint32_t tables;
    neap_shared_chan **chans; /* references */
    uint32_t n_chans, chans_cap;
};

/* Where we are in what is copied: a chain from the innermost key outward. */
typedef struct level {
    const struct level *up;
    int key; /* stack index; 0: the value itself */
} level;

typedef struct packing {
    nl_parcel *parcel;
    nl_state *st; /* NULL: the state has not loaded neap */
    const char *noun;
    int seen;    /* stack index of {[table] = number} */
    int lenient; /* what cannot be copied is left out */
    int whole;   /* of the noun there is one only */
} packing;

/* ---- The parcel ---- */

nl_parcel *nl_parcel_new(void) {
    return calloc(1, sizeof(nl_parcel));
}

/* Empty again. */
void nl_parcel_clear(nl_parcel *p) {
    for (uint32_t i = 0; i < p->n_chans; i++)
        neap_shared_chan_unref(p->chans[i]);
    p->n_chans = p->tables = p->values = 0;
    p->len = 0;
}

void nl_parcel_free(void *parcel) {
    nl_parcel *p = parcel;
    if (p == NULL)
        return;
    nl_parcel_clear(p);
    free(p->chans);
    free(p->bytes);
    free(p);
}

int nl_parcel_has_channels(const nl_parcel *p) {
    return p->n_chans > 0;
}

static int put(nl_parcel *p, const void *data, size_t n) {
    if (n > p->cap - p->len) {
        size_t cap = p->cap * 2 > p->len + n ? p->cap * 2 : p->len + n + 64;
        char *bytes = realloc(p->bytes, cap);
        if (bytes == NULL)
            return 0;
        p->bytes = bytes;
        p->cap = cap;
    }
    if (n > 0)
        memcpy(p->bytes + p->len, data, n);
    p->len += n;
    return 1;
}

static void put_or_raise(lua_State *L, nl_parcel *p, const void *data, size_t n) {
    if (!put(p, data, n))
        luaL_error(L, "not enough memory");
}

static void put_kind(lua_State *L, nl_parcel *p, char kind) {
    put_or_raise(L, p, &kind, 1);
}

static void put_bytes(lua_State *L, nl_parcel *p, const char *bytes, size_t len) {
    put_kind(L, p, IS_STRING);
    put_or_raise(L, p, &len, sizeof len);
    put_or_raise(L, p, bytes, len);
}

static void put_channel(lua_State *L, nl_parcel *p, neap_shared_chan *chan) {
    if (p->n_chans == p->chans_cap) {
        uint32_t cap = p->chans_cap * 2 + 4;
        neap_shared_chan **chans = realloc(p->chans, cap * sizeof *chans);
        if (chans == NULL)
            luaL_error(L, "not enough memory");
        p->chans = chans;
        p->chans_cap = cap;
    }
    put_kind(L, p, IS_CHANNEL);
    put_or_raise(L, p, &p->n_chans, sizeof p->n_chans);
    p->chans[p->n_chans++] = neap_shared_chan_ref(chan);
}

/* ---- Refusals, which name the place ---- */

static void add_key(lua_State *L, luaL_Buffer *b, int key) {
    if (lua_type(L, key) == LUA_TSTRING) {
        luaL_addstring(b, ".");
        luaL_addstring(b, lua_tostring(L, key));
        return;
    }
    luaL_addstring(b, "[");
    if (lua_type(L, key) == LUA_TNUMBER) {
        lua_pushvalue(L, key); /* converting it in place would confuse lua_next */
        luaL_addvalue(b);
    } else {
        luaL_addstring(b, luaL_typename(L, key));
    }
    luaL_addstring(b, "]");
}

static void add_path(lua_State *L, luaL_Buffer *b, const level *at) {
    if (at->key == 0)
        return;
    add_path(L, b, at->up);
    add_key(L, b, at->key);
}

/* "argument 2.window[3]: what" */
static int refuse(lua_State *L, const packing *pk, const level *at, int number, const char *what) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, pk->noun);
    if (!pk->whole) {
        lua_pushfstring(L, " %d", number);
        luaL_addvalue(&b);
    }
    add_path(L, &b, at);
    luaL_addstring(&b, ": ");
    luaL_addstring(&b, what);
    luaL_pushresult(&b);
    if (pk->st != NULL)
        return nl_throw(L, pk->st, NEAP_ETYPE, "%s", lua_tostring(L, -1));
    return lua_error(L);
}

/* ---- Packing ---- */

static int pack_value(lua_State *L, packing *pk, int index, const level *at, int depth, int number);

/* A value that is left out has left nothing, so its key can be taken back: but not one that tables may refer to. */
static int may_leave_out(lua_State *L, int key) {
    return !lua_istable(L, key);
}

static void pack_pairs(lua_State *L, packing *pk, int table, const level *up, int depth,
                       int number) {
    luaL_checkstack(L, 8, "tables in tables");
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        int key = lua_gettop(L) - 1;
        const level at = {up, key};
        size_t before = pk->parcel->len;
        if (pk->lenient && !may_leave_out(L, key))
            continue;
        if (!pack_value(L, pk, key, &at, depth, number) ||
            !pack_value(L, pk, key + 1, &at, depth, number))
            pk->parcel->len = before;
    }
    put_kind(L, pk->parcel, END);
}

static int is_seen(lua_State *L, packing *pk, int table) {
    lua_pushvalue(L, table);
    lua_rawget(L, pk->seen);
    int seen = !lua_isnil(L, -1);
    if (seen) {
        uint32_t number = (uint32_t)lua_tointeger(L, -1);
        put_kind(L, pk->parcel, IS_AGAIN);
        put_or_raise(L, pk->parcel, &number, sizeof number);
    } else {
        lua_pushvalue(L, table);
        lua_pushinteger(L, (lua_Integer)++pk->parcel->tables);
        lua_rawset(L, pk->seen);
    }
    lua_pop(L, 1);
    return seen;
}

static int pack_table(lua_State *L, packing *pk, int table, const level *at, int depth,
                      int number) {
    int error = pk->st != NULL && nl_is_error(L, pk->st, table);
    luaL_checkstack(L, 8, "tables in tables");
    if (lua_getmetatable(L, table)) {
        lua_pop(L, 1);
        if (!error && pk->lenient)
            return 0;
        if (!error)
            return refuse(L, pk, at, number, "a table with a metatable cannot be copied");
    }
    if (depth == DEPTH_MAX)
        return pk->lenient ? 0 : refuse(L, pk, at, number, "tables are nested too deeply");
    if (is_seen(L, pk, table))
        return 1;
    put_kind(L, pk->parcel, error ? IS_ERROR : IS_TABLE);
    pack_pairs(L, pk, table, at, depth + 1, number);
    return 1;
}

static void pack_number(lua_State *L, nl_parcel *p, int index) {
    if (nl_isinteger(L, index)) {
        int64_t i = (int64_t)lua_tointeger(L, index);
        put_kind(L, p, IS_INTEGER);
        put_or_raise(L, p, &i, sizeof i);
    } else {
        double d = (double)lua_tonumber(L, index);
        put_kind(L, p, IS_FLOAT);
        put_or_raise(L, p, &d, sizeof d);
    }
}

static int pack_other(lua_State *L, packing *pk, int index, const level *at, int number) {
    neap_shared_chan *chan = pk->st != NULL ? nl_to_shared(L, pk->st, index) : NULL;
    if (chan != NULL) {
        put_channel(L, pk->parcel, chan);
        return 1;
    }
    if (pk->lenient)
        return 0;
    return refuse(L, pk, at, number,
                  lua_pushfstring(L, "a %s cannot be copied", luaL_typename(L, index)));
}

/* Answers 0 for what was left out. */
static int pack_value(lua_State *L, packing *pk, int index, const level *at, int depth,
                      int number) {
    nl_parcel *p = pk->parcel;
    size_t len;
    const char *bytes;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        put_kind(L, p, IS_NIL);
        return 1;
    case LUA_TBOOLEAN:
        put_kind(L, p, lua_toboolean(L, index) ? IS_TRUE : IS_FALSE);
        return 1;
    case LUA_TNUMBER:
        pack_number(L, p, index);
        return 1;
    case LUA_TSTRING:
        bytes = lua_tolstring(L, index, &len);
        put_bytes(L, p, bytes, len);
        return 1;
    case LUA_TTABLE:
        return pack_table(L, pk, index, at, depth, number);
    default:
        return pack_other(L, pk, index, at, number);
    }
}

/* Adds copies of n values from `at` on; raises for one that cannot be copied.  In an error value number i is `noun` i + first;
   with `first` 0 there is only one.  `noun` NULL: what cannot be copied is left out. */
void nl_pack_values(lua_State *L, nl_parcel *p, int at, int n, const char *noun, int first) {
    const level here = {NULL, 0};
    packing pk = {p, nl_find_state(L), noun, 0, noun == NULL, first == 0};
    luaL_checkstack(L, LUA_MINSTACK, "too many values");
    at = lua_absindex(L, at);
    lua_newtable(L);
    pk.seen = lua_gettop(L);
    for (int i = 0; i < n; i++, p->values++)
        if (!pack_value(L, &pk, at + i, &here, 0, first + i))
            put_kind(L, p, IS_NIL);
    lua_settop(L, pk.seen - 1);
}

/* ---- Functions ---- */

static int write_chunk(lua_State *L, const void *data, size_t n, void *parcel) {
    (void)L;
    return !put(parcel, data, n);
}

static void pack_code(lua_State *L, nl_parcel *p, int fn) {
    size_t len = 0, at;
    put_bytes(L, p, "", 0);
    at = p->len - sizeof len;
    lua_pushvalue(L, fn);
    if (nl_dump(L, write_chunk, p) != 0)
        luaL_error(L, "the function cannot be copied");
    lua_pop(L, 1);
    len = p->len - at - sizeof len;
    memcpy(p->bytes + at, &len, sizeof len);
}

static void check_upvalues(lua_State *L, int fn, const char *cure) {
    const char *name;
    for (int i = 1; (name = lua_getupvalue(L, fn, i)) != NULL; i++) {
        lua_pop(L, 1);
        if (!nl_isglobals(name))
            nl_throw(L, nl_state_of(L), NEAP_ETYPE,
                     "the function uses '%s' from outside of itself, which does not go to another "
                     "state: %s",
                     *name != '\0' ? name : "?", cure);
    }
}

static void pack_cfunction(lua_State *L, nl_parcel *p, int fn) {
    lua_CFunction called = lua_tocfunction(L, fn);
    if (called == NULL || lua_getupvalue(L, fn, 1) != NULL)
        nl_throw(L, nl_state_of(L), NEAP_ETYPE,
                 "this function in C belongs to its Lua state: call it in a function of Lua");
    put_kind(L, p, IS_CFUNCTION);
    put_or_raise(L, p, &called, sizeof called);
}

/* Adds the function at `fn`: the code of one in Lua, as a string, or one in C itself.  Raises for one that needs something of
   its state but globals; `cure` says what to do instead. */
void nl_pack_function(lua_State *L, nl_parcel *p, int fn, const char *cure) {
    if (lua_iscfunction(L, fn)) {
        pack_cfunction(L, p, fn);
    } else {
        check_upvalues(L, fn, cure);
        pack_code(L, p, fn);
    }
    p->values++;
}

/* ---- Where modules are ---- */

static const char *const path_names[] = {"path", "cpath"};

/* Adds the paths of the state's modules. */
void nl_pack_paths(lua_State *L, nl_parcel *p) {
    int top = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(L, -1, "package");
    for (int i = 0; i < 2; i++) {
        if (lua_istable(L, top + 2))
            lua_getfield(L, top + 2, path_names[i]);
        else
            lua_pushnil(L);
        nl_pack_values(L, p, -1, 1, NULL, 0);
    }
    lua_settop(L, top);
}

/* Another state finds its modules in the same places. */
void nl_unpack_paths(lua_State *L, const nl_parcel *p) {
    int top = lua_gettop(L);
    nl_unpack_values(L, p);
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(L, -1, "package");
    for (int i = 0; i < 2 && lua_istable(L, top + 4); i++) {
        if (!lua_isstring(L, top + 1 + i))
            continue;
        lua_pushvalue(L, top + 1 + i);
        lua_setfield(L, top + 4, path_names[i]);
    }
    lua_settop(L, top);
}

/* ---- Unpacking ---- */

typedef struct unpacking {
    const nl_parcel *parcel;
    const char *at;
    nl_state *st;
    int tables; /* stack index of those that were made, in order */
    uint32_t made;
} unpacking;

static void take(unpacking *u, void *to, size_t n) {
    memcpy(to, u->at, n);
    u->at += n;
}

static void push_value(lua_State *L, unpacking *u, int kind);

static void push_table(lua_State *L, unpacking *u, int kind) {
    luaL_checkstack(L, 8, "tables in tables");
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, u->tables, (int)++u->made);
    for (char key; take(u, &key, 1), key != END;) {
        char value;
        push_value(L, u, key);
        take(u, &value, 1);
        push_value(L, u, value);
        lua_rawset(L, -3);
    }
    if (kind == IS_ERROR && u->st != NULL)
        nl_setmeta(L, u->st, NL_ERROR);
}

static void push_number(lua_State *L, unpacking *u, int kind) {
    int64_t i;
    double d;
    if (kind == IS_INTEGER) {
        take(u, &i, sizeof i);
        lua_pushinteger(L, (lua_Integer)i);
    } else {
        take(u, &d, sizeof d);
        lua_pushnumber(L, (lua_Number)d);
    }
}

static void push_string(lua_State *L, unpacking *u) {
    size_t len;
    take(u, &len, sizeof len);
    lua_pushlstring(L, u->at, len);
    u->at += len;
}

static void push_numbered(lua_State *L, unpacking *u, int kind) {
    uint32_t number;
    take(u, &number, sizeof number);
    if (kind == IS_AGAIN)
        lua_rawgeti(L, u->tables, (int)number);
    else
        neap_lua_push_shared_chan(L, u->parcel->chans[number]);
}

static void push_value(lua_State *L, unpacking *u, int kind) {
    lua_CFunction fn;
    switch (kind) {
    case IS_NIL:
        lua_pushnil(L);
        break;
    case IS_FALSE:
    case IS_TRUE:
        lua_pushboolean(L, kind == IS_TRUE);
        break;
    case IS_INTEGER:
    case IS_FLOAT:
        push_number(L, u, kind);
        break;
    case IS_STRING:
        push_string(L, u);
        break;
    case IS_CFUNCTION:
        take(u, &fn, sizeof fn);
        lua_pushcfunction(L, fn);
        break;
    case IS_TABLE:
    case IS_ERROR:
        push_table(L, u, kind);
        break;
    default:
        push_numbered(L, u, kind);
    }
}

/* Pushes the values; answers how many. */
int nl_unpack_values(lua_State *L, const nl_parcel *p) {
    unpacking u = {.parcel = p, .at = p->bytes, .st = nl_find_state(L)};
    luaL_checkstack(L, (int)p->values + LUA_MINSTACK, "too many values");
    lua_createtable(L, (int)p->tables, 0);
    u.tables = lua_gettop(L);
    for (uint32_t i = 0; i < p->values; i++) {
        char kind;
        take(&u, &kind, 1);
        push_value(L, &u, kind);
    }
    lua_remove(L, u.tables);
    return (int)p->values;
}

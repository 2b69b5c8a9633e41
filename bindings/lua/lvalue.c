/* lvalue.c: Lua values in and out of futures.  Numbers, booleans and strings travel in the core's own kinds, so that
   other bindings can read them; the rest hangs from the future's userdata, and the core carries a mark. */
#include "lneap.h"

#include <stdlib.h>

const char nl_forms[NL_FORMS];

/* A value of a future that a host may keep longer than scripts do: it is anchored for as long. */
typedef struct cell {
    nl_life *life;
    int ref;
    int form;
} cell;

void nl_cell_gone(void *user) {
    cell *c = user;
    if (c->life->st != NULL)
        nl_unanchor(c->life->st, c->ref);
    nl_life_unref(c->life);
    free(c);
}

/* ---- Several values as one ---- */

/* Pushes {n = n, ...} with the values from `first`. */
void nl_pack(lua_State *L, int first, int n) {
    lua_createtable(L, n, 1);
    for (int i = 0; i < n; i++) {
        lua_pushvalue(L, first + i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
}

/* Pushes the values of a packed table; answers how many. */
int nl_unpack(lua_State *L, int index) {
    index = lua_absindex(L, index);
    lua_getfield(L, index, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n, "too many values");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, index, i);
    return n;
}

/* ---- In ---- */

/* Answers 1 if the value at index is of a kind that the core knows. */
int nl_settle_plain(lua_State *L, neap_future *future, int index, int32_t *ret_code) {
    size_t len;
    if (nl_isinteger(L, index)) {
        *ret_code = neap_future_set_int(future, (int64_t)lua_tointeger(L, index));
        return 1;
    }
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        *ret_code = neap_future_set_bool(future, lua_toboolean(L, index));
        return 1;
    case LUA_TNUMBER:
        *ret_code = neap_future_set_double(future, (double)lua_tonumber(L, index));
        return 1;
    case LUA_TSTRING: {
        const char *data = lua_tolstring(L, index, &len);
        *ret_code = neap_future_set_bytes(future, data, len);
        return 1;
    }
    default:
        return 0;
    }
}

/* Of the value on top, which stays. */
void *nl_new_cell(lua_State *L, nl_state *st, int form) {
    lua_pushvalue(L, -1);
    int ref = nl_anchor(L, st);
    cell *c = nl_alloc_with(L, st, sizeof *c, ref);
    c->life = nl_life_ref(st);
    c->form = form;
    c->ref = ref;
    return c;
}

void nl_push_cell(lua_State *L, const void *user) {
    const cell *c = user;
    nl_anchored(L, c->ref);
}

/* Puts the value on top (popped) into the future's slot or, if a host knows the future, into a cell.  Answers the
   pointer for the core. */
static void *keep_value(lua_State *L, nl_state *st, nl_object *o, int ud, int form) {
    void *payload = (void *)&nl_forms[form];
    if (o->node.flags & NL_SHARED)
        payload = nl_new_cell(L, st, form);
    nl_setslot(L, ud, NL_VALUE);
    o->node.form = (uint8_t)form;
    return payload;
}

static neap_destroy_fn payload_destroy(const nl_object *o) {
    return o->node.flags & NL_SHARED ? nl_cell_gone : NULL;
}

/* Completes the future of the userdata at `ud` with n values from `first`. */
int32_t nl_settle(lua_State *L, nl_state *st, nl_object *o, int ud, int first, int n) {
    int32_t code;
    if (n == 0)
        return neap_future_set_none(o->future);
    if (n == 1 && nl_settle_plain(L, o->future, first, &code))
        return code;
    if (neap_future_done(o->future))
        return NEAP_EINVALID_STATE;
    if (n == 1)
        lua_pushvalue(L, first);
    else
        nl_pack(L, first, n);
    void *payload = keep_value(L, st, o, ud, n == 1 ? NL_ONE : NL_PACKED);
    return neap_future_set_ptr(o->future, st, payload, payload_destroy(o));
}

/* Completes a new future with the values that a task at `ud` has left in its slot. */
int32_t nl_settle_again(lua_State *L, nl_state *st, nl_object *o, int ud, neap_future *future) {
    int32_t code;
    if (o->node.form == NL_NONE)
        return neap_future_set_none(future);
    nl_getslot(L, ud, NL_VALUE);
    int plain = o->node.form == NL_ONE && nl_settle_plain(L, future, lua_gettop(L), &code);
    lua_pop(L, 1);
    if (plain && code >= 0)
        o->node.form = NL_NONE;
    return plain ? code : neap_future_set_ptr(future, st, (void *)&nl_forms[o->node.form], NULL);
}

/* Fails the future of the userdata at `ud` with the value at `error`. */
int32_t nl_settle_error(lua_State *L, nl_state *st, int ud, int error) {
    nl_object *o = nl_block(L, ud);
    if (neap_future_done(o->future))
        return NEAP_EINVALID_STATE;
    lua_pushvalue(L, error);
    void *payload = keep_value(L, st, o, ud, NL_ONE);
    return neap_future_set_exception(o->future, nl_error_code(L, st, error),
                                     nl_error_text(L, st, error), st, payload, payload_destroy(o));
}

/* ---- Out ---- */

/* Pushes the userdata whose slots hold the Lua values of the one at `ud`. */
static nl_object *push_source(lua_State *L, int ud) {
    lua_pushvalue(L, ud);
    nl_object *o = nl_block(L, -1);
    while (o->node.flags & NL_DERIVED) {
        nl_getslot(L, -1, NL_LINK);
        lua_replace(L, -2);
        o = nl_block(L, -1);
    }
    return o;
}

/* Pushes what a payload of ours stands for; answers its form. */
static int push_payload(lua_State *L, void *payload, int ud) {
    const char *mark = payload;
    if (mark < nl_forms || mark >= nl_forms + NL_FORMS) {
        cell *c = payload;
        nl_anchored(L, c->ref);
        return c->form;
    }
    if (ud == 0) {
        lua_pushnil(L);
        return NL_ONE;
    }
    push_source(L, ud);
    nl_getslot(L, -1, NL_VALUE);
    lua_replace(L, -2);
    return (int)(mark - nl_forms);
}

static int push_form(lua_State *L, int form) {
    if (form != NL_PACKED)
        return 1;
    int at = lua_gettop(L), n = nl_unpack(L, at);
    lua_remove(L, at);
    return n;
}

/* The userdata at `ud` if it is this future's own, so that it may remember an outcome. */
static nl_object *own_object(lua_State *L, neap_future *future, int ud) {
    nl_object *o = ud != 0 ? nl_block(L, ud) : NULL;
    return o != NULL && o->future == future ? o : NULL;
}

/* An accepted socket comes out of the core once; the userdata remembers it. */
static int push_accepted(lua_State *L, nl_state *st, neap_future *future, int ud) {
    nl_object *o = own_object(L, future, ud);
    neap_addr addr;
    if (o != NULL && (o->node.flags & NL_CACHED)) {
        nl_getslot(L, ud, NL_VALUE);
        return push_form(L, NL_PACKED);
    }
    nl_sock *s = nl_new_sock(L, st);
    nl_check_code(L, st, neap_future_take_sock(future, &s->sock));
    if (neap_future_get_addr(future, &addr) < 0)
        addr.len = 0;
    nl_push_address(L, &addr);
    if (o != NULL) {
        nl_pack(L, lua_gettop(L) - 1, 2);
        nl_setslot(L, ud, NL_VALUE);
        o->node.flags |= NL_CACHED;
    }
    return 2;
}

static int push_list(lua_State *L, nl_state *st, neap_future *future) {
    int n = neap_future_list_count(future);
    lua_createtable(L, n, 1);
    for (int i = 0; i < n; i++) {
        nl_push_object(L, st, neap_future_list_get(future, (size_t)i));
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    return 1;
}

/* What came from another state: one copy, which the userdata remembers. */
static int push_copied(lua_State *L, neap_future *future, int ud, const nl_parcel *p) {
    nl_object *o = own_object(L, future, ud);
    if (o != NULL && (o->node.flags & NL_CACHED)) {
        nl_getslot(L, ud, NL_VALUE);
        return push_form(L, NL_PACKED);
    }
    int n = nl_unpack_values(L, p);
    if (o != NULL) {
        nl_pack(L, lua_gettop(L) - n + 1, n);
        nl_setslot(L, ud, NL_VALUE);
        o->node.flags |= NL_CACHED;
    }
    return n;
}

static int push_ptr(lua_State *L, nl_state *st, neap_future *future, const neap_value *value,
                    int ud) {
    if (value->ptr.tag == &nl_parcel_tag)
        return push_copied(L, future, ud, value->ptr.ptr);
    neap_addrs *addrs;
    if (value->ptr.tag != st) {
        if (neap_future_get_addrs(future, &addrs) == 0)
            return nl_push_addrs(L, addrs);
        lua_pushnil(L); /* another binding's */
        return 1;
    }
    return push_form(L, push_payload(L, value->ptr.ptr, ud));
}

/* The cancellation on top gets the traceback of the wait in which the task at `ud` met it. */
void nl_add_wait_of(lua_State *L, nl_state *st, int ud) {
    if (nl_test(L, st, ud, NL_TASK) == NULL)
        return;
    nl_getslot(L, ud, NL_LINK);
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "traceback");
        lua_setfield(L, -3, "traceback");
    }
    lua_pop(L, 1);
}

/* Pushes the error of a failed, cancelled or pending future. */
void nl_push_failure(lua_State *L, nl_state *st, neap_future *future, int ud) {
    nl_object *o = own_object(L, future, ud);
    int32_t code = neap_future_error(future);
    void *payload = code == NEAP_EPENDING ? NULL : neap_future_exception(future, st);
    const nl_parcel *copy =
        code == NEAP_EPENDING ? NULL : neap_future_exception(future, &nl_parcel_tag);
    if (payload != NULL) {
        push_payload(L, payload, ud);
    } else if (code == NEAP_EPENDING) {
        nl_push_error(L, st, NEAP_EINVALID_STATE, neap_strerror(code));
        nl_set_where(L, -1);
    } else if (o != NULL && (o->node.flags & NL_CACHED)) {
        nl_getslot(L, ud, NL_VALUE);
    } else {
        if (copy != NULL)
            nl_push_job_error(L, st, copy);
        else
            nl_push_error(L, st, code, neap_future_message(future));
        if (code == NEAP_ECANCELED && ud != 0)
            nl_add_wait_of(L, st, ud);
        if (neap_future_partial(future) > 0) {
            lua_pushinteger(L, (lua_Integer)neap_future_partial(future));
            lua_setfield(L, -2, "partial");
        }
        if (o != NULL) {
            lua_pushvalue(L, -1);
            nl_setslot(L, ud, NL_VALUE);
            o->node.flags |= NL_CACHED;
        }
    }
}

/* The bytes that a receive has put into its buffer. */
static int push_received(lua_State *L, int ud, size_t count) {
    nl_object *o = ud != 0 ? nl_block(L, ud) : NULL;
    if (o == NULL || (o->node.flags & (NL_RECEIVED | NL_DERIVED)) == 0)
        return 0;
    o = push_source(L, ud);
    if ((o->node.flags & NL_RECEIVED) == 0) {
        lua_pop(L, 1);
        return 0;
    }
    nl_getslot(L, -1, NL_LINK);
    lua_pushlstring(L, lua_touserdata(L, -1), count);
    lua_replace(L, -3);
    lua_pop(L, 1);
    return 1;
}

/* Pushes what neap_future_value has told of a future: its values or its error.  Answers how many values, or -1.  `ud` is
   the index of its userdata or of the one that it derives from, or 0. */
int nl_push_value(lua_State *L, nl_state *st, neap_future *future, int ud, int32_t kind,
                  const neap_value *value) {
    switch (kind) {
    case NEAP_KIND_NONE:
        return 0;
    case NEAP_KIND_INT:
        if (!push_received(L, ud, (size_t)value->i))
            lua_pushinteger(L, (lua_Integer)value->i);
        return 1;
    case NEAP_KIND_DOUBLE:
        lua_pushnumber(L, value->d);
        return 1;
    case NEAP_KIND_BOOL:
        lua_pushboolean(L, value->i != 0);
        return 1;
    case NEAP_KIND_BYTES:
        lua_pushlstring(L, value->bytes.data, value->bytes.len);
        return 1;
    case NEAP_KIND_PTR:
        return push_ptr(L, st, future, value, ud);
    case NEAP_KIND_SOCK:
        return push_accepted(L, st, future, ud);
    case NEAP_KIND_LIST:
        return push_list(L, st, future);
    default:
        nl_push_failure(L, st, future, ud);
        return -1;
    }
}

int nl_push_outcome(lua_State *L, nl_state *st, neap_future *future, int ud) {
    neap_value value;
    int32_t kind = neap_future_value(future, &value, sizeof value);
    return nl_push_value(L, st, future, ud, kind, &value);
}

/* The outcome of the userdata at `ud` itself, also of a task that let go of the core. */
int nl_push_own_outcome(lua_State *L, nl_state *st, int ud) {
    nl_object *o = nl_block(L, ud);
    if (o->future != NULL)
        return nl_push_outcome(L, st, o->future, ud);
    if (o->node.form == NL_NONE)
        return 0;
    nl_getslot(L, ud, NL_VALUE);
    return push_form(L, o->node.form);
}

/* As nl_push_own_outcome, but raises the error. */
int nl_push_result(lua_State *L, nl_state *st, int ud) {
    int n = nl_push_own_outcome(L, st, ud);
    return n < 0 ? lua_error(L) : n;
}

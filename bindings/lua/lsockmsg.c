/* lsockmsg.c: whole messages: batches of datagrams, descriptors over Unix sockets, groups of multicast.

   A socket that has received or sent a batch keeps the memory for it (st->batches), which the next batch uses again.  While
   the core has it (busy) another one makes its own. */
#include "lneap.h"

#include <stdio.h>
#include <string.h>

enum {
    BATCH_DEFAULT = 64,
    SIZE_DEFAULT = 2048, /* more than a packet carries on most networks */
    SIZE_MAX_ASKED = 1 << 24,
    LETTER_DEFAULT = 4096,
    FDS_DEFAULT = 16
};

/* What a socket keeps. */
enum {
    INCOMING = 1,
    OUTGOING = 2
};

/* The Lua values of memory, while the core uses it. */
enum {
    FOR_SOCK = 1,    /* its socket, which must not be collected before */
    FOR_STRINGS = 2, /* the strings that are sent */
    BLOCK_SLOTS = 2
};

static int check_count(lua_State *L, nl_state *st, int index, int otherwise, int max,
                       const char *what) {
    lua_Integer n = nl_count(L, st, index, otherwise, what);
    return n > max ? max : (int)n;
}

/* Pushes memory for an operation on the socket at index 1. */
static void *new_block(lua_State *L, size_t size) {
    void *block = nl_newblock(L, size, BLOCK_SLOTS);
    for (int slot = BLOCK_SLOTS; slot > 0; slot--) { /* so that setting it later needs no memory */
        lua_pushboolean(L, 0);
        nl_setslot(L, -2, slot);
    }
    return block;
}

/* Pushes what the socket at index 1 keeps, or nil. */
static void *push_kept(lua_State *L, nl_state *st, int which) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->batches);
    lua_pushvalue(L, 1);
    lua_rawget(L, -2);
    if (lua_istable(L, -1)) {
        lua_rawgeti(L, -1, which);
        lua_replace(L, -2);
    }
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

/* Makes what is on top the socket's memory for further batches. */
static void keep_block(lua_State *L, nl_state *st, int which) {
    int block = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->batches);
    lua_pushvalue(L, 1);
    lua_rawget(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, 1);
        lua_pushvalue(L, -2);
        lua_rawset(L, block + 1);
    }
    lua_pushvalue(L, block);
    lua_rawseti(L, -2, which);
    lua_settop(L, block);
}

/* Puts the memory on top in the place of its socket, at index 1, while the core has it. */
static void lend_block(lua_State *L) {
    lua_pushvalue(L, 1);
    nl_setslot(L, -2, FOR_SOCK);
    lua_replace(L, 1);
}

/* The core has done with the memory at index 1. */
static void take_block(lua_State *L) {
    for (int slot = BLOCK_SLOTS; slot > 0; slot--) {
        lua_pushboolean(L, 0);
        nl_setslot(L, 1, slot);
    }
}

/* ---- recv_many ---- */

typedef struct incoming {
    size_t size; /* room of each */
    int max;
    int count; /* datagrams that came and that nobody has yet */
    int busy;
    neap_msg msgs[]; /* then the room */
} incoming;

/* Pushes the memory.  What is left of a batch for which there was no memory comes first. */
static incoming *push_incoming(lua_State *L, nl_state *st, int max, size_t size) {
    incoming *in = push_kept(L, st, INCOMING);
    if (in != NULL && !in->busy && (in->count > 0 || (in->max == max && in->size == size)))
        return in;
    lua_pop(L, 1);
    size_t n = (size_t)max;
    in = new_block(L, sizeof *in + n * (sizeof in->msgs[0] + size));
    memset(in, 0, sizeof *in + n * sizeof in->msgs[0]);
    in->size = size;
    in->max = max;
    char *room = (char *)&in->msgs[n];
    for (size_t i = 0; i < n; i++) {
        in->msgs[i].data = room + i * size;
        in->msgs[i].cap = size;
    }
    keep_block(L, st, INCOMING);
    return in;
}

static int same_sender(const neap_msg *a, const neap_msg *b) {
    return a->addr.len == b->addr.len && memcmp(a->addr.data, b->addr.data, a->addr.len) == 0;
}

/* Notes at `cut`, a table from the first time on, how long datagram i had been. */
static void note_cut(lua_State *L, int cut, int i, const neap_msg *msg) {
    if (lua_isnil(L, cut)) {
        lua_newtable(L);
        lua_replace(L, cut);
    }
    lua_pushinteger(L, (lua_Integer)(msg->len + msg->missing));
    lua_rawseti(L, cut, i + 1);
}

/* Pushes the datagrams, their senders, and what was cut or nil. */
static int push_batch(lua_State *L, incoming *in) {
    int data = lua_gettop(L) + 1, from = data + 1, cut = data + 2, sender = data + 3;
    lua_createtable(L, in->count, 0);
    lua_createtable(L, in->count, 0);
    lua_pushnil(L);
    lua_pushnil(L);
    for (int i = 0; i < in->count; i++) {
        const neap_msg *msg = &in->msgs[i];
        lua_pushlstring(L, msg->data, msg->len);
        lua_rawseti(L, data, i + 1);
        if (i == 0 || !same_sender(msg, msg - 1)) {
            nl_push_address(L, &msg->addr);
            lua_replace(L, sender);
        }
        lua_pushvalue(L, sender);
        lua_rawseti(L, from, i + 1);
        if (msg->missing > 0)
            note_cut(L, cut, i, msg);
    }
    in->count = 0;
    lua_settop(L, cut);
    return 3;
}

/* Keeps the memory at index 1. */
static int recv_many_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    incoming *in = lua_touserdata(L, 1);
    int64_t count;
    in->busy = 0;
    take_block(L);
    neap_future *future = nl_woken(L, st);
    if (neap_future_get_int(future, &count) < 0)
        return nl_fail_waited(L, st, future, "recv_many");
    in->count = (int)count;
    nl_wait_end(st->task);
    return push_batch(L, in);
}

/* Datagrams, at least one, and their senders: two arrays; and the full lengths of those that were cut, by position. */
static int sock_recv_many(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    int max = check_count(L, st, 2, BATCH_DEFAULT, 65536, "a number of datagrams");
    int size = check_count(L, st, 3, SIZE_DEFAULT, SIZE_MAX_ASKED, "a number of bytes");
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_recv_many);
    nl_takeback(st);
    incoming *in = push_incoming(L, st, max, (size_t)size);
    if (in->count > 0)
        return push_batch(L, in);
    int32_t code =
        neap_sock_recv_many(s->sock, in->msgs, sizeof in->msgs[0], (size_t)in->max, 0, &future);
    if (code == NEAP_PENDING) {
        in->busy = 1;
        lend_block(L);
        return nl_park(L, st, future, 1, recv_many_end);
    }
    if (code < 0)
        return nl_fail(L, st, code, "recv_many", NULL);
    in->count = code;
    return push_batch(L, in);
}

/* ---- send_many ---- */

typedef struct outgoing {
    int max;
    int busy;
    neap_msg msgs[];
} outgoing;

static outgoing *push_outgoing(lua_State *L, nl_state *st, int n) {
    outgoing *out = push_kept(L, st, OUTGOING);
    if (out != NULL && !out->busy && out->max >= n)
        return out;
    lua_pop(L, 1);
    size_t size = sizeof *out + (size_t)n * sizeof out->msgs[0];
    out = new_block(L, size);
    memset(out, 0, size);
    out->max = n;
    keep_block(L, st, OUTGOING);
    return out;
}

static void check_strings(lua_State *L, nl_state *st, int index, const char *expected) {
    if (!lua_istable(L, index))
        nl_type_error(L, st, index, expected);
    int n = (int)lua_rawlen(L, index);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, index, i);
        if (lua_type(L, -1) != LUA_TSTRING)
            nl_type_error(L, st, index, expected);
        lua_pop(L, 1);
    }
}

/* The address of datagram i: at index 3, or in the array there.  It is read once for datagrams in a row. */
static const char *address_text(lua_State *L, int i) {
    if (!lua_istable(L, 3))
        return lua_tostring(L, 3);
    lua_rawgeti(L, 3, i + 1);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

/* 0, or a negative code and the address that is none. */
static int32_t fill(lua_State *L, outgoing *out, int n, const char **ret_address) {
    const char *last = NULL;
    for (int i = 0; i < n; i++) {
        neap_msg *msg = &out->msgs[i];
        lua_rawgeti(L, 2, i + 1);
        msg->data = (void *)(uintptr_t)lua_tolstring(L, -1, &msg->len);
        lua_pop(L, 1);
        const char *text = address_text(L, i);
        int32_t code = 0;
        if (text == NULL)
            msg->addr.len = 0;
        else if (i > 0 && text == last)
            msg->addr = msg[-1].addr;
        else
            code = neap_addr_parse(text, &msg->addr);
        last = text;
        *ret_address = text;
        if (code < 0)
            return code;
    }
    return 0;
}

static int copy_list(lua_State *L) {
    int n = (int)lua_rawlen(L, 1);
    lua_createtable(L, n, 0);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        lua_rawseti(L, 2, i);
    }
    return 1;
}

/* Keeps the memory at index 1. */
static int send_many_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    outgoing *out = lua_touserdata(L, 1);
    int64_t count;
    out->busy = 0;
    take_block(L);
    neap_future *future = nl_woken(L, st);
    if (neap_future_get_int(future, &count) < 0)
        return nl_fail_waited(L, st, future, "send_many");
    nl_wait_end(st->task);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

/* The strings are kept while the core has them, also if the script changes its table meanwhile.  On the stack: the memory,
   copy_list and its argument. */
static int park_strings(lua_State *L, nl_state *st, outgoing *out, neap_future *future) {
    if (lua_pcall(L, 1, 1, 0) != 0) {
        neap_future_cancel(future, NULL);
        neap_future_unref(future);
        return lua_error(L);
    }
    nl_setslot(L, -2, FOR_STRINGS);
    out->busy = 1;
    lend_block(L);
    return nl_park(L, st, future, 1, send_many_end);
}

/* The flags that the options at `index` say. */
static uint32_t send_flags(lua_State *L, nl_state *st, int index) {
    static const char *const names[] = {"segment", NULL};
    if (lua_isnoneornil(L, index))
        return 0;
    if (!lua_istable(L, index))
        nl_type_error(L, st, index, "a table of options");
    nl_check_options(L, st, index, names);
    lua_getfield(L, index, "segment");
    uint32_t flags = lua_toboolean(L, -1) ? NEAP_SEGMENT : 0;
    lua_pop(L, 1);
    return flags;
}

/* All datagrams, each to its address, or all to one, or to the connected peer; answers how many. */
static int sock_send_many(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    const char *address = NULL;
    neap_future *future = NULL;
    check_strings(L, st, 2, "an array of strings");
    int n = (int)lua_rawlen(L, 2);
    if (!lua_isnoneornil(L, 3) && lua_type(L, 3) != LUA_TSTRING) {
        check_strings(L, st, 3, "an address or an array of addresses");
        if ((int)lua_rawlen(L, 3) < n)
            return nl_arg_error(L, st, 3, NEAP_EVALUE, "there are fewer addresses than datagrams");
    }
    uint32_t flags = send_flags(L, st, 4);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_send_many);
    lua_settop(L, 3);
    outgoing *out = push_outgoing(L, st, n);
    int32_t code = fill(L, out, n, &address);
    if (code < 0)
        return nl_fail(L, st, code, "send_many", address);
    lua_pushcfunction(L, copy_list);
    lua_pushvalue(L, 2);
    code = neap_sock_send_many(s->sock, out->msgs, sizeof out->msgs[0], (size_t)n, flags, &future);
    if (code == NEAP_PENDING)
        return park_strings(L, st, out, future);
    if (code < 0)
        return nl_fail(L, st, code, "send_many", NULL);
    lua_pushinteger(L, code);
    return 1;
}

/* ---- Descriptors ---- */

/* Bytes and the descriptors in an array (numbers, sockets, objects with fileno); answers the number of bytes. */
static int sock_send_fds(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    neap_fd fds[NEAP_FDS_MAX];
    size_t len;
    neap_future *future = NULL;
    if (lua_type(L, 2) != LUA_TSTRING)
        nl_type_error(L, st, 2, "a string");
    if (!lua_istable(L, 3))
        nl_type_error(L, st, 3, "an array of descriptors, sockets or files");
    const char *data = lua_tolstring(L, 2, &len);
    size_t n = lua_rawlen(L, 3);
    if (n > NEAP_FDS_MAX)
        return nl_fail(L, st, NEAP_E2BIG, "send_fds", NULL);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 3, (int)i + 1);
        fds[i] = nl_to_fd(L, st, lua_gettop(L));
        lua_pop(L, 1);
        if (fds[i] < 0)
            return nl_fail(L, st, (int32_t)fds[i], "send_fds", NULL);
    }
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_send_fds);
    int32_t code = neap_sock_send_fds(s->sock, data, len, fds, n, 0, &future);
    if (code == NEAP_EVALUE)
        return nl_arg_error(L, st, 2, code, "a stream needs a byte to send descriptors with");
    return nl_send_answer(L, st, code, future, "send_fds");
}

/* Room for the bytes of a receive. */
typedef struct letter {
    neap_sock *sock;
    char bytes[];
} letter;

static void push_credentials(lua_State *L, const neap_credentials *who) {
    lua_pushinteger(L, who->pid);
    lua_setfield(L, -2, "pid");
    lua_pushinteger(L, who->uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, who->gid);
    lua_setfield(L, -2, "gid");
}

/* What is unusual about a message, or nil. */
static void push_note(lua_State *L, const neap_fds *got) {
    if (got->flags == 0 && got->from.pid == 0) {
        lua_pushnil(L);
        return;
    }
    lua_newtable(L);
    lua_pushboolean(L, (got->flags & NEAP_MSG_TRUNC) != 0);
    lua_setfield(L, -2, "cut");
    lua_pushboolean(L, (got->flags & NEAP_MSG_CTRUNC) != 0);
    lua_setfield(L, -2, "lost");
    if (got->from.pid != 0)
        push_credentials(L, &got->from);
}

/* Pushes an array with an object for each descriptor.  All that needs memory is made before they are taken. */
static void push_fds(lua_State *L, nl_state *st, neap_future *future, neap_fds *got) {
    neap_fd fds[NEAP_FDS_MAX];
    *got = (neap_fds){.size = sizeof *got, .fds = fds};
    if (neap_future_take_fds(future, got) < 0)
        got->max = got->len;
    int n = (int)got->max;
    lua_createtable(L, n, 0);
    for (int i = 1; i <= n; i++) {
        nl_new_fd(L, st);
        lua_rawseti(L, -2, i);
    }
    if (n > 0)
        (void)neap_future_take_fds(future, got);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        ((nl_fd *)nl_block(L, -1))->fd = fds[i - 1];
        lua_pop(L, 1);
    }
}

static int is_stream(neap_sock *sock) {
    int32_t type = 0;
    (void)neap_sock_get_option(sock, "type", &type);
    return type != 2; /* SOCK_DGRAM */
}

/* Keeps the bytes at index 1. */
static int recv_fds_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_future *future = nl_woken(L, st);
    const letter *in = lua_touserdata(L, 1);
    int64_t count;
    neap_fds got;
    if (neap_future_get_int(future, &count) < 0)
        return nl_fail_waited(L, st, future, "recv_fds");
    if (count == 0 && is_stream(in->sock))
        lua_pushnil(L);
    else
        lua_pushlstring(L, in->bytes, (size_t)count);
    push_fds(L, st, future, &got);
    nl_wait_end(st->task);
    push_note(L, &got);
    return 3;
}

/* Bytes (nil at the end of a stream), the descriptors that came with them, and what is unusual or nil. */
static int sock_recv_fds(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    int size = check_count(L, st, 2, LETTER_DEFAULT, SIZE_MAX_ASKED, "a number of bytes");
    int max = check_count(L, st, 3, FDS_DEFAULT, NEAP_FDS_MAX, "a number of descriptors");
    neap_fd none[1];
    neap_fds fds = {.size = sizeof fds, .fds = none, .max = (uint32_t)max};
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, sock_recv_fds);
    nl_takeback(st);
    letter *in = new_block(L, sizeof *in + (size_t)size);
    in->sock = s->sock;
    int32_t code =
        neap_sock_recv_fds(s->sock, in->bytes, (size_t)size, &fds, NEAP_WANT_FUTURE, &future);
    if (code != NEAP_PENDING)
        return nl_fail(L, st, code, "recv_fds", NULL);
    lend_block(L);
    return nl_park(L, st, future, 1, recv_fds_end);
}

/* {pid=, uid=, gid=} of who was at the other end of a Unix socket. */
static int sock_peer_credentials(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    neap_credentials who;
    int32_t code = neap_sock_peer_credentials(s->sock, &who, sizeof who);
    if (code < 0)
        return nl_fail(L, st, code, "peer_credentials", NULL);
    lua_createtable(L, 0, 3);
    push_credentials(L, &who);
    return 1;
}

/* ---- Multicast ---- */

/* An address that may come without a port, and then without brackets. */
static int32_t group_address(lua_State *L, nl_state *st, int index, neap_addr *addr) {
    char text[128];
    if (lua_type(L, index) != LUA_TSTRING)
        return nl_address(L, st, index, addr);
    const char *given = lua_tostring(L, index);
    const char *colon = strchr(given, ':');
    int bare6 = *given != '[' && colon != NULL && strchr(colon + 1, ':') != NULL;
    if (!bare6 && colon != NULL)
        return nl_address(L, st, index, addr);
    int n = snprintf(text, sizeof text, bare6 ? "[%s]:0" : "%s:0", given);
    return n < (int)sizeof text ? neap_addr_parse(text, addr) : NEAP_EVALUE;
}

typedef int32_t (*change_fn)(neap_sock *, const neap_addr *, const char *, const neap_addr *);

static int change(lua_State *L, change_fn fn, const char *op) {
    nl_state *st = NL_STATE(L);
    nl_sock *s = nl_check_sock(L, st, 1);
    const char *iface = luaL_optstring(L, 3, NULL);
    neap_addr group, source;
    int one = !lua_isnoneornil(L, 4);
    int32_t code = group_address(L, st, 2, &group);
    if (code >= 0 && one)
        code = group_address(L, st, 4, &source);
    if (code >= 0)
        code = fn(s->sock, &group, iface, one ? &source : NULL);
    return nl_answer_ok(L, st, code, op, lua_tostring(L, 2));
}

static int sock_join(lua_State *L) {
    return change(L, neap_sock_join, "join");
}

static int sock_leave(lua_State *L) {
    return change(L, neap_sock_leave, "leave");
}

static int sock_multicast_via(lua_State *L) {
    nl_sock *s = nl_check_sock(L, NL_STATE(L), 1);
    const char *iface = luaL_optstring(L, 2, NULL);
    return nl_answer_ok(L, s->node.st, neap_sock_multicast_via(s->sock, iface), "multicast_via",
                        iface);
}

const luaL_Reg nl_sock_msgs[] = {{"peer_credentials", sock_peer_credentials},
                                 {"join", sock_join},
                                 {"leave", sock_leave},
                                 {"multicast_via", sock_multicast_via},
                                 {NULL, NULL}};

const luaL_Reg nl_sock_msg_waits[] = {{"recv_many", sock_recv_many},
                                      {"send_many", sock_send_many},
                                      {"send_fds", sock_send_fds},
                                      {"recv_fds", sock_recv_fds},
                                      {NULL, NULL}};

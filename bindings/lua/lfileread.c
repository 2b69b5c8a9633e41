/* lfileread.c: the reader of a file: what was read ahead of the script, so that lines cost no trip each, and the forms of reads.

   Whatever else depends on the file's position gives back first what was read ahead.  A file has one reader at a time; who that
   is, is known by the future that it waits for. */
#include "lneap.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 65536 /* read at once for lines and small pieces */
};

/* ---- The buffer ---- */

static size_t buffered(const nl_file *f) {
    return f->end - f->at;
}

/* Whether a task reads, or has not seen yet what came for it. */
int nl_file_is_read(const nl_file *f) {
    int32_t state = f->reading != NULL ? neap_future_state(f->reading) : NEAP_STATE_CANCELLED;
    return state == NEAP_STATE_PENDING || (state == NEAP_STATE_RESULT && f->awaited);
}

/* Makes room for n bytes behind what is buffered. */
static int reserve(nl_file *f, size_t n) {
    if (f->at > 0) {
        memmove(f->bytes, f->bytes + f->at, buffered(f));
        f->end -= f->at;
        f->at = 0;
    }
    if (f->cap - f->end >= n)
        return 1;
    size_t cap = f->cap * 2 > f->end + n ? f->cap * 2 : f->end + n;
    char *bytes = realloc(f->bytes, cap);
    if (bytes == NULL)
        return 0;
    f->bytes = bytes;
    f->cap = cap;
    return 1;
}

static int append(nl_file *f, const void *data, size_t len) {
    if (!reserve(f, len))
        return 0;
    memcpy(f->bytes + f->end, data, len);
    f->end += len;
    return 1;
}

/* Keeps what came when there was no memory for it. */
static void keep_piece(lua_State *L, nl_file *f) {
    if (f->piece_len == 0)
        return;
    if (!append(f, f->piece, f->piece_len))
        nl_throw_code(L, f->node.st, NEAP_ENOMEM);
    f->piece_len = 0;
}

/* What was read ahead is in the file again.  The seek is served before all that comes later, so nobody waits for it. */
void nl_file_give_back(nl_file *f) {
    neap_future *future = NULL;
    int64_t ahead = (int64_t)(buffered(f) + f->piece_len), at;
    if (ahead > 0)
        (void)neap_file_seek(f->file, -ahead, NEAP_SEEK_CUR, &at, &future);
    neap_future_unref(future);
    f->at = f->end = f->piece_len = 0;
}

/* The file goes. */
void nl_file_end_reading(nl_file *f) {
    neap_future *reading = f->reading;
    neap_buf *block = f->block;
    f->reading = NULL;
    f->block = NULL;
    free(f->bytes);
    f->bytes = NULL;
    f->at = f->end = f->cap = f->piece_len = 0;
    neap_future_unref(reading);
    neap_buf_unref(block);
}

/* ---- Reading: a read has a form and goes on until that has enough ---- */

enum {
    FORM_SOME = 0, /* so many bytes; fewer at the end, nil if there are none */
    FORM_LINE,
    FORM_FULL_LINE, /* with its end */
    FORM_ALL,
    FORM_FILL /* none are taken; how many there are */
};

static int go_on(lua_State *L, nl_file *f);

static int take(lua_State *L, nl_file *f, size_t len, size_t more) {
    lua_pushlstring(L, f->bytes + f->at, len);
    f->at += len + more;
    return 1;
}

/* Whether the buffer has all that the form wants; how much of it, then. */
static int is_enough(nl_file *f, size_t *ret_len) {
    size_t have = buffered(f);
    if (f->form == FORM_LINE || f->form == FORM_FULL_LINE) {
        const char *from = f->bytes + f->at + f->scanned;
        const char *end = have > f->scanned ? memchr(from, '\n', have - f->scanned) : NULL;
        f->scanned = have;
        *ret_len = end == NULL ? have : (size_t)(end - (f->bytes + f->at)) + 1;
        return end != NULL;
    }
    *ret_len = have < f->wanted ? have : f->wanted;
    return f->form != FORM_ALL && have >= f->wanted;
}

/* Pushes what the form makes of `len` bytes, the last if `ended`. */
static int give(lua_State *L, nl_file *f, size_t len, int ended) {
    if (f->form == FORM_FILL)
        lua_pushinteger(L, (lua_Integer)len);
    else if (f->form == FORM_ALL)
        return take(L, f, buffered(f), 0);
    else if (len == 0 && (ended || f->wanted > 0))
        lua_pushnil(L);
    else if (f->form == FORM_LINE && f->bytes[f->at + len - 1] == '\n')
        return take(L, f, len - 1, 1);
    else
        return take(L, f, len, 0);
    return 1;
}

/* Whether bytes of the file become the answer without a stay in the buffer. */
static int is_direct(const nl_file *f) {
    return buffered(f) == 0 &&
           (f->form == FORM_ALL || (f->form == FORM_SOME && f->wanted >= BLOCK));
}

/* How many bytes to ask for. */
static size_t ask(const nl_file *f) {
    if (f->form == FORM_ALL)
        return SIZE_MAX;
    size_t lacks = f->wanted > buffered(f) ? f->wanted - buffered(f) : 0;
    return lacks > BLOCK ? lacks : BLOCK;
}

/* Bytes of the file are there, fewer than were asked for at its end. */
static int came(lua_State *L, nl_file *f, const void *data, size_t len) {
    size_t enough;
    int ended = len < f->asked;
    f->piece = data;
    f->piece_len = len;
    if (is_direct(f)) {
        if (len == 0 && f->form == FORM_SOME)
            lua_pushnil(L);
        else
            lua_pushlstring(L, len > 0 ? data : "", len);
        f->piece_len = 0;
        return 1;
    }
    keep_piece(L, f);
    if (is_enough(f, &enough) || ended)
        return give(L, f, enough, ended);
    return go_on(L, f);
}

static void set_reading(nl_file *f, neap_future *future) {
    neap_future_unref(f->reading);
    f->reading = future;
    f->awaited = future != NULL;
}

/* Keeps the file at index 1. */
static int read_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_block(L, 1);
    const void *data;
    size_t len;
    f->awaited = 0;
    neap_future *future = nl_woken(L, st);
    if (neap_future_get_bytes(future, &data, &len) < 0) {
        set_reading(f, NULL);
        return nl_fs_fail_waited(L, st, future, "read", nl_file_path(f), NULL);
    }
    nl_wait_end(st->task); /* the bytes are those of f->reading */
    return came(L, f, data, len);
}

static int came_now(lua_State *L, nl_file *f, neap_buf *buf) {
    f->block = buf; /* goes with the next, also if there is no memory for a string */
    return came(L, f, neap_buf_data(buf), neap_buf_len(buf));
}

static int go_on(lua_State *L, nl_file *f) {
    neap_buf *buf = NULL;
    neap_future *future = NULL;
    neap_buf_unref(f->block);
    f->block = NULL;
    f->asked = ask(f);
    int32_t code = neap_file_read(f->file, f->asked, 0, &buf, &future);
    if (code >= 0)
        return came_now(L, f, buf);
    if (code != NEAP_PENDING)
        return nl_file_fail(L, f, code, "read");
    set_reading(f, neap_future_ref(future));
    lua_settop(L, 1);
    return nl_park(L, f->node.st, future, 1, read_end);
}

static int read_as(lua_State *L, int form, size_t wanted, lua_CFunction self) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    size_t len;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, self);
    if (nl_file_is_read(f))
        return nl_file_fail(L, f, NEAP_EBUSY, "read");
    keep_piece(L, f);
    f->form = (uint8_t)form;
    f->wanted = wanted;
    f->scanned = 0;
    if (is_enough(f, &len))
        return give(L, f, len, 0);
    return go_on(L, f);
}

/* How many bytes to read, at most. */
size_t nl_file_size(lua_State *L, nl_state *st, int index) {
    double n = (double)lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER)
        nl_type_error(L, st, index, "a number of bytes");
    if (!(n >= 0))
        nl_arg_error(L, st, index, NEAP_EVALUE, "a number of bytes cannot be negative");
    return n < 9e15 ? (size_t)n : (size_t)9e15;
}

static int file_read_some(lua_State *L) {
    return read_as(L, FORM_SOME, nl_file_size(L, NL_STATE(L), 2), file_read_some);
}

static int file_read_line(lua_State *L) {
    return read_as(L, lua_toboolean(L, 2) ? FORM_FULL_LINE : FORM_LINE, 1, file_read_line);
}

static int file_read_all(lua_State *L) {
    return read_as(L, FORM_ALL, 0, file_read_all);
}

/* Reads until n bytes can be looked at; fewer at the end. */
static int file_fill(lua_State *L) {
    return read_as(L, FORM_FILL, nl_file_size(L, NL_STATE(L), 2), file_fill);
}

/* What has been read ahead, at most n bytes of it. */
static int file_peek(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    size_t most = lua_isnoneornil(L, 2) ? SIZE_MAX : nl_file_size(L, st, 2);
    keep_piece(L, f);
    lua_pushlstring(L, buffered(f) > 0 ? f->bytes + f->at : "",
                    buffered(f) < most ? buffered(f) : most);
    return 1;
}

/* Takes n of the bytes that peek shows. */
static int file_consume(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_file *f = nl_check_file(L, st);
    size_t n = nl_file_size(L, st, 2);
    f->at += n < buffered(f) ? n : buffered(f);
    f->scanned = 0;
    lua_settop(L, 1);
    return 1;
}

const luaL_Reg nl_file_looks[] = {{"peek", file_peek}, {"consume", file_consume}, {NULL, NULL}};

const luaL_Reg nl_file_reads[] = {{"read_some", file_read_some},
                                  {"read_line", file_read_line},
                                  {"read_all", file_read_all},
                                  {"fill", file_fill},
                                  {NULL, NULL}};

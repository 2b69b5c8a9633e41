#include "net/piece.h"

#include <string.h>

#include "base/fd.h"

enum {
    ROOM_LEAST = NP_POOL_PAGE - sizeof(np_piece), /* of a piece with bytes, which is a page then */
    ROOM_MOST = 1 << 16                           /* more than that is not gathered in one piece */
};

static np_piece *get(neap_loop *loop, size_t room) {
    return room == ROOM_LEAST ? np_pool_get_page(&loop->pool)
                              : np_alloc_get(loop->alloc, sizeof(np_piece) + room);
}

static void put(neap_loop *loop, np_piece *piece) {
    if (piece->room == ROOM_LEAST)
        np_pool_put_page(&loop->pool, piece);
    else
        np_alloc_put(loop->alloc, piece, sizeof *piece + piece->room);
}

np_piece *np_piece_new(neap_stream *s, uint8_t kind, size_t room, void (*done)(np_op *op)) {
    np_piece *piece = get(s->obj.loop, room);
    if (piece == NULL)
        return NULL;
    piece->op = (np_op){.desc = &s->sock->desc,
                        .kind = kind == NP_PIECE_FILE ? NP_OP_SENDFILE : NP_OP_SENDALL,
                        .dir = NP_DIR_WRITE,
                        .buf = piece->bytes,
                        .file = -1,
                        .done = done};
    np_list_init(&piece->op.link);
    np_list_init(&piece->link);
    piece->stream = s;
    piece->room = room;
    piece->left = 0;
    piece->kind = kind;
    piece->grows = kind == NP_PIECE_BYTES;
    return piece;
}

void np_piece_free(np_piece *piece) {
    np_list_unlink(&piece->link);
    np_list_unlink(&piece->op.link);
    np_fd_close(piece->op.file);
    put(piece->stream->obj.loop, piece);
}

/* The last piece with more room, or NULL. */
static np_piece *grow(np_piece *piece, size_t room) {
    neap_loop *loop = piece->stream->obj.loop;
    np_piece *grown = get(loop, room);
    if (grown == NULL)
        return NULL;
    memcpy(grown, piece, sizeof *piece + piece->op.len);
    grown->room = room;
    grown->op.buf = grown->bytes;
    np_list_init(&grown->op.link);
    np_list_init(&grown->link);
    np_list_append(&piece->link, &grown->link); /* before the old one, which goes */
    np_list_unlink(&piece->link);
    put(loop, piece);
    return grown;
}

np_piece *np_piece_for(neap_stream *s, size_t more, void (*done)(np_op *op)) {
    np_piece *last = np_piece_open(s);
    if (np_piece_has_room(last, more))
        return last;
    size_t need = (last != NULL ? last->op.len : 0) + more;
    if (last != NULL && need <= ROOM_MOST) {
        size_t room = 2 * last->room;
        return grow(last, room > need ? room : need);
    }
    np_piece *piece = np_piece_new(s, NP_PIECE_BYTES, more > ROOM_LEAST ? more : ROOM_LEAST, done);
    if (piece != NULL)
        np_list_append(&s->pieces, &piece->link);
    return piece;
}

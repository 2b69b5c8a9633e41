#include "net/piece.h"

#include "base/fd.h"

enum {
    ROOM_LEAST = 1024,  /* of a piece */
    ROOM_MOST = 1 << 16 /* more than that is not gathered in one piece */
};

np_piece *np_piece_new(neap_stream *s, uint8_t kind, size_t room, void (*done)(np_op *op)) {
    np_piece *piece = np_alloc_get(s->obj.loop->alloc, sizeof *piece + room);
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
    piece->sending = false;
    return piece;
}

void np_piece_free(np_piece *piece) {
    np_list_unlink(&piece->link);
    np_list_unlink(&piece->op.link);
    np_fd_close(piece->op.file);
    np_alloc_put(piece->stream->obj.loop->alloc, piece, sizeof *piece + piece->room);
}

/* More room for the last piece, or NULL. */
static np_piece *grow(np_piece *piece, size_t room) {
    np_alloc *alloc = piece->stream->obj.loop->alloc;
    np_list *before = piece->link.prev;
    np_list_unlink(&piece->link);
    np_piece *grown =
        np_alloc_resize(alloc, piece, sizeof *piece + piece->room, sizeof *piece + room);
    np_piece *now = grown != NULL ? grown : piece;
    np_list_init(&now->link);
    np_list_init(&now->op.link);
    np_list_append(before->next, &now->link);
    now->op.buf = now->bytes;
    if (grown != NULL)
        grown->room = room;
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

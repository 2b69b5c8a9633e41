/* piece.h: what is to be sent: bytes, a file, the end.  A piece belongs to the backend while it is sent; the last one, of bytes,
   grows as long as nobody sends it. */
#ifndef NP_PIECE_H
#define NP_PIECE_H

#include "net/stream.h"

enum {
    NP_PIECE_BYTES = 1,
    NP_PIECE_FILE,
    NP_PIECE_END
};

typedef struct np_piece {
    np_list link; /* in the stream's pieces */
    np_op op;     /* its buf is `bytes`, its len what is there; of a file: the present stretch */
    neap_stream *stream;
    size_t room;
    size_t left; /* of a file: what comes behind that */
    uint8_t kind;
    bool grows; /* bytes, and nobody has begun to send them */
    char bytes[];
} np_piece;

/* The oldest, or NULL. */
static inline np_piece *np_piece_first(const neap_stream *s) {
    return np_list_empty(&s->pieces) ? NULL : np_container(s->pieces.next, np_piece, link);
}

/* The last piece if it may grow, or NULL: then its flush is queued, or follows that of another. */
static inline np_piece *np_piece_open(const neap_stream *s) {
    np_piece *last = np_container(s->pieces.prev, np_piece, link);
    return !np_list_empty(&s->pieces) && last->grows ? last : NULL;
}

static inline bool np_piece_has_room(const np_piece *piece, size_t more) {
    return piece != NULL && piece->room - piece->op.len >= more;
}

/* Not in the list yet; NULL when there is no memory.  `done` hears when the backend has finished it. */
np_piece *np_piece_new(neap_stream *s, uint8_t kind, size_t room, void (*done)(np_op *op));
void np_piece_free(np_piece *piece);

/* A last piece with room for so many bytes more; NULL when there is no memory. */
np_piece *np_piece_for(neap_stream *s, size_t more, void (*done)(np_op *op));

#endif

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    PIECE_MAX = 512
};

void np_text_flush(np_text *t) {
    if (t->len > 0 && t->write != NULL)
        t->write(t->bytes, t->len, t->user);
    t->len = 0;
}

void np_text_put(np_text *t, const char *bytes, size_t n) {
    if (t->write != NULL && n > t->cap - t->len - 1)
        np_text_flush(t);
    size_t room = t->cap - t->len - 1;
    n = n < room ? n : room;
    memcpy(t->bytes + t->len, bytes, n);
    t->len += n;
    t->bytes[t->len] = '\0';
}

/* What does not fit into a piece is a name that somebody gave; it is cut. */
void np_text_add(np_text *t, const char *format, ...) {
    char piece[PIECE_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (n > 0)
        np_text_put(t, piece, n < PIECE_MAX ? (size_t)n : PIECE_MAX - 1);
}

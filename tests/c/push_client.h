/* A user of push mode: what its callbacks do and have seen. */
#ifndef NEAP_TEST_PUSH_CLIENT_H
#define NEAP_TEST_PUSH_CLIENT_H

#include "streams.h"

typedef struct client {
    neap_stream *stream;
    char bytes[4096]; /* of all `data` together, if they are few */
    size_t len;
    size_t total;
    int calls;     /* of `data` */
    int starts;    /* times */
    int closed;    /* times */
    int32_t code;  /* of closed */
    int destroyed; /* times */
    neap_fn in_data;
    neap_fn in_eof;
    neap_fn in_closed;
    neap_fn in_write;
    int patterned;         /* the bytes are those of the pattern */
    unsigned char own[16]; /* of `buffer` */
    size_t room;           /* how much of that is offered */
    int asked;             /* times */
} client;

/* Without `buffer`, and with it. */
extern const neap_stream_callbacks client_callbacks;
extern const neap_stream_callbacks client_callbacks_own;

void client_start(client *c, neap_stream *stream);
void client_start_own(client *c, neap_stream *stream);
void client_destroy(void *user);

/* Closed once with that code, and then destroyed. */
void client_expect_over(const client *c, int32_t code);

/* Closes and expects the end; closes the peer if there is one. */
void client_end(client *c, int peer);

/* To be done inside a callback. */
void client_close(void *user);
void client_abort(void *user);
void client_stop(void *user);
void client_pause(void *user);
void client_unref(void *user);

#endif

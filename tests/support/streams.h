/* Streams for tests: what each needs of both ends.  All of it asserts. */
#ifndef NEAP_TEST_STREAMS_H
#define NEAP_TEST_STREAMS_H

#include "net.h"

/* Over a socket, and the raw other end. */
neap_stream *st_unix(int *ret_peer);
neap_stream *st_tcp(int *ret_peer);

/* The two ends of a pipe. */
void st_pipe(neap_stream **ret_from, neap_stream **ret_to);

/* Over a descriptor, which is taken. */
neap_stream *st_open(int fd, uint32_t flags);

/* Closes the stream, ends the reference, closes the other end if there is one (>= 0). */
void st_end(neap_stream *stream, int peer);

/* A read that must wait; a new reference. */
neap_future *st_park_exactly(neap_stream *stream, size_t n);
neap_future *st_park_line(neap_stream *stream, size_t limit, uint32_t flags);

/* Runs until the future is done, asserts its bytes, ends the reference. */
void st_bytes(neap_future *future, const char *expected);

/* What is there now is exactly this, or begins with it; takes it. */
void st_rest(neap_stream *stream, const char *expected);
void st_next(neap_stream *stream, const char *expected);

/* Writes without waiting. */
void st_write(neap_stream *stream, const char *text);

/* Writes so much of the pattern from its beginning that it must wait for the peer; the future. */
neap_future *st_stuff(neap_stream *stream, size_t len);

/* Reads so much of the pattern at a raw descriptor while the loop turns. */
void st_expect_pattern(int fd, size_t len);

#endif

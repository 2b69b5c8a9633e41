/* The other end of the wire: plain blocking system calls, so that nothing of neap vouches for neap;
   and short words for what every socket test needs of neap itself.  All of it asserts; all waiting
   is bounded by the watchdog. */
#ifndef NEAP_TEST_NET_H
#define NEAP_TEST_NET_H

#include "support.h"

#include <sys/types.h>

/* ---- Raw ends -------------------------------------------------------------------------------- */

/* 127.0.0.1:0; and any address from its text. */
neap_addr net_loopback(void);
neap_addr net_addr(const char *text);
/* A fresh abstract Unix address. */
neap_addr net_abstract(void);

/* A stream listener, a blocking client of `addr`, the next connection. */
int net_raw_listen(const neap_addr *addr, int backlog, neap_addr *ret_addr);
int net_raw_connect(const neap_addr *addr);
int net_raw_accept(int listener);
/* A bound datagram socket. */
int net_raw_udp(neap_addr *ret_addr);

/* Writes or reads exactly so much; the text forms leave out the final zero. */
void net_write(int fd, const void *data, size_t len);
void net_put(int fd, const char *text);
void net_read(int fd, void *data, size_t len);
void net_expect(int fd, const char *text);
void net_expect_eof(int fd);
/* Reads whatever is there without waiting. */
size_t net_drain(int fd);

/* Waits until the descriptor is readable or writable (POLLIN, POLLOUT); asks without waiting. */
void net_wait(neap_fd fd, short events);
int net_is(neap_fd fd, short events);

/* Closes; closes so that the peer gets a reset; sets O_NONBLOCK. */
void net_close(int fd);
void net_reset(int fd);
void net_nonblock(int fd);
/* Gives a socket small kernel buffers of a fixed size, so that a megabyte fits into no connection;
   before connect. */
void net_bound(int fd);

/* The byte at a position of a stream that never repeats within a test; fills; asserts. */
unsigned char net_byte(size_t at);
void net_fill_pattern(unsigned char *data, size_t len, size_t at);
void net_expect_pattern(const unsigned char *data, size_t len, size_t at);

/* ---- neap's ends: all new references --------------------------------------------------------- */

/* Listening on loopback, with its address. */
neap_sock *net_listener(neap_addr *ret_addr);
/* Connected, made by an accept; the raw descriptor of the other end. */
neap_sock *net_tcp(int *ret_peer);
neap_sock *net_unix(int *ret_peer);
/* A bound UDP socket and its address. */
neap_sock *net_udp(neap_addr *ret_addr);
/* Waits for a connection in the queue and takes it with an accept that must not wait. */
neap_sock *net_accept_now(neap_sock *listener);

/* Sends until the answer is NEAP_EAGAIN; how much that was.  Only a Unix stream stays full until
   somebody reads: TCP goes on moving bytes to the other side by itself. */
size_t net_stuff(neap_sock *sock);

/* Closes and ends the reference. */
void net_end(neap_sock *sock);

/* ---- Operations that must wait: new references to their futures ------------------------------ */

neap_future *net_park_recv(neap_sock *sock, void *data, size_t len);
neap_future *net_park_accept(neap_sock *sock);
neap_future *net_park_sendall(neap_sock *sock, const void *data, size_t len);

/* Runs until the future is done, asserts its result or code, ends the reference. */
void net_result(neap_future *future, int64_t expected);
void net_failure(neap_future *future, int32_t code);
void net_cancelled(neap_future *future);
neap_sock *net_accepted(neap_future *future);

/* Receives and sends exactly this, waiting if need be. */
void net_recv_text(neap_sock *sock, const char *expected);
void net_send_text(neap_sock *sock, const char *text);

/* ---- The process ----------------------------------------------------------------------------- */

/* Raises the soft limit of descriptors to the hard one and fails, saying so, if that is below
   `need`. */
void net_need_descriptors(long need);

/* A storm: a signal every 200 us, whose handler lets no call of the system go on by itself; how many there were; its end, which
   asserts that there was one. */
void net_storm_begin(void);
int net_storms(void);
void net_storm_end(void);

/* A small generator of pseudo-random numbers (splitmix64): the same sequence everywhere. */
uint64_t net_random(uint64_t *seed);
uint64_t net_below(uint64_t *seed, uint64_t n);

#endif

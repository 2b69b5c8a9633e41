/* sys.h: what this floor leaves below: how the loop closes what it does not know, and ends what it lent. */
#ifndef NP_SYS_H
#define NP_SYS_H

#include "core/loop.h"

/* Leaves this floor's functions with the loop; each object of the floor calls it when it is made. */
void np_sys_attach(neap_loop *loop);

/* Closes a descriptor of the loop's (-1: none), so that who waits for a free one hears of it. */
void np_sys_close(neap_loop *loop, int fd);
void np_sys_fd_freed(neap_loop *loop); /* by who closes one elsewhere */

void np_watch_close_all(neap_loop *loop);                     /* watch.c */
void np_signal_close_all(neap_loop *loop);                    /* signal.c */
void np_pools_close_all(neap_loop *loop);                     /* looppool.c */
void np_watch_close_of(neap_loop *loop, const np_desc *desc); /* a socket takes its watches along */
void np_process_close_all(neap_loop *loop);                   /* process.c */
void np_watch_close_fd(neap_loop *loop,
                       int fd); /* likewise whoever closes a descriptor of its own */
void np_signals_arrived(neap_loop *loop, uint64_t bits);

#endif

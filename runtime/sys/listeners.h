/* listeners.h: what sockets do whose loop shares its addresses with others; see listeners.c. */
#ifndef NP_LISTENERS_H
#define NP_LISTENERS_H

#include "sys/sock.h"

/* Of a socket whose loop has listeners: as the functions of neap.h. */
int32_t np_share_bind(neap_sock *s, const neap_addr *addr);
int32_t np_share_listen(neap_sock *s, int32_t backlog);

/* The socket lets go of its address.  `for_good`: its place does not come back to it, either.  Answers whether the address is
   still bound. */
bool np_share_release(neap_sock *s, bool for_good);

/* The loop closes: its place is free for another. */
void np_share_detach(neap_loop *loop);

#endif

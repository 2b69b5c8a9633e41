/* sharegroup.h: an address that the loops of several threads have bound together, and the place of each there.  All of it under
   the listeners' lock; see listeners.c. */
#ifndef NP_SHAREGROUP_H
#define NP_SHAREGROUP_H

#include <pthread.h>
#include <sys/types.h>

#include "sys/sock.h"

enum {
    NP_PLACES_MAX = 256 /* a filter of the kernel has 4096 instructions */
};

/* One place at one address. */
typedef struct np_share_slot {
    const neap_sock *sock; /* who has it now, or NULL */
    int fd;                /* a duplicate that stays; -1: nobody was here */
    int32_t number;        /* of the listening socket in the kernel's group; -1: none */
} np_share_slot;

typedef struct np_share_group {
    np_list link;
    neap_addr asked;  /* as bound by the program: the port may be 0 */
    neap_addr actual; /* as the kernel says */
    dev_t dev;        /* of a path */
    ino_t ino;
    int32_t listening; /* sockets in the kernel's group */
    uint8_t sort;
    bool steered; /* a filter is in place */
    bool stale;   /* its path was removed: nobody joins any more */
    np_share_slot slots[];
} np_share_group;

enum {
    NP_PLACE_FREE = 0,
    NP_PLACE_TAKEN,
    NP_PLACE_LEFT
};

struct neap_listeners {
    np_alloc *alloc;
    atomic_uint refs;
    pthread_mutex_t lock;
    np_list groups;
    int32_t count;
    uint8_t places[]; /* NP_PLACE_* */
};

/* A group that nobody knows yet; NULL when there is no memory. */
np_share_group *np_share_group_new(neap_listeners *l);
void np_share_group_free(neap_listeners *l, np_share_group *g); /* and closes its descriptors */

/* Says what it is: the address of a socket that is bound. */
void np_share_group_name(np_share_group *g, neap_sock *s, const neap_addr *asked);

/* The one at an address, or NULL. */
np_share_group *np_share_find(neap_listeners *l, uint8_t sort, const neap_addr *addr);

/* The first address of a chosen port that this place does not listen on yet. */
np_share_group *np_share_find_chosen(neap_listeners *l, int32_t place, const neap_addr *asked);

/* New connections go to the places where somebody listens. */
void np_share_steer(const neap_listeners *l, np_share_group *g);

/* Another descriptor of the same file, or -errno. */
int np_share_duplicate(int fd);

/* The slot gets a duplicate of the descriptor, unless it kept one. */
int32_t np_share_fill(np_share_slot *at, int fd);
void np_share_take(np_share_group *g, int32_t place, neap_sock *s);

/* The place will not be served again: its socket goes, and with the last one the address.  Answers whether others have it. */
bool np_share_drop(neap_listeners *l, np_share_group *g, int32_t place);

#endif

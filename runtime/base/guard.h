/* guard.h: tells a child after fork from its parent with one load: a page that the kernel empties in the child. */
#ifndef NP_GUARD_H
#define NP_GUARD_H

#include <sys/types.h>

#include "base.h"

typedef struct np_guard {
    volatile uint32_t *page; /* holds 1 in the process that made it */
    bool wiped_on_fork;      /* else the pid is compared, once per turn */
    pid_t pid;
} np_guard;

int np_guard_init(np_guard *g);
void np_guard_fini(np_guard *g);
bool np_guard_slow_check(np_guard *g); /* once per turn: notes a fork where the page cannot */

static inline bool np_guard_forked(const np_guard *g) {
    return *g->page == 0;
}

#endif

/* places.h: the live tasks of a loop with their places in the tree that their groups make: a table to look at them with, made
   when somebody asks and good as long as nothing runs.  A task stands below the one that is inside the group that it was
   spawned into; all others are roots. */
#ifndef NP_PLACES_H
#define NP_PLACES_H

#include "core/task.h"

#define NP_NO_PLACE UINT32_MAX

/* The links are indices in the table, or NP_NO_PLACE. */
typedef struct np_place {
    neap_task *task;
    uint32_t parent;
    uint32_t first, last; /* of those below, in order of creation */
    uint32_t next;        /* below the same parent */
} np_place;

typedef struct np_places {
    np_place *at; /* by number of the task, ascending */
    uint32_t n;
    np_alloc *alloc;
} np_places;

/* NEAP_ENOMEM, and then the table is empty. */
int32_t np_places_make(neap_loop *loop, bool background, np_places *ret_places);
void np_places_end(np_places *places);

uint32_t np_places_find(const np_places *places, uint64_t id);

#endif

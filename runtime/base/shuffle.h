/* shuffle.h: a list in random order, for tests; all from a seed. */
#ifndef NP_SHUFFLE_H
#define NP_SHUFFLE_H

#include "base/list.h"

/* What a seed other than 0 begins with; 0 stays 0, which is no state. */
uint64_t np_random_begin(uint64_t seed);

/* Every order is as likely as every other, but for what 64 bits of state cannot tell apart.  Takes n log n steps. */
void np_list_shuffle(np_list *list, uint64_t *random);

#endif
